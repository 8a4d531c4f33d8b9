//! Holdfast: a container registry in one binary, in place of `registry:2`.
//!
//! `cli` takes the arguments, `config` reads the configuration, `app` builds everything once, `edge` takes
//! connections, `http` turns requests into actions and results into answers, `access` says who may, and
//! `operations` does the work on the two stores. Arrows go that way and never back.

pub mod access;
mod app;
mod binding;
pub mod cli;
mod clock;
pub mod config;
mod edge;
mod error_chain;
mod health;
mod held;
pub mod http;
mod import;
mod jobs;
mod limits;
mod log;
mod metrics;
mod middleware;
mod operations;
mod outbound;
mod ownership;
mod random;
mod redis;
mod snapshots;
mod upload_state;
mod watched;

/// The version of this build.
pub const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));
