//! Blobs: which bytes there are, and which repository has them.
//!
//! A blob is seen only through a repository's own link to it. The protocol that keeps a blob some push
//! relies on is argued in docs/explanation/garbage-collection.md; its parts here are `link` (an
//! upload is finished), `mount`, the lease renewed by [`Metadata::blob`], and `unlink`.

mod damage;
mod find;
mod link;
mod moved;
pub(crate) mod state;
mod stored;
mod unlink;

use std::sync::Arc;

use holdfast_model::{Digest, RepositoryName, Timestamp, UploadId};

use crate::cache::{Answer, Question};
use crate::lease::{Lease, lease};
use crate::{Metadata, Result};

pub(crate) use find::LinkedBlob;
#[cfg(test)]
pub(crate) use find::{FIND_LINKED, KEY_IN_USE, REPOSITORIES_WITH};
pub(crate) use link::{attach, mark_used};
#[cfg(test)]
pub(crate) use stored::FIND_LIVE;
pub use stored::LinkedStored;

/// A blob of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its size in bytes.
    pub size: u64,
    /// Where the bytes are.
    pub storage_key: Arc<str>,
    /// Whether the bytes are known to be missing or wrong. They are not to be served, and whoever asks
    /// in order to leave out a push is to be told that there is no such blob.
    pub damaged: bool,
}

/// A finished upload: bytes written and synced, digest checked.
#[derive(Clone, Debug)]
pub struct LinkBlob {
    /// The repository to link it into.
    pub repository: RepositoryName,
    /// The digest the bytes have.
    pub digest: Digest,
    /// How many there are.
    pub size: u64,
    /// Where they are.
    pub storage_key: String,
    /// The session they came through, which ends.
    pub upload: Option<(UploadId, u64)>,
    /// What to give up to the outbox beside: what the session leaves behind.
    pub leftovers: Vec<String>,
    /// The current time.
    pub now: Timestamp,
}

/// What became of a finished upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Linked {
    /// It is linked, and these bytes are the blob.
    Stored,
    /// It is linked to bytes that were there before. The key of the new ones is given up to the outbox;
    /// the collector deletes them.
    Surplus {
        /// Where the blob's bytes are.
        live_key: String,
    },
    /// It is linked, and these bytes are the blob in place of damaged ones, in every repository that has
    /// it. The key of the damaged ones is given up to the outbox; the caller may delete them at once.
    Healed {
        /// Where the damaged bytes are.
        damaged_key: String,
    },
    /// Nothing was changed: the key is waiting for deletion or was the key of a deleted blob. Move the
    /// bytes to a fresh key and try again.
    KeyTaken,
    /// Nothing was changed: another request, perhaps on another node, has ended the upload session. The
    /// bytes may be what it has linked.
    SessionEnded,
    /// Nothing was changed: a later request has taken the session over, and may go on with these very bytes.
    SessionTaken,
}

/// What became of a blob to be removed from a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unlinked {
    /// It is no longer there.
    Removed,
    /// It was not there.
    Unknown,
    /// Nothing was changed: manifests need it.
    InUse {
        /// Some of them, at most ten.
        manifests: Vec<Digest>,
    },
}

impl Metadata {
    /// A blob of this repository.
    ///
    /// Whoever is told that it exists may rely on it for half a grace period: if nothing uses it yet and
    /// less than that is left of its lease, the lease is renewed.
    pub async fn blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        now: Timestamp,
    ) -> Result<Option<Blob>> {
        let Some(linked) = self.linked_blob(repository, digest).await? else {
            return Ok(None);
        };
        let blob = Blob {
            size: linked.size,
            storage_key: Arc::clone(&linked.storage_key),
            damaged: linked.damaged,
        };
        if linked.damaged {
            // Nobody is told that it exists, so nobody relies on its lease.
            return Ok(Some(blob));
        }
        let renewal = || link::RenewLease {
            repository: repository.clone(),
            digest: *digest,
            until: now.plus(self.grace()),
        };
        match lease(linked.used, linked.lease_until, now, self.grace()) {
            Lease::Good => {}
            Lease::Renew => {
                if let Err(error) = self.write_soon(renewal()) {
                    tracing::debug!(%repository, %digest, %error, "a lease was not renewed");
                }
            }
            Lease::Ended => match self.write(renewal()).await {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                // A database that cannot be written still serves pulls, and deletes nothing meanwhile.
                Err(error) => {
                    tracing::debug!(%repository, %digest, %error, "a lease was not renewed")
                }
            },
        }
        Ok(Some(blob))
    }

    async fn linked_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Arc<LinkedBlob>>> {
        if self.is_shared() {
            let found = self.read(find::Find { repository, digest }).await?;
            return Ok(found.map(Arc::new));
        }
        let question = Question::Blob(digest);
        let (version, cached) = self.cache().get(repository, question);
        if let Some(Answer::Blob(linked)) = cached {
            return Ok(Some(linked));
        }
        let found = self
            .read(find::Find { repository, digest })
            .await?
            .map(Arc::new);
        // The push that heals a blob makes no cached answer wrong, as one that only adds.
        if let Some(linked) = found.as_ref().filter(|linked| !linked.damaged) {
            self.cache()
                .put(repository, question, version, Answer::Blob(linked.clone()));
        }
        Ok(found)
    }

    /// Whether a new blob of this digest may be written to this storage key: there is none of that
    /// digest, not even a deleted one, and the key is not waiting for deletion.
    ///
    /// Where nodes share the database no key is free that was not made by chance: one of them may be about to delete
    /// what had it before.
    pub async fn key_is_free(&self, storage_key: &str, digest: &Digest) -> Result<bool> {
        if self.is_shared() {
            return Ok(false);
        }
        self.read(find::KeyIsFree {
            storage_key,
            digest,
        })
        .await
    }

    /// Links a finished upload into its repository and ends the session.
    pub async fn link_blob(&self, blob: LinkBlob) -> Result<Linked> {
        let lease_until = blob.now.plus(self.grace());
        self.write(link::Link { blob, lease_until }).await
    }

    /// Links a blob of one repository into another; its size, or `None` if the first has no such blob.
    pub async fn mount_blob(
        &self,
        from: &RepositoryName,
        to: &RepositoryName,
        digest: &Digest,
        now: Timestamp,
    ) -> Result<Option<u64>> {
        let lease_until = now.plus(self.grace());
        self.write(link::Mount {
            from: from.clone(),
            to: to.clone(),
            digest: *digest,
            lease_until,
            now,
        })
        .await
    }

    /// Some repositories that have this blob.
    pub async fn repositories_with_blob(
        &self,
        digest: &Digest,
        limit: usize,
    ) -> Result<Vec<RepositoryName>> {
        self.read(find::RepositoriesWith { digest, limit }).await
    }

    /// Removes a blob from a repository unless a manifest there needs it.
    pub async fn unlink_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        now: Timestamp,
    ) -> Result<Unlinked> {
        self.write(unlink::Unlink {
            repository: repository.clone(),
            digest: *digest,
            now,
        })
        .await
    }
}
