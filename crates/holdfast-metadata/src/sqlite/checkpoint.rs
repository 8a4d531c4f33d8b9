//! Copying the write-ahead log back into the database, beside the commits.
//!
//! Most of a checkpoint is writing and syncing pages all over the database, tens of milliseconds in a large one, in
//! which no commit may wait. So a thread of its own does that; the writer then copies back what was committed
//! meanwhile, a few pages, after which the log starts over.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;

use super::connection::{self, Mode, failure};
use crate::{Error, Result};

/// Copies the log back into the database; with `TRUNCATE`, whether nothing kept it from being copied to its end.
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
    wanted: Sender<Option<Arc<File>>>,
    /// What came of syncing it, at the end.
    finished: Receiver<io::Result<()>>,
    running: bool,
    thread: JoinHandle<()>,
}

impl Checkpointer {
    pub(super) fn start(database: &Path) -> Result<Checkpointer> {
        let unavailable = |error| Error::Unavailable(Arc::new(error));
        let file = File::open(database).map_err(unavailable)?;
        // Closing any descriptor of the file would take away the locks that SQLite has on it, so this one stays.
        let file: &'static File = Box::leak(Box::new(file));
        let connection = connection::open(database, Mode::Write)?;
        let ((wanted, receiver), (sender, finished)) = (channel(), channel());
        let thread = thread::Builder::new()
            .name("metadata-checkpoint".to_owned())
            .spawn(move || run(&connection, file, &receiver, &sender))
            .map_err(unavailable)?;
        Ok(Checkpointer {
            wanted,
            finished,
            running: false,
            thread,
        })
    }

    /// Begins to copy back what is committed now, and perhaps what follows.
    pub(super) fn begin(&mut self, redo: Option<Arc<File>>) {
        self.running = self.wanted.send(redo).is_ok();
    }

    pub(super) fn is_running(&self) -> bool {
        self.running
    }

    /// Once it has come to its end: what came of syncing the redo log.
    pub(super) fn finished(&mut self) -> Option<io::Result<()>> {
        match self.finished.try_recv() {
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) if !self.running => None,
            Err(TryRecvError::Disconnected) => Some(self.ended(Err(gone()))),
            Ok(synced) => Some(self.ended(synced)),
        }
    }

    /// The same, waiting for the end.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        let synced = self.finished.recv().unwrap_or_else(|_| Err(gone()));
        self.ended(synced)
    }

    fn ended(&mut self, synced: io::Result<()>) -> io::Result<()> {
        self.running = false;
        synced
    }

    /// Waits until nothing is copied any more.
    pub(super) fn end(self) -> io::Result<()> {
        drop(self.wanted);
        if self.thread.join().is_err() {
            tracing::error!("copying back the metadata log ended in a panic");
        }
        self.finished.try_recv().unwrap_or(Ok(()))
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that copies back the metadata log is gone")
}

/// How much the thread stands back behind those that answer requests, where processors are few.
const NICE: i32 = 10;

fn run(
    connection: &Connection,
    database: &File,
    wanted: &Receiver<Option<Arc<File>>>,
    finished: &Sender<io::Result<()>>,
) {
    // On Linux this is the priority of the calling thread alone.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "the thread that copies back the metadata log keeps its priority");
    }
    while let Ok(redo) = wanted.recv() {
        let synced = redo.map_or(Ok(()), |redo| redo.sync_data());
        if synced.is_ok() {
            // SQLite does not sync what it copied when more was committed meanwhile.
            let copied = checkpoint(connection, "PASSIVE").and_then(|_| {
                let synced = database.sync_data();
                synced.map_err(|error| Error::Unavailable(Arc::new(error)))
            });
            if let Err(error) = copied {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the metadata log could not be copied back"
                );
            }
        }
        if finished.send(synced).is_err() {
            return;
        }
    }
}
