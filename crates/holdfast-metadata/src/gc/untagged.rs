//! Manifests without tags: found by walking over all manifests, for whoever begins to mind them.
//!
//! While a policy is on, a manifest is queued as it loses its last tag. What lost its tag before is found
//! here.

use holdfast_model::{Digest, RepositoryName, Timestamp};

use super::Reason;
use super::queues::queue_manifest;
use crate::operation::{Durability, Operation, Transaction, Write, params};
use crate::{Metadata, Result, repositories};

/// Looks at so many manifests, whether they have tags or not, so that a page costs the same everywhere.
pub(crate) const UNTAGGED_PAGE: &str = "SELECT m.repo_id, m.id, r.path, m.digest, m.pushed_at,
     CASE WHEN NOT EXISTS (SELECT 1 FROM tags t WHERE t.repo_id = m.repo_id AND t.manifest_id = m.id)
     AND NOT EXISTS (SELECT 1 FROM manifest_children c WHERE c.repo_id = m.repo_id AND c.child_digest = m.digest)
     AND NOT EXISTS (SELECT 1 FROM manifests s WHERE s.repo_id = m.repo_id AND s.digest = m.subject_digest) THEN 1 ELSE 0 END
     FROM manifests m JOIN repositories r ON r.id = m.repo_id
     WHERE (m.repo_id, m.id) > (?1, ?2) ORDER BY m.repo_id, m.id LIMIT ?3";

/// A manifest that nothing holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untagged {
    /// Where.
    pub repository: RepositoryName,
    /// Which.
    pub digest: Digest,
    /// When it came.
    pub pushed_at: Timestamp,
}

/// A part of the walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UntaggedPage {
    /// The manifests on it that nothing holds.
    pub manifests: Vec<Untagged>,
    /// Where the walk goes on; `None` at its end.
    pub next: Option<(i64, i64)>,
}

impl Metadata {
    /// Looks at `limit` manifests, in the order of their ids, after those already seen.
    pub async fn untagged_manifests(
        &self,
        after: Option<(i64, i64)>,
        limit: usize,
    ) -> Result<UntaggedPage> {
        self.read(Page { after, limit }).await
    }

    /// Queues manifests for review at a time, because they have no tag.
    pub async fn queue_untagged(
        &self,
        manifests: Vec<(RepositoryName, Digest)>,
        due_at: Timestamp,
    ) -> Result<()> {
        self.write(QueueUntagged { manifests, due_at }).await
    }
}

pub(super) struct Page {
    pub(super) after: Option<(i64, i64)>,
    pub(super) limit: usize,
}

impl Operation for Page {
    type Output = UntaggedPage;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<UntaggedPage> {
        let (repo_id, id) = self.after.unwrap_or((i64::MIN, i64::MIN));
        let rows = tx
            .query(UNTAGGED_PAGE, params![repo_id, id, self.limit])
            .await?;
        let full = rows.len() == self.limit;
        let (mut manifests, mut last) = (Vec::new(), None);
        for mut row in rows {
            last = Some((row.integer()?, row.integer()?));
            let found = Untagged {
                repository: row.parsed()?,
                digest: row.digest()?,
                pushed_at: row.time()?,
            };
            if row.integer()? != 0 {
                manifests.push(found);
            }
        }
        Ok(UntaggedPage {
            manifests,
            next: last.filter(|_| full),
        })
    }
}

pub(super) struct QueueUntagged {
    pub(super) manifests: Vec<(RepositoryName, Digest)>,
    pub(super) due_at: Timestamp,
}

impl Operation for QueueUntagged {
    type Output = ();

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<()> {
        for (repository, digest) in &self.manifests {
            if let Some(repo_id) = repositories::id_of(tx, repository).await? {
                queue_manifest(tx, repo_id, *digest, self.due_at, Reason::Untagged).await?;
            }
        }
        Ok(())
    }
}

impl Write for QueueUntagged {
    const DURABILITY: Durability = Durability::Relaxed;
}
