//! Metrics in Prometheus' text format, for those who ask the debug server.
//!
//! Nothing is prepared for them: a feature counts as it works, in atomics of its own, and its numbers are read
//! when somebody looks. To show more, write a function like [`metadata`] and call it in [`render`].

mod page;
mod process;
pub(crate) mod requests;

use crate::app::App;

pub(crate) use page::{CONTENT_TYPE, Page};

/// Everything there is to see now.
pub(crate) async fn render(app: &App) -> String {
    let mut page = Page::default();
    build(&mut page);
    process::write(&mut page);
    requests::write(&mut page);
    metadata(app, &mut page);
    page.into_text()
}

fn build(page: &mut Page) {
    let name = "holdfast_build_info";
    page.gauge(name, "The version that runs; always 1.");
    page.sample(name, &[("version", crate::VERSION)], 1);
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
