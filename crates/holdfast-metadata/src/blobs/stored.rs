//! Content that is stored already, for a pusher who has just proved to have it.

use holdfast_model::{Digest, RepositoryName, Timestamp, UploadId};

use super::Blob;
use super::link::attach;
use crate::operation::{Durability, Operation, Transaction, Write, params};
use crate::{Metadata, Result, gc, repositories};

pub(crate) const FIND_LIVE: &str =
    "SELECT size_bytes, storage_key FROM blobs WHERE digest = ?1 AND state = 0";

impl Metadata {
    /// A live blob of this digest, in whichever repository. This is not for clients: they may know of a
    /// blob through a repository only.
    pub async fn content(&self, digest: &Digest) -> Result<Option<Blob>> {
        self.read(FindLive { digest }).await
    }

    /// Links a blob that is stored already and ends the session that brought its bytes again, unless a later request
    /// has taken that over; with `discard` its bytes are the collector's from then on. `None` if the blob is not stored any more. The caller has seen the bytes hash to the
    /// digest.
    pub async fn link_stored_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        upload: Option<(UploadId, u64)>,
        discard: bool,
        now: Timestamp,
    ) -> Result<Option<LinkedStored>> {
        let lease_until = now.plus(self.grace());
        self.write(LinkStored {
            repository: repository.clone(),
            digest: *digest,
            upload,
            discard,
            lease_until,
            now,
        })
        .await
    }
}

/// A blob that was linked without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkedStored {
    /// Its size.
    pub size: u64,
    /// The session has ended, if there was one. Otherwise its bytes are another request's.
    pub session_ended: bool,
}

struct FindLive<'a> {
    digest: &'a Digest,
}

impl Operation for FindLive<'_> {
    type Output = Option<Blob>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Option<Blob>> {
        match tx.first(FIND_LIVE, params![*self.digest]).await? {
            Some(mut row) => Ok(Some(Blob {
                size: row.size()?,
                storage_key: row.text()?.into(),
                damaged: false,
            })),
            None => Ok(None),
        }
    }
}

struct LinkStored {
    repository: RepositoryName,
    digest: Digest,
    upload: Option<(UploadId, u64)>,
    discard: bool,
    lease_until: Timestamp,
    now: Timestamp,
}

impl Operation for LinkStored {
    type Output = Option<LinkedStored>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Option<LinkedStored>> {
        let locked = "SELECT size_bytes FROM blobs WHERE digest = ?1 AND state = 0 /*FOR SHARE*/";
        let Some(mut row) = tx.first(locked, params![self.digest]).await? else {
            return Ok(None);
        };
        let size = row.size()?;
        let repo_id = repositories::id_or_new(tx, &self.repository, self.now).await?;
        attach(tx, repo_id, self.digest, self.lease_until).await?;
        let mut session_ended = true;
        if let Some((upload, version)) = self.upload {
            let id = upload.to_string();
            let ended = "DELETE FROM uploads WHERE id = ?1 AND version = ?2 RETURNING storage_key";
            let ended = tx.first(ended, params![id.as_str(), version]).await?;
            session_ended = ended.is_some();
            if let (Some(mut row), true) = (ended, self.discard) {
                gc::discard_key(tx, &row.text()?, None, self.now).await?;
            }
        }
        Ok(Some(LinkedStored {
            size,
            session_ended,
        }))
    }
}

impl Write for LinkStored {
    const DURABILITY: Durability = Durability::Durable;
}
