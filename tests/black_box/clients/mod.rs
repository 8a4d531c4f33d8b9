//! One file per client: log in, push, pull, list, delete, log out, and the bytes are the same.
//!
//! Each client runs over plain HTTP and over TLS with accounts; docker, skopeo, podman and curl also with client
//! certificates. `curl` shows the transports that the others use without saying so.

mod anonymous;
mod buildah;
mod containerd;
mod crane;
mod curl;
mod docker;
mod oras;
mod podman;
mod regctl;
mod skopeo;
