//! Clients that want the same at the same time.

use std::sync::Barrier;
use std::thread;

use holdfast_tests::http::{Client, Response};
use holdfast_tests::{Findings, Image, Registry, random_bytes};
use serde_json::json;

use super::{OCI_MANIFEST, blob, manifest, open_session, with_query};

const CLIENTS: usize = 12;

/// Runs every client at once and returns what each got.
fn together<T: Send>(clients: usize, act: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(clients);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|number| {
                let (barrier, act) = (&barrier, &act);
                scope.spawn(move || {
                    barrier.wait();
                    act(number)
                })
            })
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, T>| thread.join().expect("a client");
        threads.into_iter().map(join).collect()
    })
}

fn count(answers: &[Response], status: u16) -> usize {
    answers
        .iter()
        .filter(|answer| answer.status == status)
        .count()
}

#[test]
fn the_same_blob_from_all_sides() {
    let registry = Registry::start();
    let (http, mut findings) = (registry.http(), Findings::new());
    for round in 0..10 {
        let blob = blob(2200 + round, 200_000);
        let answers = together(CLIENTS, |number| {
            // Some into one repository, some into their own.
            let repository = format!("same/r{}", number % 7);
            if number % 2 == 0 {
                let target = format!("/v2/{repository}/blobs/uploads/?digest={}", blob.digest);
                http.post(&target).body(blob.bytes.clone()).send()
            } else {
                let location = open_session(&http, &repository);
                let target = with_query(&location, &format!("digest={}", blob.digest));
                http.put(&target).body(blob.bytes.clone()).send()
            }
        });
        for answer in &answers {
            findings.status("the same blob", answer, 201);
        }
        for number in 0..7 {
            let stored = http
                .get(&format!("/v2/same/r{number}/blobs/{}", blob.digest))
                .send();
            findings.check(stored.body == blob.bytes, || {
                format!("r{number}: {}", stored.status)
            });
        }
    }
    let staged = std::fs::read_dir(registry.data().join("holdfast/uploads"));
    findings.check(staged.is_ok_and(|files| files.count() == 0), || {
        "staging files are left".into()
    });
    registry.assert_calm();
}

#[test]
fn one_session_and_many_writers() {
    let registry = Registry::start();
    let (http, mut findings) = (registry.http(), Findings::new());
    let bytes = random_bytes(2300, 60_000);
    let digest = holdfast_tests::digest(&bytes);
    let location = open_session(&http, "writers/app");
    let (mut offset, piece) = (0, 20_000);
    while offset < bytes.len() {
        let range = format!("{offset}-{}", offset + piece - 1);
        let answers = together(CLIENTS, |_| {
            let request = http.patch(&location).header("Content-Range", &range);
            request.body(&bytes[offset..offset + piece]).send()
        });
        let (taken, refused) = (count(&answers, 202), count(&answers, 416));
        findings.check(taken == 1 && refused == CLIENTS - 1, || {
            format!("{range}: {taken} times 202, {refused} times 416")
        });
        offset += piece;
    }
    let target = with_query(&location, &format!("digest={digest}"));
    let answers = together(CLIENTS, |_| http.put(&target).body("").send());
    let (done, gone) = (count(&answers, 201), count(&answers, 404));
    findings.check(done == 1 && gone == CLIENTS - 1, || {
        format!("PUT: {done} times 201, {gone} times 404")
    });
    let stored = http.get(&format!("/v2/writers/app/blobs/{digest}")).send();
    findings.check(stored.body == bytes, || format!("{}", stored.status));
    registry.assert_calm();
}

#[test]
fn one_tag_and_many_pushers() {
    let registry = Registry::start();
    let http = registry.http();
    let config = blob(2400, 20);
    http.push_blob("tag/app", &config);
    let manifests: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let value = json!({"schemaVersion": 2, "config": config.descriptor(), "layers": [], "number": number});
            manifest(OCI_MANIFEST, &value)
        })
        .collect();
    for _ in 0..10 {
        let _ = together(CLIENTS, |number| {
            http.push_manifest("tag/app", "latest", &manifests[number]);
        });
        let stored = http.get("/v2/tag/app/manifests/latest").send().expect(200);
        assert!(
            manifests
                .iter()
                .any(|manifest| manifest.bytes == stored.body),
            "{stored}"
        );
        assert_eq!(http.tags("tag/app"), ["latest"]);
    }
    registry.assert_calm();
}

/// Pushes an image once; the answer that decided.
fn push(http: &Client, repository: &str, image: &Image) -> Response {
    for part in image.blobs() {
        let target = format!("/v2/{repository}/blobs/uploads/?digest={}", part.digest);
        let answer = http.post(&target).body(part.bytes.clone()).send();
        if answer.status != 201 {
            return answer;
        }
    }
    http.put(&format!("/v2/{repository}/manifests/v1"))
        .header("Content-Type", OCI_MANIFEST)
        .body(image.manifest.bytes.clone())
        .send()
}

#[test]
fn pushes_against_deletes() {
    const ROUNDS: usize = 40;
    let registry = Registry::start();
    let (http, mut findings) = (registry.http(), Findings::new());
    let image = Image::new(2500, &[50_000, 1000]);
    let repositories = ["race/a", "race/b"];
    let odd: Vec<_> = together(CLIENTS, |number| {
        let repository = repositories[number % 2];
        let mut odd = Vec::new();
        for round in 0..ROUNDS {
            let (answer, fine): (_, &[u16]) = match number % 6 {
                // A blob or manifest may go between two requests of a push.
                0..=2 => (push(&http, repository, &image), &[201, 400]),
                3 => {
                    let target = format!("/v2/{repository}/manifests/{}", image.manifest.digest);
                    (http.delete(&target).send(), &[202, 404])
                }
                4 => {
                    let layer = &image.layers[round % 2].digest;
                    (
                        http.delete(&format!("/v2/{repository}/blobs/{layer}"))
                            .send(),
                        &[202, 404, 409],
                    )
                }
                _ => {
                    let other = repositories[(number + 1) % 2];
                    let layer = &image.layers[round % 2].digest;
                    let target =
                        format!("/v2/{repository}/blobs/uploads/?mount={layer}&from={other}");
                    (http.post(&target).body("").send(), &[201, 202])
                }
            };
            if !fine.contains(&answer.status) {
                odd.push(answer.to_string());
            }
        }
        odd
    })
    .concat();
    findings.check(odd.is_empty(), || odd.join("\n"));
    // In the silence after it, what is listed is whole.
    for repository in repositories {
        let answer = http.get(&format!("/v2/{repository}/manifests/v1")).send();
        if answer.status == 200 {
            for part in image.blobs() {
                let stored = http
                    .get(&format!("/v2/{repository}/blobs/{}", part.digest))
                    .send();
                findings.check(stored.body == part.bytes, || {
                    format!("{repository}: {}", stored.status)
                });
            }
        } else {
            findings.status(repository, &answer, 404);
        }
        findings.status(repository, &push(&http, repository, &image), 201);
    }
    registry.assert_calm();
}
