//! A store that fails, delays and tears on purpose, for the tests of the layers above.
//!
//! It wraps any driver. What goes wrong, and when, follows from a [`Schedule`] and its seed alone, so
//! a run that found a bug can be run again. Delays use tokio's clock and take no time when it is paused.

mod schedule;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_model::{Algorithm, Digest, Timestamp, UploadId};

use self::schedule::Fate;
pub use self::schedule::{Fault, Injected, Operation, Schedule};
use crate::{
    BlobReader, BlobStore, Error, Leftovers, Listed, Listing, Progress, Result, StorageKey,
    Unfinished, UploadWriter,
};

/// A store that goes wrong as scheduled.
pub struct Faulty {
    inner: Arc<dyn BlobStore>,
    fate: Arc<Fate>,
}

impl Faulty {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn BlobStore>, schedule: Schedule) -> Arc<Faulty> {
        Arc::new(Faulty {
            inner,
            fate: Arc::new(Fate::new(schedule)),
        })
    }

    /// From now on nothing goes wrong.
    pub fn heal(&self) {
        self.fate.heal();
    }

    /// What went wrong so far, in order.
    pub fn injected(&self) -> Vec<Injected> {
        self.fate.injected()
    }
}

impl Fate {
    /// Lets `effect` happen, or not, as decided.
    async fn befall<T>(
        &self,
        operation: Operation,
        effect: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        carry_out(self.decide(operation), effect).await
    }
}

async fn carry_out<T>(
    fault: Option<Fault>,
    effect: impl Future<Output = Result<T>> + Send,
) -> Result<T> {
    match fault {
        None => effect.await,
        Some(Fault::Delay(time)) => {
            tokio::time::sleep(time).await;
            effect.await
        }
        Some(Fault::AnswerLost) => {
            effect.await?;
            Err(unavailable())
        }
        Some(Fault::Full) => Err(Error::io(
            "write",
            "the faulty store",
            io::ErrorKind::StorageFull.into(),
        )),
        Some(Fault::Unavailable | Fault::Torn) => Err(unavailable()),
    }
}

fn unavailable() -> Error {
    Error::unavailable("reach", "the faulty store", "a fault was scheduled")
}

#[async_trait]
impl BlobStore for Faulty {
    fn driver(&self) -> &'static str {
        self.inner.driver()
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    async fn begin_upload(&self, id: UploadId) -> Result<()> {
        self.fate
            .befall(Operation::BeginUpload, self.inner.begin_upload(id))
            .await
    }

    async fn resume_upload(
        &self,
        id: UploadId,
        saved: Option<Progress>,
        algorithm: Algorithm,
    ) -> Result<Box<dyn UploadWriter>> {
        let resumed = self.inner.resume_upload(id, saved, algorithm);
        let inner = self.fate.befall(Operation::ResumeUpload, resumed).await?;
        Ok(Box::new(FaultyWriter {
            inner,
            fate: Arc::clone(&self.fate),
            failed: false,
        }))
    }

    fn leftovers(&self, committed: &Progress) -> Leftovers {
        self.inner.leftovers(committed)
    }

    async fn delete_rest(&self, object: &StorageKey) -> Result<()> {
        self.fate
            .befall(Operation::AbortUpload, self.inner.delete_rest(object))
            .await
    }

    async fn uncommit_upload(&self, id: UploadId, key: &StorageKey) -> Result<()> {
        self.fate
            .befall(
                Operation::UncommitUpload,
                self.inner.uncommit_upload(id, key),
            )
            .await
    }

    async fn abort_upload(&self, id: UploadId) -> Result<()> {
        self.fate
            .befall(Operation::AbortUpload, self.inner.abort_upload(id))
            .await
    }

    fn settle_commit(&self, id: UploadId, key: &StorageKey) {
        self.inner.settle_commit(id, key);
    }

    async fn unsettled_commits(&self) -> Result<Vec<(UploadId, StorageKey)>> {
        self.inner.unsettled_commits().await
    }

    async fn staged_uploads(&self) -> Result<Vec<UploadId>> {
        self.fate
            .befall(Operation::StagedUploads, self.inner.staged_uploads())
            .await
    }

    async fn unfinished(&self, most: usize) -> Result<Vec<Unfinished>> {
        let listed = self.inner.unfinished(most);
        self.fate.befall(Operation::StagedUploads, listed).await
    }

    async fn end_unfinished(&self, unfinished: &Unfinished) -> Result<()> {
        let ended = self.inner.end_unfinished(unfinished);
        self.fate.befall(Operation::AbortUpload, ended).await
    }

    async fn open(&self, key: &StorageKey) -> Result<Box<dyn BlobReader>> {
        let inner = self
            .fate
            .befall(Operation::Open, self.inner.open(key))
            .await?;
        Ok(Box::new(FaultyReader {
            inner,
            fate: Arc::clone(&self.fate),
        }))
    }

    async fn size(&self, key: &StorageKey) -> Result<Option<u64>> {
        self.fate
            .befall(Operation::Size, self.inner.size(key))
            .await
    }

    async fn get(&self, key: &StorageKey, max: u64) -> Result<Bytes> {
        self.fate
            .befall(Operation::Get, self.inner.get(key, max))
            .await
    }

    async fn list(&self, directory: &StorageKey) -> Result<Box<dyn Listing>> {
        let listed = self.inner.list(directory);
        let inner = self.fate.befall(Operation::List, listed).await?;
        let fate = Arc::clone(&self.fate);
        Ok(Box::new(FaultyListing { inner, fate }))
    }

    async fn children(&self, directory: &StorageKey) -> Result<Box<dyn Listing>> {
        let listed = self.inner.children(directory);
        let inner = self.fate.befall(Operation::Children, listed).await?;
        let fate = Arc::clone(&self.fate);
        Ok(Box::new(FaultyListing { inner, fate }))
    }

    async fn modified(&self, directory: &StorageKey) -> Result<Option<Timestamp>> {
        self.fate
            .befall(Operation::Modified, self.inner.modified(directory))
            .await
    }

    async fn put(&self, mut objects: Vec<(StorageKey, Bytes)>) -> Result<()> {
        let fault = self.fate.decide(Operation::Put);
        if fault == Some(Fault::Torn) {
            objects.truncate(self.fate.part(objects.len()));
            self.inner.put(objects).await?;
            return Err(unavailable());
        }
        carry_out(fault, self.inner.put(objects)).await
    }

    async fn link(&self, from: &StorageKey, to: &StorageKey) -> Result<()> {
        self.fate
            .befall(Operation::Link, self.inner.link(from, to))
            .await
    }

    async fn signed_url(&self, key: &StorageKey) -> Result<Option<String>> {
        self.inner.signed_url(key).await
    }

    fn signed_url_life(&self) -> Duration {
        self.inner.signed_url_life()
    }

    async fn delete(&self, keys: &[StorageKey]) -> Result<()> {
        let fault = self.fate.decide(Operation::Delete);
        if fault == Some(Fault::Torn) {
            let part = self.fate.part(keys.len());
            self.inner.delete(&keys[..part]).await?;
        }
        carry_out(fault, self.inner.delete(keys)).await
    }

    async fn probe(&self) -> Result<()> {
        self.fate.befall(Operation::Probe, self.inner.probe()).await
    }
}

struct FaultyWriter {
    inner: Box<dyn UploadWriter>,
    fate: Arc<Fate>,
    failed: bool,
}

#[async_trait]
impl UploadWriter for FaultyWriter {
    fn offset(&self) -> u64 {
        self.inner.offset()
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        if self.failed {
            return Err(unavailable());
        }
        let fault = self.fate.decide(Operation::Write);
        let outcome = match fault {
            Some(Fault::Torn) => {
                let part = self.fate.part(bytes.len());
                self.inner
                    .write(bytes.slice(..part))
                    .await
                    .and(Err(unavailable()))
            }
            fault => carry_out(fault, self.inner.write(bytes)).await,
        };
        self.failed = outcome.is_err();
        outcome
    }

    async fn out_of_time(&mut self) -> Error {
        self.inner.out_of_time().await
    }

    async fn suspend(self: Box<Self>) -> Result<Progress> {
        let fate = Arc::clone(&self.fate);
        fate.befall(Operation::Suspend, self.inner.suspend()).await
    }

    async fn digest(&mut self, algorithm: Algorithm) -> Result<Digest> {
        if self.failed {
            return Err(unavailable());
        }
        let digest = self.inner.digest(algorithm);
        self.fate.befall(Operation::Digest, digest).await
    }

    fn own_key(&self) -> Option<StorageKey> {
        self.inner.own_key()
    }

    async fn commit(self: Box<Self>, key: &StorageKey) -> Result<Option<Progress>> {
        if self.failed {
            return Err(unavailable());
        }
        let fate = Arc::clone(&self.fate);
        fate.befall(Operation::Commit, self.inner.commit(key)).await
    }

    async fn discard(self: Box<Self>) -> Result<bool> {
        let fate = Arc::clone(&self.fate);
        fate.befall(Operation::AbortUpload, self.inner.discard())
            .await
    }
}

struct FaultyReader {
    inner: Box<dyn BlobReader>,
    fate: Arc<Fate>,
}

#[async_trait]
impl BlobReader for FaultyReader {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    async fn read_at(&self, offset: u64, max: usize) -> Result<Bytes> {
        match self.fate.decide(Operation::ReadAt) {
            // A reader may always return less than was asked, but never nothing before the end.
            Some(Fault::Torn) => self.inner.read_at(offset, self.fate.part(max).max(1)).await,
            fault => carry_out(fault, self.inner.read_at(offset, max)).await,
        }
    }
}

struct FaultyListing {
    inner: Box<dyn Listing>,
    fate: Arc<Fate>,
}

#[async_trait]
impl Listing for FaultyListing {
    async fn next(&mut self) -> Result<Vec<Listed>> {
        let fault = self.fate.decide(Operation::NextListed);
        carry_out(fault, self.inner.next()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;
    use holdfast_model::Hasher;

    fn upload(number: u8) -> UploadId {
        UploadId::from_random([number; 16])
    }

    fn key() -> StorageKey {
        "blobs/a".parse().unwrap()
    }

    async fn stage(
        store: &dyn BlobStore,
        id: UploadId,
        content: &'static [u8],
    ) -> Result<Box<dyn UploadWriter>> {
        store.begin_upload(id).await?;
        let mut writer = store.resume_upload(id, None, Algorithm::Sha256).await?;
        writer.write(Bytes::from_static(content)).await?;
        Ok(writer)
    }

    #[tokio::test]
    async fn a_healthy_schedule_keeps_every_promise() {
        let store = Faulty::new(Memory::new(), Schedule::new(1));
        crate::suite::run(async || Arc::clone(&store) as Arc<dyn BlobStore>).await;
        assert_eq!(store.injected(), []);
    }

    #[tokio::test]
    async fn a_torn_write_keeps_a_prefix_and_its_hash() {
        for seed in 0..20 {
            let schedule = Schedule::new(seed).on_call(Operation::Write, 1, Fault::Torn);
            let store = Faulty::new(Memory::new(), schedule);
            store.begin_upload(upload(1)).await.unwrap();
            let mut writer = store
                .resume_upload(upload(1), None, Algorithm::Sha256)
                .await
                .unwrap();
            assert!(writer.write(Bytes::from_static(b"content")).await.is_err());
            assert!(writer.write(Bytes::from_static(b"content")).await.is_err());
            let kept = writer.suspend().await.unwrap();
            let prefix = &b"content"[..usize::try_from(kept.offset).unwrap()];
            assert!(prefix.len() < 7);
            assert_eq!(
                kept.hasher.finish(),
                Hasher::digest(Algorithm::Sha256, prefix)
            );
        }
    }

    #[tokio::test]
    async fn a_commit_fails_before_or_after_its_effect() {
        for (fault, visible) in [
            (Fault::Full, false),
            (Fault::Unavailable, false),
            (Fault::AnswerLost, true),
        ] {
            let store = Faulty::new(
                Memory::new(),
                Schedule::new(1).on_call(Operation::Commit, 1, fault),
            );
            let writer = stage(&*store, upload(1), b"content").await.unwrap();
            let error = writer.commit(&key()).await.unwrap_err();
            assert_eq!(matches!(error, Error::Full { .. }), fault == Fault::Full);
            assert_eq!(store.size(&key()).await.unwrap().is_some(), visible);
            let expected = Injected {
                operation: Operation::Commit,
                call: 1,
                fault,
            };
            assert_eq!(store.injected(), [expected]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn delays_follow_the_clock_of_the_test() {
        let time = Duration::from_secs(3600);
        let store = Faulty::new(
            Memory::new(),
            Schedule::new(1).on_call(Operation::Probe, 2, Fault::Delay(time)),
        );
        let start = tokio::time::Instant::now();
        store.probe().await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        store.probe().await.unwrap();
        assert!(start.elapsed() >= time);
    }

    #[tokio::test]
    async fn one_seed_is_one_course() {
        let mut courses = Vec::new();
        for _ in 0..2 {
            let schedule = Schedule::new(7).one_in(Operation::Probe, 3, Fault::Unavailable);
            let store = Faulty::new(Memory::new(), schedule);
            for _ in 0..60 {
                let _ = store.probe().await;
            }
            courses.push(store.injected());
            store.heal();
            for _ in 0..60 {
                store.probe().await.unwrap();
            }
        }
        assert_eq!(courses[0], courses[1]);
        assert!((5..40).contains(&courses[0].len()), "{}", courses[0].len());
    }
}
