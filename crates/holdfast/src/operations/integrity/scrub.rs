//! Reading the blobs that were not read for longest.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use holdfast_metadata::StaleBlob;
use holdfast_model::Digest;

use super::Damage;
use super::verify::Pace;
use crate::clock;
use crate::error_chain::chain;
use crate::operations::{Operations, Result};

/// Blobs read between two looks at the database.
const PAGE: usize = 64;
/// Bytes read after which it is noted what they were; a restart reads them again.
const NOTED_BYTES: u64 = 256 * 1024 * 1024;

/// What one look over the due blobs came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pass {
    /// Blobs that are what their digests say.
    pub(crate) blobs: u64,
    /// Bytes read.
    pub(crate) bytes: u64,
    /// Blobs found damaged.
    pub(crate) damaged: u64,
    /// Blobs that could not be read, which says nothing about them.
    pub(crate) unread: u64,
}

/// What was found since the start.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Blobs that the scrub read and found right.
    pub(crate) blobs: AtomicU64,
    /// Bytes that it read.
    pub(crate) bytes: AtomicU64,
    /// Blobs that it could not read.
    pub(crate) unread: AtomicU64,
    /// Blobs marked damaged, whoever found it: a pull, a push, a check, the scrub.
    pub(crate) damaged: AtomicU64,
}

impl Operations {
    /// What was found since the start.
    pub(crate) fn found(&self) -> &Found {
        &self.found
    }

    /// Reads every blob that was not read for `interval`, the stalest first.
    pub(crate) async fn scrub(&self, interval: Duration, bytes_per_second: u64) -> Result<Pass> {
        let mut pace = Pace::new(Some(bytes_per_second));
        let mut pass = Pass::default();
        let due = clock::now().minus(interval);
        let mut after: Option<StaleBlob> = None;
        let mut verified = Vec::new();
        let mut unnoted = 0;
        loop {
            let page = self
                .metadata
                .stalest_blobs(after.as_ref(), due, PAGE)
                .await?;
            let Some(last) = page.last() else {
                return Ok(pass);
            };
            after = Some(last.clone());
            for blob in page {
                let bytes = blob.size;
                match self.scrub_blob(&blob, &mut pace).await {
                    Ok(None) => {
                        pass.blobs += 1;
                        self.found.blobs.fetch_add(1, Ordering::Relaxed);
                        verified.push((blob.digest, blob.storage_key));
                    }
                    Ok(Some(damage)) => {
                        let key = &blob.storage_key;
                        if self.mark_damaged(&blob.digest, key, damage).await? {
                            pass.damaged += 1;
                        }
                    }
                    Err(error) => {
                        pass.unread += 1;
                        self.found.unread.fetch_add(1, Ordering::Relaxed);
                        let (digest, error) = (blob.digest, chain(&error));
                        tracing::warn!(%digest, error, "a stored blob could not be read again");
                    }
                }
                pass.bytes += bytes;
                self.found.bytes.fetch_add(bytes, Ordering::Relaxed);
                unnoted += bytes;
                if unnoted >= NOTED_BYTES {
                    self.note(&mut verified).await?;
                    unnoted = 0;
                }
            }
            self.note(&mut verified).await?;
            unnoted = 0;
        }
    }

    async fn scrub_blob(
        &self,
        blob: &StaleBlob,
        pace: &mut Pace,
    ) -> std::result::Result<Option<Damage>, holdfast_storage::Error> {
        match blob.storage_key.parse() {
            Ok(key) => self.verify(&blob.digest, blob.size, &key, pace).await,
            Err(_no_place) => Ok(Some(Damage::Missing)),
        }
    }

    async fn note(&self, verified: &mut Vec<(Digest, String)>) -> Result<()> {
        if verified.is_empty() {
            return Ok(());
        }
        let blobs = std::mem::take(verified);
        Ok(self.metadata.blobs_verified(blobs, clock::now()).await?)
    }
}
