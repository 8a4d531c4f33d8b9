//! The part of a check that looks for objects named after uploads of which nothing is known: what nodes that were
//! killed left in a bucket.
//!
//! A client's session has its row before its first object, and what ends it puts a row of the blob or of the outbox in its
//! place, in the same transaction. An upload's id is used once. So an object is nobody's, for good, when first its
//! session is gone, and then no blob and at last not the outbox names its key; and when it is still stored after
//! that, since bytes that are deleted leave the store before the outbox. Nothing in this depends on clocks, or on
//! what other nodes are at.
//!
//! Snapshots, and copies that an adoption makes, have no session. What of them is stored is young. While it is being
//! made of parts, the store knows of it in the process that makes it, and the check leaves such things alone as long as
//! any node adopts.
//!
//! To ask so much about each object would cost far more than to list them. So a few bytes of each key that is named
//! are remembered before the listing begins; only what is not among them, and was not just written, is asked about.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::Duration;

use futures_util::StreamExt as _;
use holdfast_model::UploadId;
use holdfast_storage::{Listed, StorageKey, Unfinished};

use super::check::{Check, Ended, PAGE};
use super::objects::{MEASURED_AT_ONCE, ORPHANS_KEPT};
use super::report::{Finding, Kind, Outcome};
use crate::clock;
use crate::error_chain::chain;
use crate::operations::outbox::Entry;
use crate::operations::{Error, Operations};

/// What is younger is most likely being pushed.
const AGE_MIN: Duration = Duration::from_secs(60 * 60);
/// Most unfinished objects that one check looks at, from the first on. Where it repairs, the next one sees others.
const UNFINISHED_MAX: usize = 10_000;

/// A set of storage keys in eight bytes each. Two keys may look alike, to this process alone: that hides a stray from
/// one check.
#[derive(Default)]
pub(super) struct Keys {
    hashes: HashSet<u64>,
    state: RandomState,
}

impl Keys {
    fn insert(&mut self, key: &str) {
        self.hashes.insert(self.state.hash_one(key));
    }

    /// Adds the key of a blob, if it is named after an upload.
    pub(super) fn note(&mut self, key: &str) {
        if key.starts_with(StorageKey::uploads().as_str()) {
            self.insert(key);
        }
    }

    fn contains(&self, key: &str) -> bool {
        self.hashes.contains(&self.state.hash_one(key))
    }
}

/// An object of which nothing is known.
pub(super) struct Stray {
    pub(super) key: StorageKey,
    pub(super) upload: UploadId,
}

impl Check {
    /// Objects of which nothing is known, and how many more there may be.
    pub(super) async fn strays(&mut self) -> Result<(Vec<Stray>, u64), Ended> {
        let operations = self.operations.clone();
        let mut ended = operations.open_sessions().await?;
        ended.extend(operations.discarded_uploads(&mut self.keys).await?);
        let (mut strays, mut more) = (Vec::new(), 0);
        let mut listing = operations.store().list(&StorageKey::uploads()).await?;
        let young = clock::now().minus(AGE_MIN);
        loop {
            let batch = listing.next().await?;
            if batch.is_empty() {
                break;
            }
            for entry in batch {
                let (key, modified) = match entry {
                    Listed::Object { key, modified, .. } => (key, modified),
                    Listed::Unreadable { path, error } => {
                        self.unchecked(path, &error).await?;
                        continue;
                    }
                    // Not ours.
                    Listed::Directory { .. } | Listed::Foreign { .. } => continue,
                };
                let Some(upload) = key.upload() else {
                    continue;
                };
                self.summary.objects += 1;
                let named = ended.contains(&upload) || self.keys.contains(key.as_str());
                if named || modified.is_some_and(|modified| modified > young) {
                    continue;
                }
                if strays.len() < ORPHANS_KEPT {
                    strays.push(Stray { key, upload });
                } else {
                    more += 1;
                }
            }
        }
        self.only_nobodys(&mut strays).await?;
        Ok((strays, more))
    }

    /// Leaves those of which nothing is known, and that are there.
    async fn only_nobodys(&mut self, strays: &mut Vec<Stray>) -> Result<(), Ended> {
        let operations = self.operations.clone();
        // In this order, as said above.
        operations.drop_known(strays).await?;
        if strays.is_empty() {
            return Ok(());
        }
        let mut keys: HashSet<&str> = strays.iter().map(|stray| stray.key.as_str()).collect();
        let mut after = None;
        loop {
            let metadata = operations.metadata();
            let page = metadata.blob_keys(after.as_ref(), PAGE).await?;
            let Some((last, _)) = page.last() else {
                break;
            };
            after = Some(*last);
            for (_, key) in &page {
                keys.remove(key.as_str());
            }
        }
        let keys: HashSet<String> = keys.into_iter().map(str::to_owned).collect();
        strays.retain(|stray| keys.contains(stray.key.as_str()));
        let discarded = operations.discarded_uploads(&mut self.keys).await?;
        strays.retain(|stray| {
            !discarded.contains(&stray.upload) && !self.keys.contains(stray.key.as_str())
        });
        let store = operations.store();
        let looked: Vec<_> = futures_util::stream::iter(std::mem::take(strays))
            .map(|stray| async move { (store.size(&stray.key).await, stray) })
            .buffered(MEASURED_AT_ONCE)
            .collect()
            .await;
        for (size, stray) in looked {
            match size {
                Ok(Some(_)) => strays.push(stray),
                Ok(None) => {}
                Err(error) => self.unchecked(stray.key.as_str(), &error).await?,
            }
        }
        Ok(())
    }

    /// Objects in the making whose session is gone: nobody will complete them.
    pub(super) async fn unfinished(&mut self) -> Result<(), Ended> {
        let operations = self.operations.clone();
        let found = match operations.nobodys_unfinished().await {
            Ok(found) => found,
            Err(error) => return self.unchecked("unfinished uploads", &error).await,
        };
        for unfinished in found {
            let detail = format!("{} was never completed{}", unfinished.key, self.why_kept);
            let mut finding = Finding::new(Kind::StagingOrphan, None, detail);
            if self.options.repair {
                finding.outcome = Outcome::Left;
                if self.why_kept.is_empty() {
                    match operations.store().end_unfinished(&unfinished).await {
                        Ok(()) => finding.outcome = Outcome::Repaired,
                        Err(error) => {
                            finding.detail += &format!("; not repaired: {}", chain(&error));
                        }
                    }
                }
            }
            self.report(finding).await?;
        }
        Ok(())
    }
}

impl Operations {
    /// The uploads of which the outbox has everything, or all that is not the blob. Keys that it has go to the others.
    async fn discarded_uploads(&self, keys: &mut Keys) -> Result<HashSet<UploadId>, Error> {
        let mut uploads = HashSet::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.metadata.discarded_keys(after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(uploads);
            };
            after = Some(last.clone());
            for text in page {
                match text.parse() {
                    Ok(Entry::Upload(id)) => _ = uploads.insert(id),
                    Ok(Entry::Rest(object)) => uploads.extend(object.upload()),
                    Ok(Entry::Object(_)) => keys.note(&text),
                    // The collector complains of it.
                    Err(_) => {}
                }
            }
        }
    }

    /// Leaves out those whose session is open, and those that the outbox has.
    async fn drop_known(&self, strays: &mut Vec<Stray>) -> Result<(), Error> {
        let mut known = HashSet::new();
        for batch in strays.chunks(PAGE) {
            let asked: Vec<_> = batch
                .iter()
                .map(|stray| (stray.upload, stray.key.as_str()))
                .collect();
            let answers = self.metadata.uploads_known(&asked).await?;
            let found = batch.iter().zip(answers).filter(|(_, known)| *known);
            known.extend(found.map(|(stray, _)| stray.key.clone()));
        }
        strays.retain(|stray| !known.contains(&stray.key));
        Ok(())
    }

    /// Objects in the making whose session was gone while they still were.
    async fn nobodys_unfinished(&self) -> Result<Vec<Unfinished>, Error> {
        let listed = async || self.store.unfinished(UNFINISHED_MAX).await;
        let mut strays = Vec::new();
        for Unfinished { key, .. } in listed().await? {
            strays.extend(key.upload().map(|upload| Stray { key, upload }));
        }
        self.drop_known(&mut strays).await?;
        if strays.is_empty() {
            return Ok(Vec::new());
        }
        let discarded = self.discarded_uploads(&mut Keys::default()).await?;
        strays.retain(|stray| !discarded.contains(&stray.upload));
        // One that was completed meanwhile is not listed any more.
        let keys: HashSet<StorageKey> = strays.into_iter().map(|stray| stray.key).collect();
        let mut found = listed().await?;
        found.retain(|unfinished| keys.contains(&unfinished.key));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use holdfast_metadata::{LinkBlob, Location, Metadata, NewUpload, Options};
    use holdfast_model::{Algorithm, Hasher, RepositoryName};
    use holdfast_storage::{BlobStore, Memory};
    use tokio::sync::mpsc;

    use super::super::{CheckOptions, Event};
    use super::*;
    use crate::config::Config;
    use crate::operations::Rules;
    use crate::random;

    struct Registry {
        operations: Operations,
        repository: RepositoryName,
    }

    impl Registry {
        /// With more blobs than the strays of any test.
        async fn start() -> Registry {
            let options = Options::new(Location::Memory, 1);
            let metadata = Metadata::open(options, clock::now()).await.unwrap();
            let rules = Rules {
                deletes: true,
                read_only: false,
                push: Config::embedded_default().validation,
                manifest_bytes: 4 << 20,
                tags_per_push: 10,
                upload_sessions: 1000,
                upload_age: Duration::from_secs(3600),
                note_pulls: false,
                scratch: None,
            };
            let store: Arc<dyn BlobStore> = Memory::new();
            let registry = Registry {
                operations: Operations::new(metadata, store, rules),
                repository: "a/b".parse().unwrap(),
            };
            for number in 0..10 {
                registry.blob(number).await;
            }
            registry
        }

        async fn object(&self) -> Stray {
            let upload = UploadId::from_random(random::bytes());
            let text = upload.to_string();
            let key = format!("{}/{}/{text}.w1", StorageKey::uploads(), &text[..2]);
            let key: StorageKey = key.parse().unwrap();
            let store = self.operations.store();
            let bytes = Bytes::from_static(b"content");
            store.put(vec![(key.clone(), bytes)]).await.unwrap();
            Stray { key, upload }
        }

        async fn link(&self, object: &Stray, number: u8) {
            let digest = Hasher::digest(Algorithm::Sha256, &[number]);
            let blob = LinkBlob {
                repository: self.repository.clone(),
                digest,
                size: 7,
                storage_key: object.key.as_str().to_owned(),
                upload: None,
                leftovers: Vec::new(),
                now: clock::now(),
            };
            self.operations.metadata().link_blob(blob).await.unwrap();
        }

        async fn blob(&self, number: u8) -> Stray {
            let object = self.object().await;
            self.link(&object, number).await;
            object
        }

        async fn session(&self) -> Stray {
            let object = self.object().await;
            let now = clock::now();
            let session = NewUpload {
                repository: self.repository.clone(),
                id: object.upload,
                storage_key: object.upload.to_string(),
                algorithm: None,
                expires_at: now.plus(Duration::from_secs(3600)),
                now,
                limit_open_sessions: 1000,
            };
            let metadata = self.operations.metadata();
            metadata.create_upload(session).await.unwrap();
            object
        }

        async fn cancelled(&self) -> Stray {
            let object = self.session().await;
            let metadata = self.operations.metadata();
            let ended = metadata.delete_upload(&self.repository, object.upload, clock::now());
            assert!(ended.await.unwrap());
            object
        }

        /// Something else of an upload that became a blob, whose end noted that there may be something.
        async fn rest(&self, number: u8) -> Stray {
            let left = self.object().await;
            let object: StorageKey = left.key.as_str().replace(".w1", ".w2").parse().unwrap();
            let digest = Hasher::digest(Algorithm::Sha256, &[number]);
            let blob = LinkBlob {
                repository: self.repository.clone(),
                digest,
                size: 7,
                storage_key: object.as_str().to_owned(),
                upload: None,
                leftovers: vec![Entry::Rest(object).to_string()],
                now: clock::now(),
            };
            self.operations.metadata().link_blob(blob).await.unwrap();
            left
        }

        /// A blob came twice: the second object is in the outbox.
        async fn surplus(&self, number: u8) -> Stray {
            self.blob(number).await;
            self.blob(number).await
        }

        async fn check(&self, repair: bool) -> Vec<Finding> {
            let (events, mut said) = mpsc::channel(1000);
            let options = CheckOptions {
                repair,
                ..CheckOptions::default()
            };
            self.operations.check(options, events).await.unwrap();
            let mut found = Vec::new();
            while let Some(event) = said.recv().await {
                match event {
                    Event::Finding(finding) if finding.kind == Kind::ObjectOrphan => {
                        found.push(finding);
                    }
                    Event::Unchecked { subject, reason } => panic!("{subject}: {reason}"),
                    _ => {}
                }
            }
            found
        }
    }

    #[tokio::test]
    async fn what_somebody_names_is_no_stray() {
        let registry = Registry::start().await;
        registry.session().await;
        registry.cancelled().await;
        registry.surplus(50).await;
        registry.rest(51).await;
        let found: Vec<_> = registry.check(false).await;
        assert!(found.is_empty(), "{found:?}");

        let strays = [registry.object().await, registry.object().await];
        let mut expected: Vec<_> = strays.iter().map(|stray| stray.key.as_str()).collect();
        expected.sort_unstable();
        for (repair, outcome) in [(false, Outcome::Found), (true, Outcome::Repaired)] {
            let found = registry.check(repair).await;
            let named: Vec<_> = found.iter().map(|one| one.detail.as_str()).collect();
            assert_eq!(named, expected);
            assert!(found.iter().all(|one| one.outcome == outcome), "{found:?}");
        }
        // They wait for their deletion now, and are no damage any more.
        assert!(registry.check(true).await.is_empty());
        for stray in &strays {
            let discarded = registry
                .operations
                .metadata()
                .is_discarded(stray.key.as_str());
            assert!(discarded.await.unwrap());
        }
    }

    /// What was taken for a stray when it was listed, and then was something else.
    #[tokio::test]
    async fn the_second_look_is_the_one_that_counts() {
        let registry = Registry::start().await;
        let stray = registry.object().await.key;
        let gone = registry.object().await;
        let store = registry.operations.store();
        store.delete(std::slice::from_ref(&gone.key)).await.unwrap();
        let mut candidates = vec![
            registry.blob(60).await,
            registry.session().await,
            registry.cancelled().await,
            registry.surplus(61).await,
            registry.rest(62).await,
            gone,
            Stray {
                upload: stray.upload().unwrap(),
                key: stray.clone(),
            },
        ];
        let (events, _said) = mpsc::channel(1);
        let options = CheckOptions::default();
        let mut check = Check::new(&registry.operations, options, events)
            .await
            .unwrap();
        check.only_nobodys(&mut candidates).await.unwrap();
        let left: Vec<_> = candidates.into_iter().map(|left| left.key).collect();
        assert_eq!(left, [stray]);
    }

    /// A database that belongs to another bucket must not cost this one its blobs.
    #[tokio::test]
    async fn more_strays_than_blobs_are_left_alone() {
        let registry = Registry::start().await;
        for _ in 0..11 {
            registry.object().await;
        }
        let found = registry.check(true).await;
        assert_eq!(found.len(), 11);
        for one in found {
            assert_eq!(one.outcome, Outcome::Left);
            assert!(one.detail.contains("more orphans than blobs"), "{one:?}");
        }
    }
}
