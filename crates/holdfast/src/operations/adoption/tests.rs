//! Adoption over a store that fails, and beside requests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast_metadata::{Location, Metadata, Options, ProblemKind, Stage};
use holdfast_model::{Algorithm, Digest, Hasher, Reference, RepositoryName};
use holdfast_storage::faulty::{Fault, Faulty, Operation, Schedule};
use holdfast_storage::{BlobStore, Memory, StorageKey};

use super::layout;
use crate::config::Config;
use crate::operations::{Error, Operations, Rules};

const REPOSITORIES: u64 = 5;

fn name(number: u64) -> RepositoryName {
    format!("team/app-{number}").parse().unwrap()
}

fn sha256(bytes: &[u8]) -> Digest {
    Hasher::digest(Algorithm::Sha256, bytes)
}

/// Files of another registry's tree.
#[derive(Default)]
struct Tree(Vec<(StorageKey, Bytes)>);

impl Tree {
    fn file(&mut self, path: &str, bytes: impl Into<Bytes>) {
        let key = format!("docker/registry/v2/{path}");
        self.0.push((key.parse().unwrap(), bytes.into()));
    }

    fn blob(&mut self, bytes: String) -> Digest {
        let digest = sha256(bytes.as_bytes());
        self.0.push((StorageKey::canonical(&digest), bytes.into()));
        digest
    }

    fn link(&mut self, place: &str, digest: &Digest) {
        let path = format!("repositories/{place}/{}/link", layout::digest_path(digest));
        self.file(&path, digest.to_string());
    }

    /// An image of one layer, tagged; its manifest and its layer.
    fn image(&mut self, repository: &RepositoryName, tag: &str, seed: &str) -> (Digest, Digest) {
        let config = self.blob(format!("{{\"config\":\"{seed}\"}}"));
        let layer = self.blob(format!("layer {seed}"));
        let manifest = self.blob(format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"a/b","digest":"{config}","size":9}},
               "layers":[{{"mediaType":"a/b","digest":"{layer}","size":9}}]}}"#
        ));
        for blob in [&config, &layer] {
            self.link(&format!("{repository}/_layers"), blob);
        }
        self.link(&format!("{repository}/_manifests/revisions"), &manifest);
        let tag = format!("{repository}/_manifests/tags/{tag}");
        self.link(&format!("{tag}/index"), &manifest);
        let current = format!("repositories/{tag}/current/link");
        self.file(&current, manifest.to_string());
        (manifest, layer)
    }

    /// Some repositories, each with an image of its own and one that all have.
    fn usual() -> Tree {
        let mut tree = Tree::default();
        for number in 0..REPOSITORIES {
            tree.image(&name(number), "own", &number.to_string());
            tree.image(&name(number), "shared", "shared");
        }
        tree
    }

    async fn served(self, schedule: Schedule) -> (Operations, Arc<Faulty>) {
        let memory = Memory::new();
        memory.put(self.0).await.unwrap();
        let store = Faulty::new(memory, schedule);
        let location = Options::new(Location::Memory, 1);
        let metadata = Metadata::open(location, crate::clock::now()).await.unwrap();
        let rules = Rules {
            deletes: true,
            read_only: false,
            push: Config::embedded_default().validation,
            manifest_bytes: 4 << 20,
            tags_per_push: 10,
            upload_sessions: 10,
            upload_age: Duration::from_secs(3600),
            note_pulls: false,
            scratch: None,
        };
        let blobs: Arc<dyn BlobStore> = store.clone();
        (Operations::new(metadata, blobs, rules), store)
    }
}

async fn assert_whole(operations: &Operations) {
    let progress = operations.adoption_progress();
    assert_eq!((progress.stage, progress.problems), (Stage::Done, 0));
    assert_eq!(progress.counts.manifests, 2 * REPOSITORIES);
    for number in 0..REPOSITORIES {
        for tag in ["own", "shared"] {
            let reference: Reference = tag.parse().unwrap();
            operations
                .manifest(&name(number), &reference)
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn a_walk_that_is_broken_off_anywhere_goes_on() {
    for seed in 0..40 {
        let mut schedule = Schedule::new(seed);
        for operation in [Operation::Get, Operation::NextListed, Operation::Children] {
            schedule = schedule.one_in(operation, 12, Fault::Unavailable);
        }
        // The storage as a whole is down whenever it is asked about.
        schedule = schedule.one_in(Operation::Probe, 1, Fault::Unavailable);
        let (operations, store) = Tree::usual().served(schedule).await;
        while operations.open_adoption().await.is_err() {}
        assert!(operations.walk_adoption().await.is_err());
        assert_eq!(
            operations.adoption_progress().problems,
            0,
            "an outage is no damage"
        );
        // Requests get through, or fail; none of them finds half of something.
        for number in 0..REPOSITORIES {
            let own: Reference = "own".parse().unwrap();
            match operations.manifest(&name(number), &own).await {
                Ok(_) | Err(Error::Storage(_) | Error::ManifestUnknown { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        store.heal();
        operations.walk_adoption().await.unwrap();
        assert_whole(&operations).await;
    }
}

#[tokio::test]
async fn one_unreadable_thing_does_not_stop_the_rest() {
    for call in 1..=4 {
        let schedule = Schedule::new(1).on_call(Operation::Get, call, Fault::Unavailable);
        let (operations, _) = Tree::usual().served(schedule).await;
        operations.open_adoption().await.unwrap();
        operations.walk_adoption().await.unwrap();
        let progress = operations.adoption_progress();
        assert_eq!(progress.stage, Stage::Done);
        let problems = operations.metadata().problems(None, 100).await.unwrap();
        let unreadable = problems
            .iter()
            .filter(|(problem, _)| problem.kind == ProblemKind::Unreadable);
        assert_eq!(unreadable.count(), 1, "{problems:?}");
        // A tag whose manifest was not read is looked for once more.
        assert!(progress.counts.tags >= 2 * REPOSITORIES - 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_and_the_walk_may_meet_in_any_order() {
    for round in 0..30_u64 {
        let (operations, _) = Tree::usual().served(Schedule::new(round)).await;
        operations.open_adoption().await.unwrap();
        let walk = tokio::spawn({
            let operations = operations.clone();
            async move { operations.walk_adoption().await }
        });
        let requests = (0..REPOSITORIES).map(|number| {
            let operations = operations.clone();
            tokio::spawn(async move {
                let repository = name(number);
                let own: Reference = "own".parse().unwrap();
                for _ in 0..(round + number) % 4 {
                    tokio::task::yield_now().await;
                }
                let manifest = operations.manifest(&repository, &own).await.unwrap();
                let catalog = operations.repositories_named().await;
                catalog.unwrap();
                let names = operations.metadata().repositories(None, 100).await.unwrap();
                assert_eq!(names.len() as u64, REPOSITORIES);
                if number % 2 == 0 {
                    let gone = Reference::Digest(manifest.digest);
                    operations
                        .delete_manifest(&repository, &gone)
                        .await
                        .unwrap();
                }
            })
        });
        for request in requests.collect::<Vec<_>>() {
            request.await.unwrap();
        }
        walk.await.unwrap().unwrap();
        for number in 0..REPOSITORIES {
            let own: Reference = "own".parse().unwrap();
            let found = operations.manifest(&name(number), &own).await;
            assert_eq!(found.is_ok(), number % 2 == 1, "round {round}, {number}");
            let shared: Reference = "shared".parse().unwrap();
            operations.manifest(&name(number), &shared).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_too_long_is_told_to_come_again() {
    let hang = Fault::Delay(Duration::from_secs(3600));
    let schedule = Schedule::new(1).one_in(Operation::List, 1, hang);
    let (operations, store) = Tree::usual().served(schedule).await;
    operations.open_adoption().await.unwrap();
    let told = operations.repositories_named().await;
    assert!(matches!(told, Err(Error::Adopting(_))), "{told:?}");
    let told = operations.adopted(&name(0)).await;
    assert!(matches!(told, Err(Error::Adopting(_))), "{told:?}");
    let nobody: RepositoryName = "nobody".parse().unwrap();
    operations.adopted(&nobody).await.unwrap();
    store.heal();
    operations.walk_adoption().await.unwrap();
    operations.adopted(&name(0)).await.unwrap();
    operations.repositories_named().await.unwrap();
}

#[tokio::test]
async fn names_that_requests_make_up_leave_nothing_behind() {
    let (operations, _) = Tree::usual().served(Schedule::new(1)).await;
    operations.open_adoption().await.unwrap();
    let reference: Reference = "v1".parse().unwrap();
    for number in 0..20 {
        let made_up: RepositoryName = format!("made/up-{number}").parse().unwrap();
        let found = operations.manifest(&made_up, &reference).await;
        assert!(matches!(found, Err(Error::ManifestUnknown { .. })));
        assert!(operations.blob(&made_up, &sha256(b"x")).await.is_err());
    }
    let waiting = operations.metadata().waiting_repositories(None, 100).await;
    assert_eq!(waiting.unwrap(), []);
}

#[tokio::test]
async fn a_fresh_store_is_not_adopted() {
    let (operations, _) = Tree::default().served(Schedule::new(1)).await;
    operations.open_adoption().await.unwrap();
    assert_eq!(operations.metadata().adoption_walk().await.unwrap(), None);
    assert_eq!(operations.warn_of_other_writers().await.unwrap(), 0);
}
