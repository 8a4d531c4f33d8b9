//! The HTTP API, row by row: one file per resource, one registry process per file.
//!
//! The rows are those of Distribution's observable behaviour and of the OCI distribution specification;
//! where Holdfast answers better than Distribution on purpose, the row says what Holdfast answers.

mod authentication;
mod blobs;
mod closed_repositories;
mod command_line;
mod concurrency;
mod health;
mod lists;
mod manifest_push;
mod manifest_references;
mod manifests;
mod metrics;
mod middleware;
mod modes;
mod mounts;
mod names;
mod referrers;
mod routes;
mod transport;
mod upload_resumption;
mod uploads;
mod urls;

use holdfast_tests::http::Client;
use holdfast_tests::{Blob, random_bytes};
use serde_json::Value;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCTETS: &str = "application/octet-stream";

/// A digest of nothing that any test pushes.
const ABSENT: &str = "sha256:00000000000000000000000000000000000000000000000000000000000000aa";

/// A blob of bytes that only this seed has.
fn blob(seed: u64, length: usize) -> Blob {
    Blob::new(OCTETS, random_bytes(seed, length))
}

/// A manifest of this type out of a JSON value.
fn manifest(media_type: &'static str, value: &Value) -> Blob {
    Blob::new(media_type, value.to_string().into_bytes())
}

/// Opens an upload session and returns its `Location`.
#[track_caller]
fn open_session(http: &Client, repository: &str) -> String {
    let url = format!("/v2/{repository}/blobs/uploads/");
    let session = http.post(&url).body("").send().expect(202);
    session.location().to_owned()
}

/// A URL with one more query parameter.
fn with_query(url: &str, parameter: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{parameter}")
}
