//! Manifests: stored as they came, with what they name.
//!
//! A manifest is accepted in one transaction together with its links, children and tags, or not at
//! all. The caller has parsed it; only the facts drawn from it come here.

mod delete;
mod find;
mod put;
mod restore;
mod trash;
mod walk;

use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_model::{Digest, MediaType, Reference, RepositoryName, Tag, Timestamp};

use crate::cache::{Answer, Question};
use crate::{Metadata, Result, SharedPayloads, payloads};

pub(crate) use delete::remove;
#[cfg(test)]
pub(crate) use find::{BY_DIGEST, BY_DIGEST_UNLESS_KEPT, BY_TAG, BY_TAG_UNLESS_KEPT};
pub(crate) use put::{Put, find_manifest};
pub use restore::{Restore, RestoreTag, Restored};
pub use trash::TrashedManifest;
#[cfg(test)]
pub(crate) use trash::{FIND_TRASHED, TRASH_PAGE};
pub use walk::NeededBlobs;
#[cfg(test)]
pub(crate) use walk::{BLOBS_OF, MANIFESTS_PAGE};

/// A manifest to store.
#[derive(Clone, Debug)]
pub struct PutManifest {
    /// The repository to store it in.
    pub repository: RepositoryName,
    /// The digest the payload has.
    pub digest: Digest,
    /// What the payload is.
    pub media_type: MediaType,
    /// The bytes as the client sent them.
    pub payload: Bytes,
    /// The kind of artifact, as lists of referrers state it.
    pub artifact_type: Option<String>,
    /// The manifest this one refers to.
    pub subject: Option<Digest>,
    /// The manifest's annotations, a JSON object.
    pub annotations_json: Option<String>,
    /// What a pull of it transfers, in bytes.
    pub image_size: u64,
    /// The blobs it names: config, then layers.
    pub blobs: Vec<BlobReference>,
    /// The manifests it names, if it is an index.
    pub children: Vec<ChildReference>,
    /// Tags that are to point at it.
    pub tags: Vec<Tag>,
    /// Who pushed it.
    pub pushed_by: Option<i64>,
    /// The current time.
    pub now: Timestamp,
}

/// A blob named by a manifest.
#[derive(Clone, Debug)]
pub struct BlobReference {
    /// Its digest.
    pub digest: Digest,
    /// What the manifest says it is.
    pub media_type: String,
    /// What the manifest says its size is.
    pub size: u64,
    /// Whether the manifest is refused while the repository does not have it.
    pub required: bool,
}

/// A manifest named by an index; or a blob, in the caches BuildKit exports.
#[derive(Clone, Debug)]
pub struct ChildReference {
    /// Its digest.
    pub digest: Digest,
    /// What the index says it is.
    pub media_type: String,
    /// What the index says its size is.
    pub size: u64,
    /// The platform it is for.
    pub platform: Option<String>,
    /// Whether the index is refused while the repository does not have it.
    pub required: bool,
}

/// What became of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// It is stored and its tags point at it.
    Stored {
        /// False if the repository had it before.
        created: bool,
    },
    /// Nothing was changed: required content is not in the repository. Each digest stands once, in the
    /// order of the manifest.
    Missing {
        /// The blobs it lacks.
        blobs: Vec<Digest>,
        /// The children it lacks.
        manifests: Vec<Digest>,
    },
}

/// A manifest as it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredManifest {
    /// The digest of the payload.
    pub digest: Digest,
    /// What the payload is.
    pub media_type: MediaType,
    /// The bytes as the client sent them.
    pub payload: Bytes,
}

impl Metadata {
    /// Stores a manifest and points its tags at it. Storing the same bytes again only moves tags.
    pub async fn put_manifest(&self, manifest: PutManifest) -> Result<PutOutcome> {
        self.write(put::Put {
            manifest,
            grace: self.grace(),
            untagged_after: self.untagged_after(),
        })
        .await
    }

    /// The manifest under a tag or digest of this repository.
    pub async fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<Arc<StoredManifest>>> {
        if self.is_shared() {
            // In a box, since it is much larger than what a node of its own needs.
            return Box::pin(self.shared_manifest(repository, reference)).await;
        }
        let question = Question::from(reference);
        let (version, cached) = self.cache().get(repository, question);
        if let Some(Answer::Manifest(manifest)) = cached {
            return Ok(Some(manifest));
        }
        let found = self
            .read(find::Find {
                repository,
                reference,
            })
            .await?
            .map(Arc::new);
        if let Some(manifest) = &found {
            self.cache().put(
                repository,
                question,
                version,
                Answer::Manifest(manifest.clone()),
            );
        }
        Ok(found)
    }

    /// The same where other nodes change the database: it is asked each time, in one question, and sends the payload
    /// only when it is not the one kept from the last time, nor one that may be had elsewhere.
    async fn shared_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<Arc<StoredManifest>>> {
        let question = Question::from(reference);
        let (version, kept) = self.cache().last(repository, question);
        let kept = match kept {
            Some(Answer::Manifest(manifest)) => Some(manifest),
            Some(Answer::Blob(_)) | None => None,
        };
        let elsewhere = self.shared_payloads();
        let sizes = elsewhere.map_or(payloads::NONE, SharedPayloads::sizes);
        let find = |kept: Option<&StoredManifest>, elsewhere| {
            let kept = kept.map(|manifest| manifest.digest);
            self.find_unless_kept(repository, reference, kept, elsewhere)
        };
        let Some(mut found) = find(kept.as_deref(), &sizes).await? else {
            return Ok(None);
        };
        let mut kept = kept.filter(|kept| kept.digest == found.digest);
        if let (None, None, Some(elsewhere)) = (&found.payload, &kept, elsewhere) {
            found.payload = elsewhere.get(&found.digest, found.size).await;
            if found.payload.is_none() {
                // The whole question again, since the tag may have moved meanwhile.
                let Some(now) = find(None, &payloads::NONE).await? else {
                    return Ok(None);
                };
                found = now;
                kept = None;
                if let Some(payload) = &found.payload
                    && sizes.contains(&found.size)
                {
                    elsewhere.put(&found.digest, payload);
                }
            }
        }
        let payload = match (found.payload, kept) {
            (Some(payload), _) => payload,
            (None, Some(kept)) if kept.media_type == found.media_type => return Ok(Some(kept)),
            (None, Some(kept)) => kept.payload.clone(),
            (None, None) => return Err(crate::Error::internal("a payload was not sent")),
        };
        let manifest = Arc::new(StoredManifest {
            digest: found.digest,
            media_type: found.media_type,
            payload,
        });
        let answer = Answer::Manifest(manifest.clone());
        self.cache().put(repository, question, version, answer);
        Ok(Some(manifest))
    }

    async fn find_unless_kept(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        kept: Option<Digest>,
        elsewhere: &RangeInclusive<u64>,
    ) -> Result<Option<find::Found>> {
        let find = find::FindUnlessKept {
            repository,
            reference,
            kept,
            elsewhere,
        };
        match reference {
            Reference::Tag(_) => self.read(find).await,
            Reference::Digest(_) => self.read_unchanging(find).await,
        }
    }

    /// Deletes a manifest with its tags, which are returned; `None` if there was none. What it named
    /// stays until garbage collection has looked at it; its payload is kept for the grace period.
    pub async fn delete_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        now: Timestamp,
    ) -> Result<Option<Vec<Tag>>> {
        let grace = self.grace();
        self.write(delete::Delete {
            repository: repository.clone(),
            digest: *digest,
            grace,
            now,
        })
        .await
    }
}
