//! Black-box tests: the server's program, real clients, real bytes. One binary, to link once.
//!
//! `scripts/test-tools` installs the clients; a test whose client is missing fails and says so.

mod adoption;
mod api;
mod backup;
mod clients;
mod cluster;
mod collection;
#[cfg(feature = "conformance")]
mod conformance;
mod crash;
mod deployment;
mod export;
mod full_disk;
mod gc_race;
mod healing;
mod hostile;
mod import;
mod integrity;
mod lifecycle;
mod management;
mod object_stores;
mod recovery;
mod redis;
mod restart;
mod storm;
mod undo;
