//! What the black-box tests are written with: a server process, real clients, images to move.
//!
//! The server is a program, never a library call: the tests know it by its command line, its
//! configuration file and its sockets only, so the same test can run against another registry.
//! Everything here lives in temporary directories and dies with the value that owns it.
//!
//! A failed expectation panics with what the processes said; nothing here returns an error.

mod certificates;
mod command;
pub mod conformance;
mod containerd;
mod daemon;
mod digests;
mod docker_engine;
mod findings;
pub mod http;
mod images;
mod network;
mod object_server;
mod postgres;
mod redis;
mod registry;
mod shared;
mod small_disk;
mod tar;
mod waiting;
mod workbench;

pub use certificates::Certificates;
pub(crate) use command::tools;
pub use command::{Command, Output, find_program};
pub use containerd::Containerd;
pub use daemon::Daemon;
pub use digests::sha512_digest;
pub use docker_engine::DockerEngine;
pub use findings::Findings;
pub use images::{Blob, Image, Index, digest, random_bytes};
pub use network::{Link, Network};
pub use object_server::{ObjectServer, Service};
pub use postgres::{Postgres, PostgresDatabase};
pub use redis::RedisServer;
pub use registry::{PASSWORD, Registry, RegistryBuilder, USER, free_port};
pub use shared::Shared;
pub use small_disk::SmallDisk;
pub use waiting::eventually;
pub use workbench::Workbench;
