//! Copying the write-ahead log back into the database, beside the commits.
//!
//! Most of a checkpoint is writing and syncing pages all over the database, tens of milliseconds in a large one, in
//! which no commit may wait. So a thread of its own does that; the writer then copies back what was committed
//! meanwhile, a few pages, after which the log starts over.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;

use super::connection::{self, Mode, failure};
use crate::{Error, Result};

/// Copies the log back into the database; whether nothing kept it from being copied to its end.
pub(super) fn checkpoint(connection: &Connection, mode: &'static str) -> Result<bool> {
    connection
        .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
            Ok(row.get::<_, i64>(0)? == 0)
        })
        .map_err(failure)
}

/// The thread, as the writer sees it.
#[derive(Debug)]
pub(super) struct Checkpointer {
    /// The redo log, which is synced first (R2), where there is one.
    wanted: Sender<Option<File>>,
    finished: Arc<AtomicBool>,
    running: bool,
    thread: JoinHandle<()>,
}

impl Checkpointer {
    pub(super) fn start(database: &Path) -> Result<Checkpointer> {
        let connection = connection::open(database, Mode::Write)?;
        let (wanted, receiver) = channel();
        let finished = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new()
            .name("metadata-checkpoint".to_owned())
            .spawn({
                let finished = Arc::clone(&finished);
                move || run(&connection, &receiver, &finished)
            })
            .map_err(|error| Error::Unavailable(Arc::new(error)))?;
        Ok(Checkpointer {
            wanted,
            finished,
            running: false,
            thread,
        })
    }

    /// Begins to copy back what is committed now, and perhaps what follows.
    pub(super) fn begin(&mut self, redo: Option<File>) {
        self.running = self.wanted.send(redo).is_ok();
    }

    pub(super) fn is_running(&self) -> bool {
        self.running
    }

    /// Whether it has come to its end, which is said once.
    pub(super) fn has_finished(&mut self) -> bool {
        let finished = self.running && self.finished.swap(false, Ordering::AcqRel);
        self.running &= !finished;
        finished
    }

    /// Waits until nothing is copied any more.
    pub(super) fn end(self) {
        drop(self.wanted);
        if self.thread.join().is_err() {
            tracing::error!("copying back the metadata log ended in a panic");
        }
    }
}

/// How much the thread stands back behind those that answer requests, where processors are few.
const NICE: i32 = 10;

fn run(connection: &Connection, wanted: &Receiver<Option<File>>, finished: &AtomicBool) {
    // On Linux this is the priority of the calling thread alone.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "the thread that copies back the metadata log keeps its priority");
    }
    while let Ok(redo) = wanted.recv() {
        let synced = redo.map_or(Ok(()), |redo| redo.sync_data());
        // A log that cannot be synced is noticed by the writer, which syncs it again.
        let copied = match synced {
            Ok(()) => checkpoint(connection, "PASSIVE").map(drop),
            Err(error) => Err(Error::Unavailable(Arc::new(error))),
        };
        if let Err(error) = copied {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the metadata log could not be copied back"
            );
        }
        finished.store(true, Ordering::Release);
    }
}
