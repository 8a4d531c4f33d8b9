//! Undoing a change of a tag or the deletion of a manifest.
//!
//! Manifests are read out of the trash and parsed here, with all they name that is in the trash as well; one
//! transaction then brings everything back, or nothing. It asks again what was found here, and when something
//! changed meanwhile, this looks once more.

use std::collections::HashSet;

use holdfast_metadata::{
    Restore, RestoreTag, Restored, StoredManifest, TagChange, TrashedManifest,
};
use holdfast_model::{Digest, Manifest, Reference, RepositoryName, Tag};

use super::{Error, Operations, Result};
use crate::clock;

/// Most manifests that one command brings back.
const MAX_MANIFESTS: usize = 1_000;

/// Most bytes of manifests that one command brings back.
const MAX_BYTES: usize = 64 << 20;

/// How often a restore looks again because something changed meanwhile.
const ATTEMPTS: usize = 5;

/// What a restore did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Undone {
    /// The manifest that is there now.
    pub digest: Digest,
    /// What the tag pointed at before; nothing when there was no such tag, or none was asked for.
    pub old: Option<Digest>,
    /// Every manifest that came out of the trash.
    pub restored: Vec<Digest>,
}

impl Operations {
    /// A page of a tag's history, the newest line first.
    pub(crate) async fn tag_history(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<TagChange>> {
        self.adopted(repository).await?;
        let lines = self.metadata.tag_history(repository, tag, before, limit);
        let lines = lines.await?;
        lines.ok_or_else(|| Error::RepositoryUnknown(repository.clone()))
    }

    /// A page of the deleted manifests that can be restored, by digest.
    pub(crate) async fn trash(
        &self,
        repository: &RepositoryName,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<TrashedManifest>> {
        self.adopted(repository).await?;
        let entries = self.metadata.trash(repository, after, limit).await?;
        entries.ok_or_else(|| Error::RepositoryUnknown(repository.clone()))
    }

    /// Points a tag at a manifest, stored or deleted: by default the one it pointed at before its last change.
    pub(crate) async fn restore_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        to: Option<Digest>,
    ) -> Result<Undone> {
        self.adopted(repository).await?;
        let _change = self.change()?;
        for _ in 0..ATTEMPTS {
            let (to, newest) = match to {
                Some(to) => (to, None),
                None => {
                    let last = self.tag_history(repository, tag, None, 1).await?.pop();
                    let before = last.and_then(|line| Some((line.old?, Some(line.id))));
                    before.ok_or_else(|| Error::NothingBefore(tag.clone()))?
                }
            };
            let pointed = RestoreTag {
                tag: tag.clone(),
                to,
                newest,
            };
            if let Some(undone) = self.try_restore(repository, to, Some(pointed)).await? {
                tracing::info!(%repository, %tag, %to, restored = undone.restored.len(), "a tag was restored");
                return Ok(undone);
            }
        }
        Err(Error::Conflict)
    }

    /// Brings a deleted manifest back, an index with its children.
    pub(crate) async fn restore_manifest(
        &self,
        repository: &RepositoryName,
        digest: Digest,
    ) -> Result<Undone> {
        self.adopted(repository).await?;
        let _change = self.change()?;
        for _ in 0..ATTEMPTS {
            if let Some(undone) = self.try_restore(repository, digest, None).await? {
                tracing::info!(%repository, %digest, restored = undone.restored.len(), "a manifest was restored");
                return Ok(undone);
            }
        }
        Err(Error::Conflict)
    }

    /// Does it, unless what was found here is no longer so.
    async fn try_restore(
        &self,
        repository: &RepositoryName,
        digest: Digest,
        tag: Option<RestoreTag>,
    ) -> Result<Option<Undone>> {
        let found = self.gather(repository, digest).await?;
        let now = clock::now();
        let put = |(stored, manifest): (StoredManifest, Box<Manifest>)| {
            self.facts(repository, stored, &manifest, vec![], now)
        };
        let restored = self.metadata.restore(Restore {
            repository: repository.clone(),
            manifests: found.into_iter().map(put).collect(),
            tag,
            now,
        });
        match restored.await? {
            Restored::Done { manifests, old } => Ok(Some(Undone {
                digest,
                old,
                restored: manifests,
            })),
            Restored::Changed => Ok(None),
            Restored::Gone { blobs, manifests } => Err(Error::ContentGone { blobs, manifests }),
        }
    }

    /// A manifest in the trash and all below it that is there too, each after those it names. A stored manifest
    /// needs nothing.
    async fn gather(
        &self,
        repository: &RepositoryName,
        digest: Digest,
    ) -> Result<Vec<(StoredManifest, Box<Manifest>)>> {
        enum Visit {
            Enter(Digest),
            Leave(StoredManifest, Box<Manifest>),
        }
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        let (mut trashed, mut bytes) = (0, 0);
        let mut visits = vec![Visit::Enter(digest)];
        while let Some(visit) = visits.pop() {
            let digest = match visit {
                Visit::Leave(stored, manifest) => {
                    found.push((stored, manifest));
                    continue;
                }
                Visit::Enter(digest) => digest,
            };
            if !seen.insert(digest) {
                continue;
            }
            let Some(stored) = self.metadata.trashed_manifest(repository, &digest).await? else {
                continue;
            };
            bytes += stored.payload.len();
            trashed += 1;
            if trashed > MAX_MANIFESTS || bytes > MAX_BYTES {
                return Err(Error::TooManyToRestore {
                    manifests: MAX_MANIFESTS,
                    bytes: MAX_BYTES,
                });
            }
            let manifest = Manifest::parse(&stored.media_type, &stored.payload)?;
            let children: Vec<Digest> =
                manifest.children.iter().map(|child| child.digest).collect();
            visits.push(Visit::Leave(stored, Box::new(manifest)));
            visits.extend(children.into_iter().rev().map(Visit::Enter));
        }
        if found.is_empty() {
            let reference = Reference::Digest(digest);
            // Stored, or nowhere.
            self.manifest(repository, &reference).await?;
        }
        Ok(found)
    }
}
