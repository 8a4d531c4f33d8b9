//! Many clients that push while something else goes on, and remember what was acknowledged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use holdfast_tests::http::Client;
use holdfast_tests::{Image, Registry, eventually};

/// Tags of a client; it pushes to them in turn, so that older images lose theirs.
const TAGS: usize = 40;

/// An image that a registry acknowledged.
#[derive(Clone)]
pub(crate) struct Pushed {
    pub(crate) repository: String,
    pub(crate) tag: String,
    pub(crate) image: Arc<Image>,
    /// Counts the pushes to this repository.
    number: usize,
}

/// Clients at work.
pub(crate) struct Storm {
    stop: Arc<AtomicBool>,
    pushed: Arc<Mutex<Vec<Pushed>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Storm {
    pub(crate) fn start(registry: &Registry, clients: u64, seed: u64) -> Storm {
        let stop = Arc::<AtomicBool>::default();
        let pushed = Arc::<Mutex<Vec<Pushed>>>::default();
        let clients = (0..clients)
            .map(|client| {
                let (http, stop, pushed) = (registry.http(), stop.clone(), pushed.clone());
                std::thread::spawn(move || push_until(&http, client, seed, &stop, &pushed))
            })
            .collect();
        Storm {
            stop,
            pushed,
            clients,
        }
    }

    /// What was acknowledged so far.
    pub(crate) fn pushed(&self) -> Vec<Pushed> {
        self.pushed.lock().expect("no client panics").clone()
    }

    /// Waits until so many more pushes are acknowledged.
    pub(crate) fn wait_for(&self, more: usize) {
        let target = self.pushed().len() + more;
        eventually("more pushes", || self.pushed().len() >= target);
    }

    /// Ends it; everything that was acknowledged.
    pub(crate) fn stop(self) -> Vec<Pushed> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("a client pushes without errors");
        }
        let pushed = self.pushed.lock().expect("no client panics");
        pushed.clone()
    }
}

fn push_until(
    http: &Client,
    client: u64,
    seed: u64,
    stop: &AtomicBool,
    pushed: &Mutex<Vec<Pushed>>,
) {
    let repository = format!("storm/client-{client}");
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let image_seed = seed * 1_000_000 + client * 10_000 + number as u64;
        let image = Image::new(image_seed, &[3000 + number % 7 * 9000, 10]);
        let tag = format!("t{}", number % TAGS);
        http.push_image(&repository, &tag, &image);
        pushed.lock().expect("no client panics").push(Pushed {
            repository: repository.clone(),
            tag,
            image: Arc::new(image),
            number,
        });
    }
}

/// Asserts that each of these images can be pulled whole by its digest, and its tag is at it or at a later one.
#[track_caller]
pub(crate) fn assert_served(http: &Client, pushed: &[Pushed], all: &[Pushed]) {
    for push in pushed {
        let Pushed {
            repository, image, ..
        } = push;
        let base = format!("/v2/{repository}");
        let manifest = |reference: &str| {
            http.get(&format!("{base}/manifests/{reference}"))
                .header("Accept", image.manifest.media_type)
                .send()
                .expect(200)
                .body
        };
        assert_eq!(manifest(&image.manifest.digest), image.manifest.bytes);
        for blob in image.blobs() {
            let stored = http.get(&format!("{base}/blobs/{}", blob.digest)).send();
            assert_eq!(stored.expect(200).body, blob.bytes);
        }
        let tagged = manifest(&push.tag);
        let found = all.iter().find(|other| {
            (&other.repository, &other.tag) == (repository, &push.tag)
                && other.image.manifest.bytes == tagged
        });
        // A push whose answer did not come before the end is not among them.
        assert!(
            found.is_none_or(|found| found.number >= push.number),
            "{repository}:{} went back",
            push.tag
        );
    }
}
