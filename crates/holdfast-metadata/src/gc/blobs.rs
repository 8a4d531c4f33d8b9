//! Blobs that may have lost their last link.

use holdfast_model::{Digest, Timestamp};

use super::history::{Kind, add};
use super::queues::discard_key;
use super::{Collected, Moment};
use crate::blobs::state::DOOMED;
use crate::operation::{Durability, Operation, Transaction, Write, params};
use crate::{Metadata, Result};

pub(crate) const DUE_BLOBS: &str =
    "SELECT digest FROM gc_blob_queue WHERE due_at <= ?1 ORDER BY due_at LIMIT ?2
     /*FOR UPDATE SKIP LOCKED*/";

impl Metadata {
    /// Blobs to be reviewed, the longest due first.
    pub async fn due_blobs(&self, moment: Moment, limit: usize) -> Result<Vec<Digest>> {
        self.read(Due { moment, limit }).await
    }

    /// Dooms those of these blobs that no repository has: their keys go to the outbox, to be deleted from
    /// `not_before` on. One transaction, so keep the list short.
    pub async fn review_blobs(
        &self,
        mut digests: Vec<Digest>,
        moment: Moment,
        not_before: Timestamp,
    ) -> Result<Vec<Collected>> {
        digests.sort_unstable();
        self.write(Review {
            digests,
            moment,
            not_before,
        })
        .await
    }
}

pub(super) struct Due {
    pub(super) moment: Moment,
    pub(super) limit: usize,
}

impl Operation for Due {
    type Output = Vec<Digest>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Vec<Digest>> {
        let rows = tx
            .query(DUE_BLOBS, params![self.moment.as_of, self.limit])
            .await?;
        rows.into_iter().map(|mut row| row.digest()).collect()
    }
}

pub(super) struct Review {
    pub(super) digests: Vec<Digest>,
    pub(super) moment: Moment,
    pub(super) not_before: Timestamp,
}

impl Operation for Review {
    type Output = Vec<Collected>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Vec<Collected>> {
        let (mut collected, mut bytes) = (Vec::new(), 0);
        for digest in &self.digests {
            if let Some(size) = self.review(tx, *digest).await? {
                bytes += size;
                collected.push(Collected::Blob {
                    digest: *digest,
                    size,
                });
            }
        }
        let now = self.moment.now;
        add(tx, now, Kind::Blobs, collected.len(), bytes).await?;
        Ok(collected)
    }
}

// A blob without links is in nobody's cached answers: removing the link has outdated them.
impl Write for Review {
    const DURABILITY: Durability = Durability::Durable;
}

impl Review {
    /// Its size, if it was doomed.
    async fn review<T: Transaction>(&self, tx: &mut T, digest: Digest) -> Result<Option<u64>> {
        let claimed = tx
            .execute(
                "DELETE FROM gc_blob_queue WHERE digest IN
                 (SELECT digest FROM gc_blob_queue WHERE digest = ?1 /*FOR UPDATE SKIP LOCKED*/)",
                params![digest],
            )
            .await?;
        if claimed == 0 {
            // Somebody else reviews it, or did.
            return Ok(None);
        }
        let locked =
            "SELECT state, storage_key, size_bytes FROM blobs WHERE digest = ?1 /*FOR UPDATE*/";
        let Some(mut row) = tx.first(locked, params![digest]).await? else {
            return Ok(None);
        };
        let (state, storage_key, size) = (row.integer()?, row.text()?, row.size()?);
        if state == DOOMED {
            return Ok(None);
        }
        // Only now, under the lock: whoever links the blob meanwhile has a share of it, or finds it doomed.
        let link = "SELECT 1 FROM repo_blobs WHERE digest = ?1 LIMIT 1";
        if tx.first(link, params![digest]).await?.is_some() {
            return Ok(None);
        }
        tx.execute(
            "UPDATE blobs SET state = ?2, state_at = ?3 WHERE digest = ?1",
            params![digest, DOOMED, self.moment.now],
        )
        .await?;
        discard_key(tx, &storage_key, Some((digest, size)), self.not_before).await?;
        Ok(Some(size))
    }
}
