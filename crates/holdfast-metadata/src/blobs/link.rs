//! Giving a repository a blob: a finished upload, a mount, a renewed lease.

use holdfast_model::{Digest, RepositoryName, Timestamp, UploadId};

use super::state::{DAMAGED, DOOMED, LIVE};
use super::{LinkBlob, Linked};
use crate::operation::{
    Durability, Lock, Operation, Outdated, Transaction, Write, changed_meanwhile, params,
};
use crate::{Error, Result, gc, repositories};

pub(super) struct Link {
    pub(super) blob: LinkBlob,
    pub(super) lease_until: Timestamp,
}

impl Operation for Link {
    type Output = Linked;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Linked> {
        let blob = &self.blob;
        if let Some((upload, version)) = blob.upload {
            match last_version(tx, upload).await? {
                None => return Ok(Linked::SessionEnded),
                Some(last) if last != version => return Ok(Linked::SessionTaken),
                Some(_) => {}
            }
        }
        let linked = self.settle_key(tx).await?;
        if linked == Linked::KeyTaken {
            return Ok(linked);
        }
        let repo_id = repositories::id_or_new(tx, &blob.repository, blob.now).await?;
        attach(tx, repo_id, blob.digest, self.lease_until).await?;
        for left in &blob.leftovers {
            gc::discard_key(tx, left, None, blob.now).await?;
        }
        if let Some((upload, _)) = blob.upload {
            tx.execute(
                "DELETE FROM uploads WHERE id = ?1",
                params![upload.to_string().as_str()],
            )
            .await?;
        }
        Ok(linked)
    }
}

impl Write for Link {
    const DURABILITY: Durability = Durability::Durable;
}

/// The version of a session that is there, and stays while this transaction lasts. Who ends it otherwise deletes its
/// bytes.
async fn last_version<T: Transaction>(tx: &mut T, upload: UploadId) -> Result<Option<u64>> {
    let session = "SELECT version FROM uploads WHERE id = ?1 /*FOR UPDATE*/";
    let found = tx
        .first(session, params![upload.to_string().as_str()])
        .await?;
    found.map(|mut row| row.size()).transpose()
}

impl Link {
    /// Decides whose bytes are the blob, and leaves a live, locked row for them.
    async fn settle_key<T: Transaction>(&self, tx: &mut T) -> Result<Linked> {
        let blob = &self.blob;
        let own_key = blob.storage_key.as_str();
        // Without a lock first: upgrading a shared lock deadlocks, so the first lock must be the right one.
        match read_state(
            tx,
            "SELECT state, storage_key FROM blobs WHERE digest = ?1",
            blob.digest,
        )
        .await?
        {
            None => {
                if gc::claim_is_refused(tx, own_key).await? {
                    return Ok(Linked::KeyTaken);
                }
                let inserted = tx
                    .execute(
                        "INSERT INTO blobs (digest, size_bytes, state, storage_key, created_at, state_at, verified_at)
                         VALUES (?1, ?2, 0, ?3, ?4, ?4, ?4) ON CONFLICT (digest) DO NOTHING",
                        params![blob.digest, blob.size, own_key, blob.now],
                    )
                    .await?;
                if inserted == 0 {
                    Err(changed_meanwhile())
                } else {
                    Ok(Linked::Stored)
                }
            }
            Some((LIVE, live_key)) => {
                let again = "SELECT state, storage_key FROM blobs WHERE digest = ?1 /*FOR SHARE*/";
                if read_state(tx, again, blob.digest).await? != Some((LIVE, live_key.clone())) {
                    return Err(changed_meanwhile());
                }
                if live_key == own_key {
                    return Ok(Linked::Stored);
                }
                gc::discard_key(tx, own_key, Some((blob.digest, blob.size)), blob.now).await?;
                Ok(Linked::Surplus { live_key })
            }
            Some((DOOMED, dead_key)) => {
                // Its bytes may be deleted at any moment, and late: never the same key again (I3).
                if dead_key == own_key || gc::claim_is_refused(tx, own_key).await? {
                    return Ok(Linked::KeyTaken);
                }
                self.take_over(tx, (DOOMED, dead_key)).await?;
                Ok(Linked::Stored)
            }
            Some((DAMAGED, damaged_key)) => {
                // A key serves one incarnation (I3), whether its bytes are right or wrong.
                if damaged_key == own_key || gc::claim_is_refused(tx, own_key).await? {
                    return Ok(Linked::KeyTaken);
                }
                self.take_over(tx, (DAMAGED, damaged_key.clone())).await?;
                gc::discard_key(tx, &damaged_key, None, blob.now).await?;
                Ok(Linked::Healed { damaged_key })
            }
            Some((other, _)) => Err(Error::corrupt(format!(
                "blob {} has the unknown state {other}",
                blob.digest
            ))),
        }
    }
}

impl Link {
    /// Makes the blob live again with our bytes, provided that it is still in this state.
    async fn take_over<T: Transaction>(&self, tx: &mut T, from: (i64, String)) -> Result<()> {
        let blob = &self.blob;
        let again = "SELECT state, storage_key FROM blobs WHERE digest = ?1 /*FOR UPDATE*/";
        if read_state(tx, again, blob.digest).await? != Some(from) {
            return Err(changed_meanwhile());
        }
        tx.execute(
            "UPDATE blobs SET state = 0, storage_key = ?2, size_bytes = ?3, created_at = ?4, state_at = ?4,
             verified_at = ?4 WHERE digest = ?1",
            params![blob.digest, blob.storage_key.as_str(), blob.size, blob.now],
        )
        .await?;
        Ok(())
    }
}

async fn read_state<T: Transaction>(
    tx: &mut T,
    sql: &'static str,
    digest: Digest,
) -> Result<Option<(i64, String)>> {
    match tx.first(sql, params![digest]).await? {
        Some(mut row) => Ok(Some((row.integer()?, row.text()?))),
        None => Ok(None),
    }
}

/// Links a live blob, or renews its lease, and hands it to the manifests that were waiting for it.
///
/// The caller holds the blob's row live. A manifest that misses this blob and is stored at the same moment takes
/// the same lock: it sees the link, or its missing row is seen here.
pub(crate) async fn attach<T: Transaction>(
    tx: &mut T,
    repo_id: i64,
    digest: Digest,
    lease_until: Timestamp,
) -> Result<()> {
    tx.lock(Lock::MissingLink(repo_id, digest));
    tx.execute(
        "INSERT INTO repo_blobs (repo_id, digest, used, lease_until) VALUES (?1, ?2, 0, ?3)
         ON CONFLICT (repo_id, digest) DO UPDATE SET lease_until = excluded.lease_until
         WHERE repo_blobs.lease_until < excluded.lease_until",
        params![repo_id, digest, lease_until],
    )
    .await?;
    let adopted = tx
        .execute(
            "INSERT INTO manifest_blobs (repo_id, manifest_id, position, digest, media_type, size_bytes)
             SELECT repo_id, manifest_id, position, digest, media_type, size_bytes FROM manifest_missing_blobs
             WHERE repo_id = ?1 AND digest = ?2",
            params![repo_id, digest],
        )
        .await?;
    if adopted > 0 {
        tx.execute(
            "DELETE FROM manifest_missing_blobs WHERE repo_id = ?1 AND digest = ?2",
            params![repo_id, digest],
        )
        .await?;
        mark_used(tx, repo_id, digest).await?;
    }
    Ok(())
}

/// Marks a link as in use.
pub(crate) async fn mark_used<T: Transaction>(
    tx: &mut T,
    repo_id: i64,
    digest: Digest,
) -> Result<()> {
    tx.execute(
        "UPDATE repo_blobs SET used = 1 WHERE repo_id = ?1 AND digest = ?2 AND used = 0",
        params![repo_id, digest],
    )
    .await?;
    Ok(())
}

pub(super) struct Mount {
    pub(super) from: RepositoryName,
    pub(super) to: RepositoryName,
    pub(super) digest: Digest,
    pub(super) lease_until: Timestamp,
    pub(super) now: Timestamp,
}

impl Operation for Mount {
    type Output = Option<u64>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Option<u64>> {
        let source = tx
            .first(
                "SELECT b.size_bytes
                 FROM repositories r
                 JOIN repo_blobs l ON l.repo_id = r.id AND l.digest = ?2
                 JOIN blobs b ON b.digest = l.digest AND b.state = 0
                 WHERE r.path = ?1 AND r.deleted_at IS NULL /*FOR SHARE OF b*/",
                params![self.from.as_str(), self.digest],
            )
            .await?;
        let Some(mut row) = source else {
            return Ok(None);
        };
        let repo_id = repositories::id_or_new(tx, &self.to, self.now).await?;
        attach(tx, repo_id, self.digest, self.lease_until).await?;
        Ok(Some(row.size()?))
    }
}

impl Write for Mount {
    const DURABILITY: Durability = Durability::Durable;
}

/// Renews the lease of an unused link; whether there still is a link.
pub(super) struct RenewLease {
    pub(super) repository: RepositoryName,
    pub(super) digest: Digest,
    pub(super) until: Timestamp,
}

impl Operation for RenewLease {
    type Output = bool;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<bool> {
        let Some(repo_id) = repositories::id_of(tx, &self.repository).await? else {
            return Ok(false);
        };
        tx.execute(
            "UPDATE repo_blobs SET lease_until = ?3
             WHERE repo_id = ?1 AND digest = ?2 AND used = 0 AND lease_until < ?3",
            params![repo_id, self.digest, self.until],
        )
        .await?;
        let link = "SELECT 1 FROM repo_blobs WHERE repo_id = ?1 AND digest = ?2";
        Ok(tx
            .first(link, params![repo_id, self.digest])
            .await?
            .is_some())
    }
}

impl Write for RenewLease {
    const DURABILITY: Durability = Durability::Relaxed;

    // Otherwise the old end of the lease would be renewed at every look.
    fn outdates(&self) -> Outdated<'_> {
        Outdated::One(&self.repository)
    }
}
