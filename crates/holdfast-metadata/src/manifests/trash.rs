//! Deleted manifests: kept until what they need may be collected, so that a deletion can be undone.

use bytes::Bytes;
use holdfast_model::{Digest, MediaType, RepositoryName, Timestamp};

use super::StoredManifest;
use crate::operation::{Operation, Transaction, params};
use crate::{Metadata, Result, repositories};

pub(crate) const TRASH_PAGE: &str =
    "SELECT digest, media_type, octet_length(payload), deleted_at, purge_at FROM manifest_trash
     WHERE repo_id = ?1 AND digest > ?2 ORDER BY digest LIMIT ?3";
pub(crate) const FIND_TRASHED: &str = "SELECT m.media_type, m.payload
     FROM repositories r JOIN manifest_trash m ON m.repo_id = r.id AND m.digest = ?2
     WHERE r.path = ?1 AND r.deleted_at IS NULL";

/// A deleted manifest that can be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrashedManifest {
    /// Its digest.
    pub digest: Digest,
    /// What its payload is.
    pub media_type: MediaType,
    /// Bytes of its payload.
    pub size: u64,
    /// When it was deleted.
    pub deleted_at: Timestamp,
    /// Until when it is certain to be restorable.
    pub purge_at: Timestamp,
}

impl Metadata {
    /// A page of the deleted manifests of a repository that can be restored, in the order of their
    /// digests, after a digest; `None` if there is no such repository.
    pub async fn trash(
        &self,
        repository: &RepositoryName,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Option<Vec<TrashedManifest>>> {
        self.read(Page {
            repository,
            after,
            limit,
        })
        .await
    }

    /// A deleted manifest.
    pub async fn trashed_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<StoredManifest>> {
        self.read(Find { repository, digest }).await
    }
}

struct Page<'a> {
    repository: &'a RepositoryName,
    after: Option<&'a Digest>,
    limit: usize,
}

impl Operation for Page<'_> {
    type Output = Option<Vec<TrashedManifest>>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Option<Vec<TrashedManifest>>> {
        let Some(repo_id) = repositories::id_of(tx, self.repository).await? else {
            return Ok(None);
        };
        // No bytes at all come before every digest.
        let after = self.after.map(Digest::to_bytes).unwrap_or_default();
        let params = params![repo_id, after.as_slice(), self.limit];
        let rows = tx.query(TRASH_PAGE, params).await?;
        let entry = |mut row: crate::operation::Row| {
            Ok(TrashedManifest {
                digest: row.digest()?,
                media_type: row.parsed()?,
                size: row.size()?,
                deleted_at: row.time()?,
                purge_at: row.time()?,
            })
        };
        let entries: Result<Vec<TrashedManifest>> = rows.into_iter().map(entry).collect();
        entries.map(Some)
    }
}

struct Find<'a> {
    repository: &'a RepositoryName,
    digest: &'a Digest,
}

impl Operation for Find<'_> {
    type Output = Option<StoredManifest>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Option<StoredManifest>> {
        let params = params![self.repository.as_str(), *self.digest];
        let Some(mut row) = tx.first(FIND_TRASHED, params).await? else {
            return Ok(None);
        };
        Ok(Some(StoredManifest {
            digest: *self.digest,
            media_type: row.parsed()?,
            payload: Bytes::from(row.bytes()?),
        }))
    }
}

/// Keeps what a manifest is that is about to be deleted, and which of the content it names is not there.
pub(crate) async fn keep<T: Transaction>(
    tx: &mut T,
    repo_id: i64,
    id: i64,
    now: Timestamp,
    purge_at: Timestamp,
) -> Result<()> {
    tx.execute(
        "INSERT INTO manifest_trash (repo_id, digest, media_type, deleted_at, purge_at, payload)
         SELECT repo_id, digest, media_type, CAST(?3 AS BIGINT), CAST(?4 AS BIGINT), payload FROM manifests
         WHERE repo_id = ?1 AND id = ?2
         ON CONFLICT (repo_id, digest) DO UPDATE SET deleted_at = excluded.deleted_at, purge_at = excluded.purge_at",
        params![repo_id, id, now, purge_at],
    )
    .await?;
    // A child may have come as a manifest since it was noted as missing.
    tx.execute(
        "INSERT INTO manifest_trash_missing (repo_id, manifest_digest, digest)
         SELECT p.repo_id, p.digest, n.digest
         FROM manifests p
         JOIN (SELECT repo_id, digest FROM manifest_missing_blobs WHERE repo_id = ?1 AND manifest_id = ?2
               UNION
               SELECT repo_id, child_digest FROM manifest_children WHERE repo_id = ?1 AND parent_id = ?2) n
         ON n.repo_id = p.repo_id
         WHERE p.repo_id = ?1 AND p.id = ?2
         AND NOT EXISTS (SELECT 1 FROM manifest_children c
                         JOIN manifests m ON m.repo_id = c.repo_id AND m.digest = c.child_digest
                         WHERE c.repo_id = p.repo_id AND c.parent_id = p.id AND c.child_digest = n.digest)
         AND NOT EXISTS (SELECT 1 FROM repo_blobs l WHERE l.repo_id = n.repo_id AND l.digest = n.digest)
         ON CONFLICT (repo_id, manifest_digest, digest) DO NOTHING",
        params![repo_id, id],
    )
    .await?;
    Ok(())
}
