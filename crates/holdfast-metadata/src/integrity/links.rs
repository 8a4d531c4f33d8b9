//! Rows of `repo_blobs`.

use holdfast_model::Digest;

use crate::operation::{Operation, Transaction, params};
use crate::{Metadata, Result};

pub(crate) const LINKS_PAGE: &str = "SELECT l.repo_id, l.digest, l.used, r.path,
            CASE WHEN EXISTS (SELECT 1 FROM blobs b WHERE b.digest = l.digest) THEN 1 ELSE 0 END,
            CASE WHEN EXISTS (SELECT 1 FROM manifest_blobs m WHERE m.repo_id = l.repo_id AND m.digest = l.digest)
                 THEN 1 ELSE 0 END,
            CASE WHEN EXISTS (SELECT 1 FROM manifest_missing_blobs m
                              WHERE m.repo_id = l.repo_id AND m.digest = l.digest) THEN 1 ELSE 0 END,
            CASE WHEN EXISTS (SELECT 1 FROM gc_link_queue q WHERE q.repo_id = l.repo_id AND q.digest = l.digest)
                 THEN 1 ELSE 0 END
     FROM repo_blobs l LEFT JOIN repositories r ON r.id = l.repo_id
     WHERE (l.repo_id, l.digest) > (?1, ?2) ORDER BY l.repo_id, l.digest LIMIT ?3";

/// A link, and what the database says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRow {
    /// The repository.
    pub repo_id: i64,
    /// Its name; `None` when the row of the repository is not there.
    pub repository: Option<String>,
    /// The blob.
    pub digest: Digest,
    /// Whether the link is marked as in use.
    pub used: bool,
    /// Whether there is a row of the blob.
    pub has_blob: bool,
    /// Whether a manifest of the repository needs it.
    pub needed: bool,
    /// Whether a manifest of the repository waits for it.
    pub awaited: bool,
    /// Whether the collector is to look at it.
    pub queued: bool,
}

impl Metadata {
    /// A page of all links by repository and digest, after a link.
    pub async fn link_rows(&self, after: Option<&LinkRow>, limit: usize) -> Result<Vec<LinkRow>> {
        self.read(Page { after, limit }).await
    }
}

struct Page<'a> {
    after: Option<&'a LinkRow>,
    limit: usize,
}

impl Operation for Page<'_> {
    type Output = Vec<LinkRow>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Vec<LinkRow>> {
        let (repo_id, digest) = self.after.map_or((i64::MIN, Vec::new()), |link| {
            (link.repo_id, link.digest.to_bytes())
        });
        let rows = tx
            .query(LINKS_PAGE, params![repo_id, digest.as_slice(), self.limit])
            .await?;
        rows.into_iter()
            .map(|mut row| {
                Ok(LinkRow {
                    repo_id: row.integer()?,
                    digest: row.digest()?,
                    used: row.integer()? != 0,
                    repository: row.maybe_text()?,
                    has_blob: row.integer()? != 0,
                    needed: row.integer()? != 0,
                    awaited: row.integer()? != 0,
                    queued: row.integer()? != 0,
                })
            })
            .collect()
    }
}
