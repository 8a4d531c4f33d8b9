//! What metadata promises, asked through its public interface.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod cluster;
mod crash;
mod fixture;
mod gc;
mod gc_model;
mod invariants;
mod model;
mod payloads;
mod race;
mod recovery;
mod suite;
mod transfer;
