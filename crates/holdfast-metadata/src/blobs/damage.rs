//! Blobs whose stored bytes were found missing or wrong.
//!
//! Such a blob keeps its links, so that nothing is forgotten of what needs it; it is not served, and it
//! counts as absent for everybody who might leave out a push because of it. The push brings new bytes
//! under a new key (`link.rs`), and with them the blob is live again in all its repositories.

use holdfast_model::{Digest, Timestamp};

use super::state::{DAMAGED, LIVE};
use crate::operation::{Durability, Operation, Outdated, Transaction, Write, params};
use crate::{Metadata, Result};

impl Metadata {
    /// Notes that the bytes under `storage_key` are missing or wrong; whether they were the bytes of a
    /// live blob until now. False also when the blob has other bytes by now.
    pub async fn mark_damaged(
        &self,
        digest: &Digest,
        storage_key: &str,
        now: Timestamp,
    ) -> Result<bool> {
        self.write(Turn {
            digest: *digest,
            storage_key: storage_key.to_owned(),
            from: LIVE,
            to: DAMAGED,
            now,
        })
        .await
    }

    /// Makes a damaged blob live again whose bytes were read and hash to its digest after all; whether
    /// it was damaged and had this key.
    pub async fn mark_whole(
        &self,
        digest: &Digest,
        storage_key: &str,
        now: Timestamp,
    ) -> Result<bool> {
        self.write(Turn {
            digest: *digest,
            storage_key: storage_key.to_owned(),
            from: DAMAGED,
            to: LIVE,
            now,
        })
        .await
    }
}

/// Changes a blob's state without changing its bytes.
struct Turn {
    digest: Digest,
    storage_key: String,
    from: i64,
    to: i64,
    now: Timestamp,
}

impl Operation for Turn {
    type Output = bool;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<bool> {
        let changed = tx
            .execute(
                "UPDATE blobs SET state = ?4, state_at = ?5, verified_at = ?5
                 WHERE digest = ?1 AND storage_key = ?2 AND state = ?3",
                params![
                    self.digest,
                    self.storage_key.as_str(),
                    self.from,
                    self.to,
                    self.now
                ],
            )
            .await?;
        Ok(changed > 0)
    }
}

impl Write for Turn {
    const DURABILITY: Durability = Durability::Durable;

    // Any repository may have this blob.
    fn outdates(&self) -> Outdated<'_> {
        Outdated::All
    }
}
