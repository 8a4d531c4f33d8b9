//! Standbys of PostgreSQL: one that is asked for manifests by digest, and one that takes the primary's place.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use holdfast_tests::http::Client;
use holdfast_tests::{Image, PostgresDatabase, Registry, eventually};
use rustix::process::{Pid, Signal, kill_process};

use super::Cluster;
use super::storms::{assert_whole, try_push};

const BY_HAND: &str = "gc: {enabled: false}";
/// The processes at a server that answer nodes.
const BACKENDS: &str = "SELECT pid FROM pg_stat_activity WHERE application_name = 'holdfast'";

fn status(client: &Client, reference: &str, image: &Image) -> u16 {
    let get = client.get(&format!("/v2/app/manifests/{reference}"));
    let answer = get.header("Accept", image.manifest.media_type).send();
    assert!(answer.status != 200 || answer.body == image.manifest.bytes);
    answer.status
}

fn wait_for_replay(primary: &PostgresDatabase, standby: &PostgresDatabase) {
    let written = primary.query("SELECT pg_current_wal_flush_lsn()");
    let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
    eventually("the standby has everything", || {
        standby.query(&replayed) == "t"
    });
}

/// A node whose standby failed leaves it alone for a while.
fn wait_until_asked(standby: &PostgresDatabase, clients: &[Client], image: &Image) {
    eventually("each node is connected to the standby", || {
        for client in clients {
            assert_eq!(status(client, &image.manifest.digest, image), 200);
        }
        standby.query(BACKENDS).lines().count() >= clients.len()
    });
}

#[test]
fn a_standby_is_asked_for_digests_and_may_lag_hang_or_be_gone() {
    let mut cluster = Cluster::start(1, BY_HAND);
    let images: Vec<Image> = (0..4)
        .map(|seed| Image::new(9000 + seed, &[5000]))
        .collect();
    let [deleted, behind, hung, alone] = &images[..] else {
        unreachable!("there are four")
    };
    cluster.nodes[0]
        .http()
        .push_image("app", "deleted", deleted);
    let mut server = cluster.postgres.standby();
    let standby = server.named(cluster.database.name());
    wait_for_replay(&cluster.database, &standby);
    // No statement would be given up while the test runs.
    let section = format!("    replicas: ['{}']\n{BY_HAND}", standby.url());
    cluster.nodes = Vec::from([(); 2].map(|()| {
        let node = cluster.builder(&cluster.database.url(), "1h", &section);
        node.start()
    }));
    let clients = cluster.clients();

    // Behind: it has what was deleted, and not what is new.
    standby.execute("SELECT pg_wal_replay_pause()");
    eventually("the standby stands still", || {
        standby.query("SELECT pg_get_wal_replay_pause_state()") == "paused"
    });
    let digest = &deleted.manifest.digest;
    let target = format!("/v2/app/manifests/{digest}");
    let _ = clients[0].delete(&target).send().expect(202);
    clients[0].push_image("app", "behind", behind);
    for client in &clients {
        eventually("the standby's answer", || {
            status(client, digest, deleted) == 200
        });
        assert_eq!(status(client, "deleted", deleted), 404);
        assert_eq!(status(client, "behind", behind), 200);
        assert_eq!(status(client, &behind.manifest.digest, behind), 200);
    }
    standby.execute("SELECT pg_wal_replay_resume()");
    wait_for_replay(&cluster.database, &standby);
    for client in &clients {
        assert_eq!(status(client, digest, deleted), 404);
    }

    // Silent: what was asked of it is asked of the primary, long before a statement is given up.
    clients[0].push_image("app", "hung", hung);
    wait_until_asked(&standby, &clients, behind);
    for backend in standby.query(BACKENDS).lines() {
        let backend = backend.parse().ok().and_then(Pid::from_raw);
        kill_process(backend.expect("a process"), Signal::STOP).expect("stopping a backend");
    }
    for client in &clients {
        assert_eq!(status(client, &hung.manifest.digest, hung), 200);
    }

    // Gone, and back.
    server.halt();
    clients[0].push_image("app", "alone", alone);
    for client in &clients {
        assert_eq!(status(client, &alone.manifest.digest, alone), 200);
        assert_eq!(status(client, "alone", alone), 200);
    }
    server.resume();
    wait_until_asked(&standby, &clients, alone);
}

#[test]
fn a_synchronous_standby_takes_over_with_everything_acknowledged() {
    let mut cluster = Cluster::start(0, "");
    let standby = cluster.postgres.standby();
    cluster.postgres.set("synchronous_standby_names", "*");
    let everyone = cluster.postgres.named("postgres");
    eventually("the standby is waited for", || {
        everyone.query("SELECT sync_state FROM pg_stat_replication") == "sync"
    });
    let node = Registry::builder().store(&cluster.store).section(&format!(
        "metadata:\n  postgres:\n    host: 127.0.0.1,127.0.0.2\n    port: {}\n    user: holdfast\n    database: {}",
        cluster.database.port(),
        cluster.database.name()
    ));
    cluster.nodes.push(node.start());
    let client = cluster.nodes[0].http();

    let pushed = Arc::new(Mutex::new(Vec::new()));
    let stop = Arc::new(AtomicBool::new(false));
    let pusher = std::thread::spawn({
        let (clients, pushed, stop) = (cluster.clients(), pushed.clone(), stop.clone());
        move || {
            for seed in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let image = Image::new(20_000 + seed, &[2000]);
                let _ = try_push(&clients, 0, "app", &format!("v{seed}"), &image).expect(201);
                let mut pushed = pushed.lock().expect("nobody panicked with it");
                pushed.push((seed, image));
            }
        }
    });
    let count = || pushed.lock().expect("nobody panicked with it").len();
    eventually("pushes are acknowledged", || count() >= 10);
    cluster.postgres.halt();
    let _ = client.get("/v2/app/tags/list").send().expect(503);
    let _ = client.post("/v2/app/blobs/uploads/").send().expect(503);
    let before = count();
    standby.named("postgres").execute("SELECT pg_promote()");
    eventually("pushes are acknowledged again", || count() >= before + 10);
    stop.store(true, Ordering::Relaxed);
    pusher.join().expect("the pusher does not panic");
    for (seed, image) in &*pushed.lock().expect("nobody panicked with it") {
        assert_whole(&client, "app", &format!("v{seed}"), image);
    }
}
