//! Random histories against a plain model: whatever is done, every read answers as the model does.
//!
//! The database is opened with the cache on, and everything is read twice after each step, so that the
//! second answer may come from the cache.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_metadata::{Linked, PutManifest, PutOutcome, Restore, Restored, Unlinked};
use holdfast_model::Digest;
use proptest::prelude::*;
use proptest::sample::select;

use crate::fixture::*;

const REPOSITORIES: [&str; 3] = ["a", "a/b", "c"];
const TAGS: [&str; 3] = ["latest", "v1", "V1"];
/// Digests 0..4 are pushed as blobs, 2..8 as manifests: in between they may be both.
const BLOBS: u64 = 4;
const MANIFESTS: std::ops::Range<u64> = 2..8;

#[derive(Clone, Debug)]
enum Step {
    Link {
        repository: &'static str,
        blob: u64,
    },
    Mount {
        from: &'static str,
        to: &'static str,
        blob: u64,
    },
    /// The bytes turn out to be missing or wrong, or to be right after all.
    Damage {
        blob: u64,
    },
    Whole {
        blob: u64,
    },
    Unlink {
        repository: &'static str,
        blob: u64,
    },
    Put {
        repository: &'static str,
        number: u64,
        tags: Vec<&'static str>,
    },
    DeleteManifest {
        repository: &'static str,
        number: u64,
    },
    DeleteTag {
        repository: &'static str,
        tag: &'static str,
    },
    Restore {
        repository: &'static str,
        number: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (repository, blob) = (|| select(REPOSITORIES.to_vec()), || 0..BLOBS);
    let tags = proptest::collection::vec(select(TAGS.to_vec()), 0..3);
    let step = prop_oneof![
        3 => (repository(), blob()).prop_map(|(repository, blob)| Step::Link { repository, blob }),
        1 => (repository(), repository(), blob()).prop_map(|(from, to, blob)| Step::Mount { from, to, blob }),
        1 => blob().prop_map(|blob| Step::Damage { blob }),
        1 => blob().prop_map(|blob| Step::Whole { blob }),
        2 => (repository(), blob()).prop_map(|(repository, blob)| Step::Unlink { repository, blob }),
        5 => (repository(), MANIFESTS, tags).prop_map(|(repository, number, tags)| Step::Put { repository, number, tags }),
        2 => (repository(), MANIFESTS).prop_map(|(repository, number)| Step::DeleteManifest { repository, number }),
        1 => (repository(), select(TAGS.to_vec())).prop_map(|(repository, tag)| Step::DeleteTag { repository, tag }),
        2 => (repository(), MANIFESTS).prop_map(|(repository, number)| Step::Restore { repository, number }),
    ];
    proptest::collection::vec(step, 1..40)
}

/// What a manifest of this number names: required blobs, optional blobs, required and optional children.
fn names(number: u64) -> [Vec<u64>; 4] {
    match number {
        2 => [vec![0], vec![], vec![], vec![]],
        3 => [vec![0, 1, 0], vec![], vec![], vec![]],
        4 => [vec![], vec![3], vec![], vec![]],
        5 => [vec![], vec![], vec![2, 3], vec![]],
        6 => [vec![], vec![], vec![2], vec![3, 1]],
        _ => [vec![], vec![], vec![], vec![]],
    }
}

/// Everything a manifest of this number names, and whether as a child.
fn all_names(number: u64) -> impl Iterator<Item = (u64, bool)> {
    let [blobs, optional_blobs, children, optional_children] = names(number);
    let blobs = blobs.into_iter().chain(optional_blobs);
    let children = children.into_iter().chain(optional_children);
    blobs
        .map(|number| (number, false))
        .chain(children.map(|number| (number, true)))
}

fn subject(number: u64) -> Option<u64> {
    matches!(number, 4 | 7).then_some(2)
}

#[derive(Default)]
struct Repository {
    blobs: BTreeSet<u64>,
    manifests: BTreeSet<u64>,
    /// Blobs each manifest keeps.
    keeps: BTreeMap<u64, BTreeSet<u64>>,
    tags: BTreeMap<&'static str, u64>,
    /// Deleted manifests, with what they named and the repository did not have then.
    trash: BTreeMap<u64, BTreeSet<u64>>,
    had_manifests: bool,
}

impl Repository {
    /// A blob came: manifests that named it without finding anything keep it from now on.
    fn link(&mut self, blob: u64, waiting: &mut BTreeSet<(u64, u64)>) {
        self.blobs.insert(blob);
        for number in self.manifests.clone() {
            if waiting.remove(&(number, blob)) {
                self.keeps.entry(number).or_default().insert(blob);
            }
        }
    }
}

impl Repository {
    /// Stores a manifest, whatever it names is there.
    fn store(&mut self, number: u64, waiting: &mut BTreeSet<(u64, u64)>) {
        for (named, is_child) in all_names(number) {
            if self.blobs.contains(&named) {
                self.keeps.entry(number).or_default().insert(named);
            } else if !(is_child && self.manifests.contains(&named)) {
                waiting.insert((number, named));
            }
        }
        self.manifests.insert(number);
        self.trash.remove(&number);
        self.had_manifests = true;
    }
}

#[derive(Default)]
struct Model {
    repositories: BTreeMap<&'static str, Repository>,
    /// By repository: manifest and the digest it named that was nothing then.
    waiting: BTreeMap<&'static str, BTreeSet<(u64, u64)>>,
    /// Where the bytes of each blob are.
    keys: BTreeMap<u64, String>,
    damaged: BTreeSet<u64>,
}

impl Model {
    fn put(&mut self, repository: &'static str, number: u64, tags: &[&'static str]) -> PutOutcome {
        let state = self.repositories.entry(repository).or_default();
        let waiting = self.waiting.entry(repository).or_default();
        let damaged = &self.damaged;
        let created = !state.manifests.contains(&number);
        if created {
            let [blobs, _, children, _] = names(number);
            let has_blob = |blob: &u64| state.blobs.contains(blob) && !damaged.contains(blob);
            let has_child = |child: &u64| has_blob(child) || state.manifests.contains(child);
            let distinct = |numbers: Vec<u64>| {
                let mut seen = BTreeSet::new();
                numbers
                    .into_iter()
                    .filter(|number| seen.insert(*number))
                    .map(digest)
                    .collect::<Vec<Digest>>()
            };
            let missing_blobs = blobs
                .iter()
                .copied()
                .filter(|blob| !has_blob(blob))
                .collect();
            let missing_children = children
                .iter()
                .copied()
                .filter(|child| !has_child(child))
                .collect();
            let (missing_blobs, missing_children) =
                (distinct(missing_blobs), distinct(missing_children));
            if !missing_blobs.is_empty() || !missing_children.is_empty() {
                return PutOutcome::Missing {
                    blobs: missing_blobs,
                    manifests: missing_children,
                };
            }
            state.store(number, waiting);
        }
        for tag in tags {
            state.tags.insert(tag, number);
        }
        PutOutcome::Stored { created }
    }

    fn restore(&mut self, repository: &'static str, number: u64) -> Restored {
        let state = self.repositories.entry(repository).or_default();
        let waiting = self.waiting.entry(repository).or_default();
        let done = |manifests| Restored::Done {
            manifests,
            old: None,
        };
        if state.manifests.contains(&number) {
            return done(vec![]);
        }
        let Some(missed) = state.trash.get(&number).cloned() else {
            return Restored::Changed;
        };
        let (mut gone, mut unlinked) = ([BTreeSet::new(), BTreeSet::new()], BTreeSet::new());
        for (named, is_child) in all_names(number) {
            let there =
                state.blobs.contains(&named) || is_child && state.manifests.contains(&named);
            if there || missed.contains(&named) {
                continue;
            }
            if self.keys.contains_key(&named) && !self.damaged.contains(&named) {
                unlinked.insert(named);
            } else {
                gone[usize::from(is_child)].insert(digest(named));
            }
        }
        if gone.iter().any(|gone| !gone.is_empty()) {
            let [blobs, manifests] = gone.map(|gone| gone.into_iter().collect());
            return Restored::Gone { blobs, manifests };
        }
        for blob in unlinked {
            state.link(blob, waiting);
        }
        state.store(number, waiting);
        done(vec![digest(number)])
    }
}

/// A manifest with all it names.
fn whole(repository: &str, number: u64) -> PutManifest {
    let [blobs, optional_blobs, children, optional_children] = names(number);
    let mut new = manifest(repository, number);
    new.subject = subject(number).map(digest);
    for (numbers, required) in [(blobs, true), (optional_blobs, false)] {
        new.blobs.extend(numbers.into_iter().map(|number| {
            let mut reference = layer(digest(number));
            reference.required = required;
            reference
        }));
    }
    for (numbers, required) in [(children, true), (optional_children, false)] {
        new.children.extend(numbers.into_iter().map(|number| {
            let mut reference = child(digest(number));
            reference.required = required;
            reference
        }));
    }
    new
}

async fn apply(db: &Database, model: &mut Model, step: &Step, count: usize) {
    match step {
        Step::Link {
            repository,
            blob: number,
        } => {
            let key = format!("key-{count}");
            let linked = db
                .metadata
                .link_blob(blob(repository, digest(*number), &key))
                .await
                .unwrap();
            match model.keys.get(number) {
                None => assert_eq!(linked, Linked::Stored),
                Some(old) if model.damaged.remove(number) => assert_eq!(
                    linked,
                    Linked::Healed {
                        damaged_key: old.clone()
                    }
                ),
                Some(live) => assert_eq!(
                    linked,
                    Linked::Surplus {
                        live_key: live.clone()
                    }
                ),
            }
            if !matches!(linked, Linked::Surplus { .. }) {
                model.keys.insert(*number, key);
            }
            let waiting = model.waiting.entry(repository).or_default();
            model
                .repositories
                .entry(repository)
                .or_default()
                .link(*number, waiting);
        }
        Step::Mount { from, to, blob } => {
            let mounted = db
                .metadata
                .mount_blob(&name(from), &name(to), &digest(*blob), NOW)
                .await
                .unwrap();
            let there = model
                .repositories
                .get(from)
                .is_some_and(|from| from.blobs.contains(blob));
            let there = there && !model.damaged.contains(blob);
            assert_eq!(mounted.is_some(), there);
            if there {
                let waiting = model.waiting.entry(to).or_default();
                model
                    .repositories
                    .entry(to)
                    .or_default()
                    .link(*blob, waiting);
            }
        }
        Step::Damage { blob } => {
            let key = model.keys.get(blob).map_or("none", String::as_str);
            let marked = db.metadata.mark_damaged(&digest(*blob), key, NOW).await;
            let live = model.keys.contains_key(blob) && model.damaged.insert(*blob);
            assert_eq!(marked.unwrap(), live);
            let stale = db.metadata.mark_damaged(&digest(*blob), "stale", NOW).await;
            assert!(!stale.unwrap(), "a key it does not have any more");
        }
        Step::Whole { blob } => {
            let key = model.keys.get(blob).map_or("none", String::as_str);
            let marked = db.metadata.mark_whole(&digest(*blob), key, NOW).await;
            assert_eq!(marked.unwrap(), model.damaged.remove(blob));
        }
        Step::Unlink { repository, blob } => {
            let unlinked = db
                .metadata
                .unlink_blob(&name(repository), &digest(*blob), NOW)
                .await
                .unwrap();
            let state = model.repositories.entry(repository).or_default();
            let users: BTreeSet<Digest> = state
                .keeps
                .iter()
                .filter(|(_, kept)| kept.contains(blob))
                .map(|(user, _)| digest(*user))
                .collect();
            match unlinked {
                Unlinked::InUse { manifests } => {
                    assert_eq!(manifests.into_iter().collect::<BTreeSet<_>>(), users)
                }
                Unlinked::Removed => assert!(users.is_empty() && state.blobs.remove(blob)),
                Unlinked::Unknown => assert!(!state.blobs.contains(blob)),
            }
        }
        Step::Put {
            repository,
            number,
            tags,
        } => {
            let new = tagged(whole(repository, *number), tags);
            let outcome = db.metadata.put_manifest(new).await.unwrap();
            assert_eq!(outcome, model.put(repository, *number, tags));
        }
        Step::DeleteManifest { repository, number } => {
            let deleted = db
                .metadata
                .delete_manifest(&name(repository), &digest(*number), NOW)
                .await
                .unwrap();
            let state = model.repositories.entry(repository).or_default();
            let wanted = state.manifests.remove(number).then(|| {
                let tags = state
                    .tags
                    .iter()
                    .filter(|(_, target)| *target == number)
                    .map(|(tag_name, _)| tag(tag_name));
                tags.collect::<Vec<_>>()
            });
            assert_eq!(deleted, wanted);
            if wanted.is_some() {
                let missed = all_names(*number).filter(|(named, is_child)| {
                    let as_child = *is_child && state.manifests.contains(named);
                    !state.blobs.contains(named) && !as_child
                });
                let missed = missed.map(|(named, _)| named).collect();
                state.trash.insert(*number, missed);
            }
            state.tags.retain(|_, target| target != number);
            state.keeps.remove(number);
            model
                .waiting
                .entry(repository)
                .or_default()
                .retain(|(waiting, _)| waiting != number);
        }
        Step::DeleteTag {
            repository,
            tag: tag_name,
        } => {
            let deleted = db
                .metadata
                .delete_tag(&name(repository), &tag(tag_name), NOW)
                .await
                .unwrap();
            let state = model.repositories.entry(repository).or_default();
            assert_eq!(deleted, state.tags.remove(tag_name).is_some());
        }
        Step::Restore { repository, number } => {
            let restored = db.metadata.restore(Restore {
                repository: name(repository),
                manifests: vec![whole(repository, *number)],
                tag: None,
                now: NOW,
            });
            assert_eq!(restored.await.unwrap(), model.restore(repository, *number));
        }
    }
}

async fn compare(db: &Database, model: &Model) {
    let empty = Repository::default();
    for repository in REPOSITORIES {
        let state = model.repositories.get(repository).unwrap_or(&empty);
        let path = name(repository);
        for number in 0..BLOBS {
            let found = db.metadata.blob(&path, &digest(number), NOW).await.unwrap();
            let wanted = state.blobs.contains(&number).then(|| {
                let key = model.keys[&number].as_str();
                (key.to_owned(), model.damaged.contains(&number))
            });
            assert_eq!(
                found.map(|blob| (blob.storage_key.to_string(), blob.damaged)),
                wanted,
                "blob {number} of {repository}"
            );
        }
        for number in MANIFESTS {
            let found = db.get(repository, &digest(number).to_string()).await;
            assert_eq!(
                found.is_some(),
                state.manifests.contains(&number),
                "manifest {number} of {repository}"
            );
        }
        for tag in TAGS {
            let found = db
                .get(repository, tag)
                .await
                .map(|payload| payload.to_vec());
            assert_eq!(
                found,
                state
                    .tags
                    .get(tag)
                    .map(|number| number.to_string().into_bytes()),
                "{repository}:{tag}"
            );
        }
        let tags = db.metadata.tags(&path, None, 10).await.unwrap();
        let wanted = state
            .tags
            .keys()
            .map(|tag| (*tag).to_owned())
            .collect::<Vec<_>>();
        assert_eq!(
            tags,
            state.had_manifests.then_some(wanted),
            "tags of {repository}"
        );
        let referrers = db
            .metadata
            .referrers(&path, &digest(2), None, None, 10)
            .await
            .unwrap();
        let wanted = state
            .manifests
            .iter()
            .filter(|number| subject(**number) == Some(2))
            .map(|number| digest(*number));
        assert_eq!(
            referrers
                .entries
                .iter()
                .map(|one| one.digest)
                .collect::<Vec<_>>(),
            wanted.collect::<Vec<_>>()
        );
    }
    let listed = model
        .repositories
        .iter()
        .filter(|(_, state)| !state.manifests.is_empty())
        .map(|(path, _)| *path);
    assert_eq!(
        db.metadata.repositories(None, 10).await.unwrap(),
        listed.collect::<Vec<_>>()
    );
    for number in 0..BLOBS {
        let found = db
            .metadata
            .repositories_with_blob(&digest(number), 10)
            .await
            .unwrap();
        let wanted = model
            .repositories
            .iter()
            .filter(|(_, state)| state.blobs.contains(&number));
        let wanted: BTreeSet<_> = wanted.map(|(path, _)| name(path)).collect();
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), wanted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_history_reads_as_the_model_says(steps in steps()) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
            let db = Database::memory().await;
            let mut model = Model::default();
            for (count, step) in steps.iter().enumerate() {
                apply(&db, &mut model, step, count).await;
                compare(&db, &model).await;
                compare(&db, &model).await;
            }
        });
    }
}
