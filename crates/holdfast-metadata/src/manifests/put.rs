//! Storing a manifest: one transaction.
//!
//! The order matters where transactions run side by side: first the rows of `manifest_blobs`, by
//! digest, whose foreign key locks each link against the collector; only then is `used` set, so that
//! nobody can clear it in between.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use holdfast_model::Digest;

use super::{ChildReference, PutManifest, PutOutcome};
use crate::blobs::state::DAMAGED;
use crate::gc::{Reason, queue_manifest};
use crate::operation::{Durability, Lock, Operation, Outdated, Transaction, Write, params};
use crate::tag_history::TagReason;
use crate::tags::{self, Pointing};
use crate::{Result, repositories};

pub(crate) struct Put {
    pub(crate) manifest: PutManifest,
    pub(crate) grace: Duration,
    pub(crate) untagged_after: Option<Duration>,
}

/// What the repository has of all the manifest names.
#[derive(Clone, Default)]
pub(super) struct Present {
    pub(super) linked: HashSet<Digest>,
    /// Those of them whose bytes are missing or wrong.
    damaged: HashSet<Digest>,
    pub(super) manifests: HashSet<Digest>,
}

impl Operation for Put {
    type Output = PutOutcome;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<PutOutcome> {
        let manifest = &self.manifest;
        let known_repository = repositories::id_of(tx, &manifest.repository).await?;
        if let Some(repo_id) = known_repository
            && let Some(id) = find_manifest(tx, repo_id, manifest.digest).await?
        {
            self.point_tags(tx, repo_id, id).await?;
            return Ok(PutOutcome::Stored { created: false });
        }
        let present = match known_repository {
            Some(repo_id) => self.look_around(tx, repo_id).await?,
            None => Present::default(),
        };
        if let Some(missing) = self.missing(&present) {
            return Ok(missing);
        }
        let repo_id = match known_repository {
            Some(repo_id) => repo_id,
            None => repositories::id_or_new(tx, &manifest.repository, manifest.now).await?,
        };
        let id = self.store(tx, repo_id, &present).await?;
        self.point_tags(tx, repo_id, id).await?;
        Ok(PutOutcome::Stored { created: true })
    }
}

impl Write for Put {
    const DURABILITY: Durability = Durability::Durable;

    fn outdates(&self) -> Outdated<'_> {
        if self.manifest.tags.is_empty() {
            Outdated::None
        } else {
            Outdated::One(&self.manifest.repository)
        }
    }
}

impl Put {
    /// Stores the manifest with what it names, of which `present` is there; its id.
    pub(super) async fn store<T: Transaction>(
        &self,
        tx: &mut T,
        repo_id: i64,
        present: &Present,
    ) -> Result<i64> {
        let id = self.insert(tx, repo_id).await?;
        let present = self.without_late_comers(tx, repo_id, present).await?;
        self.insert_references(tx, repo_id, id, &present).await?;
        repositories::mark_populated(tx, repo_id).await?;
        Ok(id)
    }

    /// What is there, with the blobs that were missing and came meanwhile. The others do not come before this
    /// change is over, and then find what waits for them.
    async fn without_late_comers<T: Transaction>(
        &self,
        tx: &mut T,
        repo_id: i64,
        present: &Present,
    ) -> Result<Present> {
        let mut present = present.clone();
        let blobs = self.manifest.blobs.iter().map(|blob| blob.digest);
        let children = self.manifest.children.iter().map(|child| child.digest);
        let missing: BTreeSet<Digest> = blobs
            .chain(children.filter(|child| !present.manifests.contains(child)))
            .filter(|digest| !present.linked.contains(digest))
            .collect();
        for digest in missing {
            tx.lock(Lock::MissingLink(repo_id, digest));
            let link = "SELECT 1 FROM repo_blobs WHERE repo_id = ?1 AND digest = ?2";
            if tx.first(link, params![repo_id, digest]).await?.is_some() {
                present.linked.insert(digest);
            }
        }
        Ok(present)
    }

    pub(super) async fn look_around<T: Transaction>(
        &self,
        tx: &mut T,
        repo_id: i64,
    ) -> Result<Present> {
        let link = "SELECT b.state FROM repo_blobs l JOIN blobs b ON b.digest = l.digest
                    WHERE l.repo_id = ?1 AND l.digest = ?2";
        let mut present = Present::default();
        let children: BTreeSet<Digest> = self
            .manifest
            .children
            .iter()
            .map(|child| child.digest)
            .collect();
        let blobs: BTreeSet<Digest> = self.manifest.blobs.iter().map(|blob| blob.digest).collect();
        for digest in blobs.union(&children) {
            if let Some(mut row) = tx.first(link, params![repo_id, *digest]).await? {
                present.linked.insert(*digest);
                if row.integer()? == DAMAGED {
                    present.damaged.insert(*digest);
                }
            }
        }
        for digest in children {
            if find_manifest(tx, repo_id, digest).await?.is_some() {
                present.manifests.insert(digest);
            }
        }
        Ok(present)
    }

    /// The refusal, if required content is not there.
    fn missing(&self, present: &Present) -> Option<PutOutcome> {
        let mut seen = HashSet::new();
        let blobs: Vec<Digest> = self
            .manifest
            .blobs
            .iter()
            .filter(|blob| {
                blob.required && !present.has_blob(&blob.digest) && seen.insert(blob.digest)
            })
            .map(|blob| blob.digest)
            .collect();
        let manifests: Vec<Digest> = self
            .manifest
            .children
            .iter()
            .filter(|child| {
                child.required && !present.has_child(child) && seen.insert(child.digest)
            })
            .map(|child| child.digest)
            .collect();
        (!blobs.is_empty() || !manifests.is_empty())
            .then_some(PutOutcome::Missing { blobs, manifests })
    }

    async fn insert<T: Transaction>(&self, tx: &mut T, repo_id: i64) -> Result<i64> {
        let manifest = &self.manifest;
        let id = tx.new_id(manifest.now);
        tx.execute(
            "INSERT INTO manifests (repo_id, id, digest, media_type, artifact_type, subject_digest, annotations,
                                    image_size, pushed_by, pushed_at, payload)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                repo_id,
                id,
                manifest.digest,
                manifest.media_type.as_str(),
                manifest.artifact_type.as_deref(),
                manifest.subject,
                manifest.annotations_json.as_deref(),
                manifest.image_size,
                manifest.pushed_by,
                manifest.now,
                manifest.payload.as_ref(),
            ],
        )
        .await?;
        tx.execute(
            "DELETE FROM manifest_trash WHERE repo_id = ?1 AND digest = ?2",
            params![repo_id, manifest.digest],
        )
        .await?;
        if let Some(subject) = manifest.subject
            && find_manifest(tx, repo_id, subject).await?.is_none()
        {
            let due_at = manifest.now.plus(self.grace);
            queue_manifest(tx, repo_id, manifest.digest, due_at, Reason::SubjectAbsent).await?;
        } else if manifest.tags.is_empty()
            && let Some(after) = self.untagged_after
        {
            let due_at = manifest.now.plus(after);
            queue_manifest(tx, repo_id, manifest.digest, due_at, Reason::Untagged).await?;
        }
        Ok(id)
    }

    async fn insert_references<T: Transaction>(
        &self,
        tx: &mut T,
        repo_id: i64,
        manifest_id: i64,
        present: &Present,
    ) -> Result<()> {
        for reference in self.references(present) {
            let sql = if present.linked.contains(&reference.digest) {
                "INSERT INTO manifest_blobs (repo_id, manifest_id, position, digest, media_type, size_bytes)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
            } else {
                "INSERT INTO manifest_missing_blobs (repo_id, manifest_id, position, digest, media_type, size_bytes)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
            };
            let Reference {
                position,
                digest,
                media_type,
                size,
            } = reference;
            tx.execute(
                sql,
                params![repo_id, manifest_id, position, digest, media_type, size],
            )
            .await?;
        }
        tx.execute(
            "UPDATE repo_blobs SET used = 1 WHERE repo_id = ?1 AND used = 0 AND digest IN
             (SELECT digest FROM manifest_blobs WHERE repo_id = ?1 AND manifest_id = ?2)",
            params![repo_id, manifest_id],
        )
        .await?;
        for child in &self.manifest.children {
            tx.execute(
                "INSERT INTO manifest_children (repo_id, parent_id, child_digest, platform) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (repo_id, parent_id, child_digest) DO NOTHING",
                params![repo_id, manifest_id, child.digest, child.platform.as_deref()],
            )
            .await?;
        }
        Ok(())
    }

    /// The blobs named, by digest. A child counts when it is a blob of the repository, and when it is
    /// nothing yet: it may become one.
    fn references(&self, present: &Present) -> Vec<Reference<'_>> {
        let blobs = self
            .manifest
            .blobs
            .iter()
            .map(|blob| (blob.digest, blob.media_type.as_str(), blob.size));
        let mut seen = HashSet::new();
        let children = self
            .manifest
            .children
            .iter()
            .filter(|child| {
                present.linked.contains(&child.digest) || !present.manifests.contains(&child.digest)
            })
            .filter(|child| seen.insert(child.digest))
            .map(|child| (child.digest, child.media_type.as_str(), child.size));
        let mut references: Vec<Reference<'_>> = blobs
            .chain(children)
            .enumerate()
            .map(|(position, (digest, media_type, size))| Reference {
                position,
                digest,
                media_type,
                size,
            })
            .collect();
        references.sort_by_key(|reference| reference.digest);
        references
    }

    async fn point_tags<T: Transaction>(
        &self,
        tx: &mut T,
        repo_id: i64,
        manifest_id: i64,
    ) -> Result<()> {
        let manifest = &self.manifest;
        for tag in manifest.tags.iter().collect::<BTreeSet<_>>() {
            let pointing = Pointing {
                to: (manifest_id, manifest.digest),
                reason: TagReason::Push,
                actor: manifest.pushed_by,
                untagged_after: self.untagged_after,
                now: manifest.now,
            };
            tags::point(tx, repo_id, tag, pointing).await?;
        }
        Ok(())
    }
}

/// A row of `manifest_blobs` or `manifest_missing_blobs`.
struct Reference<'a> {
    position: usize,
    digest: Digest,
    media_type: &'a str,
    size: u64,
}

impl Present {
    /// A damaged blob is asked for again: an image that nobody can pull must not be accepted.
    fn has_blob(&self, digest: &Digest) -> bool {
        self.linked.contains(digest) && !self.damaged.contains(digest)
    }

    fn has_child(&self, child: &ChildReference) -> bool {
        self.manifests.contains(&child.digest) || self.has_blob(&child.digest)
    }
}

/// The id of a manifest.
pub(crate) async fn find_manifest<T: Transaction>(
    tx: &mut T,
    repo_id: i64,
    digest: Digest,
) -> Result<Option<i64>> {
    let sql = "SELECT id FROM manifests WHERE repo_id = ?1 AND digest = ?2 /*FOR KEY SHARE*/";
    match tx.first(sql, params![repo_id, digest]).await? {
        Some(mut row) => Ok(Some(row.integer()?)),
        None => Ok(None),
    }
}
