//! How much waits for the collector, and for how long.

use holdfast_model::Timestamp;

use crate::operation::{Operation, Transaction, params};
use crate::{Metadata, Result};

/// One row for each queue: how many wait, at most `?1`, and since when the first has been due.
const STATUS: &str = "SELECT
     (SELECT COUNT(*) FROM (SELECT 1 FROM gc_manifest_queue LIMIT ?1) AS q), (SELECT MIN(due_at) FROM gc_manifest_queue),
     (SELECT COUNT(*) FROM (SELECT 1 FROM gc_link_queue LIMIT ?1) AS q), (SELECT MIN(due_at) FROM gc_link_queue),
     (SELECT COUNT(*) FROM (SELECT 1 FROM repo_blobs WHERE used = 0 LIMIT ?1) AS q), (SELECT MIN(lease_until) FROM repo_blobs WHERE used = 0),
     (SELECT COUNT(*) FROM (SELECT 1 FROM gc_blob_queue LIMIT ?1) AS q), (SELECT MIN(due_at) FROM gc_blob_queue),
     (SELECT COUNT(*) FROM (SELECT 1 FROM gc_object_outbox LIMIT ?1) AS q), (SELECT MIN(not_before) FROM gc_object_outbox)";

/// Counting stops here: whoever watches asks often.
const COUNT_MAX: u64 = 100_000;

/// What waits at one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// The step's name.
    pub name: &'static str,
    /// How many wait, those not yet due included; at most 100,000 are counted.
    pub waiting: u64,
    /// When the first becomes due, or did.
    pub first_due: Option<Timestamp>,
}

/// What waits for the collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcStatus {
    /// Every step, in the order things go through them.
    pub queues: [Queue; 5],
}

impl Metadata {
    /// What waits for the collector.
    pub async fn gc_status(&self) -> Result<GcStatus> {
        self.read(Status).await
    }
}

struct Status;

impl Operation for Status {
    type Output = GcStatus;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<GcStatus> {
        let mut row = tx
            .first(STATUS, params![COUNT_MAX])
            .await?
            .ok_or_else(|| crate::Error::internal("counts return no row"))?;
        let mut queue = |name| {
            Ok(Queue {
                name,
                waiting: row.size()?,
                first_due: row.maybe_integer()?.map(Timestamp::from_micros),
            })
        };
        Ok(GcStatus {
            queues: [
                queue("manifests")?,
                queue("links")?,
                queue("leases")?,
                queue("blobs")?,
                queue("objects")?,
            ],
        })
    }
}
