//! All jobs that run beside requests: one file per kind.

mod upload_purging;

use tokio_util::sync::CancellationToken;

use crate::config::UploadPurging;
use crate::operations::Operations;

/// Starts every job; they end with `stop`.
pub(crate) fn start(operations: &Operations, purging: &UploadPurging, stop: &CancellationToken) {
    if purging.enabled && !operations.rules().read_only {
        tokio::spawn(upload_purging::run(
            operations.clone(),
            purging.clone(),
            stop.clone(),
        ));
    }
}
