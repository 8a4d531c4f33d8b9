//! Manifests that may have lost their last reason to stay.

use std::time::Duration;

use holdfast_model::{Digest, RepositoryName, Timestamp};

use super::history::{Kind, add};
use super::queues::queue_manifest;
use super::{Collected, Moment, Reason, UntaggedPolicy, by_repository};
use crate::manifests::remove;
use crate::operation::{Durability, Operation, Outdated, Transaction, Write, params};
use crate::{Metadata, Result, repositories};

// What waits for a policy, not for the grace period, is not hurried: reason 3.
pub(crate) const DUE_MANIFESTS: &str =
    "SELECT (SELECT r.path FROM repositories r WHERE r.id = q.repo_id), q.digest
     FROM gc_manifest_queue q
     WHERE q.due_at <= ?1 AND (q.reason <> 3 OR q.due_at <= ?2) ORDER BY q.due_at LIMIT ?3
     /*FOR UPDATE OF q SKIP LOCKED*/";

impl Metadata {
    /// Manifests to be reviewed, the longest due first.
    pub async fn due_manifests(&self, moment: Moment, limit: usize) -> Result<super::Due> {
        self.read(Due { moment, limit }).await
    }

    /// Deletes those of these manifests that nothing keeps. One transaction, so keep the list short.
    pub async fn review_manifests(
        &self,
        repository: &RepositoryName,
        mut digests: Vec<Digest>,
        moment: Moment,
        policy: UntaggedPolicy,
    ) -> Result<Vec<Collected>> {
        digests.sort_unstable();
        self.write(Review {
            repository: repository.clone(),
            digests,
            moment,
            policy,
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
        let params = params![self.moment.as_of, self.moment.now, self.limit];
        let rows = tx.query(DUE_MANIFESTS, params).await?;
        by_repository(rows)
    }
}

pub(super) struct Review {
    pub(super) repository: RepositoryName,
    pub(super) digests: Vec<Digest>,
    pub(super) moment: Moment,
    pub(super) policy: UntaggedPolicy,
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
            if let Some(reason) = self.review(tx, repo_id, *digest).await? {
                collected.push(Collected::Manifest {
                    repository: self.repository.clone(),
                    digest: *digest,
                    reason,
                });
            }
        }
        add(tx, self.moment.now, Kind::Manifests, collected.len(), 0).await?;
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
    /// Why it was looked at, if it was deleted.
    async fn review<T: Transaction>(
        &self,
        tx: &mut T,
        repo_id: i64,
        digest: Digest,
    ) -> Result<Option<Reason>> {
        let Moment { now, as_of } = self.moment;
        let claimed = tx
            .first(
                "DELETE FROM gc_manifest_queue WHERE repo_id = ?1 AND digest IN
                 (SELECT digest FROM gc_manifest_queue WHERE repo_id = ?1 AND digest = ?2 AND due_at <= ?3
                  /*FOR UPDATE SKIP LOCKED*/)
                 RETURNING reason",
                params![repo_id, digest, as_of],
            )
            .await?;
        let Some(mut claimed) = claimed else {
            // Somebody else reviews it, or did, or there is new cause to wait.
            return Ok(None);
        };
        let reason = Reason::from_code(claimed.integer()?)?;
        let sql = "SELECT id FROM manifests WHERE repo_id = ?1 AND digest = ?2 /*FOR UPDATE*/";
        let Some(mut row) = tx.first(sql, params![repo_id, digest]).await? else {
            return Ok(None);
        };
        let id = row.integer()?;
        if reason == Reason::Untagged && self.policy.delete_after.is_none() {
            return Ok(None);
        }
        // Only now, under the lock: a tag, parent or referrer set meanwhile is seen, or waits for us.
        if is_held(tx, repo_id, id, digest).await? {
            return Ok(None);
        }
        if let Some(until) = self.kept_for_pulls(tx, repo_id, digest).await?
            && until > as_of
        {
            queue_manifest(tx, repo_id, digest, until, Reason::Untagged).await?;
            return Ok(None);
        }
        remove(tx, repo_id, (id, digest), self.grace, now).await?;
        Ok(Some(reason))
    }

    /// Until when a pull keeps it.
    async fn kept_for_pulls<T: Transaction>(
        &self,
        tx: &mut T,
        repo_id: i64,
        digest: Digest,
    ) -> Result<Option<Timestamp>> {
        if self.policy.keep_pulled_within.is_zero() {
            return Ok(None);
        }
        let sql = "SELECT pulled_at FROM last_pulls WHERE repo_id = ?1 AND digest = ?2";
        let Some(mut row) = tx.first(sql, params![repo_id, digest]).await? else {
            return Ok(None);
        };
        Ok(Some(row.time()?.plus(self.policy.keep_pulled_within)))
    }
}

/// Whether a tag points at the manifest, an index names it, or its subject is there.
pub(super) async fn is_held<T: Transaction>(
    tx: &mut T,
    repo_id: i64,
    id: i64,
    digest: Digest,
) -> Result<bool> {
    let tag = "SELECT 1 FROM tags WHERE repo_id = ?1 AND manifest_id = ?2 LIMIT 1";
    if tx.first(tag, params![repo_id, id]).await?.is_some() {
        return Ok(true);
    }
    let parent = "SELECT 1 FROM manifest_children WHERE repo_id = ?1 AND child_digest = ?2 LIMIT 1";
    if tx.first(parent, params![repo_id, digest]).await?.is_some() {
        return Ok(true);
    }
    let subject = "SELECT 1 FROM manifests m
         JOIN manifests s ON s.repo_id = m.repo_id AND s.digest = m.subject_digest
         WHERE m.repo_id = ?1 AND m.id = ?2";
    Ok(tx.first(subject, params![repo_id, id]).await?.is_some())
}
