//! The protocol of garbage collection as a model: pushers, collectors and late deleters take turns at the
//! real transactions in every order that chance gives, and no stored manifest ever misses its bytes.
//!
//! Leases are over at any moment here, so nothing rests on time. That the search can find a loss is shown by
//! breaking the one rule that deletions rest on: storage keys that are used again.

use std::collections::BTreeSet;
use std::time::Duration;

use holdfast_metadata::{Discarded, Linked, Moment, PutOutcome, UntaggedPolicy};

use crate::fixture::*;

const WALKS: u64 = 300;
const STEPS: usize = 120;
const REPOSITORIES: [&str; 2] = ["a", "b"];

/// A small generator, so that a walk is named by its number (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}

/// How far a pusher has come.
#[derive(Clone, Debug, PartialEq)]
enum Pusher {
    Idle,
    /// Bytes are stored under this key, and not linked.
    Stored(String),
    /// It was told that the repository has the blob.
    Linked,
}

struct World {
    db: Database,
    /// Keys with bytes.
    objects: BTreeSet<String>,
    pushers: Vec<Pusher>,
    /// Deletions that were decided and will happen at some time.
    under_way: Vec<Discarded>,
    keys: usize,
    reuse_keys: bool,
}

impl World {
    async fn new(reuse_keys: bool) -> World {
        World {
            db: Database::memory().await,
            objects: BTreeSet::new(),
            pushers: vec![Pusher::Idle; 4],
            under_way: Vec::new(),
            keys: 0,
            reuse_keys,
        }
    }

    fn fresh_key(&mut self) -> String {
        self.keys += 1;
        if self.reuse_keys {
            "k".to_owned()
        } else {
            format!("k{}", self.keys)
        }
    }

    async fn step(&mut self, chance: &mut Chance) {
        let metadata = self.db.metadata.clone();
        let hurried = Moment::hurried(NOW, metadata.grace(), Duration::ZERO);
        let who = chance.below(self.pushers.len());
        let repository = REPOSITORIES[who % 2];
        let other = REPOSITORIES[(who + 1) % 2];
        match chance.below(10) {
            0..=2 => self.push(who, repository, chance).await,
            3 => {
                if self.pushers[who] == Pusher::Idle {
                    let mount = metadata
                        .mount_blob(&name(other), &name(repository), &digest(1), NOW)
                        .await;
                    if mount.unwrap().is_some() {
                        self.pushers[who] = Pusher::Linked;
                    }
                }
            }
            4 => {
                let deleted = metadata
                    .delete_manifest(&name(repository), &digest(100), NOW)
                    .await;
                deleted.unwrap();
            }
            5 => {
                for (repository, digests) in metadata.due_links(hurried, 10).await.unwrap() {
                    let review = metadata.review_links(&repository, digests, hurried);
                    review.await.unwrap();
                }
            }
            6 => {
                let due = metadata.due_blobs(hurried, 10).await.unwrap();
                metadata.review_blobs(due, hurried, NOW).await.unwrap();
            }
            7 => {
                let due = metadata.due_manifests(hurried, 10).await.unwrap();
                for (repository, digests) in due {
                    let keep = UntaggedPolicy::default();
                    let review = metadata.review_manifests(&repository, digests, hurried, keep);
                    review.await.unwrap();
                }
            }
            8 => self
                .under_way
                .extend(metadata.due_objects(NOW, 10).await.unwrap()),
            _ => {
                // Late, and perhaps for the second time.
                if !self.under_way.is_empty() {
                    let one = chance.below(self.under_way.len());
                    let object = self.under_way.swap_remove(one);
                    self.objects.remove(&object.storage_key);
                    let noted = metadata.objects_deleted(vec![object], NOW);
                    noted.await.unwrap();
                }
            }
        }
    }

    async fn push(&mut self, who: usize, repository: &str, chance: &mut Chance) {
        let metadata = self.db.metadata.clone();
        self.pushers[who] = match self.pushers[who].clone() {
            Pusher::Idle if chance.below(2) == 0 => {
                let seen = metadata.blob(&name(repository), &digest(1), NOW).await;
                match seen.unwrap() {
                    Some(_) => Pusher::Linked,
                    None => Pusher::Idle,
                }
            }
            Pusher::Idle => {
                let key = self.fresh_key();
                self.objects.insert(key.clone());
                Pusher::Stored(key)
            }
            Pusher::Stored(key) => {
                let linked = metadata.link_blob(blob(repository, digest(1), &key));
                match linked.await.unwrap() {
                    Linked::Stored | Linked::Surplus { .. } | Linked::Healed { .. } => {
                        Pusher::Linked
                    }
                    Linked::KeyTaken => {
                        // Where keys are used again, the bytes move to another name that is used again.
                        Pusher::Stored(format!("{key}+"))
                    }
                    Linked::SessionEnded | Linked::SessionTaken => {
                        unreachable!("these pushes have no session")
                    }
                }
            }
            Pusher::Linked => {
                let mut image = manifest(repository, 100);
                image.blobs = vec![layer(digest(1))];
                match metadata.put_manifest(image).await.unwrap() {
                    PutOutcome::Stored { .. } | PutOutcome::Missing { .. } => Pusher::Idle,
                }
            }
        };
        if let Pusher::Stored(key) = &self.pushers[who] {
            self.objects.insert(key.clone());
        }
    }

    /// A stored manifest whose bytes are not there.
    async fn loss(&self) -> Option<String> {
        for repository in REPOSITORIES {
            if self
                .db
                .get(repository, &digest(100).to_string())
                .await
                .is_none()
            {
                continue;
            }
            let blob = self
                .db
                .metadata
                .blob(&name(repository), &digest(1), NOW)
                .await
                .unwrap();
            match blob {
                None => return Some(format!("{repository}: the blob is not linked")),
                Some(blob) if !self.objects.contains(&*blob.storage_key) => {
                    return Some(format!("{repository}: {} is gone", blob.storage_key));
                }
                Some(_) => {}
            }
        }
        None
    }
}

/// Walks until something is lost.
async fn search(reuse_keys: bool) -> Option<String> {
    for walk in 0..WALKS {
        let mut world = World::new(reuse_keys).await;
        let mut chance = Chance(walk);
        for step in 0..STEPS {
            world.step(&mut chance).await;
            if let Some(loss) = world.loss().await {
                return Some(format!("walk {walk}, step {step}: {loss}"));
            }
        }
    }
    None
}

#[tokio::test]
async fn no_manifest_misses_its_bytes() {
    assert_eq!(search(false).await, None);
}

#[tokio::test]
async fn the_search_finds_what_keys_used_again_would_lose() {
    assert!(search(true).await.is_some());
}
