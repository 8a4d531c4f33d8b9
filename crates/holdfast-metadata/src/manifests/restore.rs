//! Undoing a deletion: one transaction brings manifests back and points a tag.
//!
//! The caller has read the payloads in the trash and parsed them; a payload under a digest never changes,
//! so only whether they are still there is asked again here. What a manifest needs must be linked or, since
//! the repository had it, stored under any repository; then it is linked anew. What the repository did not
//! have when the manifest was deleted stays out: a restore must not open content to a repository that never
//! had it. Queued reviews need not be cancelled: they look again.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use holdfast_model::{Digest, RepositoryName, Tag, Timestamp};

use super::PutManifest;
use super::put::{Put, find_manifest};
use crate::operation::{Durability, Lock, Operation, Outdated, Transaction, Write, params};
use crate::tag_history::TagReason;
use crate::tags::{self, Pointing};
use crate::{Metadata, Result, blobs, repositories, tag_history};

/// Manifests to bring back.
#[derive(Clone, Debug)]
pub struct Restore {
    /// The repository.
    pub repository: RepositoryName,
    /// What was found in its trash, an index after the manifests it names. What they require is what they
    /// had, whatever their references say; tags in them are not looked at.
    pub manifests: Vec<PutManifest>,
    /// A tag to set.
    pub tag: Option<RestoreTag>,
    /// The current time.
    pub now: Timestamp,
}

/// A tag to set back.
#[derive(Clone, Debug)]
pub struct RestoreTag {
    /// The tag.
    pub tag: Tag,
    /// The manifest it is to point at.
    pub to: Digest,
    /// The newest line of its history that this was decided by, if it was.
    pub newest: Option<i64>,
}

/// What became of a restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restored {
    /// It is done.
    Done {
        /// The manifests that came out of the trash.
        manifests: Vec<Digest>,
        /// What the tag pointed at before.
        old: Option<Digest>,
    },
    /// Nothing was changed: the trash, the manifests or the tag are not what the caller found. Look again.
    Changed,
    /// Nothing was changed: content that the manifests had is gone.
    Gone {
        /// Config and layers.
        blobs: Vec<Digest>,
        /// Children of an index.
        manifests: Vec<Digest>,
    },
}

impl Metadata {
    /// Brings deleted manifests back and sets a tag, all or nothing.
    pub async fn restore(&self, restore: Restore) -> Result<Restored> {
        let Restore {
            repository,
            manifests,
            tag,
            now,
        } = restore;
        let (grace, untagged_after) = (self.grace(), self.untagged_after());
        let puts = manifests.into_iter().map(|manifest| Put {
            manifest,
            grace,
            untagged_after,
        });
        self.write(RestoreManifests {
            repository,
            puts: puts.collect(),
            tag,
            grace,
            untagged_after,
            now,
        })
        .await
    }
}

struct RestoreManifests {
    repository: RepositoryName,
    puts: Vec<Put>,
    tag: Option<RestoreTag>,
    grace: Duration,
    untagged_after: Option<Duration>,
    now: Timestamp,
}

impl Operation for RestoreManifests {
    type Output = Restored;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Restored> {
        let Some(repo_id) = repositories::id_of(tx, &self.repository).await? else {
            return Ok(Restored::Changed);
        };
        if let Some(tag) = &self.tag {
            tx.lock(Lock::Tag(repo_id, tag.tag.as_str()));
        }
        if let Some(tag) = &self.tag
            && tag.newest.is_some()
            && tag_history::newest(tx, repo_id, &tag.tag).await? != tag.newest
        {
            return Ok(Restored::Changed);
        }
        let mut coming = Vec::new();
        for put in &self.puts {
            if find_manifest(tx, repo_id, put.manifest.digest)
                .await?
                .is_some()
            {
                continue;
            }
            if !is_trashed(tx, repo_id, put.manifest.digest).await? {
                return Ok(Restored::Changed);
            }
            coming.push(put);
        }
        if let Some(tag) = &self.tag
            && !coming.iter().any(|put| put.manifest.digest == tag.to)
            && find_manifest(tx, repo_id, tag.to).await?.is_none()
        {
            return Ok(Restored::Changed);
        }
        // Everything is looked at before anything is changed.
        let needs = Needs::find(tx, repo_id, &coming).await?;
        if !needs.gone_blobs.is_empty() || !needs.gone_manifests.is_empty() {
            return Ok(Restored::Gone {
                blobs: needs.gone_blobs.into_iter().collect(),
                manifests: needs.gone_manifests.into_iter().collect(),
            });
        }
        for digest in needs.unlinked {
            blobs::attach(tx, repo_id, digest, self.now.plus(self.grace)).await?;
        }
        for put in &coming {
            let present = put.look_around(tx, repo_id).await?;
            put.store(tx, repo_id, &present).await?;
        }
        let old = match &self.tag {
            None => None,
            Some(tag) => self.point(tx, repo_id, tag).await?,
        };
        Ok(Restored::Done {
            manifests: coming.iter().map(|put| put.manifest.digest).collect(),
            old,
        })
    }
}

impl Write for RestoreManifests {
    const DURABILITY: Durability = Durability::Durable;

    fn outdates(&self) -> Outdated<'_> {
        match self.tag {
            Some(_) => Outdated::One(&self.repository),
            None => Outdated::None,
        }
    }
}

impl RestoreManifests {
    async fn point<T: Transaction>(
        &self,
        tx: &mut T,
        repo_id: i64,
        tag: &RestoreTag,
    ) -> Result<Option<Digest>> {
        let id = find_manifest(tx, repo_id, tag.to)
            .await?
            .ok_or_else(|| crate::Error::internal("a manifest is gone right after it was found"))?;
        let pointing = Pointing {
            to: (id, tag.to),
            reason: TagReason::Restore,
            actor: None,
            untagged_after: self.untagged_after,
            now: self.now,
        };
        tags::point(tx, repo_id, &tag.tag, pointing).await
    }
}

/// What manifests to be restored need and do not have.
#[derive(Default)]
struct Needs {
    /// Stored, and no longer linked.
    unlinked: BTreeSet<Digest>,
    gone_blobs: BTreeSet<Digest>,
    gone_manifests: BTreeSet<Digest>,
}

impl Needs {
    async fn find<T: Transaction>(tx: &mut T, repo_id: i64, coming: &[&Put]) -> Result<Needs> {
        let mut needs = Needs::default();
        let digests: HashSet<Digest> = coming.iter().map(|put| put.manifest.digest).collect();
        for put in coming {
            let present = put.look_around(tx, repo_id).await?;
            let missed = missed(tx, repo_id, put.manifest.digest).await?;
            let blobs = put.manifest.blobs.iter().map(|blob| (blob.digest, false));
            let children = put.manifest.children.iter();
            let named = blobs.chain(children.map(|child| (child.digest, true)));
            for (digest, is_child) in named {
                let there = present.linked.contains(&digest)
                    || is_child
                        && (present.manifests.contains(&digest) || digests.contains(&digest));
                if there || missed.contains(&digest) {
                    continue;
                }
                let live = "SELECT 1 FROM blobs WHERE digest = ?1 AND state = 0 /*FOR SHARE*/";
                if tx.first(live, params![digest]).await?.is_some() {
                    needs.unlinked.insert(digest);
                } else if is_child {
                    needs.gone_manifests.insert(digest);
                } else {
                    needs.gone_blobs.insert(digest);
                }
            }
        }
        Ok(needs)
    }
}

async fn is_trashed<T: Transaction>(tx: &mut T, repo_id: i64, digest: Digest) -> Result<bool> {
    let sql = "SELECT 1 FROM manifest_trash WHERE repo_id = ?1 AND digest = ?2 /*FOR UPDATE*/";
    Ok(tx.first(sql, params![repo_id, digest]).await?.is_some())
}

/// What a deleted manifest named without having it.
async fn missed<T: Transaction>(
    tx: &mut T,
    repo_id: i64,
    manifest: Digest,
) -> Result<HashSet<Digest>> {
    let sql =
        "SELECT digest FROM manifest_trash_missing WHERE repo_id = ?1 AND manifest_digest = ?2";
    let rows = tx.query(sql, params![repo_id, manifest]).await?;
    rows.into_iter().map(|mut row| row.digest()).collect()
}
