//! Clients that are slow, greedy, broken or mean: the server refuses them, serves the others, and stays up.

mod connections;
mod excess;
mod framing;
mod injection;

use holdfast_tests::http::Client;
use holdfast_tests::{Image, Registry};

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCTETS: &str = "application/octet-stream";
const ABSENT: &str = "sha256:00000000000000000000000000000000000000000000000000000000000000aa";

/// The server answers, and nothing panicked in it.
#[track_caller]
fn assert_well(registry: &Registry) {
    let _ = registry.http().get("/v2/").send().expect(200);
    registry
        .http()
        .push_image("well/app", "v1", &Image::new(1, &[1000]));
    registry.assert_calm();
}

fn path(location: &str) -> &str {
    let rest = location
        .split_once("://")
        .map_or(location, |(_, rest)| rest);
    rest.find('/').map_or("/", |slash| &rest[slash..])
}

fn open_session(http: &Client, repository: &str) -> String {
    let url = format!("/v2/{repository}/blobs/uploads/");
    let session = http.post(&url).body("").send().expect(202);
    path(session.location()).to_owned()
}

/// Sends bytes and the end of them, and returns all that comes back until the server closes.
fn exchange(http: &Client, bytes: &[u8]) -> Vec<u8> {
    let mut raw = http.open().expect("connecting");
    // The server may close before it has all.
    let _ = raw.send(bytes);
    raw.finish_sending();
    raw.rest()
}

/// The same for a request after whose answer the server closes.
fn converse(http: &Client, bytes: &[u8]) -> Vec<u8> {
    let mut raw = http.open().expect("connecting");
    let _ = raw.send(bytes);
    raw.rest()
}

fn begins_with(answer: &[u8], statuses: &[u16]) -> bool {
    let begin = String::from_utf8_lossy(&answer[..answer.len().min(12)]).into_owned();
    statuses
        .iter()
        .any(|status| begin.ends_with(&format!(" {status}")))
}
