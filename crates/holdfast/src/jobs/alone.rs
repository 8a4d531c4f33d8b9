//! Jobs that one node of a cluster does for all of them.
//!
//! Whoever claims a job first has it and renews the claim. When it ends, its node gives it up; when the node is gone,
//! another takes over as soon as the claim has run out. A claim saves work and guards nothing: two nodes that both
//! believe to have a job do the same harmless thing twice.

use std::time::Duration;

use holdfast_metadata::Metadata;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::error_chain::chain;
use crate::random;

/// How long a claim lasts that is not renewed.
const CLAIM: Duration = Duration::from_secs(60);
/// Between two renewals, and two attempts to take a job over.
const RENEWAL: Duration = Duration::from_secs(15);

/// This node, as the others see it.
#[derive(Clone)]
pub(super) struct Node {
    metadata: Metadata,
    name: String,
}

impl Node {
    /// A node with a name that no other has.
    pub(super) fn new(metadata: Metadata) -> Node {
        let name = random::hex::<16>();
        Node { metadata, name }
    }

    /// Runs a job until `stop`, whenever no other node does. It may be dropped at any moment, and begins anew.
    pub(super) async fn alone<F: Future<Output = ()>>(
        self,
        job: &'static str,
        stop: CancellationToken,
        work: impl Fn() -> F,
    ) {
        if !self.metadata.is_shared() {
            // Nobody else has this database.
            return work().await;
        }
        while !stop.is_cancelled() {
            if self.claim(job).await {
                tracing::debug!(job, "this node does the job for all");
                tokio::select! {
                    () = work() => {}
                    () = self.lost(job) => tracing::info!(job, "another node has taken the job over"),
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(RENEWAL) => {}
            }
        }
        if let Err(error) = self.metadata.release_job(job, &self.name).await {
            tracing::debug!(
                job,
                error = chain(&error),
                "the claim of a job runs out by itself"
            );
        }
    }

    /// Renews a claim until another node has it.
    async fn lost(&self, job: &str) {
        loop {
            tokio::time::sleep(RENEWAL).await;
            if !self.claim(job).await {
                return;
            }
        }
    }

    async fn claim(&self, job: &str) -> bool {
        let now = clock::now();
        let claimed = self
            .metadata
            .claim_job(job, &self.name, now.plus(CLAIM), now);
        claimed.await.unwrap_or_else(|error| {
            tracing::debug!(job, error = chain(&error), "a job could not be claimed");
            false
        })
    }
}
