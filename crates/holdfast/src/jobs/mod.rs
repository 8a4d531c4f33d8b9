//! All jobs that run beside requests: one file per kind.

mod collection;
mod upload_purging;

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::operations::Operations;

/// Starts every job; they end with `stop`.
pub(crate) fn start(operations: &Operations, config: &Config, stop: &CancellationToken) {
    let purging = &config.storage.upload_purging;
    if config.gc.enabled && !operations.rules().read_only {
        tokio::spawn(collection::run(
            operations.clone(),
            config.gc.clone(),
            stop.clone(),
        ));
    }
    if purging.enabled && !operations.rules().read_only {
        tokio::spawn(upload_purging::run(
            operations.clone(),
            purging.clone(),
            stop.clone(),
        ));
    }
}
