//! Content in buckets, on real servers: what the driver promises, and what a registry on it does.

mod adoption;
mod driver;
mod faults;
mod gcs;
mod registry;
mod relay;
mod requests;
mod strays;
mod swift;
