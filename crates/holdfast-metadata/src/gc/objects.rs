//! The delete outbox: storage keys whose bytes are to go and that never become live again.
//!
//! Bytes are deleted outside any transaction, as often as it takes; then the key is forgotten, and with it
//! the doomed blob that had it.

use std::time::Duration;

use holdfast_model::{Digest, Timestamp};

use super::history::{Kind, add};
use crate::operation::{Durability, Operation, Row, Transaction, Write, params};
use crate::{Metadata, Result};

pub(crate) const DUE_OBJECTS: &str = "SELECT storage_key, digest, size_bytes
     FROM gc_object_outbox WHERE not_before <= ?1 ORDER BY not_before LIMIT ?2";

/// Longest pause before a deletion that failed is tried again.
const PAUSE_MAX: Duration = Duration::from_secs(60 * 60);

/// A storage key whose bytes are to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discarded {
    /// The key, or what the caller named so: a session's staged bytes, what an upload left behind.
    pub storage_key: String,
    /// What the bytes were, if they were a blob.
    pub digest: Option<Digest>,
    /// How many there are, if that is known.
    pub size: Option<u64>,
}

impl Metadata {
    /// Keys whose bytes are to be deleted now, the longest due first.
    pub async fn due_objects(&self, now: Timestamp, limit: usize) -> Result<Vec<Discarded>> {
        self.read(Due { now, limit }).await
    }

    /// The same, and they are due again at `until` only: nobody else is at them meanwhile.
    pub async fn claim_objects(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Discarded>> {
        self.write(Claim { now, until, limit }).await
    }

    /// Notes that the bytes under these keys of the outbox are gone, or were never there.
    pub async fn objects_deleted(&self, objects: Vec<Discarded>, now: Timestamp) -> Result<()> {
        self.write(Deleted { objects, now }).await
    }

    /// Notes that the bytes under a key of the outbox are gone, or were never there.
    pub async fn object_deleted(&self, storage_key: &str, now: Timestamp) -> Result<()> {
        let object = Discarded {
            storage_key: storage_key.to_owned(),
            digest: None,
            size: None,
        };
        self.objects_deleted(vec![object], now).await
    }

    /// Puts off the deletion of these keys: a second at first, twice as long after each failure.
    pub async fn objects_not_deleted(&self, keys: Vec<String>, now: Timestamp) -> Result<()> {
        self.write(PutOff { keys, now }).await
    }
}

pub(super) struct Due {
    pub(super) now: Timestamp,
    pub(super) limit: usize,
}

impl Operation for Due {
    type Output = Vec<Discarded>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Vec<Discarded>> {
        let rows = tx.query(DUE_OBJECTS, params![self.now, self.limit]).await?;
        rows.into_iter().map(discarded).collect()
    }
}

fn discarded(mut row: Row) -> Result<Discarded> {
    Ok(Discarded {
        storage_key: row.text()?,
        digest: row.maybe_digest()?,
        size: row.maybe_integer()?.map(i64::unsigned_abs),
    })
}

struct Claim {
    now: Timestamp,
    until: Timestamp,
    limit: usize,
}

impl Operation for Claim {
    type Output = Vec<Discarded>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Vec<Discarded>> {
        let claimed = tx
            .query(
                "UPDATE gc_object_outbox SET not_before = ?2 WHERE storage_key IN
                 (SELECT storage_key FROM gc_object_outbox WHERE not_before <= ?1 ORDER BY not_before LIMIT ?3
                  /*FOR UPDATE SKIP LOCKED*/)
                 RETURNING storage_key, digest, size_bytes",
                params![self.now, self.until, self.limit],
            )
            .await?;
        claimed.into_iter().map(discarded).collect()
    }
}

impl Write for Claim {
    // Lost, somebody else deletes what is gone already.
    const DURABILITY: Durability = Durability::Relaxed;
}

struct Deleted {
    objects: Vec<Discarded>,
    now: Timestamp,
}

impl Operation for Deleted {
    type Output = ();

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<()> {
        let (mut items, mut bytes) = (0, 0);
        for object in &self.objects {
            let key = object.storage_key.as_str();
            let gone = tx
                .execute(
                    "DELETE FROM gc_object_outbox WHERE storage_key = ?1",
                    params![key],
                )
                .await?;
            let Some(digest) = object.digest.filter(|_| gone > 0) else {
                continue;
            };
            items += 1;
            bytes += object.size.unwrap_or_default();
            // A blob that came back meanwhile has another key and is not doomed.
            tx.execute(
                "DELETE FROM blobs WHERE digest = ?1 AND state = 1 AND storage_key = ?2",
                params![digest, key],
            )
            .await?;
        }
        add(tx, self.now, Kind::Objects, items, bytes).await
    }
}

impl Write for Deleted {
    // Deleting what is gone already does no harm.
    const DURABILITY: Durability = Durability::Relaxed;
}

struct PutOff {
    keys: Vec<String>,
    now: Timestamp,
}

impl Operation for PutOff {
    type Output = ();

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<()> {
        for key in &self.keys {
            let found = tx
                .first(
                    "SELECT attempts FROM gc_object_outbox WHERE storage_key = ?1 /*FOR UPDATE*/",
                    params![key.as_str()],
                )
                .await?;
            let Some(mut row) = found else { continue };
            let attempts = row.size()?;
            let doubled = Duration::from_secs(1 << attempts.min(20)).min(PAUSE_MAX);
            tx.execute(
                "UPDATE gc_object_outbox SET not_before = ?2, attempts = ?3 WHERE storage_key = ?1",
                params![
                    key.as_str(),
                    self.now.plus(doubled),
                    (attempts + 1).min(1000)
                ],
            )
            .await?;
        }
        Ok(())
    }
}

impl Write for PutOff {
    const DURABILITY: Durability = Durability::Relaxed;
}
