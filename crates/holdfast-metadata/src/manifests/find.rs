//! Looking up a manifest.

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

// The same, with the payload only when it is not that of the digest ?3.
pub(crate) const BY_DIGEST_UNLESS_KEPT: &str =
    "SELECT m.digest, m.media_type, CASE WHEN m.digest = ?3 THEN NULL ELSE m.payload END
     FROM repositories r JOIN manifests m ON m.repo_id = r.id AND m.digest = ?2
     WHERE r.path = ?1 AND r.deleted_at IS NULL";
pub(crate) const BY_TAG_UNLESS_KEPT: &str =
    "SELECT m.digest, m.media_type, CASE WHEN m.digest = ?3 THEN NULL ELSE m.payload END
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
}

/// What is found; the payload only if it is not kept.
pub(super) struct Found {
    pub(super) digest: Digest,
    pub(super) media_type: MediaType,
    pub(super) payload: Option<Bytes>,
}

impl Operation for FindUnlessKept<'_> {
    type Output = Option<Found>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Option<Found>> {
        let (path, kept) = (self.repository.as_str(), self.kept);
        let found = match self.reference {
            Reference::Tag(tag) => {
                let params = params![path, tag.as_str(), kept];
                tx.first(BY_TAG_UNLESS_KEPT, params).await?
            }
            Reference::Digest(digest) => {
                let params = params![path, *digest, kept];
                tx.first(BY_DIGEST_UNLESS_KEPT, params).await?
            }
        };
        let Some(mut row) = found else {
            return Ok(None);
        };
        Ok(Some(Found {
            digest: row.digest()?,
            media_type: row.parsed()?,
            payload: row.maybe_bytes()?.map(Bytes::from),
        }))
    }
}
