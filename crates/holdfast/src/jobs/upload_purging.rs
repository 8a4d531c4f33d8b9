//! Drops upload sessions that nobody has touched for `uploadpurging.age`.
//!
//! Source: Distribution's `storage.maintenance.uploadpurging`. A session's life is counted from its last
//! request rather than its first, so that a slow upload is not cut short.

use tokio_util::sync::CancellationToken;

use crate::config::UploadPurging;
use crate::error_chain::chain;
use crate::operations::Operations;

pub(super) async fn run(operations: Operations, purging: UploadPurging, stop: CancellationToken) {
    tracing::info!(
        "upload sessions that nobody touches for {:?} are purged, looked for every {:?}",
        purging.age,
        purging.interval
    );
    loop {
        if let Err(error) = operations.purge_old_uploads(purging.dry_run).await {
            tracing::error!(
                error = chain(&error),
                "uploads that another registry left behind could not be purged"
            );
        }
        match operations.purge_uploads(purging.dry_run).await {
            Ok(0) => {}
            Ok(purged) => tracing::info!(
                purged,
                dry_run = purging.dry_run,
                "purged abandoned upload sessions"
            ),
            Err(error) => tracing::error!(error = chain(&error), "uploads could not be purged"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(purging.interval) => {}
        }
    }
}
