//! What other nodes of a cluster have set: the switch to read-only, and how far the adoption of a tree is.

use tokio_util::sync::CancellationToken;

use crate::error_chain::chain;
use crate::operations::{FOLLOW_INTERVAL, Operations};

pub(super) async fn run(operations: Operations, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(FOLLOW_INTERVAL) => {}
        }
        let followed = async {
            operations.follow_read_only().await?;
            operations.follow_adoption().await
        };
        if let Err(error) = followed.await {
            tracing::debug!(
                error = chain(&error),
                "what other nodes have set could not be looked at"
            );
        }
    }
}
