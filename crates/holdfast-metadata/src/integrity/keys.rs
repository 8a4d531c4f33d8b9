//! Which storage keys somebody names: blobs, the outbox, open upload sessions.

use holdfast_model::{Digest, UploadId};

use crate::operation::{Operation, Transaction, params};
use crate::{Metadata, Result};

pub(crate) const BLOB_KEYS: &str =
    "SELECT digest, storage_key FROM blobs WHERE digest > ?1 ORDER BY digest LIMIT ?2";
pub(crate) const DISCARDED_KEYS: &str =
    "SELECT storage_key FROM gc_object_outbox WHERE storage_key > ?1 ORDER BY storage_key LIMIT ?2";
pub(crate) const KNOWN_UPLOAD: &str = "SELECT 1 FROM uploads WHERE id = ?1
     UNION ALL SELECT 1 FROM gc_object_outbox WHERE storage_key IN (?1, ?2) LIMIT 1";

impl Metadata {
    /// A page of all blobs in the order of their digests, after a digest: each with its storage key.
    pub async fn blob_keys(
        &self,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<(Digest, String)>> {
        self.read(BlobKeys { after, limit }).await
    }

    /// A page of the outbox in the order of its keys, after a key.
    pub async fn discarded_keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        self.read(DiscardedKeys { after, limit }).await
    }

    /// For each object, by the upload it is named after and its key, whether the session is open, or the outbox
    /// has it or all of the upload.
    pub async fn uploads_known(&self, objects: &[(UploadId, &str)]) -> Result<Vec<bool>> {
        self.read(UploadsKnown { objects }).await
    }
}

struct BlobKeys<'a> {
    after: Option<&'a Digest>,
    limit: usize,
}

impl Operation for BlobKeys<'_> {
    type Output = Vec<(Digest, String)>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Self::Output> {
        let after = self.after.map(Digest::to_bytes).unwrap_or_default();
        let rows = tx
            .query(BLOB_KEYS, params![after.as_slice(), self.limit])
            .await?;
        rows.into_iter()
            .map(|mut row| Ok((row.digest()?, row.text()?)))
            .collect()
    }
}

struct DiscardedKeys<'a> {
    after: Option<&'a str>,
    limit: usize,
}

impl Operation for DiscardedKeys<'_> {
    type Output = Vec<String>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Self::Output> {
        let after = self.after.unwrap_or_default();
        let rows = tx.query(DISCARDED_KEYS, params![after, self.limit]).await?;
        rows.into_iter().map(|mut row| row.text()).collect()
    }
}

struct UploadsKnown<'a> {
    objects: &'a [(UploadId, &'a str)],
}

impl Operation for UploadsKnown<'_> {
    type Output = Vec<bool>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Self::Output> {
        let mut known = Vec::with_capacity(self.objects.len());
        for (upload, key) in self.objects {
            let upload = upload.to_string();
            let names = params![upload.as_str(), *key];
            known.push(tx.first(KNOWN_UPLOAD, names).await?.is_some());
        }
        Ok(known)
    }
}
