//! Many clients push, mount, untag and delete while garbage is collected with hardly any grace and the server
//! is killed in between: whatever got its 201 and was not deleted is whole, and nothing is left of the rest.
//!
//! Clients pause where a collector could come between: after a HEAD or a mount that saves an upload, and
//! before the manifest. A lease that ends in such a pause costs the client a repetition (`MANIFEST_BLOB_UNKNOWN`),
//! never a stored manifest its bytes.
//!
//! That this test can fail was shown by breaking the protocol by hand, one rule at a time: dooming blobs
//! without looking for links (`gc/blobs.rs`), and linking a doomed blob without bringing new bytes
//! (`blobs/link.rs`), each lose bytes of stored manifests within the first rounds.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread;
use std::time::Duration;

use holdfast_tests::http::{Client, Response};
use holdfast_tests::{Blob, Registry, eventually, random_bytes};
use serde_json::json;

use crate::collection::stored;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CLIENTS: usize = 32;
const ROUNDS: usize = 8;
const KILLS: usize = 4;
const REPOSITORIES: usize = 4;
const SHARED_LAYERS: usize = 6;
/// Longest pause in a window; several times the grace.
const PAUSE_MAX_MS: usize = 60;
const COLLECTOR: &str = "gc: {grace: 25ms, interval: 2ms, rate: 0}";
/// Decides what is pushed, how, and every pause; `HOLDFAST_TEST_SEED` names another one.
const SEED: u64 = 20_260_202;

/// Chance that is the same for the same seed and client.
struct Chance(u64);

impl Chance {
    fn of(client: usize) -> Chance {
        let named = std::env::var("HOLDFAST_TEST_SEED").ok();
        let seed = named.and_then(|text| text.parse().ok()).unwrap_or(SEED);
        Chance(seed ^ ((client as u64) << 32))
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(1);
        let bytes = random_bytes(self.0, 24);
        let number = u64::from_le_bytes(bytes[16..24].try_into().expect("eight bytes"));
        (number % end as u64) as usize
    }

    fn pause(&mut self) {
        let pause = self.below(PAUSE_MAX_MS);
        thread::sleep(Duration::from_millis(pause as u64));
    }
}

struct Push {
    manifest: Blob,
    blobs: Vec<Arc<Blob>>,
}

struct Run {
    http: Client,
    shared: Vec<Arc<Blob>>,
    /// What was acknowledged and not deleted, by repository and digest.
    live: Mutex<HashMap<(String, String), Arc<Push>>>,
    wrong: Mutex<Vec<String>>,
    repeated: AtomicUsize,
    done: AtomicUsize,
    given_up: AtomicBool,
    /// Clients hold it for reading while they do something; a kill holds it not at all, a check alone.
    gate: RwLock<()>,
}

impl Run {
    fn client(&self, client: usize) {
        let mut chance = Chance::of(client);
        for round in 0..ROUNDS {
            let push = Arc::new(self.image(client, round, &mut chance));
            let repository = format!("race/r{}", chance.below(REPOSITORIES));
            // Tags are few, so that most pushes take one from an older manifest.
            let tag = format!("c{client}-{}", round % 2);
            if !self.until_done(|| self.push(&repository, &tag, &push, &mut chance)) {
                return;
            }
            let name = (repository.clone(), push.manifest.digest.clone());
            self.live
                .lock()
                .expect("no client panics")
                .insert(name.clone(), Arc::clone(&push));
            chance.pause();
            self.until_done(|| self.pull(&repository, &push).map(|()| true));
            if chance.below(2) == 0 {
                self.live.lock().expect("no client panics").remove(&name);
                self.until_done(|| self.delete(&name));
            }
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tries until it is done: connections break when the server is killed. False when the test has failed.
    fn until_done(&self, mut attempt: impl FnMut() -> io::Result<bool>) -> bool {
        while !self.given_up.load(Ordering::Relaxed) {
            let _gate = self.gate.read().expect("no check panics");
            if attempt().unwrap_or(false) {
                return true;
            }
        }
        false
    }

    fn image(&self, client: usize, round: usize, chance: &mut Chance) -> Push {
        let config = json!({"client": client, "round": round}).to_string();
        let mut blobs = vec![Arc::new(Blob::new(
            "application/vnd.oci.image.config.v1+json",
            config.into_bytes(),
        ))];
        for _ in 0..1 + chance.below(3) {
            blobs.push(Arc::clone(&self.shared[chance.below(self.shared.len())]));
        }
        let layers: Vec<_> = blobs[1..].iter().map(|blob| blob.descriptor()).collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": blobs[0].descriptor(), "layers": layers});
        Push {
            manifest: Blob::new(OCI_MANIFEST, manifest.to_string().into_bytes()),
            blobs,
        }
    }

    /// Whether the push got its 201; false when it has to be repeated.
    fn push(
        &self,
        repository: &str,
        tag: &str,
        push: &Push,
        chance: &mut Chance,
    ) -> io::Result<bool> {
        for blob in &push.blobs {
            self.push_blob(repository, blob, chance)?;
        }
        chance.pause();
        let reply = self
            .http
            .put(&format!("/v2/{repository}/manifests/{tag}"))
            .header("Content-Type", OCI_MANIFEST)
            .body(push.manifest.bytes.clone())
            .try_send()?;
        if reply.status == 400 && reply.text().contains("MANIFEST_BLOB_UNKNOWN") {
            self.repeated.fetch_add(1, Ordering::Relaxed);
            return Ok(false);
        }
        Ok(self.expect(&reply, 201))
    }

    fn push_blob(&self, repository: &str, blob: &Blob, chance: &mut Chance) -> io::Result<()> {
        let target = format!("/v2/{repository}/blobs/{}", blob.digest);
        if chance.below(2) == 0 && self.http.head(&target).try_send()?.status == 200 {
            chance.pause();
            return Ok(());
        }
        let uploads = format!("/v2/{repository}/blobs/uploads/");
        let way = match chance.below(3) {
            0 => format!("?digest={}", blob.digest),
            1 => {
                let from = format!("race/r{}", chance.below(REPOSITORIES));
                format!("?mount={}&from={from}", blob.digest)
            }
            _ => String::new(),
        };
        let body = if way.starts_with("?digest") {
            blob.bytes.clone()
        } else {
            Vec::new()
        };
        let opened = self.http.post(&(uploads + &way)).body(body).try_send()?;
        if opened.status == 201 {
            return Ok(());
        }
        if !self.expect(&opened, 202) {
            return Ok(());
        }
        let location = format!("{}&digest={}", opened.location(), blob.digest);
        let reply = self
            .http
            .put(&location)
            .body(blob.bytes.clone())
            .try_send()?;
        // The same content may be deleted at that very moment; clients repeat what gets 503.
        if reply.status != 503 {
            self.expect(&reply, 201);
        }
        Ok(())
    }

    fn pull(&self, repository: &str, push: &Push) -> io::Result<()> {
        let contents = push
            .blobs
            .iter()
            .map(|blob| ("blobs", &**blob))
            .chain([("manifests", &push.manifest)]);
        for (kind, blob) in contents {
            let target = format!("/v2/{repository}/{kind}/{}", blob.digest);
            let reply = self.http.get(&target).try_send()?;
            if self.expect(&reply, 200) && reply.body != blob.bytes {
                self.wrong(format!("other bytes of {target}"));
            }
        }
        Ok(())
    }

    fn delete(&self, (repository, digest): &(String, String)) -> io::Result<bool> {
        let target = format!("/v2/{repository}/manifests/{digest}");
        let reply = self.http.delete(&target).try_send()?;
        // An earlier attempt may have been carried out and not answered.
        Ok(reply.status == 404 || self.expect(&reply, 202))
    }

    fn expect(&self, reply: &Response, status: u16) -> bool {
        if reply.status != status {
            self.wrong(format!("expected {status}: {reply}"));
        }
        reply.status == status
    }

    fn wrong(&self, what: String) {
        self.wrong.lock().expect("no client panics").push(what);
        self.given_up.store(true, Ordering::Relaxed);
    }

    #[track_caller]
    fn assert_right(&self, registry: &Registry) {
        let wrong = self.wrong.lock().expect("no client panics");
        let log = registry.log();
        let errors: Vec<_> = log
            .lines()
            .filter(|line| line.contains("level=error"))
            .collect();
        assert!(
            wrong.is_empty(),
            "{} wrong: {:#?}
{errors:#?}",
            wrong.len(),
            &wrong[..wrong.len().min(5)]
        );
    }

    fn check_everything(&self, registry: &Registry) {
        let live: Vec<_> = {
            let live = self.live.lock().expect("no client panics");
            live.iter()
                .map(|(name, push)| (name.0.clone(), Arc::clone(push)))
                .collect()
        };
        for (repository, push) in live {
            self.pull(&repository, &push)
                .expect("pulling what was pushed");
        }
        self.assert_right(registry);
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_left() {
    let mut registry = Registry::builder().section(COLLECTOR).start();
    let layer = |number: usize| {
        Arc::new(Blob::new(
            "application/vnd.oci.image.layer.v1.tar",
            random_bytes(7000 + number as u64, 2000 + number * 30_000),
        ))
    };
    let run = Arc::new(Run {
        http: registry.http(),
        shared: (0..SHARED_LAYERS).map(layer).collect(),
        live: Mutex::default(),
        wrong: Mutex::default(),
        repeated: AtomicUsize::default(),
        done: AtomicUsize::default(),
        given_up: AtomicBool::default(),
        gate: RwLock::default(),
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let run = Arc::clone(&run);
            thread::spawn(move || run.client(client))
        })
        .collect();
    for kill in 1..=KILLS {
        let wanted = CLIENTS * ROUNDS * kill / (KILLS + 1);
        while run.done.load(Ordering::Relaxed) < wanted && !run.given_up.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(2));
        }
        run.assert_right(&registry);
        registry.kill();
        registry.restart();
        let _alone = run.gate.write().expect("no client panics");
        run.check_everything(&registry);
    }
    for client in clients {
        client.join().expect("no client panics");
    }
    run.check_everything(&registry);
    assert!(
        run.repeated.load(Ordering::Relaxed) > 0,
        "no lease ended in a pause, so nothing was raced"
    );
    // Every row fits every object, and the sums are those of a recount.
    registry.manage(&["check", "--read-data"]).run();

    let live: Vec<_> = {
        let live = run.live.lock().expect("no client panics");
        live.keys().cloned().collect()
    };
    assert!(!live.is_empty(), "some pushes were not deleted");
    for name in &live {
        assert!(run.delete(name).expect("deleting what was pushed"));
    }
    // What lost its tag is kept, so everything is deleted by digest; then nothing may be left.
    eventually("the space of everything is given back", || {
        stored(&registry).is_empty()
    });
    registry.manage(&["check", "--read-data"]).run();
    registry.assert_calm();
}
