//! The cache is never behind an acknowledged change, however readers and writers meet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use holdfast_metadata::Metadata;
use holdfast_model::Reference;

use crate::fixture::*;

/// How often the thing looked at changes.
const CHANGES: u64 = 500;
const READERS: usize = 4;

/// Runs `look` in several tasks, over and over, while `change` runs once.
async fn look_while<L, C>(look: impl Fn() -> L, change: C)
where
    L: Future<Output = ()> + Send + 'static,
    C: Future<Output = ()>,
{
    let readers: Vec<_> = (0..READERS).map(|_| tokio::spawn(look())).collect();
    change.await;
    for reader in readers {
        reader.await.unwrap();
    }
}

/// What the readers share with the writer.
#[derive(Clone)]
struct Shared {
    metadata: Metadata,
    acknowledged: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Shared {
    fn new(db: &Database) -> Shared {
        let (acknowledged, over) = (Arc::default(), Arc::default());
        Shared {
            metadata: db.metadata.clone(),
            acknowledged,
            over,
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_tag_never_goes_back_behind_an_acknowledged_move() {
    let db = Database::file().await;
    db.put(tagged(manifest("a", 0), &["latest"])).await;
    let shared = Shared::new(&db);
    let look = || {
        let shared = shared.clone();
        async move {
            let latest: Reference = "latest".parse().unwrap();
            while !shared.is_over() {
                let at_least = shared.acknowledged.load(Ordering::Acquire);
                let found = shared
                    .metadata
                    .manifest(&name("a"), &latest)
                    .await
                    .unwrap()
                    .unwrap();
                let seen: u64 = std::str::from_utf8(&found.payload)
                    .unwrap()
                    .parse()
                    .unwrap();
                assert!(
                    seen >= at_least,
                    "saw {seen} after {at_least} was acknowledged"
                );
            }
        }
    };
    let change = async {
        for number in 1..=CHANGES {
            db.put(tagged(manifest("a", number), &["latest"])).await;
            shared.acknowledged.store(number, Ordering::Release);
        }
        shared.over.store(true, Ordering::Release);
    };
    look_while(look, change).await;
}

/// The acknowledged state counts up: 1 of 4 linked, 3 of 4 removed, even ones are changing.
#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_removed_blob_is_gone_and_a_linked_one_is_there() {
    let db = Database::file().await;
    let shared = Shared::new(&db);
    let look = || {
        let shared = shared.clone();
        async move {
            while !shared.is_over() {
                let before = shared.acknowledged.load(Ordering::SeqCst);
                let found = shared
                    .metadata
                    .blob(&name("a"), &digest(1), NOW)
                    .await
                    .unwrap()
                    .is_some();
                if before % 2 == 1 && shared.acknowledged.load(Ordering::SeqCst) == before {
                    assert_eq!(found, before % 4 == 1, "in state {before}");
                }
            }
        }
    };
    let change = async {
        for _ in 0..CHANGES / 2 {
            db.link("a", digest(1)).await;
            step(&shared).await;
            db.metadata
                .unlink_blob(&name("a"), &digest(1), NOW)
                .await
                .unwrap();
            step(&shared).await;
        }
        shared.over.store(true, Ordering::Release);
    };
    look_while(look, change).await;
}

/// Lets the readers look at a state that does not change, then announces a change.
async fn step(shared: &Shared) {
    shared.acknowledged.fetch_add(1, Ordering::SeqCst);
    for _ in 0..20 {
        tokio::task::yield_now().await;
        std::hint::black_box(shared.metadata.counters());
    }
    shared.acknowledged.fetch_add(1, Ordering::SeqCst);
}
