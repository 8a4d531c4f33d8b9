//! Garbage collection, always on: looks again and again for what is due.

use std::time::Duration;

use chrono::NaiveTime;
use holdfast_model::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::Gc;
use crate::error_chain::chain;
use crate::operations::{Error, Operations, Round};

/// What the manifests without tags were last queued for, in the settings.
const UNTAGGED_SETTING: &str = "gc.untagged";

pub(super) async fn run(operations: Operations, gc: Gc, stop: CancellationToken) {
    let round = Round {
        grace: gc.grace,
        ends_hold: false,
        policy: gc.policy(),
        rate: gc.rate,
        listener: None,
    };
    let mut queued = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(gc.interval) => {}
        }
        if let Err(error) = operations.record_pulls().await {
            tracing::warn!(error = chain(&error), "pulls were not recorded");
        }
        if !is_open(gc.window, clock::now()) {
            continue;
        }
        if !queued {
            queued = queue_old(&operations, &gc).await;
        }
        match operations.collect(&round).await {
            Ok(reclaimed) if reclaimed.is_nothing() => {}
            Ok(reclaimed) => tracing::info!(
                manifests = reclaimed.manifests,
                links = reclaimed.links,
                blobs = reclaimed.blobs,
                objects = reclaimed.objects,
                bytes = reclaimed.bytes,
                failed = reclaimed.failed,
                "collected garbage"
            ),
            Err(error @ (Error::CollectionHeld(_) | Error::ReadOnly)) => tracing::debug!("{error}"),
            Err(error) => tracing::error!(error = chain(&error), "garbage could not be collected"),
        }
    }
}

/// Queues what lost its tags before the present policy was set. Whether that is done.
async fn queue_old(operations: &Operations, gc: &Gc) -> bool {
    let policy = gc
        .delete_untagged_after
        .map_or_else(String::new, |after| format!("{after:?}"));
    let metadata = operations.metadata();
    let queueing = async {
        if metadata
            .setting(UNTAGGED_SETTING)
            .await?
            .unwrap_or_default()
            == policy
        {
            return Ok(());
        }
        if let Some(after) = gc.delete_untagged_after {
            let queued = operations.queue_untagged(Duration::ZERO, after).await?;
            tracing::info!(
                queued,
                "queued manifests without tags, as gc.deleteuntaggedafter says"
            );
        }
        Ok::<(), Error>(metadata.put_setting(UNTAGGED_SETTING, &policy).await?)
    };
    match queueing.await {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(
                error = chain(&error),
                "manifests without tags could not be queued"
            );
            false
        }
    }
}

/// Whether it is a time of the day at which garbage is collected. A window may pass midnight.
fn is_open(window: Option<(NaiveTime, NaiveTime)>, now: Timestamp) -> bool {
    let Some((from, to)) = window else {
        return true;
    };
    let time = clock::date(now).time();
    if from <= to {
        from <= time && time < to
    } else {
        from <= time || time < to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows() {
        let time = |hour, minute| NaiveTime::from_hms_opt(hour, minute, 0).unwrap();
        let night = Some((time(22, 0), time(6, 0)));
        let noon = Some((time(12, 0), time(13, 30)));
        for (window, hour, minute, open) in [
            (None, 3, 0, true),
            (night, 21, 59, false),
            (night, 22, 0, true),
            (night, 0, 0, true),
            (night, 5, 59, true),
            (night, 6, 0, false),
            (noon, 12, 0, true),
            (noon, 13, 29, true),
            (noon, 13, 30, false),
            (noon, 0, 0, false),
        ] {
            let now = Timestamp::from_micros((hour * 60 + minute) * 60_000_000);
            assert_eq!(is_open(window, now), open, "{hour}:{minute}");
        }
    }
}
