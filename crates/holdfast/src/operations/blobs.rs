//! Pull, mount and delete of blobs.

use holdfast_metadata::{Blob, Unlinked};
use holdfast_model::{Digest, RepositoryName};
use holdfast_storage::{BlobReader, Error as StorageError, StorageKey};

use super::{Error, Operations, Result};
use crate::clock;

/// Most repositories looked at for one mount without a source.
const MOUNT_CANDIDATES: usize = 16;

impl Operations {
    /// A blob that the repository has; from metadata alone.
    pub(crate) async fn blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<Blob> {
        let blob = self.metadata.blob(repository, digest, clock::now()).await?;
        blob.ok_or(Error::BlobUnknown(*digest))
    }

    /// The same for those who may leave out a push when it is there.
    pub(crate) async fn pushed_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Blob> {
        if self.broken.contains(digest) {
            return Err(Error::BlobUnknown(*digest));
        }
        self.blob(repository, digest).await
    }

    /// Opens the bytes of a blob.
    ///
    /// Stored bytes of another length than recorded are an error here, before a header goes out.
    pub(crate) async fn open_blob(
        &self,
        digest: &Digest,
        blob: &Blob,
    ) -> Result<Box<dyn BlobReader>> {
        let key: StorageKey = blob
            .storage_key
            .parse()
            .map_err(|_| Error::KeyDamaged(*digest))?;
        let opened = match self.store.open(&key).await {
            Ok(reader) if reader.size() == blob.size => Ok(reader),
            Ok(reader) => Err(StorageError::Truncated {
                key,
                size: blob.size,
                end: reader.size(),
            }),
            Err(error) => Err(error),
        };
        match &opened {
            Ok(_) => self.broken.remove(digest),
            Err(StorageError::NotFound(_) | StorageError::Truncated { .. }) => {
                self.broken.insert(*digest)
            }
            Err(_) => {}
        }
        Ok(opened?)
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
        self.writable()?;
        if self.broken.contains(digest) {
            return Ok(false);
        }
        Ok(self
            .metadata
            .mount_blob(from, repository, digest, clock::now())
            .await?
            .is_some())
    }

    /// Takes a blob out of the repository. Its bytes go when no repository has it any more.
    pub(crate) async fn delete_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<()> {
        self.deletable()?;
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
