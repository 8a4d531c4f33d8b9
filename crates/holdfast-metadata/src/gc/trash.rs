//! Payloads of deleted manifests whose time to be restored is over.

use super::Moment;
use crate::operation::{Durability, Operation, Transaction, Write, params};
use crate::{Metadata, Result};

impl Metadata {
    /// Forgets payloads of deleted manifests whose time is over; how many.
    pub async fn purge_trash(&self, moment: Moment, limit: usize) -> Result<u64> {
        self.write(Purge { moment, limit }).await
    }
}

pub(super) struct Purge {
    pub(super) moment: Moment,
    pub(super) limit: usize,
}

impl Operation for Purge {
    type Output = u64;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<u64> {
        tx.execute(
            "DELETE FROM manifest_trash WHERE (repo_id, digest) IN
             (SELECT repo_id, digest FROM manifest_trash WHERE purge_at <= ?1 ORDER BY purge_at LIMIT ?2
              /*FOR UPDATE SKIP LOCKED*/)",
            params![self.moment.as_of, self.limit],
        )
        .await
    }
}

impl Write for Purge {
    const DURABILITY: Durability = Durability::Relaxed;
}
