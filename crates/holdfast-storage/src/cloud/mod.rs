//! Bytes in a bucket of S3, Google Cloud Storage, Azure Blob Storage or Swift, and of services that speak one of
//! their protocols.
//!
//! Many nodes work on one bucket. None of them owns anything in it: what an upload needs to go on is in its record
//! (`state.rs`), and what is stored of it has names of its own (`StorageKey::uploaded`), so it is found and deleted
//! as a whole by whoever ends it. `writer.rs` says how bytes get there, `reader.rs` how they come back.
//!
//! | | requests |
//! |---|---|
//! | blob up to one part, in one request or as docker sends it (`POST`, `PATCH`, `PUT`) | 1 |
//! | blob of `n` parts in one `PUT` | `n` + 3: begin, parts, complete, look whether it is there |
//! | the same as docker sends it | 1 more: the tail is put aside at the end of the `PATCH`; the collector deletes it |
//! | pull through a signed URL | 0 from here |
//! | pull through the registry | 2: look, get |
//!
//! What a request that was cut off may have left is known to be there by the record's `doubtful`, and looked for when
//! the upload has ended. Nothing that another request could still make a blob of is deleted before that.

mod azure;
mod bucket;
mod copies;
mod fill;
mod gcs;
mod listing;
mod multiparts;
mod parts;
mod reader;
mod s3;
mod settings;
mod state;
mod swift;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use holdfast_model::{Algorithm, Digest, Hasher, Timestamp, UploadId};

use self::bucket::{Bucket, failed};
use self::copies::Copies;
use self::fill::Room;
use self::settings::Limits;
use self::state::State;
use crate::blob_store::check_put;
use crate::{
    BlobReader, BlobStore, Error, Leftovers, Listing, Progress, Result, StorageKey, Unfinished,
    UploadWriter,
};

pub use azure::{AzureCredentials, AzureSettings};
pub use gcs::{GcsCredentials, GcsSettings};
pub use s3::S3Settings;
pub use settings::{Common, SIGNED_URL_LIFE};
pub use swift::{AuthVersion, EndpointType, SwiftIdentity, SwiftSettings, TemporaryUrlSettings};

/// A store in a bucket.
pub struct Cloud {
    shared: Arc<Shared>,
}

/// What readers and writers share.
struct Shared {
    bucket: Bucket,
    limits: Limits,
    room: Room,
    copies: Copies,
    /// Uploads that this process is writing to, with as many entries as there are writers.
    writing: Mutex<Vec<UploadId>>,
    random: fn() -> [u8; 16],
    /// Life of signed URLs; zero when clients are not sent to the service.
    signed_for: Duration,
}

impl Cloud {
    /// `random` gives names to uploads that need one.
    fn new(
        bucket: Bucket,
        limits: Limits,
        common: &Common,
        random: fn() -> [u8; 16],
    ) -> Arc<Cloud> {
        let signed_for = match bucket.signer {
            Some(_) if common.redirect => SIGNED_URL_LIFE,
            _ => Duration::ZERO,
        };
        Arc::new(Cloud {
            shared: Arc::new(Shared {
                room: Room::new(limits.memory_bytes, limits.part_bytes),
                copies: Copies::new(),
                writing: Mutex::default(),
                bucket,
                limits,
                random,
                signed_for,
            }),
        })
    }
}

impl Shared {
    fn writing(&self) -> MutexGuard<'_, Vec<UploadId>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The whole of a small object.
    async fn get(&self, key: &StorageKey, max: u64) -> Result<Bytes> {
        let got = self.bucket.get(key, None, None).await?;
        let size = got.meta.size;
        if size > max {
            let key = key.clone();
            return Err(Error::TooLarge { key, size, max });
        }
        got.bytes().await.map_err(failed("read", key.as_str()))
    }

    /// Size and digest of what is stored, read from end to end; `None` when nothing is.
    async fn digest_of(
        &self,
        key: &StorageKey,
        algorithm: Algorithm,
    ) -> Result<Option<(u64, Digest)>> {
        let got = match self.bucket.get(key, None, None).await {
            Ok(got) => got,
            Err(Error::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut stream = got.into_stream();
        let (mut size, mut hasher) = (0, Hasher::new(algorithm));
        while let Some(piece) = stream
            .try_next()
            .await
            .map_err(failed("read", key.as_str()))?
        {
            size += piece.len() as u64;
            hasher.update(&piece);
        }
        Ok(Some((size, hasher.finish())))
    }
}

#[async_trait]
impl BlobStore for Cloud {
    fn driver(&self) -> &'static str {
        self.shared.bucket.driver
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn begin_upload(&self, _id: UploadId) -> Result<()> {
        Ok(())
    }

    async fn resume_upload(
        &self,
        id: UploadId,
        saved: Option<Progress>,
        algorithm: Algorithm,
    ) -> Result<Box<dyn UploadWriter>> {
        let writer = writer::Writer::resume(&self.shared, id, saved, algorithm)?;
        Ok(Box::new(writer))
    }

    fn leftovers(&self, committed: &Progress) -> Leftovers {
        match State::restore(committed.state.as_deref()) {
            Some(state) if !committed.doubtful => {
                let old = state.old.iter().filter_map(|old| old.parse().ok());
                Leftovers::Objects(old.collect())
            }
            _ => Leftovers::Unknown,
        }
    }

    async fn delete_rest(&self, object: &StorageKey) -> Result<()> {
        let Some(id) = object.upload() else {
            return Ok(());
        };
        let prefix = StorageKey::uploaded_prefix(id);
        self.shared.bucket.sweep(&prefix, Some(object)).await
    }

    async fn uncommit_upload(&self, _id: UploadId, _key: &StorageKey) -> Result<()> {
        Ok(())
    }

    async fn abort_upload(&self, id: UploadId) -> Result<()> {
        let prefix = StorageKey::uploaded_prefix(id);
        self.shared.bucket.sweep(&prefix, None).await
    }

    /// None that are this process's business: other nodes may be at work on them.
    async fn staged_uploads(&self) -> Result<Vec<UploadId>> {
        Ok(Vec::new())
    }

    async fn unfinished(&self, most: usize) -> Result<Vec<Unfinished>> {
        let mut found = self.shared.bucket.unfinished(most).await?;
        // After the listing: whoever is done by now has ended what was listed.
        let writing = self.shared.writing();
        found.retain(|unfinished| {
            let upload = unfinished.key.upload();
            upload.is_none_or(|upload| !writing.contains(&upload))
        });
        Ok(found)
    }

    async fn end_unfinished(&self, unfinished: &Unfinished) -> Result<()> {
        let Unfinished { key, id } = unfinished;
        self.shared.bucket.abort(key.as_str(), id).await
    }

    async fn open(&self, key: &StorageKey) -> Result<Box<dyn BlobReader>> {
        let meta = self.shared.bucket.head(key).await?;
        let meta = meta.ok_or_else(|| Error::NotFound(key.clone()))?;
        Ok(Box::new(reader::Reader::new(&self.shared, key, meta)))
    }

    async fn size(&self, key: &StorageKey) -> Result<Option<u64>> {
        Ok(self.shared.bucket.head(key).await?.map(|meta| meta.size))
    }

    async fn get(&self, key: &StorageKey, max: u64) -> Result<Bytes> {
        self.shared.get(key, max).await
    }

    async fn list(&self, directory: &StorageKey) -> Result<Box<dyn Listing>> {
        let entries = listing::Entries::new(&self.shared, directory, true);
        Ok(Box::new(entries))
    }

    async fn children(&self, directory: &StorageKey) -> Result<Box<dyn Listing>> {
        let entries = listing::Entries::new(&self.shared, directory, false);
        Ok(Box::new(entries))
    }

    async fn modified(&self, _directory: &StorageKey) -> Result<Option<Timestamp>> {
        Ok(None)
    }

    async fn put(&self, objects: Vec<(StorageKey, Bytes)>) -> Result<()> {
        check_put(&objects)?;
        // Of several for one key the last one counts, so no two may be under way.
        let mut last = std::collections::BTreeMap::new();
        last.extend(objects);
        self.shared.bucket.put_all(last.into_iter().collect()).await
    }

    async fn link(&self, from: &StorageKey, to: &StorageKey) -> Result<()> {
        let part_bytes = self.shared.limits.part_bytes;
        self.shared.bucket.copy(from, to, part_bytes).await
    }

    async fn signed_url(&self, key: &StorageKey) -> Result<Option<String>> {
        if self.shared.signed_for.is_zero() {
            return Ok(None);
        }
        let life = self.shared.signed_for;
        self.shared.bucket.signed_url(key, life).await
    }

    fn signed_url_life(&self) -> Duration {
        self.shared.signed_for
    }

    async fn delete(&self, keys: &[StorageKey]) -> Result<()> {
        self.shared.bucket.delete(keys).await
    }

    /// Lists one name. Writing an object each time would cost three requests every few seconds on every node.
    async fn probe(&self) -> Result<()> {
        self.shared.bucket.list("", true, None, 1).await.map(drop)
    }
}
