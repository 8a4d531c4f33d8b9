//! Reads every stored blob again, once in `scrub.interval`, at most `scrub.rate` bytes in a second.
//!
//! What it remembers is when each blob was read last, in the database, so it goes on after a restart
//! where it was.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::Scrub;
use crate::error_chain::chain;
use crate::operations::Operations;

/// Between two looks for blobs that are due.
const PAUSE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3600);

pub(super) async fn run(operations: Operations, scrub: Scrub, stop: CancellationToken) {
    tracing::info!(
        "stored blobs are read again every {:?}, at most {} bytes in a second",
        scrub.interval,
        scrub.bytes_per_second
    );
    let pause = (scrub.interval / 10).clamp(*PAUSE.start(), *PAUSE.end());
    loop {
        let pass = operations.scrub(scrub.interval, scrub.bytes_per_second);
        tokio::select! {
            () = stop.cancelled() => return,
            passed = pass => match passed {
                Ok(pass) if pass.blobs + pass.damaged + pass.unread == 0 => {}
                Ok(pass) => tracing::info!(
                    blobs = pass.blobs, bytes = pass.bytes, damaged = pass.damaged, unread = pass.unread,
                    "read stored blobs again"
                ),
                Err(error) => tracing::error!(error = chain(&error), "stored blobs could not be read again"),
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}
