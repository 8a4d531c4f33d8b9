//! Holdfast: a container registry in one binary, in place of `registry:2`.
//!
//! `cli` takes the arguments, `config` reads the configuration, `app` builds everything once, `edge` takes
//! connections, `http` turns requests into actions and results into answers, `access` says who may, and
//! `operations` does the work on the two stores. Arrows go that way and never back.

pub mod access;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod edge;
pub mod health;
pub mod http;
pub mod jobs;
pub mod log;
pub mod operations;
pub mod outbound;
pub mod random;
pub mod upload_state;
pub mod watched;

/// The version of this build.
pub const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));
