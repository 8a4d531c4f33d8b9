//! Tags: names that point at manifests.

use std::time::Duration;

use holdfast_model::{Digest, RepositoryName, Tag, Timestamp};

use crate::gc::{Reason, queue_manifest};
use crate::operation::{Durability, Lock, Operation, Outdated, Transaction, Write, params};
use crate::repositories::{self, Population};
use crate::tag_history::{Change, TagReason, record};
use crate::{Metadata, Result};

pub(crate) const TAGS_PAGE: &str =
    "SELECT name FROM tags WHERE repo_id = ?1 AND name > ?2 ORDER BY name LIMIT ?3";

impl Metadata {
    /// A page of the tags of a repository in byte order, after a name that need not exist; `None` if the
    /// repository never had a manifest.
    pub async fn tags(
        &self,
        repository: &RepositoryName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<Vec<String>>> {
        self.read(Page {
            repository,
            after: after.unwrap_or_default(),
            limit,
        })
        .await
    }

    /// Removes a tag and leaves its manifest; whether there was such a tag.
    pub async fn delete_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        now: Timestamp,
    ) -> Result<bool> {
        self.write(Delete {
            repository: repository.clone(),
            tag: tag.clone(),
            untagged_after: self.untagged_after(),
            now,
        })
        .await
    }
}

struct Page<'a> {
    repository: &'a RepositoryName,
    after: &'a str,
    limit: usize,
}

impl Operation for Page<'_> {
    type Output = Option<Vec<String>>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Option<Vec<String>>> {
        let repo_id = match repositories::find(tx, self.repository).await? {
            Some((repo_id, Population::Now | Population::Once)) => repo_id,
            Some((_, Population::Never)) | None => return Ok(None),
        };
        let rows = tx
            .query(TAGS_PAGE, params![repo_id, self.after, self.limit])
            .await?;
        rows.into_iter()
            .map(|mut row| row.text())
            .collect::<Result<_>>()
            .map(Some)
    }
}

struct Delete {
    repository: RepositoryName,
    tag: Tag,
    untagged_after: Option<Duration>,
    now: Timestamp,
}

impl Operation for Delete {
    type Output = bool;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<bool> {
        let Some(repo_id) = repositories::id_of(tx, &self.repository).await? else {
            return Ok(false);
        };
        let Some(old) = target(tx, repo_id, &self.tag).await? else {
            return Ok(false);
        };
        tx.execute(
            "DELETE FROM tags WHERE repo_id = ?1 AND name = ?2",
            params![repo_id, self.tag.as_str()],
        )
        .await?;
        record(tx, repo_id, &self.tag, Change::deleted(old), None, self.now).await?;
        queue_untagged(tx, repo_id, old, self.untagged_after, self.now).await?;
        Ok(true)
    }
}

impl Write for Delete {
    const DURABILITY: Durability = Durability::Durable;

    fn outdates(&self) -> Outdated<'_> {
        Outdated::One(&self.repository)
    }
}

/// How a tag gets its manifest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pointing {
    /// Id and digest of the manifest.
    pub(crate) to: (i64, Digest),
    /// Why.
    pub(crate) reason: TagReason,
    /// Who does it.
    pub(crate) actor: Option<i64>,
    /// When the manifest that loses the tag is reviewed, if there is a policy about that.
    pub(crate) untagged_after: Option<Duration>,
    /// The current time.
    pub(crate) now: Timestamp,
}

/// Points a tag at a manifest; what it pointed at before.
pub(crate) async fn point<T: Transaction>(
    tx: &mut T,
    repo_id: i64,
    tag: &Tag,
    pointing: Pointing,
) -> Result<Option<Digest>> {
    let Pointing {
        to: (manifest_id, new),
        reason,
        actor,
        untagged_after,
        now,
    } = pointing;
    let old = target(tx, repo_id, tag).await?;
    tx.execute(
        "INSERT INTO tags (repo_id, name, manifest_id, created_at, updated_at, updated_by)
         VALUES (?1, ?2, ?3, ?4, ?4, ?5)
         ON CONFLICT (repo_id, name) DO UPDATE SET
         manifest_id = excluded.manifest_id, updated_at = excluded.updated_at, updated_by = excluded.updated_by",
        params![repo_id, tag.as_str(), manifest_id, now, actor],
    )
    .await?;
    if old != Some(new) {
        let change = Change {
            old,
            new: Some(new),
            reason,
        };
        record(tx, repo_id, tag, change, actor, now).await?;
        if let Some(old) = old {
            queue_untagged(tx, repo_id, old, untagged_after, now).await?;
        }
    }
    Ok(old)
}

/// Queues a manifest that lost a tag, perhaps its last, if there is a policy about that.
async fn queue_untagged<T: Transaction>(
    tx: &mut T,
    repo_id: i64,
    digest: Digest,
    untagged_after: Option<Duration>,
    now: Timestamp,
) -> Result<()> {
    match untagged_after {
        Some(after) => queue_manifest(tx, repo_id, digest, now.plus(after), Reason::Untagged).await,
        None => Ok(()),
    }
}

/// The digest a tag points at; the tag stays locked, also one that is not there.
async fn target<T: Transaction>(tx: &mut T, repo_id: i64, tag: &Tag) -> Result<Option<Digest>> {
    tx.lock(Lock::Tag(repo_id, tag.as_str()));
    let sql = "SELECT m.digest FROM tags t JOIN manifests m ON m.repo_id = t.repo_id AND m.id = t.manifest_id
               WHERE t.repo_id = ?1 AND t.name = ?2 /*FOR UPDATE OF t*/";
    match tx.first(sql, params![repo_id, tag.as_str()]).await? {
        Some(mut row) => Ok(Some(row.digest()?)),
        None => Ok(None),
    }
}
