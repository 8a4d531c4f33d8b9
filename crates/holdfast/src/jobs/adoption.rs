//! Takes over the repositories of another registry in the background, and removes what it left of uploads.
//!
//! Once that is done, each start looks whether another registry has written to the same storage since.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error_chain::chain;
use crate::operations::Operations;

/// Pause after an error, such as an outage of the storage.
const RETRY: Duration = Duration::from_secs(30);

pub(super) async fn run(operations: Operations, stop: CancellationToken) {
    let work = async {
        if !operations.adoption_under_way()
            && let Err(error) = operations.warn_of_other_writers().await
        {
            tracing::warn!(
                error = chain(&error),
                "whether another registry writes to this storage could not be looked at"
            );
        }
        loop {
            operations.adoption_begun().await;
            if let Err(error) = operations.walk_adoption().await {
                tracing::error!(
                    error = chain(&error),
                    "taking over the repositories of another registry is interrupted; it goes on in {RETRY:?}"
                );
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    // Dropped wherever it is, it goes on from there.
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}
