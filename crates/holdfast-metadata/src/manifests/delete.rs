//! Deleting a manifest: one transaction.

use std::time::Duration;

use holdfast_model::{Digest, RepositoryName, Tag, Timestamp};

use super::trash;
use crate::gc::{queue_children_of, queue_links_of, queue_referrers_of};
use crate::operation::{Durability, Operation, Outdated, Transaction, Write, params};
use crate::tag_history::{Change, record};
use crate::{Result, repositories};

pub(super) struct Delete {
    pub(super) repository: RepositoryName,
    pub(super) digest: Digest,
    pub(super) grace: Duration,
    pub(super) now: Timestamp,
}

impl Operation for Delete {
    type Output = Option<Vec<Tag>>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Option<Vec<Tag>>> {
        let Some(repo_id) = repositories::id_of(tx, &self.repository).await? else {
            return Ok(None);
        };
        let sql = "SELECT id FROM manifests WHERE repo_id = ?1 AND digest = ?2 /*FOR UPDATE*/";
        let Some(mut row) = tx.first(sql, params![repo_id, self.digest]).await? else {
            return Ok(None);
        };
        let id = row.integer()?;
        let tags = self.delete_tags(tx, repo_id, id).await?;
        remove(tx, repo_id, (id, self.digest), self.grace, self.now).await?;
        Ok(Some(tags))
    }
}

impl Write for Delete {
    const DURABILITY: Durability = Durability::Durable;

    fn outdates(&self) -> Outdated<'_> {
        Outdated::One(&self.repository)
    }
}

impl Delete {
    async fn delete_tags<T: Transaction>(
        &self,
        tx: &mut T,
        repo_id: i64,
        id: i64,
    ) -> Result<Vec<Tag>> {
        // In one statement: a tag that moves on meanwhile is not among them.
        let rows = tx
            .query(
                "DELETE FROM tags WHERE repo_id = ?1 AND manifest_id = ?2 RETURNING name",
                params![repo_id, id],
            )
            .await?;
        let mut tags: Vec<Tag> = rows
            .into_iter()
            .map(|mut row| row.parsed())
            .collect::<Result<_>>()?;
        tags.sort_unstable();
        for tag in &tags {
            let change = Change::deleted(self.digest);
            record(tx, repo_id, tag, change, None, self.now).await?;
        }
        Ok(tags)
    }
}

/// Deletes a manifest without tags. Its payload is kept for the grace period, and what it named is queued.
pub(crate) async fn remove<T: Transaction>(
    tx: &mut T,
    repo_id: i64,
    (id, digest): (i64, Digest),
    grace: Duration,
    now: Timestamp,
) -> Result<()> {
    let later = now.plus(grace);
    queue_links_of(tx, repo_id, id, now).await?;
    queue_children_of(tx, repo_id, id, later).await?;
    queue_referrers_of(tx, repo_id, digest, later).await?;
    trash::keep(tx, repo_id, id, now, later).await?;
    tx.execute(
        "DELETE FROM manifests WHERE repo_id = ?1 AND id = ?2",
        params![repo_id, id],
    )
    .await?;
    tx.execute(
        "DELETE FROM last_pulls WHERE repo_id = ?1 AND digest = ?2",
        params![repo_id, digest],
    )
    .await?;
    repositories::mark_if_empty(tx, repo_id).await
}
