//! Tags of the tree, with what its links tell of their past.

use holdfast_model::{Digest, RepositoryName, Tag, Timestamp};

use super::repositories::is_waiting;
use crate::manifests::find_manifest;
use crate::operation::{Durability, Lock, Operation, Outdated, Transaction, Write, params};
use crate::tag_history::{Change, TagReason, record};
use crate::{Metadata, Result, repositories};

pub(crate) const LAST_CHANGE: &str = "SELECT old_digest, new_digest FROM tag_history
     WHERE repo_id = ?1 AND name = ?2 ORDER BY id DESC LIMIT 1";

/// A tag of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdoptTag {
    /// Its repository.
    pub repository: RepositoryName,
    /// Its name.
    pub tag: Tag,
    /// What it points at.
    pub digest: Digest,
    /// Since when.
    pub at: Timestamp,
    /// That time can be believed. Otherwise a tag that is there stays as it is, and one that was deleted from
    /// this manifest stays deleted.
    pub dated: bool,
    /// What it pointed at before, oldest first, and since when.
    pub history: Vec<(Digest, Timestamp)>,
}

/// What became of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagAdopted {
    /// It is set.
    Set,
    /// It was there, or was deleted, at the same time or later, and stays as it is.
    Kept,
    /// The repository has no manifest of that digest.
    NoManifest,
    /// The repository is done: nothing was changed.
    Late,
}

impl Metadata {
    /// Sets a tag with its history, unless it is there. A tag that was there is moved if the tree's is newer.
    pub async fn adopt_tag(&self, tag: AdoptTag) -> Result<TagAdopted> {
        self.write(tag).await
    }
}

impl Operation for AdoptTag {
    type Output = TagAdopted;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<TagAdopted> {
        if !is_waiting(tx, &self.repository).await? {
            return Ok(TagAdopted::Late);
        }
        let Some(repo_id) = repositories::id_of(tx, &self.repository).await? else {
            return Ok(TagAdopted::NoManifest);
        };
        let Some(manifest_id) = find_manifest(tx, repo_id, self.digest).await? else {
            return Ok(TagAdopted::NoManifest);
        };
        let name = self.tag.as_str();
        tx.lock(Lock::Tag(repo_id, name));
        let there = "SELECT m.digest, t.updated_at
             FROM tags t JOIN manifests m ON m.repo_id = t.repo_id AND m.id = t.manifest_id
             WHERE t.repo_id = ?1 AND t.name = ?2 /*FOR UPDATE OF t*/";
        let old = match tx.first(there, params![repo_id, name]).await? {
            None if !self.dated => {
                let last = tx.first(LAST_CHANGE, params![repo_id, name]).await?;
                if let Some(mut row) = last
                    && row.maybe_digest()? == Some(self.digest)
                    && row.maybe_digest()?.is_none()
                {
                    return Ok(TagAdopted::Kept);
                }
                None
            }
            None => None,
            Some(mut row) => {
                let (old, updated_at) = (row.digest()?, row.time()?);
                if old == self.digest || !self.dated || updated_at >= self.at {
                    return Ok(TagAdopted::Kept);
                }
                Some(old)
            }
        };
        let created_at = self.history.first().map_or(self.at, |(_, at)| *at);
        tx.execute(
            "INSERT INTO tags (repo_id, name, manifest_id, created_at, updated_at, updated_by)
             VALUES (?1, ?2, ?3, ?4, ?5, NULL)
             ON CONFLICT (repo_id, name) DO UPDATE SET
             manifest_id = excluded.manifest_id, updated_at = excluded.updated_at, updated_by = NULL",
            params![repo_id, name, manifest_id, created_at, self.at],
        )
        .await?;
        let past = if old.is_none() {
            self.history.as_slice()
        } else {
            &[]
        };
        let mut before = old;
        for &(new, at) in past.iter().chain(&[(self.digest, self.at)]) {
            let change = Change {
                old: before,
                new: Some(new),
                reason: TagReason::Import,
            };
            record(tx, repo_id, &self.tag, change, None, at).await?;
            before = Some(new);
        }
        let sum = "UPDATE adoption SET tags = tags + 1 WHERE id = 1";
        tx.execute(sum, params![]).await?;
        Ok(TagAdopted::Set)
    }
}

impl Write for AdoptTag {
    const DURABILITY: Durability = Durability::Relaxed;

    fn outdates(&self) -> Outdated<'_> {
        Outdated::One(&self.repository)
    }
}
