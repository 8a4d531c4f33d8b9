//! Pushes while nodes, the database and the bucket die, and collectors side by side.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holdfast_tests::http::{Client, Response};
use holdfast_tests::{Blob, Image, eventually};

use super::Cluster;

const PUSHERS: usize = 8;
/// Images of each.
const IMAGES: usize = 63;
/// How often something dies meanwhile.
const DEATHS: usize = 9;
/// Attempts of a request, at one node after the other.
const ATTEMPTS: usize = 4000;
/// Longest time from one death to the next.
const PATIENCE: Duration = Duration::from_secs(600);

/// Sends a request to one node after the other until one answers in a way that says something.
fn persist(
    clients: &[Client],
    first: usize,
    send: impl Fn(&Client) -> std::io::Result<Response>,
) -> Response {
    for attempt in 0..ATTEMPTS {
        match send(&clients[(first + attempt) % clients.len()]) {
            Ok(answer) if answer.status < 500 && answer.status != 429 => return answer,
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    panic!("no node answers");
}

/// Pushes a blob as clients do: from the beginning, when a session is lost.
fn push_blob(clients: &[Client], first: usize, repository: &str, blob: &Blob) {
    for _ in 0..ATTEMPTS {
        let begin = format!("/v2/{repository}/blobs/uploads/");
        let session = persist(clients, first, |client| {
            client.post(&begin).body("").try_send()
        });
        let session = session.expect(202).location().to_owned();
        let end = if session.contains('?') { '&' } else { '?' };
        let put = format!("{session}{end}digest={}", blob.digest);
        let answer = persist(clients, first + 1, |client| {
            client.put(&put).body(&blob.bytes[..]).try_send()
        });
        if answer.status == 201 {
            return;
        }
        // The answer of a finished upload may have been lost.
        let there = format!("/v2/{repository}/blobs/{}", blob.digest);
        if persist(clients, first, |client| client.head(&there).try_send()).status == 200 {
            return;
        }
    }
    panic!("a blob cannot be pushed");
}

/// Pushes an image; the answer to its manifest.
pub(super) fn try_push(
    clients: &[Client],
    first: usize,
    repository: &str,
    reference: &str,
    image: &Image,
) -> Response {
    for blob in image.blobs() {
        push_blob(clients, first, repository, blob);
    }
    let target = format!("/v2/{repository}/manifests/{reference}");
    persist(clients, first, |client| {
        let put = client.put(&target);
        let put = put.header("Content-Type", image.manifest.media_type);
        put.body(&image.manifest.bytes[..]).try_send()
    })
}

#[track_caller]
pub(super) fn assert_whole(client: &Client, repository: &str, reference: &str, image: &Image) {
    let manifest = client
        .get(&format!("/v2/{repository}/manifests/{reference}"))
        .header("Accept", image.manifest.media_type);
    assert_eq!(manifest.send().expect(200).body, image.manifest.bytes);
    for blob in image.blobs() {
        let stored = client.get(&format!("/v2/{repository}/blobs/{}", blob.digest));
        assert_eq!(stored.send().expect(200).body, blob.bytes);
    }
}

#[test]
fn no_acknowledged_push_is_lost_when_nodes_database_and_bucket_die() {
    let mut cluster = Cluster::start(3, "gc: {grace: 1h, interval: 100ms}");
    let pushed = Arc::<Mutex<Vec<(String, String, Arc<Image>)>>>::default();
    let count = Arc::new(AtomicUsize::new(0));
    let pushers: Vec<_> = (0..PUSHERS)
        .map(|pusher| {
            let (clients, pushed, count) = (cluster.clients(), pushed.clone(), count.clone());
            std::thread::spawn(move || {
                for number in 0..IMAGES {
                    let seed = 5000 + (pusher * IMAGES + number) as u64;
                    // Now and then more than a part.
                    let large = if number % 10 == 0 { 6_000_000 } else { 20_000 };
                    let image = Arc::new(Image::new(seed, &[large, 5000]));
                    let (repository, tag) = (
                        format!("storm/{}", pusher % 3),
                        format!("p{pusher}-{number}"),
                    );
                    let pushed_now = try_push(&clients, pusher + number, &repository, &tag, &image);
                    let _ = pushed_now.expect(201);
                    pushed
                        .lock()
                        .expect("nobody panicked with it")
                        .push((repository, tag, image));
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for death in 0..DEATHS {
        // Longer than other waits: a client may have to sit out the retries of several nodes.
        let wanted = PUSHERS * IMAGES * (death + 1) / (DEATHS + 1);
        let since = Instant::now();
        while count.load(Ordering::Relaxed) < wanted {
            assert!(since.elapsed() < PATIENCE, "pushes go on");
            std::thread::sleep(Duration::from_millis(20));
        }
        match death % 3 {
            0 => {
                cluster.nodes[death / 3].kill();
                cluster.nodes[death / 3].restart();
            }
            1 => {
                cluster.postgres.halt();
                cluster.postgres.resume();
            }
            _ => cluster.store.restart(),
        }
    }
    for pusher in pushers {
        pusher.join().expect("every push ends");
    }
    let clients = cluster.clients();
    let pushed = pushed.lock().expect("nobody panicked with it");
    assert_eq!(pushed.len(), PUSHERS * IMAGES);
    for (number, (repository, tag, image)) in pushed.iter().enumerate() {
        assert_whole(&clients[number % 3], repository, tag, image);
    }
    let report = cluster.nodes[1].manage(&["check", "--read-data"]).finish();
    assert_eq!(report.status.code(), Some(0), "{report:?}");
}

/// Pushes an image where there is no grace: a blob may be gone before its manifest comes, and is pushed again then.
/// The gateway, which keeps objects as files, refuses a write now and then whose directory a deletion takes away.
fn push_until_taken(client: &Client, reference: &str, image: &Image) {
    let clients = std::slice::from_ref(client);
    while try_push(clients, 0, "app", reference, image).status != 201 {}
}

#[test]
fn collectors_of_all_nodes_share_the_work_and_take_nothing_in_use() {
    push_and_delete(&Cluster::start(3, "gc: {grace: 0s, interval: 20ms}"));
}

/// Images come and go at all nodes while each collects what nobody has any more.
pub(super) fn push_and_delete(cluster: &Cluster) {
    let clients = cluster.clients();
    let kept = Image::new(6000, &[30_000, 100]);
    push_until_taken(&clients[0], "kept", &kept);
    let pushers: Vec<_> = (0..6)
        .map(|pusher| {
            let clients = cluster.clients();
            std::thread::spawn(move || {
                for number in 0..10 {
                    let image = Image::new(6100 + pusher * 100 + number, &[8000, 200]);
                    let client = &clients[(pusher + number) as usize % clients.len()];
                    push_until_taken(client, &image.manifest.digest, &image);
                    assert_whole(client, "app", &image.manifest.digest, &image);
                    let target = format!("/v2/app/manifests/{}", image.manifest.digest);
                    let _ = clients[(pusher + number + 1) as usize % clients.len()]
                        .delete(&target)
                        .send()
                        .expect(202);
                }
            })
        })
        .collect();
    for pusher in pushers {
        pusher.join().expect("every push ends");
    }
    let objects = || {
        cluster
            .database
            .query("SELECT count(*) FROM blobs WHERE state = 0")
    };
    eventually("all that was deleted is collected", || {
        objects().trim() == "3"
    });
    for client in &clients {
        assert_whole(client, "app", "kept", &kept);
    }
}

#[test]
fn a_switch_turned_at_one_node_is_turned_at_all() {
    let cluster = Cluster::start(2, "");
    let clients = cluster.clients();
    let begin = |client: &Client| client.post("/v2/app/blobs/uploads/").body("").send().status;
    cluster.nodes[0].manage(&["maintenance", "on"]).run();
    eventually("the other refuses too", || begin(&clients[1]) == 405);
    cluster.nodes[1].manage(&["maintenance", "off"]).run();
    eventually("both take pushes", || {
        clients.iter().all(|client| begin(client) == 202)
    });
}
