//! Garbage collection: takes away what the metadata says nobody needs, and the bytes with it.
//!
//! The decisions are in `holdfast_metadata::gc`, each in a transaction of its own. Here they are asked for
//! in small batches, and between two of them bytes are deleted: outside any transaction (V3), only keys of
//! the outbox (I4).
//!
//! Invariant: one at a time in a process deletes bytes. The key of a file is free again once it has left the
//! outbox, so nobody may hold a list of keys to delete while another takes them out.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use holdfast_metadata::{Collected, Discarded, GcHold, Moment, Reason, UntaggedPolicy};
use holdfast_model::{Digest, RepositoryName};
use holdfast_storage::Error as StorageError;
use tokio::sync::mpsc;

use super::outbox::Entry;
use super::{Error, Operations, Result};
use crate::clock;
use crate::error_chain::chain;

/// Reviews in one commit: pushes wait for it.
const REVIEWS: usize = 16;
/// Objects deleted at a time.
const OBJECTS: usize = 64;
/// How long a node has to delete those that it took on; then others do. It takes much longer only while the service
/// fails.
const CLAIM: Duration = Duration::from_secs(60);
/// An object waits so much longer than the last URL of it is good: clocks differ, and downloads take time.
const SIGNED_URL_MARGIN: Duration = Duration::from_secs(5 * 60);
/// Manifests looked at for their tags at a time.
const WALKED: usize = 1000;

/// How a round is done.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    /// How long what lost its last use is kept; at most the configured grace.
    pub(crate) grace: Duration,
    /// Whether a shorter grace also ends the wait after an adoption.
    pub(crate) ends_hold: bool,
    /// What becomes of manifests without a tag.
    pub(crate) policy: UntaggedPolicy,
    /// Most steps in a second; zero for as many as can be.
    pub(crate) rate: u64,
    /// Who wants to know what is taken away. The round ends when nobody listens any more.
    pub(crate) listener: Option<mpsc::Sender<Collected>>,
}

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reclaimed {
    /// Manifests deleted.
    pub(crate) manifests: u64,
    /// Links removed.
    pub(crate) links: u64,
    /// Blobs given up.
    pub(crate) blobs: u64,
    /// Objects deleted.
    pub(crate) objects: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Objects that could not be deleted now.
    pub(crate) failed: u64,
}

impl Reclaimed {
    /// Whether there was nothing to do.
    pub(crate) fn is_nothing(&self) -> bool {
        *self == Reclaimed::default()
    }
}

/// What the collector did since the start, for metrics.
#[derive(Debug, Default)]
pub(crate) struct CollectedTotals {
    /// Manifests deleted, by the number of their reason.
    pub(crate) manifests: [AtomicU64; Reason::ALL.len()],
    /// Links removed.
    pub(crate) links: AtomicU64,
    /// Blobs given up.
    pub(crate) blobs: AtomicU64,
    /// Objects deleted.
    pub(crate) objects: AtomicU64,
    /// Their bytes.
    pub(crate) bytes: AtomicU64,
    /// Deletions of objects that failed.
    pub(crate) failed: AtomicU64,
    /// When a round last came to its end, in seconds since 1970; 0 for never.
    pub(crate) last_success: AtomicI64,
}

impl CollectedTotals {
    fn count(&self, one: &Collected) {
        let counter = match one {
            Collected::Manifest { reason, .. } => &self.manifests[*reason as usize],
            Collected::Link { .. } => &self.links,
            Collected::Blob { .. } => &self.blobs,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What rounds share.
#[derive(Debug, Default)]
pub(super) struct Collector {
    /// Held by whoever deletes bytes, and by whoever needs that nobody does.
    pub(super) deleting: Arc<tokio::sync::Mutex<()>>,
    totals: CollectedTotals,
}

impl Operations {
    /// What the collector did since the start.
    pub(crate) fn collected(&self) -> &CollectedTotals {
        &self.collector.totals
    }

    /// When a round happens that keeps things for `grace`.
    fn moment(&self, grace: Duration) -> Moment {
        Moment::hurried(clock::now(), self.metadata.grace(), grace)
    }

    /// Refuses a round while what looks unused may be in use after all.
    async fn ready_to_collect(&self, round: &Round) -> Result<()> {
        let moment = self.moment(round.grace);
        let waited = if round.ends_hold {
            moment.as_of
        } else {
            moment.now
        };
        match self.metadata.gc_hold(moment.now).await? {
            Some(GcHold::WhileAdopting) => Err(Error::CollectionHeld(
                "the storage of another registry is being adopted",
            )),
            Some(GcHold::Unread) => Err(Error::CollectionHeld(
                "parts of another registry's storage could not be read when it was adopted: \
                 `holdfast import --status` names them, `holdfast import --rescan` looks again",
            )),
            Some(GcHold::Until(time)) if time > waited => Err(Error::CollectionHeld(
                "the storage of another registry was adopted less than gc.grace ago, and could still be gone back to; \
                 --grace 0s ends that",
            )),
            Some(GcHold::Until(_)) | None => Ok(()),
        }
    }

    /// Takes away everything that is due.
    ///
    /// The future must be driven to its end: a deletion that goes on after it is forgotten could hit a key
    /// that is in use again.
    pub(crate) async fn collect(&self, round: &Round) -> Result<Reclaimed> {
        self.writable()?;
        let mut reclaimed = Reclaimed::default();
        loop {
            // A new walk over another registry's tree may begin in the middle of a round.
            self.ready_to_collect(round).await?;
            // Turned read-only meanwhile, the round goes on another time.
            let Ok(change) = self.change() else {
                return Ok(reclaimed);
            };
            // Downstream first, so that what waits is never much.
            let deleted = self.delete_objects(&mut reclaimed).await?;
            let collected = self.review(round).await?;
            drop(change);
            let steps = deleted.max(collected.as_ref().map_or(0, |found| found.reviewed));
            let Some(found) = collected else {
                if deleted == 0 {
                    break;
                }
                pause(round.rate, steps).await;
                continue;
            };
            for one in found.collected {
                self.collector.totals.count(&one);
                match &one {
                    Collected::Manifest { .. } => reclaimed.manifests += 1,
                    Collected::Link { .. } => reclaimed.links += 1,
                    Collected::Blob { .. } => reclaimed.blobs += 1,
                }
                if let Some(listener) = &round.listener
                    && listener.send(one).await.is_err()
                {
                    return Ok(reclaimed);
                }
            }
            pause(round.rate, steps).await;
        }
        if let Ok(_change) = self.change() {
            self.purge_trash(round).await?;
        }
        let seconds = clock::now().as_micros() / 1_000_000;
        let totals = &self.collector.totals;
        totals.last_success.store(seconds, Ordering::Relaxed);
        Ok(reclaimed)
    }

    /// Reviews a batch; `None` when nothing is due. What was begun is ended before more is begun: space comes
    /// back from the first batch on, however much waits.
    async fn review(&self, round: &Round) -> Result<Option<Batch>> {
        let moment = self.moment(round.grace);
        let metadata = &self.metadata;
        let due = metadata.due_blobs(moment, REVIEWS).await?;
        if !due.is_empty() {
            let mut batch = Batch::of(due.len());
            batch.collected = metadata.review_blobs(due, moment, moment.now).await?;
            return Ok(Some(batch));
        }
        let due = metadata.due_links(moment, REVIEWS).await?;
        if !due.is_empty() {
            let reviewed = due.values().map(Vec::len).sum();
            let review = async |(repository, digests)| {
                metadata.review_links(&repository, digests, moment).await
            };
            return Ok(Some(
                Batch::all(reviewed, due.into_iter().map(review)).await?,
            ));
        }
        let due = metadata.due_manifests(moment, REVIEWS).await?;
        if due.is_empty() {
            return Ok(None);
        }
        let reviewed = due.values().map(Vec::len).sum();
        let review = async |(repository, digests)| {
            metadata
                .review_manifests(&repository, digests, moment, round.policy)
                .await
        };
        Ok(Some(
            Batch::all(reviewed, due.into_iter().map(review)).await?,
        ))
    }

    /// Deletes a batch of what is in the outbox; how many were tried.
    async fn delete_objects(&self, reclaimed: &mut Reclaimed) -> Result<usize> {
        let _alone = self.collector.deleting.lock().await;
        // Whoever was sent to the store for an object may still ask for it there.
        let life = self.store.signed_url_life().max(self.redirects.life());
        let margin = if life.is_zero() {
            life
        } else {
            SIGNED_URL_MARGIN
        };
        let due_until = clock::now().minus(life + margin);
        let due = if self.store.is_shared() {
            let again = due_until.plus(CLAIM);
            let claimed = self.metadata.claim_objects(due_until, again, OBJECTS);
            claimed.await?
        } else {
            self.metadata.due_objects(due_until, OBJECTS).await?
        };
        let tried = due.len();
        if tried == 0 {
            return Ok(0);
        }
        let (mut gone, mut failed) = (Vec::new(), Vec::new());
        let (mut objects, mut keys) = (Vec::new(), Vec::new());
        for object in due {
            let deleted = match object.storage_key.parse() {
                Ok(Entry::Object(key)) => {
                    keys.push(key);
                    objects.push(object);
                    continue;
                }
                Ok(Entry::Upload(id)) => self.store.abort_upload(id).await,
                Ok(Entry::Rest(kept)) => self.store.delete_rest(&kept).await,
                Err(error) => {
                    tracing::error!(key = object.storage_key, %error, "the outbox names no storage key");
                    failed.push(object.storage_key);
                    continue;
                }
            };
            match deleted {
                Ok(()) => gone.push(object),
                Err(error) => failed.push(not_deleted(object, &error)),
            }
        }
        if self.store.delete(&keys).await.is_ok() {
            gone.extend(objects);
        } else {
            // One that cannot be deleted must not keep the others.
            for (key, object) in keys.iter().zip(objects) {
                match self.store.delete(std::slice::from_ref(key)).await {
                    Ok(()) => gone.push(object),
                    Err(error) => failed.push(not_deleted(object, &error)),
                }
            }
        }
        let bytes = gone.iter().filter_map(|object| object.size).sum::<u64>();
        reclaimed.objects += gone.len() as u64;
        reclaimed.bytes += bytes;
        reclaimed.failed += failed.len() as u64;
        let totals = &self.collector.totals;
        for (counter, more) in [
            (&totals.objects, gone.len() as u64),
            (&totals.bytes, bytes),
            (&totals.failed, failed.len() as u64),
        ] {
            counter.fetch_add(more, Ordering::Relaxed);
        }
        let now = clock::now();
        if !gone.is_empty() {
            self.metadata.objects_deleted(gone, now).await?;
        }
        if !failed.is_empty() {
            self.metadata.objects_not_deleted(failed, now).await?;
        }
        Ok(tried)
    }

    async fn purge_trash(&self, round: &Round) -> Result<()> {
        let moment = self.moment(round.grace);
        while self.metadata.purge_trash(moment, REVIEWS).await? == REVIEWS as u64 {
            pause(round.rate, REVIEWS).await;
        }
        Ok(())
    }

    /// Queues every manifest without a tag, a parent or a subject that came before the grace period began,
    /// to be reviewed after `wait`. How many.
    pub(crate) async fn queue_untagged(&self, grace: Duration, wait: Duration) -> Result<u64> {
        let mut queued = 0;
        let mut after = None;
        loop {
            let page = self.metadata.untagged_manifests(after, WALKED).await?;
            let moment = self.moment(grace);
            let old: Vec<(RepositoryName, Digest)> = page
                .manifests
                .into_iter()
                // A child may come long before its index.
                .filter(|found| found.pushed_at.plus(self.metadata.grace()) <= moment.as_of)
                .map(|found| (found.repository, found.digest))
                .collect();
            queued += old.len() as u64;
            if !old.is_empty() {
                let due_at = moment.now.plus(wait);
                self.metadata.queue_untagged(old, due_at).await?;
            }
            if page.next.is_none() {
                return Ok(queued);
            }
            after = page.next;
        }
    }

    /// What a round would take away, and whether that is all; with `delete_untagged` also manifests without
    /// a tag.
    pub(crate) async fn rehearse_collection(
        &self,
        round: &Round,
        delete_untagged: bool,
    ) -> Result<(Vec<Collected>, bool)> {
        /// Most things that one rehearsal names: other writes wait for it.
        const REHEARSED: usize = 100_000;
        self.ready_to_collect(round).await?;
        let moment = self.moment(round.grace);
        let (mut untagged, mut after) = (Vec::new(), None);
        while delete_untagged && untagged.len() < REHEARSED {
            let page = self.metadata.untagged_manifests(after, WALKED).await?;
            let old = page
                .manifests
                .into_iter()
                .filter(|found| found.pushed_at.plus(self.metadata.grace()) <= moment.as_of);
            untagged.extend(old.map(|found| (found.repository, found.digest)));
            if page.next.is_none() {
                break;
            }
            after = page.next;
        }
        let rehearsed = self
            .metadata
            .rehearse_gc(moment, round.policy, untagged, REHEARSED)
            .await?;
        Ok(rehearsed)
    }
}

/// Reviews done in one go.
struct Batch {
    reviewed: usize,
    collected: Vec<Collected>,
}

impl Batch {
    fn of(reviewed: usize) -> Batch {
        Batch {
            reviewed,
            collected: Vec::new(),
        }
    }

    /// Reviews in several repositories. All at once, so that they share a commit: each would wait for a sync.
    async fn all(
        reviewed: usize,
        reviews: impl Iterator<Item = impl Future<Output = holdfast_metadata::Result<Vec<Collected>>>>,
    ) -> Result<Batch> {
        let mut batch = Batch::of(reviewed);
        for collected in futures_util::future::join_all(reviews).await {
            batch.collected.extend(collected?);
        }
        Ok(batch)
    }
}

/// Keeps the rate.
async fn pause(rate: u64, steps: usize) {
    if rate > 0 {
        let seconds = steps as f64 / rate as f64;
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }
}

fn not_deleted(object: Discarded, error: &StorageError) -> String {
    tracing::warn!(
        key = object.storage_key,
        error = chain(error),
        "stored bytes that are no longer needed could not be deleted; it will be tried again"
    );
    object.storage_key
}
