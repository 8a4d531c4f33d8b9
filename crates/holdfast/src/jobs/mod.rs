//! All jobs that run beside requests: one file per kind.

mod adoption;
mod alone;
mod collection;
mod follow;
mod scrub;
mod snapshot;
mod upload_purging;

use tokio_util::sync::CancellationToken;

use self::alone::Node;
use crate::app::App;
use crate::config::{Config, Driver};

/// Starts every job; they end with `stop`.
pub(crate) fn start(app: &App, config: &Config, stop: &CancellationToken) {
    let operations = &app.operations;
    let purging = &config.storage.upload_purging;
    if config.gc.enabled {
        tokio::spawn(collection::run(
            operations.clone(),
            config.gc.clone(),
            stop.clone(),
        ));
    }
    operations.redirects().start(stop);
    let node = Node::new(operations.metadata().clone());
    if operations.metadata().is_shared() {
        tokio::spawn(follow::run(operations.clone(), stop.clone()));
    }
    let work = {
        let (operations, stop) = (operations.clone(), stop.clone());
        move || adoption::run(operations.clone(), stop.clone())
    };
    tokio::spawn(node.clone().alone("adoption", stop.clone(), work));
    if purging.enabled {
        let work = {
            let (operations, purging, stop) = (operations.clone(), purging.clone(), stop.clone());
            move || upload_purging::run(operations.clone(), purging.clone(), stop.clone())
        };
        tokio::spawn(node.alone("upload purging", stop.clone(), work));
    }
    if let Some(snapshots) = &app.snapshots {
        let interval = config.snapshots.interval;
        tokio::spawn(snapshot::run(snapshots.clone(), interval, stop.clone()));
    }
    let on_disk = matches!(config.storage.driver, Driver::Filesystem { .. });
    if config.scrub.enabled && !on_disk {
        // Reading a bucket from end to end costs money, and its service checks what it keeps.
        tracing::info!(
            "stored bytes are read again in the background with the filesystem driver only"
        );
    }
    if config.scrub.enabled && on_disk {
        tokio::spawn(scrub::run(
            operations.clone(),
            config.scrub.clone(),
            stop.clone(),
        ));
    }
}
