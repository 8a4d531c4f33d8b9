//! What clients of several nodes see of tags at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use holdfast_tests::http::Client;
use holdfast_tests::{Blob, Image, eventually, random_bytes};
use serde_json::json;

use super::Cluster;
use super::history::{Request, What, is_linearizable};

const TAGS: usize = 4;
const CLIENTS: usize = 6;
/// Requests of each client.
const REQUESTS: usize = 60;

/// Manifests that differ, each for one write.
fn manifests(image: &Image) -> Vec<Blob> {
    (0..CLIENTS * REQUESTS)
        .map(|number| {
            let manifest = json!({
                "schemaVersion": 2, "mediaType": image.manifest.media_type,
                "config": image.config.descriptor(),
                "layers": image.layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
                "annotations": {"number": number.to_string()},
            });
            Blob::new(image.manifest.media_type, manifest.to_string().into_bytes())
        })
        .collect()
}

/// One request of a tag; nothing when it was answered in no way that says anything.
fn ask(
    client: &Client,
    tag: usize,
    manifests: &[Blob],
    number: usize,
    clock: &Instant,
) -> Option<Request> {
    let target = format!("/v2/app/manifests/t{tag}");
    let now = || u64::try_from(clock.elapsed().as_nanos()).expect("a short test");
    let kind = random_bytes(number as u64, 1)[0] % 10;
    let manifest = &manifests[number];
    let begun = now();
    let (what, answer) = match kind {
        0..4 => {
            let put = client
                .put(&target)
                .header("Content-Type", manifest.media_type);
            (
                What::Write(Some(number as u64)),
                put.body(&manifest.bytes[..]).try_send(),
            )
        }
        4 => (What::Write(None), client.delete(&target).try_send()),
        _ => {
            let get = client.get(&target).header("Accept", manifest.media_type);
            (What::Read(None), get.try_send())
        }
    };
    let answered = Some(now());
    let request = |what, answered| {
        Some(Request {
            begun,
            answered,
            what,
        })
    };
    match (what, answer) {
        (What::Read(_), Ok(answer)) if answer.status == 200 => {
            let found = manifests.iter().position(|one| one.bytes == answer.body);
            request(
                What::Read(Some(found.expect("a manifest of the test") as u64)),
                answered,
            )
        }
        (What::Read(_), Ok(answer)) if answer.status == 404 => request(What::Read(None), answered),
        (What::Read(_), _) => None,
        (what, Ok(answer)) if answer.status == 201 || answer.status == 202 => {
            request(what, answered)
        }
        // There was no such tag to delete.
        (What::Write(None), Ok(answer)) if answer.status == 404 => {
            request(What::Read(None), answered)
        }
        // It may have happened, now or later.
        (what, _) => request(what, None),
    }
}

#[test]
fn every_tag_has_one_history_on_all_nodes_also_while_nodes_die() {
    let mut cluster = Cluster::start(3, "");
    let image = Image::new(81, &[1000]);
    cluster.nodes[0].http().push_image("app", "first", &image);
    let manifests = Arc::new(manifests(&image));
    let seen: Arc<Mutex<Vec<Vec<Request>>>> = Arc::new(Mutex::new(vec![Vec::new(); TAGS]));
    let done = Arc::new(AtomicUsize::new(0));
    let clock = Instant::now();
    let workers: Vec<_> = (0..CLIENTS)
        .map(|worker| {
            let clients = cluster.clients();
            let (manifests, seen, done) = (manifests.clone(), seen.clone(), done.clone());
            std::thread::spawn(move || {
                for turn in 0..REQUESTS {
                    let number = worker * REQUESTS + turn;
                    let client = &clients[(worker + turn) % clients.len()];
                    let tag = number % TAGS;
                    if let Some(request) = ask(client, tag, &manifests, number, &clock) {
                        seen.lock().expect("nobody panicked with it")[tag].push(request);
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    // A node is killed at a third and at two thirds of the way.
    for (node, thirds) in [(1, 1), (2, 2)] {
        eventually("some requests are answered", || {
            done.load(Ordering::Relaxed) >= CLIENTS * REQUESTS * thirds / 3
        });
        cluster.nodes[node].kill();
        cluster.nodes[node].restart();
    }
    for worker in workers {
        worker.join().expect("a client does not panic");
    }
    for (tag, requests) in seen
        .lock()
        .expect("nobody panicked with it")
        .iter()
        .enumerate()
    {
        let answered = requests
            .iter()
            .filter(|request| request.answered.is_some())
            .count();
        assert!(answered > REQUESTS / 2, "tag {tag}: {answered} answers");
        assert!(is_linearizable(requests), "tag {tag}: {requests:#?}");
    }
}

#[test]
fn what_one_node_acknowledged_another_serves_at_once() {
    let cluster = Cluster::start(2, "");
    let clients = cluster.clients();
    for number in 0..20 {
        let (here, there) = (&clients[number % 2], &clients[(number + 1) % 2]);
        let image = Image::new(900 + number as u64, &[2000]);
        here.push_image("app", "moving", &image);
        let get = there
            .get("/v2/app/manifests/moving")
            .header("Accept", image.manifest.media_type);
        assert_eq!(get.send().expect(200).body, image.manifest.bytes);
        let blob = format!("/v2/app/blobs/{}", image.layers[0].digest);
        assert_eq!(
            there.get(&blob).send().expect(200).body,
            image.layers[0].bytes
        );
        let by_digest = format!("/v2/app/manifests/{}", image.manifest.digest);
        let _ = there.delete(&by_digest).send().expect(202);
        let _ = here.get(&by_digest).send().expect(404);
        let _ = here.get("/v2/app/manifests/moving").send().expect(404);
    }
}
