//! Pull, mount and delete of blobs.

use std::net::IpAddr;

use holdfast_metadata::{Blob, Unlinked};
use holdfast_model::{Digest, RepositoryName};
use holdfast_storage::{BlobReader, Error as StorageError, StorageKey};

use super::{Damage, Error, Operations, Result};
use crate::clock;
use crate::error_chain::chain;

/// Most repositories looked at for one mount without a source.
const MOUNT_CANDIDATES: usize = 16;

impl Operations {
    /// A blob that the repository has; from metadata alone.
    pub(crate) async fn blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<Blob> {
        let mut blob = self.metadata.blob(repository, digest, clock::now()).await?;
        if blob.is_none() && self.adopt_blob(repository, digest).await? {
            blob = self.metadata.blob(repository, digest, clock::now()).await?;
        }
        let blob = blob.ok_or(Error::BlobUnknown(*digest))?;
        if blob.damaged {
            return Err(Error::BlobDamaged(*digest));
        }
        Ok(blob)
    }

    /// The same for those who may leave out a push when it is there.
    pub(crate) async fn pushed_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Blob> {
        match self.blob(repository, digest).await {
            Err(Error::BlobDamaged(digest)) => Err(Error::BlobUnknown(digest)),
            found => found,
        }
    }

    /// Opens the bytes of a blob.
    ///
    /// Stored bytes of another length than recorded are an error here, before a header goes out.
    pub(crate) async fn open_blob(
        &self,
        digest: &Digest,
        blob: &Blob,
    ) -> Result<Box<dyn BlobReader>> {
        let damage = match blob.storage_key.parse::<StorageKey>() {
            Ok(key) => match self.store.open(&key).await {
                Ok(reader) if reader.size() == blob.size => return Ok(reader),
                Ok(_) => Damage::Size,
                Err(StorageError::NotFound(_)) => Damage::Missing,
                Err(error) => return Err(error.into()),
            },
            Err(_no_place) => Damage::Missing,
        };
        // This pull fails anyway; it waits until the HEAD that may follow will be told so.
        match self.mark_damaged(digest, &blob.storage_key, damage).await {
            // A deletion or a push has come in between: asked again, the answer will be another.
            Ok(false) => tracing::debug!(%digest, "the bytes of a pull went away"),
            Ok(true) => {}
            Err(error) => tracing::error!(%digest, error = chain(&error), "damage was not noted"),
        }
        Err(Error::BlobDamaged(*digest))
    }

    /// Where a client at this address may fetch the blob by itself, if there are such places.
    pub(crate) async fn blob_url(
        &self,
        blob: &Blob,
        client: Option<IpAddr>,
    ) -> Result<Option<String>> {
        match blob.storage_key.parse::<StorageKey>() {
            Ok(key) => {
                let storage = async || Ok(self.store.signed_url(&key).await?);
                self.redirects.url(&key, client, storage).await
            }
            // Whoever opens it finds out what is wrong.
            Err(_no_place) => Ok(None),
        }
    }

    /// Some repositories that have the blob, for a mount without a source.
    pub(crate) async fn repositories_with_blob(
        &self,
        digest: &Digest,
    ) -> Result<Vec<RepositoryName>> {
        Ok(self
            .metadata
            .repositories_with_blob(digest, MOUNT_CANDIDATES)
            .await?)
    }

    /// Makes a blob of `from` visible in `repository` too; false when `from` does not have it.
    ///
    /// The caller has been allowed to read `from`.
    pub(crate) async fn mount_blob(
        &self,
        from: &RepositoryName,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool> {
        let _change = self.change()?;
        let mount = || {
            self.metadata
                .mount_blob(from, repository, digest, clock::now())
        };
        let mut mounted = mount().await?;
        if mounted.is_none() && self.adopt_blob(from, digest).await? {
            mounted = mount().await?;
        }
        Ok(mounted.is_some())
    }

    /// Takes a blob out of the repository. Its bytes go when no repository has it any more.
    pub(crate) async fn delete_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<()> {
        drop(self.deletion()?);
        self.adopted(repository).await?;
        let _change = self.deletion()?;
        match self
            .metadata
            .unlink_blob(repository, digest, clock::now())
            .await?
        {
            Unlinked::Removed => Ok(()),
            Unlinked::Unknown => Err(Error::BlobUnknown(*digest)),
            Unlinked::InUse { manifests } => Err(Error::BlobInUse {
                digest: *digest,
                manifests,
            }),
        }
    }
}
