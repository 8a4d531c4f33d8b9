//! Takes a snapshot of the metadata every `metadata.snapshots.interval` when something changed, and earlier when
//! the redo log has grown long.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error_chain::chain;
use crate::snapshots::Snapshots;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(30);

pub(super) async fn run(snapshots: Snapshots, interval: Duration, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY.min(interval)) => {}
        }
        if !snapshots.due(interval) {
            continue;
        }
        if let Err(error) = snapshots.take().await {
            tracing::error!(
                error = chain(&error),
                "no snapshot of the metadata could be taken"
            );
        }
    }
}
