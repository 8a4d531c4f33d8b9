//! Metrics in Prometheus' text format, for those who ask the debug server.
//!
//! Nothing is prepared for them: a feature counts as it works, in atomics of its own, and its numbers are read
//! when somebody looks. To show more, write a function like [`metadata`] and call it in [`render`].

mod page;
mod process;
pub(crate) mod requests;

use std::sync::atomic::Ordering;

use holdfast_metadata::Reason;

use crate::app::App;
use crate::clock;

pub(crate) use page::{CONTENT_TYPE, Page};

/// Everything there is to see now.
pub(crate) async fn render(app: &App) -> String {
    let mut page = Page::default();
    build(&mut page);
    process::write(&mut page);
    requests::write(&mut page);
    metadata(app, &mut page);
    maintenance(app, &mut page);
    snapshots(app, &mut page);
    redis(app, &mut page);
    integrity(app, &mut page);
    collection(app, &mut page).await;
    adoption(app, &mut page);
    page.into_text()
}

fn adoption(app: &App, page: &mut Page) {
    let progress = app.operations.adoption_progress();
    let under_way = app.operations.adoption_under_way();
    for (name, about, number) in [
        (
            "holdfast_adoption_under_way",
            "1 while the tree of another registry is taken over.",
            u64::from(under_way),
        ),
        (
            "holdfast_adoption_repositories",
            "Repositories found in that tree.",
            progress.repositories,
        ),
        (
            "holdfast_adoption_repositories_done",
            "Repositories of that tree that are taken over.",
            progress.repositories_done,
        ),
        (
            "holdfast_adoption_blobs",
            "Blobs taken over from it.",
            progress.counts.blobs,
        ),
        (
            "holdfast_adoption_manifests",
            "Manifests taken over from it.",
            progress.counts.manifests,
        ),
        (
            "holdfast_adoption_problems",
            "Entries of the report on it.",
            progress.problems,
        ),
    ] {
        page.gauge(name, about);
        page.sample(name, &[], number);
    }
}

fn build(page: &mut Page) {
    let name = "holdfast_build_info";
    page.gauge(name, "The version that runs; always 1.");
    page.sample(name, &[("version", crate::VERSION)], 1);
}

fn integrity(app: &App, page: &mut Page) {
    let found = app.operations.found();
    let numbers = [
        (
            "holdfast_damaged_blobs_total",
            "Blobs found damaged since the start, by pulls, pushes, checks and the scrub.",
            &found.damaged,
        ),
        (
            "holdfast_scrub_blobs_total",
            "Blobs that the scrub read and found right.",
            &found.blobs,
        ),
        (
            "holdfast_scrub_bytes_total",
            "Bytes that the scrub read.",
            &found.bytes,
        ),
        (
            "holdfast_scrub_unread_total",
            "Blobs that the scrub could not read, which says nothing about them.",
            &found.unread,
        ),
    ];
    for (name, about, number) in numbers {
        page.counter(name, about);
        page.sample(name, &[], number.load(Ordering::Relaxed));
    }
}

async fn collection(app: &App, page: &mut Page) {
    let totals = app.operations.collected();
    let manifests = "holdfast_gc_manifests_deleted_total";
    page.counter(
        manifests,
        "Manifests that the collector deleted, by what made it look.",
    );
    for (reason, number) in Reason::ALL.into_iter().zip(&totals.manifests) {
        let number = number.load(Ordering::Relaxed);
        page.sample(manifests, &[("reason", reason.name())], number);
    }
    for (name, about, number) in [
        (
            "holdfast_gc_links_removed_total",
            "Links of repositories to blobs that the collector removed.",
            &totals.links,
        ),
        (
            "holdfast_gc_blobs_removed_total",
            "Blobs that lost their last link.",
            &totals.blobs,
        ),
        (
            "holdfast_gc_objects_deleted_total",
            "Stored objects that the collector deleted.",
            &totals.objects,
        ),
        (
            "holdfast_gc_freed_bytes_total",
            "Bytes of those objects.",
            &totals.bytes,
        ),
        (
            "holdfast_gc_failed_deletions_total",
            "Deletions of stored objects that failed and will be tried again.",
            &totals.failed,
        ),
    ] {
        page.counter(name, about);
        page.sample(name, &[], number.load(Ordering::Relaxed));
    }
    let last = "holdfast_gc_last_success_timestamp_seconds";
    page.gauge(
        last,
        "When a round of the collector last ended; 0 for never.",
    );
    page.sample(last, &[], totals.last_success.load(Ordering::Relaxed));
    let Ok(status) = app.operations.metadata().gc_status().await else {
        return;
    };
    let waiting = "holdfast_gc_queue_waiting";
    page.gauge(
        waiting,
        "What waits for the collector, at most 100,000 counted.",
    );
    for queue in &status.queues {
        page.sample(waiting, &[("queue", queue.name)], queue.waiting);
    }
    let overdue = "holdfast_gc_queue_overdue_seconds";
    page.gauge(
        overdue,
        "For how long the first in each queue has been due; 0 while nothing is.",
    );
    let now = clock::now().as_micros();
    for queue in &status.queues {
        let due = queue.first_due.map_or(now, |due| due.as_micros());
        let seconds = now.saturating_sub(due).max(0) / 1_000_000;
        page.sample(overdue, &[("queue", queue.name)], seconds);
    }
}

fn metadata(app: &App, page: &mut Page) {
    let counters = app.operations.metadata().counters();
    let commits = "holdfast_metadata_commits_total";
    page.counter(commits, "Transactions committed to the metadata database.");
    page.sample(commits, &[], counters.commits);
    let changes = "holdfast_metadata_changes_total";
    page.counter(
        changes,
        "Changes in those transactions: waiting ones share a transaction.",
    );
    page.sample(changes, &[], counters.changes);
    let waiting = "holdfast_metadata_changes_waiting";
    page.gauge(waiting, "Changes that wait for the metadata database now.");
    page.sample(waiting, &[], counters.waiting);
}

fn snapshots(app: &App, page: &mut Page) {
    let Some(snapshots) = &app.snapshots else {
        return;
    };
    let time = "holdfast_metadata_snapshot_timestamp_seconds";
    page.gauge(
        time,
        "When the newest snapshot of the metadata was taken; 0 without one.",
    );
    let taken_at = snapshots
        .taken_at()
        .map_or(0, |time| time.as_micros() / 1_000_000);
    page.sample(time, &[], taken_at);
    let redo = app.operations.metadata().redo();
    let bytes = "holdfast_metadata_redo_log_bytes";
    page.gauge(bytes, "Length of the log of what was committed after it.");
    page.sample(bytes, &[], redo.bytes);
    let whole = "holdfast_metadata_redo_log_whole";
    page.gauge(
        whole,
        "1 while snapshots and log hold everything; 0 when the log could not be written.",
    );
    page.sample(whole, &[], u8::from(!redo.incomplete));
}

fn redis(app: &App, page: &mut Page) {
    let Some(redis) = &app.redis else { return };
    let counters = redis.counters();
    // The first three have the names of Distribution 3.
    for (name, about, number) in [
        (
            "registry_storage_cache_requests_total",
            "Payloads of manifests asked for in Redis.",
            &counters.requests,
        ),
        (
            "registry_storage_cache_hits_total",
            "Payloads of manifests found there.",
            &counters.hits,
        ),
        (
            "registry_storage_cache_errors_total",
            "Commands to Redis that failed or took too long.",
            &counters.errors,
        ),
        (
            "holdfast_redis_wrong_values_total",
            "Values in Redis that were not what their key says.",
            &counters.wrong,
        ),
        (
            "holdfast_redis_stored_total",
            "Payloads of manifests stored in Redis.",
            &counters.stored,
        ),
    ] {
        page.counter(name, about);
        page.sample(name, &[], number.load(Ordering::Relaxed));
    }
    let connected = "holdfast_redis_connected";
    page.gauge(connected, "1 while Redis is asked.");
    page.sample(connected, &[], u8::from(redis.is_connected()));
}

fn maintenance(app: &App, page: &mut Page) {
    let state = app.operations.maintenance();
    let read_only = "holdfast_read_only";
    page.gauge(read_only, "1 while changes of content are refused.");
    page.sample(read_only, &[], u8::from(state.read_only()));
    let changes = "holdfast_content_changes_in_progress";
    page.gauge(changes, "Changes of content under way now.");
    page.sample(changes, &[], state.changes);
}
