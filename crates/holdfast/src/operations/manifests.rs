//! Push, pull and delete of manifests and tags.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_metadata::{BlobReference, ChildReference, PutManifest, PutOutcome, StoredManifest};
use holdfast_model::accept::{Accept, Negotiated};
use holdfast_model::{
    Algorithm, Digest, Hasher, Manifest, MediaType, Reference, RepositoryName, Tag, Timestamp,
};

use super::{Error, Operations, Result, policy};
use crate::clock;

/// What a push of a manifest did.
#[derive(Debug)]
pub(crate) struct PushedManifest {
    /// The digest it is stored under.
    pub digest: Digest,
    /// The manifest it is about.
    pub subject: Option<Digest>,
}

impl Operations {
    /// A manifest of the repository as it is stored.
    pub(crate) async fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Arc<StoredManifest>> {
        let mut stored = self.metadata.manifest(repository, reference).await?;
        if stored.is_none() && self.adopt_reference(repository, reference).await? {
            stored = self.metadata.manifest(repository, reference).await?;
        }
        stored.ok_or_else(|| Error::ManifestUnknown {
            repository: repository.clone(),
            reference: reference.clone(),
        })
    }

    /// Notes that a manifest was pulled.
    pub(crate) fn note_pull(&self, repository: &RepositoryName, digest: &Digest) {
        self.pulls.note(repository, digest, clock::now);
    }

    /// Stores a manifest under its digest and sets tags to it, in one transaction.
    pub(crate) async fn push_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        extra_tags: Vec<Tag>,
        media_type: &MediaType,
        payload: Bytes,
    ) -> Result<PushedManifest> {
        let _change = self.change()?;
        let digest = match reference {
            Reference::Tag(_) => Hasher::digest(Algorithm::Sha256, &payload),
            Reference::Digest(expected) => {
                let actual = Hasher::digest(expected.algorithm(), &payload);
                if actual != *expected {
                    return Err(Error::DigestMismatch {
                        expected: *expected,
                        actual,
                    });
                }
                actual
            }
        };
        let manifest = Manifest::parse(media_type, &payload)?;
        policy::check_urls(&self.rules.push, &manifest)?;
        let mut tags = extra_tags;
        if let Reference::Tag(tag) = reference
            && !tags.contains(tag)
        {
            tags.push(tag.clone());
        }
        if tags.len() > self.rules.tags_per_push {
            return Err(Error::TooManyTags {
                limit: self.rules.tags_per_push,
            });
        }
        self.adopt_what_is_named(repository, &manifest, &digest, &tags)
            .await?;
        let subject = manifest.subject.as_ref().map(|subject| subject.digest);
        let stored = StoredManifest {
            digest,
            media_type: media_type.clone(),
            payload,
        };
        let facts = self.facts(repository, stored, &manifest, tags, clock::now());
        let outcome = self.metadata.put_manifest(facts).await?;
        match outcome {
            PutOutcome::Stored { .. } => Ok(PushedManifest { digest, subject }),
            PutOutcome::Missing { blobs, manifests } => {
                Err(Error::ReferencesUnknown { blobs, manifests })
            }
        }
    }

    /// What the database keeps of a manifest.
    pub(super) fn facts(
        &self,
        repository: &RepositoryName,
        stored: StoredManifest,
        manifest: &Manifest,
        tags: Vec<Tag>,
        now: Timestamp,
    ) -> PutManifest {
        let rules = &self.rules.push;
        let blobs = manifest.blobs().map(|blob| BlobReference {
            digest: blob.digest,
            media_type: blob.media_type.clone(),
            size: blob.size,
            required: policy::requires_blob(rules, blob),
        });
        let children = manifest.children.iter().map(|child| ChildReference {
            digest: child.digest,
            media_type: child.media_type.clone(),
            size: child.size,
            platform: child.platform.as_ref().map(|platform| platform.spelled()),
            required: policy::requires_child(rules, child),
        });
        PutManifest {
            repository: repository.clone(),
            digest: stored.digest,
            media_type: stored.media_type,
            image_size: manifest
                .blobs()
                .fold(0_u64, |sum, blob| sum.saturating_add(blob.size)),
            blobs: blobs.collect(),
            children: children.collect(),
            artifact_type: manifest.artifact_type.clone(),
            subject: manifest.subject.as_ref().map(|subject| subject.digest),
            annotations_json: manifest.annotations.clone(),
            payload: stored.payload,
            tags,
            pushed_by: None,
            now,
        }
    }

    /// Deletes a tag, or a manifest with every tag that points at it.
    pub(crate) async fn delete_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<()> {
        drop(self.deletion()?);
        self.adopted(repository).await?;
        let _change = self.deletion()?;
        let deleted = match reference {
            Reference::Tag(tag) => {
                self.metadata
                    .delete_tag(repository, tag, clock::now())
                    .await?
            }
            Reference::Digest(digest) => self
                .metadata
                .delete_manifest(repository, digest, clock::now())
                .await?
                .is_some(),
        };
        if deleted {
            Ok(())
        } else {
            Err(Error::ManifestUnknown {
                repository: repository.clone(),
                reference: reference.clone(),
            })
        }
    }
}

/// The child to serve in the manifest's place, if the client can read only that.
pub(crate) fn instead(
    repository: &RepositoryName,
    reference: &Reference,
    stored: &StoredManifest,
    accept: &Accept,
) -> Result<Option<Reference>> {
    match accept.negotiate(&stored.media_type, matches!(reference, Reference::Tag(_))) {
        Negotiated::Serve => Ok(None),
        Negotiated::NotAcceptable(message) => Err(Error::NotAcceptable(message)),
        Negotiated::ServeDefaultPlatform => {
            let list = Manifest::parse(&stored.media_type, &stored.payload)?;
            let default = list.children.iter().find(|child| {
                child
                    .platform
                    .as_ref()
                    .is_some_and(|p| p.os == "linux" && p.architecture == "amd64")
            });
            let unknown = || Error::ManifestUnknown {
                repository: repository.clone(),
                reference: reference.clone(),
            };
            default
                .map(|child| Some(Reference::Digest(child.digest)))
                .ok_or_else(unknown)
        }
    }
}
