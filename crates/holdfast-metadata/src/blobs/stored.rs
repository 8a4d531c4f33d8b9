//! Content that is stored already, for a pusher who has just proved to have it.

use holdfast_model::{Digest, RepositoryName, Timestamp, UploadId};

use super::Blob;
use super::link::attach;
use crate::operation::{Durability, Operation, Outdated, Transaction, Write, params};
use crate::{Metadata, Result, gc_queues, repositories};

pub(crate) const FIND_LIVE: &str =
    "SELECT size_bytes, storage_key FROM blobs WHERE digest = ?1 AND state = 0";

impl Metadata {
    /// A live blob of this digest, in whichever repository. This is not for clients: they may know of a
    /// blob through a repository only.
    pub async fn content(&self, digest: &Digest) -> Result<Option<Blob>> {
        self.read(FindLive { digest }).await
    }

    /// Links a blob that is stored already and ends the session that brought its bytes again; its
    /// size, or `None` if it is not stored any more. The caller has seen the bytes hash to the digest.
    pub async fn link_stored_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        upload: Option<UploadId>,
        now: Timestamp,
    ) -> Result<Option<u64>> {
        let lease_until = now.plus(self.grace());
        self.write(LinkStored {
            repository: repository.clone(),
            digest: *digest,
            upload,
            lease_until,
            now,
        })
        .await
    }
}

impl Metadata {
    /// Gives a live blob other bytes, because those under `old_key` are missing or damaged; whether the
    /// blob still had that key. The old key goes to the outbox, the new one must be fresh.
    pub async fn repoint_blob(
        &self,
        digest: &Digest,
        old_key: &str,
        new_key: &str,
        now: Timestamp,
    ) -> Result<bool> {
        self.write(Repoint {
            digest: *digest,
            old_key: old_key.to_owned(),
            new_key: new_key.to_owned(),
            now,
        })
        .await
    }
}

struct Repoint {
    digest: Digest,
    old_key: String,
    new_key: String,
    now: Timestamp,
}

impl Operation for Repoint {
    type Output = bool;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<bool> {
        let changed = tx
            .execute(
                "UPDATE blobs SET storage_key = ?3, state_at = ?4
                 WHERE digest = ?1 AND storage_key = ?2 AND state = 0",
                params![
                    self.digest,
                    self.old_key.as_str(),
                    self.new_key.as_str(),
                    self.now
                ],
            )
            .await?;
        if changed > 0 {
            gc_queues::discard_key(tx, &self.old_key, None, self.now).await?;
        }
        Ok(changed > 0)
    }
}

impl Write for Repoint {
    const DURABILITY: Durability = Durability::Durable;

    // Any repository may have this blob.
    fn outdates(&self) -> Outdated<'_> {
        Outdated::All
    }
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
            })),
            None => Ok(None),
        }
    }
}

struct LinkStored {
    repository: RepositoryName,
    digest: Digest,
    upload: Option<UploadId>,
    lease_until: Timestamp,
    now: Timestamp,
}

impl Operation for LinkStored {
    type Output = Option<u64>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Option<u64>> {
        let locked = "SELECT size_bytes FROM blobs WHERE digest = ?1 AND state = 0 /*FOR SHARE*/";
        let Some(mut row) = tx.first(locked, params![self.digest]).await? else {
            return Ok(None);
        };
        let size = row.size()?;
        let repo_id = repositories::id_or_new(tx, &self.repository, self.now).await?;
        attach(tx, repo_id, self.digest, self.lease_until).await?;
        if let Some(upload) = self.upload {
            let id = upload.to_string();
            tx.execute("DELETE FROM uploads WHERE id = ?1", params![id.as_str()])
                .await?;
        }
        Ok(Some(size))
    }
}

impl Write for LinkStored {
    const DURABILITY: Durability = Durability::Durable;
}
