//! The writer: one thread, and one commit for all changes that wait for it.
//!
//! A durable commit costs a sync of the disk whatever it holds, so changes that arrive during one
//! commit share the next. Each runs in its own savepoint: a failing one is undone alone. Nobody is
//! answered before the commit. When nothing else waits, a change is committed at once.
//!
//! A batch is as durable as its first change asks: behind a relaxed one, a durable change waits for
//! the next batch, which syncs, and with it the log before it. So upload progress never pays for a sync.
//!
//! The log is copied back into the database beside this thread (`checkpoint.rs`), which does the rest of it after the
//! answers are out. What a commit wrote goes into the redo log before them (`redo/`), where there is one.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::checkpoint::{Checkpointer, checkpoint};
use super::connection::{SqliteTransaction, failure, ready};
use super::pinned::{Pinned, Pins};
use super::redo::Redo;
use crate::cache::Versions;
use crate::engine::Totals;
use crate::ids::Ids;
use crate::operation::{Durability, Outdated, Write};
use crate::{Error, Result};

/// Most changes in one commit.
const BATCH: usize = 64;
/// Log length in pages (4 KiB) from which it is copied back as far as readers allow.
const CHECKPOINT_PAGES: usize = 4_000;
/// Log length from which the writer waits, for the thread that copies it back and for readers, so that the log can
/// start over.
const RESTART_PAGES: usize = 3 * CHECKPOINT_PAGES;

enum Message {
    Change(Box<dyn Job>),
    Snapshot(u64, oneshot::Sender<Result<Pinned>>),
    Close(oneshot::Sender<Result<()>>),
}

/// A change of any type.
trait Job: Send {
    fn durability(&self) -> Durability;
    /// Makes the cached answers that it may have made wrong count no more.
    fn raise(&self, versions: &Versions);
    /// Runs it and keeps its answer; whether its effects are to stay.
    fn run(&mut self, tx: &mut SqliteTransaction<'_>) -> Result<bool>;
    /// Answers, now that the batch is committed or lost.
    fn answer(self: Box<Self>, committed: Result<()>);
}

struct Pending<O: Write> {
    change: O,
    output: Option<Result<O::Output>>,
    reply: oneshot::Sender<Result<O::Output>>,
}

impl<O: Write> Job for Pending<O> {
    fn durability(&self) -> Durability {
        O::DURABILITY
    }

    fn raise(&self, versions: &Versions) {
        match self.change.outdates() {
            Outdated::None => {}
            Outdated::One(repository) => versions.raise(Versions::stripe(repository)),
            Outdated::All => versions.raise_all(),
        }
    }

    fn run(&mut self, tx: &mut SqliteTransaction<'_>) -> Result<bool> {
        self.output
            .insert(ready(self.change.run(tx)))
            .as_ref()
            .map(|_| !O::UNDONE)
            .map_err(Clone::clone)
    }

    fn answer(self: Box<Self>, committed: Result<()>) {
        let answer = match (committed, self.output) {
            (_, Some(Err(error))) | (Err(error), _) => Err(error),
            (Ok(()), Some(Ok(output))) => Ok(output),
            (Ok(()), None) => Err(panicked()),
        };
        // Whoever asked may be gone; the change is made all the same.
        let _ = self.reply.send(answer);
    }
}

fn panicked() -> Error {
    Error::internal("a metadata change panicked")
}

/// The callers' end.
#[derive(Debug)]
pub(super) struct Writer {
    sender: Sender<Message>,
    totals: Arc<Totals>,
    queue_length: usize,
}

impl Writer {
    pub(super) fn start(
        connection: Arc<Mutex<Connection>>,
        ids: Arc<Ids>,
        versions: Arc<Versions>,
        queue_length: usize,
        redo: Option<Redo>,
        checkpointer: Option<Checkpointer>,
        pins: Pins,
    ) -> Result<Writer> {
        let log_pages = Arc::new(AtomicUsize::new(0));
        watch_log(
            &mut connection.lock().unwrap_or_else(PoisonError::into_inner),
            log_pages.clone(),
        )?;
        let (sender, receiver) = channel();
        let totals = Arc::new(Totals::default());
        let worker = Worker {
            receiver,
            held: None,
            ids,
            versions,
            totals: totals.clone(),
            synchronous: None,
            log_pages,
            checkpoint_at: CHECKPOINT_PAGES,
            redo,
            checkpointer,
            pins,
        };
        thread::Builder::new()
            .name("metadata-writer".to_owned())
            .spawn(move || worker.run(connection))
            .map_err(|error| Error::Unavailable(Arc::new(error)))?;
        Ok(Writer {
            sender,
            totals,
            queue_length,
        })
    }

    pub(super) fn send<O: Write>(&self, change: O) -> Result<oneshot::Receiver<Result<O::Output>>> {
        if self.totals.waiting.fetch_add(1, Ordering::Relaxed) >= self.queue_length {
            self.totals.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::Overloaded);
        }
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Pending {
            change,
            output: None,
            reply,
        });
        self.sender.send(Message::Change(job)).map_err(|_| {
            self.totals.waiting.fetch_sub(1, Ordering::Relaxed);
            Error::Closed
        })?;
        Ok(answer)
    }

    pub(super) async fn write<O: Write>(&self, change: O) -> Result<O::Output> {
        self.send(change)?.await.unwrap_or(Err(Error::Closed))
    }

    pub(super) async fn close(&self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        match self.sender.send(Message::Close(reply)) {
            Ok(()) => answer.await.unwrap_or(Ok(())),
            Err(_closed_before) => Ok(()),
        }
    }

    /// A view of the database between two batches, where redo log `number` begins.
    pub(super) async fn snapshot(&self, number: u64) -> Result<Pinned> {
        let (reply, answer) = oneshot::channel();
        self.sender
            .send(Message::Snapshot(number, reply))
            .map_err(|_closed_before| Error::Closed)?;
        answer.await.unwrap_or(Err(Error::Closed))
    }

    pub(super) fn totals(&self) -> &Totals {
        &self.totals
    }
}

/// Keeps `pages` at the length of the log, and SQLite from copying it back within a commit.
fn watch_log(connection: &mut Connection, pages: Arc<AtomicUsize>) -> Result<()> {
    connection
        .wal_hook(Some(
            move |_log: &mut rusqlite::hooks::Wal, length: std::ffi::c_int| {
                pages.store(usize::try_from(length).unwrap_or(0), Ordering::Relaxed);
                Ok(())
            },
        ))
        .map_err(failure)
}

/// The thread's end.
struct Worker {
    receiver: Receiver<Message>,
    /// A message that did not fit the last batch.
    held: Option<Message>,
    ids: Arc<Ids>,
    versions: Arc<Versions>,
    totals: Arc<Totals>,
    /// What the connection is set to, once known.
    synchronous: Option<Durability>,
    log_pages: Arc<AtomicUsize>,
    /// Log length at which it is copied back next.
    checkpoint_at: usize,
    redo: Option<Redo>,
    checkpointer: Option<Checkpointer>,
    pins: Pins,
}

impl Worker {
    fn run(mut self, connection: Arc<Mutex<Connection>>) {
        let lock = || connection.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let message = match self.held.take() {
                Some(message) => message,
                None => match self.receiver.recv_timeout(self.patience()) {
                    Ok(message) => message,
                    Err(RecvTimeoutError::Timeout) => {
                        self.finish_checkpoint(&lock());
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => break,
                },
            };
            match message {
                Message::Change(first) => {
                    // The log may start over with this commit.
                    self.finish_checkpoint(&lock());
                    self.batch(&mut lock(), first);
                    self.copy_back_log(&lock());
                }
                Message::Snapshot(number, reply) => {
                    let _ = reply.send(self.snapshot(number));
                }
                Message::Close(reply) => {
                    let _ = reply.send(self.end(&lock()));
                    return;
                }
            }
        }
        if let Err(error) = self.end(&lock()) {
            tracing::warn!(%error, "the metadata log could not be copied back at the end");
        }
    }

    /// How long to wait for a change before looking after the checkpoint.
    fn patience(&self) -> Duration {
        match &self.checkpointer {
            Some(checkpointer) if checkpointer.is_running() => Duration::from_secs(1),
            _ => Duration::from_secs(3600),
        }
    }

    /// Copies the log back for good.
    fn end(&mut self, connection: &Connection) -> Result<()> {
        if let Some(checkpointer) = self.checkpointer.take() {
            let synced = checkpointer.end();
            if let (Err(error), Some(redo)) = (synced, &mut self.redo) {
                redo.after_checkpoint(Err(error));
            }
        }
        let log = self.redo.as_mut().map(Redo::before_checkpoint);
        let synced = match log.transpose() {
            Ok(log) => log.flatten().map_or(Ok(()), |log| log.sync_data()),
            Err(error) => Err(error),
        };
        let whole = checkpoint(connection, "TRUNCATE")?;
        if let Some(redo) = self.redo.as_mut().filter(|_| whole) {
            match synced {
                Ok(()) => redo.close(),
                Err(error) => redo.after_checkpoint(Err(error)),
            }
        }
        Ok(())
    }

    fn snapshot(&mut self, number: u64) -> Result<Pinned> {
        let Some(redo) = &mut self.redo else {
            return Err(Error::internal(
                "a snapshot was asked of a database without a redo log",
            ));
        };
        // Nothing is committed between the two: this is the thread that commits.
        let pinned = self.pins.pin(redo.database())?;
        redo.begin(number, self.log_pages.load(Ordering::Relaxed))
            .map_err(|error| Error::Unavailable(Arc::new(error)))?;
        Ok(pinned)
    }

    fn batch(&mut self, connection: &mut Connection, first: Box<dyn Job>) {
        let durability = first.durability();
        let mut jobs = Vec::with_capacity(BATCH);
        let mut outcome = self.begin(connection, durability);
        let mut next = Some(first);
        while let Some(mut job) = next.take() {
            self.totals.waiting.fetch_sub(1, Ordering::Relaxed);
            if outcome.is_ok() {
                outcome = self.run_alone(connection, job.as_mut());
            }
            jobs.push(job);
            if outcome.is_ok() && jobs.len() < BATCH {
                next = self.next_of(durability);
            }
        }
        outcome = outcome.and_then(|()| execute(connection, "COMMIT"));
        if let Err(error) = &outcome {
            tracing::error!(
                error = error as &dyn std::error::Error,
                changes = jobs.len(),
                "metadata changes were lost"
            );
            if !connection.is_autocommit() {
                let _ = execute(connection, "ROLLBACK");
            }
        } else {
            self.totals.commits.fetch_add(1, Ordering::Relaxed);
            self.totals
                .changes
                .fetch_add(jobs.len() as u64, Ordering::Relaxed);
        }
        // Before anybody is answered. After a failed commit there is nothing new.
        if let Some(redo) = self.redo.as_mut().filter(|_| outcome.is_ok()) {
            redo.committed(self.log_pages.load(Ordering::Relaxed));
        }
        // After a failed commit too: raising a version is always safe.
        for job in &jobs {
            job.raise(&self.versions);
        }
        for job in jobs {
            job.answer(outcome.clone());
        }
    }

    fn begin(&mut self, connection: &Connection, durability: Durability) -> Result<()> {
        if self.synchronous != Some(durability) {
            let level = match durability {
                Durability::Relaxed => "normal",
                Durability::Durable => "full",
            };
            connection
                .pragma_update(None, "synchronous", level)
                .map_err(failure)?;
            self.synchronous = Some(durability);
        }
        execute(connection, "BEGIN IMMEDIATE")
    }

    /// Runs one change in a savepoint. An error means that the whole batch is lost.
    fn run_alone(&self, connection: &mut Connection, job: &mut dyn Job) -> Result<()> {
        execute(connection, "SAVEPOINT change")?;
        // A panic is a defect of one operation; the thread and the other changes go on.
        let ran = catch_unwind(AssertUnwindSafe(|| {
            job.run(&mut SqliteTransaction::new(connection, &self.ids))
        }))
        .unwrap_or_else(|_panic| Err(panicked()));
        if connection.is_autocommit() {
            // A full disk, for one, makes SQLite undo everything, the changes before this one as well.
            return ran.and(Err(Error::internal(
                "a metadata change ended the transaction it ran in",
            )));
        }
        if !matches!(ran, Ok(true)) {
            execute(connection, "ROLLBACK TO change")?;
        }
        execute(connection, "RELEASE change")
    }

    /// The next change, if it is waiting and this batch is durable enough for it.
    fn next_of(&mut self, durability: Durability) -> Option<Box<dyn Job>> {
        match self.receiver.try_recv().ok()? {
            Message::Change(job) if job.durability() <= durability => Some(job),
            other => {
                self.held = Some(other);
                None
            }
        }
    }

    fn copy_back_log(&mut self, connection: &Connection) {
        let pages = self.log_pages.load(Ordering::Relaxed);
        if let Some(checkpointer) = &mut self.checkpointer
            && checkpointer.is_running()
        {
            if pages >= RESTART_PAGES {
                // It cannot keep up.
                let synced = checkpointer.wait();
                self.end_checkpoint(connection, synced);
            }
            return;
        }
        if pages + CHECKPOINT_PAGES < self.checkpoint_at {
            // All of it was copied back and it started over.
            self.checkpoint_at = CHECKPOINT_PAGES;
        }
        if pages < self.checkpoint_at {
            return;
        }
        self.checkpoint_at = pages + CHECKPOINT_PAGES;
        // A snapshot under way is not waited for.
        if pages >= RESTART_PAGES && !self.pins.any() {
            self.checkpoint(connection, "RESTART");
            return;
        }
        match self.before_checkpoint() {
            Ok(log) => {
                if let Some(checkpointer) = &mut self.checkpointer {
                    checkpointer.begin(log);
                }
            }
            Err(error) => warn_not_copied(&error),
        }
    }

    /// Copies back what was committed while the rest of the log was.
    fn finish_checkpoint(&mut self, connection: &Connection) {
        let finished = self.checkpointer.as_mut().and_then(Checkpointer::finished);
        if let Some(synced) = finished {
            self.end_checkpoint(connection, synced);
        }
    }

    fn end_checkpoint(&mut self, connection: &Connection, synced: io::Result<()>) {
        match synced {
            Ok(()) => self.checkpoint(connection, "PASSIVE"),
            Err(error) => {
                if let Some(redo) = &mut self.redo {
                    redo.after_checkpoint(Err(error));
                }
            }
        }
    }

    fn checkpoint(&mut self, connection: &Connection, mode: &'static str) {
        let log = match self.before_checkpoint() {
            Ok(log) => log,
            Err(error) => return warn_not_copied(&error),
        };
        let synced = log.map_or(Ok(()), |log| log.sync_data());
        if synced.is_ok()
            && let Err(error) = checkpoint(connection, mode)
        {
            warn_not_copied(&error);
        }
        if let Some(redo) = &mut self.redo {
            redo.after_checkpoint(synced);
        }
    }

    fn before_checkpoint(&mut self) -> Result<Option<Arc<File>>> {
        let log = self.redo.as_mut().map(Redo::before_checkpoint);
        let log = log.transpose().map(Option::flatten);
        log.map_err(|error| Error::Unavailable(Arc::new(error)))
    }
}

fn warn_not_copied(error: &Error) {
    tracing::warn!(
        error = error as &dyn std::error::Error,
        "the metadata log could not be copied back"
    );
}

fn execute(connection: &Connection, sql: &'static str) -> Result<()> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute([]))
        .map(drop)
        .map_err(failure)
}
