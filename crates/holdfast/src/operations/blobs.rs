//! Pull, mount and delete of blobs.

use holdfast_metadata::Unlinked;
use holdfast_model::{Digest, RepositoryName};
use holdfast_storage::{BlobReader, StorageKey};

use super::{Error, Operations, Result};
use crate::clock;

/// Most repositories looked at for one mount without a source.
const MOUNT_CANDIDATES: usize = 16;

/// A blob ready to be read.
pub struct OpenBlob {
    /// Its size in bytes.
    pub size: u64,
    /// Where its bytes come from.
    pub reader: Box<dyn BlobReader>,
}

impl Operations {
    /// The size of a blob that the repository has; from metadata alone.
    pub async fn blob_size(&self, repository: &RepositoryName, digest: &Digest) -> Result<u64> {
        let blob = self.metadata.blob(repository, digest, clock::now()).await?;
        Ok(blob.ok_or(Error::BlobUnknown(*digest))?.size)
    }

    /// Opens a blob that the repository has.
    ///
    /// Stored bytes of another length than recorded are an error here, before a header goes out.
    pub async fn open_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<OpenBlob> {
        let blob = self.metadata.blob(repository, digest, clock::now()).await?;
        let blob = blob.ok_or(Error::BlobUnknown(*digest))?;
        let key: StorageKey = blob
            .storage_key
            .parse()
            .map_err(|_| Error::KeyDamaged(*digest))?;
        let reader = self.store.open(&key).await?;
        if reader.size() != blob.size {
            tracing::error!(%digest, recorded = blob.size, stored = reader.size(), "stored bytes have the wrong length");
            return Err(Error::Storage(holdfast_storage::Error::Truncated {
                key,
                size: blob.size,
                end: reader.size(),
            }));
        }
        Ok(OpenBlob {
            size: blob.size,
            reader,
        })
    }

    /// Makes a blob of `from` visible in `repository` too; false when `from` does not have it.
    ///
    /// The caller has been allowed to read `from`.
    pub async fn mount_blob(
        &self,
        from: &RepositoryName,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool> {
        self.writable()?;
        Ok(self
            .metadata
            .mount_blob(from, repository, digest, clock::now())
            .await?
            .is_some())
    }

    /// Mounts a blob from the first of its repositories that `readable` allows.
    pub async fn mount_from_anywhere(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        readable: impl Fn(&RepositoryName) -> bool + Send,
    ) -> Result<bool> {
        self.writable()?;
        for from in self
            .metadata
            .repositories_with_blob(digest, MOUNT_CANDIDATES)
            .await?
        {
            if readable(&from) && self.mount_blob(&from, repository, digest).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes a blob out of the repository. Its bytes go when no repository has it any more.
    pub async fn delete_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<()> {
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

    /// Links content that is stored already, for a pusher who has just proved to have it.
    pub(super) async fn link_stored(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        upload: Option<holdfast_model::UploadId>,
    ) -> Result<bool> {
        Ok(self
            .metadata
            .link_stored_blob(repository, digest, upload, clock::now())
            .await?
            .is_some())
    }
}
