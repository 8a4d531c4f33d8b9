//! Many clients push while the server is killed again and again: whatever got its 201 is there afterwards.

mod start;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::thread;
use std::time::Duration;

use holdfast_tests::http::{Client, Response};
use holdfast_tests::{Blob, Registry, eventually, random_bytes};
use serde_json::json;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

const PUSHES: usize = 200;
const CLIENTS: usize = 16;
const KILLS: usize = 10;
const REPOSITORIES: usize = 10;
/// Decides images, ways and moments; `HOLDFAST_TEST_SEED` names another one.
const SEED: u64 = 20_260_101;

fn seed() -> u64 {
    let named = std::env::var("HOLDFAST_TEST_SEED").ok();
    named.and_then(|text| text.parse().ok()).unwrap_or(SEED)
}

/// A number below `end`, the same for the same seed and use.
fn chance(use_of_it: u64, end: usize) -> usize {
    let bytes = random_bytes(seed() ^ (use_of_it << 20), 16);
    let sum = bytes[8..].iter().fold(0_usize, |sum, byte| {
        sum * 256 % (1 << 40) + usize::from(*byte)
    });
    sum % end
}

/// An image to be pushed.
struct Push {
    repository: String,
    tag: String,
    manifest: Blob,
    blobs: Vec<Arc<Blob>>,
}

/// All images: two or three layers of a few KiB up to 300 KiB, one of them often shared with other images.
fn pushes() -> Vec<Push> {
    let layer = |seed, length| {
        Arc::new(Blob::new(
            "application/vnd.oci.image.layer.v1.tar",
            random_bytes(seed, length),
        ))
    };
    let shared: Vec<_> = (0..6)
        .map(|n| layer(1100 + n, 50_000 * n as usize + 3000))
        .collect();
    (0..PUSHES)
        .map(|number| {
            let at = number as u64 * 10;
            let mut blobs = vec![Arc::new(Blob::new(
                "application/vnd.oci.image.config.v1+json",
                format!("{{\"number\":{number}}}").into_bytes(),
            ))];
            blobs.push(Arc::clone(&shared[chance(at, shared.len())]));
            for extra in 0..=chance(at + 1, 2) as u64 {
                blobs.push(layer(10_000 + at + extra, 3000 + chance(at + 2 + extra, 300_000)));
            }
            let layers: Vec<_> = blobs[1..].iter().map(|blob| blob.descriptor()).collect();
            let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": blobs[0].descriptor(), "layers": layers});
            Push {
                repository: format!("crash/r{}", chance(at + 7, REPOSITORIES)),
                tag: format!("t{number}"),
                manifest: Blob::new(OCI_MANIFEST, manifest.to_string().into_bytes()),
                blobs,
            }
        })
        .collect()
}

/// An upload session whose opening was acknowledged.
struct Session {
    location: String,
    blob: Arc<Blob>,
    /// Bytes whose PATCH was acknowledged.
    acknowledged: usize,
    /// The closing PUT was sent: it may have succeeded unseen.
    finishing: bool,
}

/// What clients know.
#[derive(Default)]
struct Ledger {
    waiting: VecDeque<usize>,
    pushed: BTreeSet<usize>,
    blobs: BTreeMap<(String, String), Arc<Blob>>,
    sessions: HashMap<String, Session>,
    /// Attempts that ended without an answer.
    broken: usize,
    /// Open sessions that were gone on with, or cancelled, after a kill.
    recovered: usize,
    wrong: Vec<String>,
}

struct Run {
    pushes: Vec<Push>,
    http: Client,
    ledger: Mutex<Ledger>,
    /// Clients hold it for reading while they push; the checks after a restart hold it alone.
    gate: RwLock<()>,
    given_up: AtomicBool,
}

impl Run {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger
            .lock()
            .expect("no client panics while it writes")
    }

    /// One client: takes pushes until none is left.
    fn client(&self) {
        while !self.given_up.load(Ordering::Relaxed) {
            let number = self.ledger().waiting.pop_front();
            let Some(number) = number else {
                if self.ledger().pushed.len() == PUSHES {
                    return;
                }
                // Another client may yet give its push back.
                thread::sleep(Duration::from_millis(2));
                continue;
            };
            let gate = self.gate.read().expect("no check panicked");
            let done = self.push(number);
            drop(gate);
            let mut ledger = self.ledger();
            match done {
                Ok(()) => {
                    ledger.pushed.insert(number);
                }
                Err(_) => {
                    ledger.broken += 1;
                    ledger.waiting.push_back(number);
                }
            }
        }
    }

    /// Pushes an image; an error when a connection broke, and everything else is for the ledger.
    fn push(&self, number: usize) -> io::Result<()> {
        let push = &self.pushes[number];
        for (at, blob) in push.blobs.iter().enumerate() {
            self.push_blob(
                &push.repository,
                blob,
                chance((number * 10 + at) as u64 + 5_000_000, 4),
            )?;
        }
        let manifest = &push.manifest;
        let reply = self
            .http
            .put(&format!("/v2/{}/manifests/{}", push.repository, push.tag))
            .header("Content-Type", manifest.media_type)
            .body(manifest.bytes.clone())
            .try_send()?;
        self.expect(&reply, 201);
        Ok(())
    }

    fn push_blob(&self, repository: &str, blob: &Arc<Blob>, way: usize) -> io::Result<()> {
        let uploads = format!("/v2/{repository}/blobs/uploads/");
        let stored = || {
            let key = (repository.to_owned(), blob.digest.clone());
            self.ledger().blobs.insert(key, Arc::clone(blob));
        };
        if way == 0 {
            let target = format!("{uploads}?digest={}", blob.digest);
            let reply = self
                .http
                .post(&target)
                .body(blob.bytes.clone())
                .try_send()?;
            self.expect(&reply, 201);
            stored();
            return Ok(());
        }
        if way == 1 {
            let reply = self
                .http
                .post(&format!("{uploads}?mount={}", blob.digest))
                .body("")
                .try_send()?;
            if reply.status == 201 {
                stored();
                return Ok(());
            }
            self.expect(&reply, 202);
            return self.finish(repository, blob, &reply, false, &stored);
        }
        let reply = self.http.post(&uploads).body("").try_send()?;
        self.expect(&reply, 202);
        self.finish(repository, blob, &reply, way == 2, &stored)
    }

    fn finish(
        &self,
        repository: &str,
        blob: &Arc<Blob>,
        opened: &Response,
        in_pieces: bool,
        stored: &dyn Fn(),
    ) -> io::Result<()> {
        let Some(location) = opened.header("Location").map(str::to_owned) else {
            return Ok(());
        };
        let id = session_id(&location);
        let session = Session {
            location: location.clone(),
            blob: Arc::clone(blob),
            acknowledged: 0,
            finishing: false,
        };
        self.ledger().sessions.insert(id.clone(), session);
        let mut sent = 0;
        if in_pieces {
            for piece in blob.bytes.chunks(blob.bytes.len() / 3 + 1).take(2) {
                let reply = self.http.patch(&location).body(piece).try_send()?;
                self.expect(&reply, 202);
                sent += piece.len();
                self.session(&id, |session| session.acknowledged = sent);
            }
        }
        self.session(&id, |session| session.finishing = true);
        let target = format!("{location}&digest={}", blob.digest);
        let reply = self
            .http
            .put(&target)
            .body(&blob.bytes[sent..])
            .try_send()?;
        self.expect(&reply, 201);
        let _ = repository;
        self.ledger().sessions.remove(&id);
        stored();
        Ok(())
    }

    fn session(&self, id: &str, change: impl FnOnce(&mut Session)) {
        if let Some(session) = self.ledger().sessions.get_mut(id) {
            change(session);
        }
    }

    /// Any other answer is wrong: clients that lost a connection begin anew.
    fn expect(&self, reply: &Response, status: u16) {
        if reply.status != status {
            self.ledger()
                .wrong
                .push(format!("expected {status}: {reply}"));
        }
    }

    fn get(&self, target: &str) -> Response {
        self.http.get(target).send()
    }

    /// Everything acknowledged is there, byte for byte, and everything listed is whole.
    fn check_content(&self) {
        let ledger = self.ledger();
        for ((repository, digest), blob) in &ledger.blobs {
            let stored = self
                .get(&format!("/v2/{repository}/blobs/{digest}"))
                .expect(200);
            assert!(
                stored.body == blob.bytes,
                "other bytes of {digest} in {repository}"
            );
        }
        for number in &ledger.pushed {
            self.check_image(&self.pushes[*number]);
        }
        let by_tag: HashMap<_, _> = self
            .pushes
            .iter()
            .map(|push| ((push.repository.as_str(), push.tag.as_str()), push))
            .collect();
        let catalog = self.get("/v2/_catalog?n=1000").expect(200).json();
        let names: BTreeSet<String> =
            serde_json::from_value(catalog["repositories"].clone()).expect("a list of names");
        for number in &ledger.pushed {
            let push = &self.pushes[*number];
            assert!(
                names.contains(&push.repository),
                "{} is not in the catalog",
                push.repository
            );
        }
        let mut listed = BTreeSet::new();
        for repository in &names {
            let tags = self.http.tags(repository);
            assert!(
                !tags.is_empty(),
                "{repository} is in the catalog without a tag"
            );
            for tag in tags {
                // A push whose answer was lost may be stored, but then all of it is.
                let push = by_tag.get(&(repository.as_str(), tag.as_str()));
                self.check_image(
                    push.unwrap_or_else(|| panic!("nobody pushed {repository}:{tag}")),
                );
                listed.insert((repository.clone(), tag));
            }
        }
        for number in &ledger.pushed {
            let push = &self.pushes[*number];
            let name = (push.repository.clone(), push.tag.clone());
            assert!(listed.contains(&name), "{name:?} is not listed");
        }
    }

    fn check_image(&self, push: &Push) {
        for reference in [&push.tag, &push.manifest.digest] {
            let target = format!("/v2/{}/manifests/{reference}", push.repository);
            let stored = self.get(&target).expect(200);
            assert_eq!(stored.body, push.manifest.bytes, "{target}");
            assert_eq!(
                stored.header("Docker-Content-Digest"),
                Some(push.manifest.digest.as_str())
            );
        }
        for blob in &push.blobs {
            let target = format!("/v2/{}/blobs/{}", push.repository, blob.digest);
            assert!(
                self.get(&target).expect(200).body == blob.bytes,
                "other bytes at {target}"
            );
        }
    }

    /// Acknowledged sessions go on where they stood; staging files without a session do not exist.
    fn check_sessions(&self, staging: &[PathBuf]) {
        let sessions = std::mem::take(&mut self.ledger().sessions);
        for (number, (id, session)) in sessions.iter().enumerate() {
            let status = self.get(&session.location);
            if status.status == 404 && session.finishing {
                continue;
            }
            let status = status.expect(204);
            let from = stored_bytes(&status, staging, id);
            assert!(
                from >= session.acknowledged,
                "session {id} lost acknowledged bytes: {from} of {}",
                session.acknowledged
            );
            self.ledger().recovered += 1;
            if number % 3 == 0 {
                let _ = self.http.delete(&session.location).send().expect(204);
                let _ = self.get(&session.location).expect(404);
            } else {
                let target = format!("{}&digest={}", status.location(), session.blob.digest);
                let _ = self
                    .http
                    .put(&target)
                    .body(&session.blob.bytes[from..])
                    .send()
                    .expect(201);
            }
        }
        // Sessions whose opening was not acknowledged: the server knows them all.
        for id in staged(staging) {
            let found = (0..REPOSITORIES).find_map(|number| {
                let status = self.get(&format!("/v2/crash/r{number}/blobs/uploads/{id}"));
                (status.status == 204).then_some(status)
            });
            let status =
                found.unwrap_or_else(|| panic!("the staging file {id} belongs to no session"));
            let _ = self.http.delete(status.location()).send().expect(204);
        }
        assert_eq!(
            staged(staging),
            Vec::<String>::new(),
            "staging files are left"
        );
    }
}

fn session_id(location: &str) -> String {
    let path = location.split('?').next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

/// The names of all staging files.
fn staged(directories: &[PathBuf]) -> Vec<String> {
    let entries = directories
        .iter()
        .filter_map(|directory| std::fs::read_dir(directory).ok())
        .flatten();
    entries
        .map(|entry| entry.expect("reading a directory").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// Bytes that a session holds. `0-0` means none or one, so the file decides.
fn stored_bytes(status: &Response, directories: &[PathBuf], id: &str) -> usize {
    let range = status.header("Range").unwrap_or_default();
    let last: usize = range
        .strip_prefix("0-")
        .and_then(|last| last.parse().ok())
        .expect("a range from 0");
    let one = || {
        directories
            .iter()
            .any(|directory| std::fs::metadata(directory.join(id)).is_ok_and(|file| file.len() > 0))
    };
    if last == 0 && !one() { 0 } else { last + 1 }
}

#[test]
fn nothing_acknowledged_is_lost() {
    let mut registry = Registry::start();
    let staging = ["uploads", "unverified"].map(|name| registry.data().join("holdfast").join(name));
    let run = Run {
        pushes: pushes(),
        http: registry.http(),
        ledger: Mutex::default(),
        gate: RwLock::new(()),
        given_up: AtomicBool::new(false),
    };
    run.ledger().waiting = (0..PUSHES).collect();
    thread::scope(|scope| {
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..CLIENTS {
                scope.spawn(|| run.client());
            }
            for kill in 0..KILLS {
                let enough = kill * PUSHES / (KILLS + 1) + chance(kill as u64 + 900, 5);
                eventually("pushes go on", || run.ledger().pushed.len() >= enough);
                // The moment is random on purpose; nothing depends on its length.
                thread::sleep(Duration::from_micros(
                    chance(kill as u64 + 800, 40_000) as u64
                ));
                registry.kill();
                let alone = run.gate.write().expect("no client panicked");
                registry.restart();
                run.check_content();
                run.check_sessions(&staging);
                drop(alone);
            }
            eventually("all is pushed", || run.ledger().pushed.len() == PUSHES);
        }));
        run.given_up.store(true, Ordering::Relaxed);
        if let Err(cause) = checked {
            std::panic::resume_unwind(cause);
        }
    });
    run.check_content();
    run.check_sessions(&staging);
    let ledger = run.ledger();
    assert_eq!(ledger.wrong, Vec::<String>::new());
    println!(
        "seed {}: {PUSHES} pushes, {KILLS} kills, {} attempts without an answer, {} sessions recovered",
        seed(),
        ledger.broken,
        ledger.recovered
    );
    assert!(ledger.broken > 0, "no kill met a push");
    registry.assert_calm();
}
