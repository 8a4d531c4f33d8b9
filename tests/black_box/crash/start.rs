//! A start after a crash takes the same work whatever is stored.

use std::thread;
use std::time::Instant;

use holdfast_tests::Registry;
use holdfast_tests::http::Client;
use serde_json::{Value, json};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What a start after a kill may read: the journal of the database, whatever the database holds. The journal is at
/// most 12,000 pages of 4 KiB long, and a quarter of that unless the disk is slow.
const MOST_READ_BYTES: u64 = 50 * 1024 * 1024;

#[test]
fn a_start_does_not_read_what_is_stored() {
    let mut registry = Registry::start();
    let mut stored = 0;
    for manifests in [10, 100_000] {
        push_indexes(&registry.http(), stored..manifests);
        stored = manifests;
        registry.kill();
        let started = Instant::now();
        registry.restart();
        let elapsed = started.elapsed();
        let read = registry.read_bytes();
        println!(
            "{manifests} manifests: first answer {elapsed:?} after the start, {read} bytes read"
        );
        assert!(
            read < MOST_READ_BYTES,
            "{read} bytes read with {manifests} manifests"
        );
        let files = ["metadata.db", "metadata.db-wal"].map(|name| {
            let path = registry.data().join("holdfast").join(name);
            std::fs::metadata(path).map_or(0, |file| file.len())
        });
        let held: u64 = files.iter().sum();
        assert!(
            manifests == 10 || held > MOST_READ_BYTES,
            "a database of {held} bytes is too small to tell"
        );
        let last = format!("/v2/start/app/manifests/t{}", manifests - 1);
        let _ = registry.http().get(&last).send().expect(200);
    }
}

/// Pushes empty indexes, each another, over connections that stay open.
fn push_indexes(http: &Client, numbers: std::ops::Range<usize>) {
    const CONNECTIONS: usize = 16;
    thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            let numbers = numbers.clone().skip(connection).step_by(CONNECTIONS);
            scope.spawn(move || {
                let mut raw = http.open().expect("connecting");
                for number in numbers {
                    let body: Value = json!({"schemaVersion": 2, "manifests": [], "annotations": {"number": number.to_string()}});
                    let body = body.to_string();
                    raw.send(format!(
                        "PUT /v2/start/app/manifests/t{number} HTTP/1.1\r\nHost: x\r\nContent-Type: {OCI_INDEX}\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    ))
                    .expect("sending a manifest");
                    let _ = raw.answer(false).expect("an answer").expect(201);
                }
            });
        }
    });
}
