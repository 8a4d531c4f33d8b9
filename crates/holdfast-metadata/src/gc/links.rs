//! Links that no manifest may need any more.
//!
//! A link in use is only released at first: a push that was told of the blob gets a whole grace period for
//! its manifest. A link that is not in use goes when its lease is over.

use std::time::Duration;

use holdfast_model::{Digest, RepositoryName};

use super::history::{Kind, add};
use super::queues::queue_blob;
use super::{Collected, Moment, by_repository};
use crate::blobs::mark_used;
use crate::operation::{Durability, Operation, Outdated, Transaction, Write, params};
use crate::{Metadata, Result, repositories};

// The path is asked for row by row: as a join, a planner that knows few repositories and no queue would begin
// with the repositories and sort all of the queue for each look.
pub(crate) const DUE_LINKS: &str =
    "SELECT (SELECT r.path FROM repositories r WHERE r.id = q.repo_id), q.digest
     FROM gc_link_queue q
     WHERE q.due_at <= ?1 ORDER BY q.due_at LIMIT ?2 /*FOR UPDATE OF q SKIP LOCKED*/";
/// Nobody queues a link whose lease simply ends: the index of leases is its queue.
pub(crate) const ENDED_LEASES: &str =
    "SELECT (SELECT r.path FROM repositories r WHERE r.id = l.repo_id), l.digest
     FROM repo_blobs l
     WHERE l.used = 0 AND l.lease_until <= ?1 ORDER BY l.lease_until LIMIT ?2
     /*FOR UPDATE OF l SKIP LOCKED*/";

impl Metadata {
    /// Links to be reviewed, the longest due first.
    pub async fn due_links(&self, moment: Moment, limit: usize) -> Result<super::Due> {
        self.read(Due { moment, limit }).await
    }

    /// Releases or removes those of these links that no manifest needs. One transaction, so keep the list
    /// short.
    pub async fn review_links(
        &self,
        repository: &RepositoryName,
        mut digests: Vec<Digest>,
        moment: Moment,
    ) -> Result<Vec<Collected>> {
        digests.sort_unstable();
        self.write(Review {
            repository: repository.clone(),
            digests,
            moment,
            grace: self.grace(),
        })
        .await
    }
}

pub(super) struct Due {
    pub(super) moment: Moment,
    pub(super) limit: usize,
}

impl Operation for Due {
    type Output = super::Due;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<super::Due> {
        let as_of = self.moment.as_of;
        let mut rows = tx.query(DUE_LINKS, params![as_of, self.limit]).await?;
        if rows.len() < self.limit {
            let left = self.limit - rows.len();
            rows.extend(tx.query(ENDED_LEASES, params![as_of, left]).await?);
        }
        by_repository(rows)
    }
}

pub(super) struct Review {
    pub(super) repository: RepositoryName,
    pub(super) digests: Vec<Digest>,
    pub(super) moment: Moment,
    pub(super) grace: Duration,
}

impl Operation for Review {
    type Output = Vec<Collected>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Vec<Collected>> {
        let mut collected = Vec::new();
        let Some(repo_id) = repositories::id_of(tx, &self.repository).await? else {
            return Ok(collected);
        };
        for digest in &self.digests {
            if self.review(tx, repo_id, *digest).await? {
                collected.push(Collected::Link {
                    repository: self.repository.clone(),
                    digest: *digest,
                });
            }
        }
        add(tx, self.moment.now, Kind::Links, collected.len(), 0).await?;
        Ok(collected)
    }
}

impl Write for Review {
    const DURABILITY: Durability = Durability::Durable;

    fn outdates(&self) -> Outdated<'_> {
        Outdated::One(&self.repository)
    }
}

impl Review {
    /// Whether it was removed.
    async fn review<T: Transaction>(
        &self,
        tx: &mut T,
        repo_id: i64,
        digest: Digest,
    ) -> Result<bool> {
        let Moment { now, as_of } = self.moment;
        let link = params![repo_id, digest];
        let claimed = tx
            .execute(
                "DELETE FROM gc_link_queue WHERE repo_id = ?1 AND digest IN
                 (SELECT digest FROM gc_link_queue WHERE repo_id = ?1 AND digest = ?2 /*FOR UPDATE SKIP LOCKED*/)",
                link,
            )
            .await?;
        let locked = if claimed > 0 {
            "SELECT used, lease_until FROM repo_blobs WHERE repo_id = ?1 AND digest = ?2 /*FOR UPDATE*/"
        } else {
            // No hint is lost when somebody has it: its lease stays over until a review ends it.
            "SELECT used, lease_until FROM repo_blobs WHERE repo_id = ?1 AND digest = ?2 /*FOR UPDATE SKIP LOCKED*/"
        };
        let Some(mut row) = tx.first(locked, link).await? else {
            return Ok(false);
        };
        let (used, mut lease_until) = (row.integer()? != 0, row.time()?);
        // Only now, under the lock: the foreign key of a manifest stored meanwhile waits for us, or is seen.
        let user = "SELECT 1 FROM manifest_blobs WHERE repo_id = ?1 AND digest = ?2 LIMIT 1";
        if tx.first(user, link).await?.is_some() {
            mark_used(tx, repo_id, digest).await?;
            return Ok(false);
        }
        if used {
            lease_until = now.plus(self.grace);
            tx.execute(
                "UPDATE repo_blobs SET used = 0, lease_until = ?3 WHERE repo_id = ?1 AND digest = ?2",
                params![repo_id, digest, lease_until],
            )
            .await?;
        }
        if lease_until > as_of {
            return Ok(false);
        }
        tx.execute(
            "DELETE FROM repo_blobs WHERE repo_id = ?1 AND digest = ?2",
            link,
        )
        .await?;
        queue_blob(tx, digest, now).await?;
        Ok(true)
    }
}
