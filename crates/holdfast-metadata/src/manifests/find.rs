//! Looking up a manifest.

use std::ops::RangeInclusive;

use bytes::Bytes;
use holdfast_model::{Digest, MediaType, Reference, RepositoryName};

use super::StoredManifest;
use crate::Result;
use crate::operation::{Operation, Transaction, params};

pub(crate) const BY_DIGEST: &str = "SELECT m.digest, m.media_type, m.payload
     FROM repositories r JOIN manifests m ON m.repo_id = r.id AND m.digest = ?2
     WHERE r.path = ?1 AND r.deleted_at IS NULL";
pub(crate) const BY_TAG: &str = "SELECT m.digest, m.media_type, m.payload
     FROM repositories r
     JOIN tags t ON t.repo_id = r.id AND t.name = ?2
     JOIN manifests m ON m.repo_id = t.repo_id AND m.id = t.manifest_id
     WHERE r.path = ?1 AND r.deleted_at IS NULL";

// The same, without the payload when it is that of the digest ?3, or when its size is from ?4 to ?5: then there may
// be another place to have it from.
pub(crate) const BY_DIGEST_UNLESS_KEPT: &str = "SELECT m.digest, m.media_type, length(m.payload),
         CASE WHEN m.digest = ?3 OR length(m.payload) BETWEEN ?4 AND ?5 THEN NULL ELSE m.payload END
     FROM repositories r JOIN manifests m ON m.repo_id = r.id AND m.digest = ?2
     WHERE r.path = ?1 AND r.deleted_at IS NULL";
pub(crate) const BY_TAG_UNLESS_KEPT: &str = "SELECT m.digest, m.media_type, length(m.payload),
         CASE WHEN m.digest = ?3 OR length(m.payload) BETWEEN ?4 AND ?5 THEN NULL ELSE m.payload END
     FROM repositories r
     JOIN tags t ON t.repo_id = r.id AND t.name = ?2
     JOIN manifests m ON m.repo_id = t.repo_id AND m.id = t.manifest_id
     WHERE r.path = ?1 AND r.deleted_at IS NULL";

pub(super) struct Find<'a> {
    pub(super) repository: &'a RepositoryName,
    pub(super) reference: &'a Reference,
}

impl Operation for Find<'_> {
    type Output = Option<StoredManifest>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Option<StoredManifest>> {
        let path = self.repository.as_str();
        let found = match self.reference {
            Reference::Tag(tag) => tx.first(BY_TAG, params![path, tag.as_str()]).await?,
            Reference::Digest(digest) => tx.first(BY_DIGEST, params![path, *digest]).await?,
        };
        let Some(mut row) = found else {
            return Ok(None);
        };
        let (digest, media_type) = (row.digest()?, row.parsed()?);
        Ok(Some(StoredManifest {
            digest,
            media_type,
            payload: Bytes::from(row.bytes()?),
        }))
    }
}

/// As [`Find`], for somebody who may have the payload.
pub(super) struct FindUnlessKept<'a> {
    pub(super) repository: &'a RepositoryName,
    pub(super) reference: &'a Reference,
    pub(super) kept: Option<Digest>,
    /// Sizes of payloads that are not wanted.
    pub(super) elsewhere: &'a RangeInclusive<u64>,
}

/// What is found; the payload only if it is wanted.
pub(super) struct Found {
    pub(super) digest: Digest,
    pub(super) media_type: MediaType,
    pub(super) size: u64,
    pub(super) payload: Option<Bytes>,
}

impl Operation for FindUnlessKept<'_> {
    type Output = Option<Found>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Option<Found>> {
        let (path, kept) = (self.repository.as_str(), self.kept);
        let (from, to) = (*self.elsewhere.start(), *self.elsewhere.end());
        let found = match self.reference {
            Reference::Tag(tag) => {
                let params = params![path, tag.as_str(), kept, from, to];
                tx.first(BY_TAG_UNLESS_KEPT, params).await?
            }
            Reference::Digest(digest) => {
                let params = params![path, *digest, kept, from, to];
                tx.first(BY_DIGEST_UNLESS_KEPT, params).await?
            }
        };
        let Some(mut row) = found else {
            return Ok(None);
        };
        Ok(Some(Found {
            digest: row.digest()?,
            media_type: row.parsed()?,
            size: row.size()?,
            payload: row.maybe_bytes()?.map(Bytes::from),
        }))
    }
}
