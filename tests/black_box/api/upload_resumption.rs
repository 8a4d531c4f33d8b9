//! An upload goes on where it stood: after a client is gone, and after the server was killed.

use std::fs;
use std::path::PathBuf;

use holdfast_tests::http::{Client, Raw};
use holdfast_tests::{Blob, Registry, eventually, sha512_digest};

use super::{blob, open_session, with_query};

/// Large enough that the server writes some of it before it has all.
const BLOB_BYTES: usize = 24 * 1024 * 1024;
const FIRST_BYTES: usize = 1_000_001;
const SENT_BYTES: usize = 16 * 1024 * 1024;

/// The staging file of a session.
fn staged(registry: &Registry, location: &str) -> PathBuf {
    let path = location.split('?').next().unwrap_or_default();
    let id = path.rsplit('/').next().unwrap_or_default();
    registry.data().join("holdfast/uploads").join(id)
}

/// Sends a part of a PATCH and leaves the connection open.
fn send_part(http: &Client, location: &str, blob: &Blob) -> Raw {
    let (_, rest) = location.split_once("://").expect("an absolute URL");
    let target = &rest[rest.find('/').expect("a URL with a path")..];
    let mut raw = http.open().expect("connecting");
    let length = blob.bytes.len() - FIRST_BYTES;
    let host = http.host();
    raw.send(format!(
        "PATCH {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n"
    ))
    .expect("sending a head");
    raw.send(&blob.bytes[FIRST_BYTES..FIRST_BYTES + SENT_BYTES])
        .expect("sending a part of a body");
    raw
}

/// Bytes that a session holds, by its status.
fn stored(http: &Client, location: &str) -> usize {
    let status = http.get(location).send().expect(204);
    let range = status.header("Range").expect("a range");
    let last = range.strip_prefix("0-").expect("a range from 0");
    let last: usize = last.parse().expect("a number");
    if last == 0 { 0 } else { last + 1 }
}

#[track_caller]
fn go_on(http: &Client, repository: &str, location: &str, blob: &Blob, digest: &str) {
    let from = stored(http, location);
    assert!(
        (FIRST_BYTES..=FIRST_BYTES + SENT_BYTES).contains(&from),
        "{from} bytes are stored"
    );
    let wrong = format!("{}-{}", from + 1, from + 10);
    let answer = http.patch(location).header("Content-Range", &wrong);
    let _ = answer.body([0; 10]).send().expect(416);
    let middle = from + (BLOB_BYTES - from) / 2;
    let range = format!("{from}-{}", middle - 1);
    let patched = http
        .patch(location)
        .header("Content-Range", &range)
        .body(&blob.bytes[from..middle])
        .send()
        .expect(202);
    let target = with_query(patched.location(), &format!("digest={digest}"));
    let _ = http
        .put(&target)
        .body(&blob.bytes[middle..])
        .send()
        .expect(201);
    let content = http.get(&format!("/v2/{repository}/blobs/{digest}")).send();
    assert!(
        content.expect(200).body == blob.bytes,
        "other bytes came back"
    );
}

#[test]
fn after_a_kill_in_the_middle_of_a_chunk() {
    let mut registry = Registry::start();
    let http = registry.http();
    let blob = blob(400, BLOB_BYTES);
    let sha512 = sha512_digest(&blob.bytes);
    let sessions: Vec<_> = [
        ("resume/one", "", &blob.digest),
        ("resume/two", "?digest-algorithm=sha512", &sha512),
    ]
    .into_iter()
    .map(|(repository, query, digest)| {
        let opened = http.post(&format!("/v2/{repository}/blobs/uploads/{query}"));
        let location = opened.body("").send().expect(202).location().to_owned();
        let _ = http
            .patch(&location)
            .body(&blob.bytes[..FIRST_BYTES])
            .send()
            .expect(202);
        let open = send_part(&http, &location, &blob);
        let file = staged(&registry, &location);
        eventually("the server writes a chunk that is still arriving", || {
            fs::metadata(&file).is_ok_and(|file| file.len() > FIRST_BYTES as u64)
        });
        (repository, location, digest, open)
    })
    .collect();
    registry.kill();
    registry.restart();
    for (repository, location, digest, _) in &sessions {
        go_on(&http, repository, location, &blob, digest);
    }
    registry.assert_calm();
}

#[test]
fn after_an_end_in_order() {
    let mut registry = Registry::start();
    let http = registry.http();
    let blob = blob(410, BLOB_BYTES);
    let location = open_session(&http, "resume/term");
    let _ = http
        .patch(&location)
        .body(&blob.bytes[..FIRST_BYTES])
        .send()
        .expect(202);
    let open = send_part(&http, &location, &blob);
    assert!(
        registry.terminate().is_some(),
        "still running after SIGTERM"
    );
    drop(open);
    registry.restart();
    go_on(&http, "resume/term", &location, &blob, &blob.digest);
    registry.assert_calm();
}

#[test]
fn after_a_client_is_gone() {
    let registry = Registry::start();
    let http = registry.http();
    let blob = blob(420, BLOB_BYTES);
    let location = open_session(&http, "resume/gone");
    let _ = http
        .patch(&location)
        .body(&blob.bytes[..FIRST_BYTES])
        .send()
        .expect(202);
    drop(send_part(&http, &location, &blob));
    // What arrived before the connection broke is kept, once the server has seen the end.
    eventually("the bytes of a broken connection are counted", || {
        stored(&http, &location) > FIRST_BYTES
    });
    go_on(&http, "resume/gone", &location, &blob, &blob.digest);
    registry.assert_calm();
}

#[test]
fn a_session_lost_with_its_staging_file_is_not_resumed() {
    let mut registry = Registry::start();
    let http = registry.http();
    let location = open_session(&http, "resume/lost");
    let _ = http.patch(&location).body("some bytes").send().expect(202);
    registry.kill();
    fs::remove_file(staged(&registry, &location)).expect("removing a staging file");
    registry.restart();
    let answer = http.patch(&location).body("more").send();
    assert!((400..600).contains(&answer.status), "{answer}");
    http.push_blob("resume/lost", &blob(430, 100));
    registry.assert_calm();
}
