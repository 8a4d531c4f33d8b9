//! The SQLite engine: one writer thread with group commit, readers on the calling threads.
//!
//! A look-up by key in prepared SQL takes a microsecond or two, far less than handing it to another
//! thread, so reads run inline on connections of their own and never wait for the writer (WAL).

mod checkpoint;
mod connection;
mod examine;
mod pinned;
mod planner;
pub(crate) mod redo;
mod writer;

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use holdfast_model::Timestamp;
use rusqlite::Connection;

use crate::cache::Versions;
use crate::engine::Totals;
use crate::ids::Ids;
use crate::operation::{Operation, Write};
use crate::{EngineFault, Error, Location, Options, Result, migrations};

use checkpoint::Checkpointer;
use connection::{Mode, SqliteTransaction, ready};
pub(crate) use connection::{failure, value};
pub use pinned::Pinned;
use pinned::Pins;
use redo::{Redo, RedoTotals, Start};
use writer::Writer;

/// Fewest and most read connections; between them, one per processor.
const READERS: std::ops::RangeInclusive<usize> = 2..=16;

/// A connection that writes to a database nobody else has open.
pub(crate) fn writable(path: &Path) -> Result<Connection> {
    connection::open(path, Mode::Write)
}

/// The engine.
#[derive(Debug)]
pub(crate) struct Sqlite {
    writer: Writer,
    readers: Readers,
    ids: Arc<Ids>,
    file: Option<PathBuf>,
    pins: Pins,
    redo: Arc<RedoTotals>,
}

#[derive(Debug)]
struct Readers(Vec<Arc<Mutex<Connection>>>);

impl Sqlite {
    /// Opens the database and brings its schema up to date. Blocks the calling thread meanwhile.
    pub(crate) fn open(
        options: &Options,
        versions: Arc<Versions>,
        now: Timestamp,
    ) -> Result<Sqlite> {
        let ids = Arc::new(Ids::new(options.id_seed));
        let (pins, totals) = (Pins::default(), Arc::<RedoTotals>::default());
        let mut file = None;
        let mut redo = None;
        let mut checkpointer = None;
        let (writer, readers) = match &options.location {
            Location::File(path) => {
                let mut writer = connection::open(path, Mode::Write)?;
                migrations::migrate(&mut writer, now)?;
                planner::describe(&mut writer)?;
                if let Some(directory) = &options.redo {
                    redo = Some(open_redo(path, directory, &totals)?);
                }
                checkpointer = Some(Checkpointer::start(path)?);
                file = Some(path.clone());
                (Arc::new(Mutex::new(writer)), open_readers(path)?)
            }
            Location::Postgres(_) => {
                return Err(Error::internal("this engine has files and memory only"));
            }
            Location::Memory => {
                let mut only = connection::open_memory()?;
                migrations::migrate(&mut only, now)?;
                planner::describe(&mut only)?;
                // One connection for everybody: readers wait for the end of a batch and so never see
                // half of one.
                let only = Arc::new(Mutex::new(only));
                (only.clone(), vec![only])
            }
        };
        let writer = Writer::start(
            writer,
            ids.clone(),
            versions,
            options.queue_length,
            redo,
            checkpointer,
            pins.clone(),
        )?;
        Ok(Sqlite {
            writer,
            readers: Readers(readers),
            ids,
            file,
            pins,
            redo: totals,
        })
    }

    /// Answers a question, inline.
    pub(crate) async fn read<O: Operation>(&self, question: O) -> Result<O::Output> {
        let mut connection = self.readers.take();
        ready(question.run(&mut SqliteTransaction::new(&mut connection, &self.ids)))
    }

    /// Makes a change; the answer comes once it is committed.
    pub(crate) async fn write<O: Write>(&self, change: O) -> Result<O::Output> {
        self.writer.write(change).await
    }

    /// Makes a change some time soon, if the writer has room for it.
    pub(crate) fn write_soon<O: Write>(&self, change: O) -> Result<()> {
        self.writer.send(change).map(drop)
    }

    /// A view of the database as it is now; none of one in memory.
    pub(crate) fn pin(&self) -> Result<Option<Pinned>> {
        self.file
            .as_deref()
            .map(|file| self.pins.pin(file))
            .transpose()
    }

    /// A view of the database where redo log `number` begins.
    pub(crate) async fn snapshot(&self, number: u64) -> Result<Pinned> {
        self.writer.snapshot(number).await
    }

    pub(crate) fn redo(&self) -> &RedoTotals {
        &self.redo
    }

    /// Ends the writer after everything accepted so far.
    pub(crate) async fn close(&self) -> Result<()> {
        self.writer.close().await
    }

    /// What is wrong with the file.
    pub(crate) fn examine(&self) -> Result<Vec<EngineFault>> {
        examine::examine(&self.readers.take())
    }

    /// What the writer did since the start.
    pub(crate) fn totals(&self) -> &Totals {
        self.writer.totals()
    }
}

fn open_redo(database: &Path, directory: &Path, totals: &Arc<RedoTotals>) -> Result<Redo> {
    let opened = Redo::open(database.to_owned(), directory.to_owned(), totals.clone());
    let (redo, start) = opened.map_err(|error| Error::Unavailable(Arc::new(error)))?;
    match start {
        Start::New | Start::Clean => {}
        Start::Caught => tracing::info!("the redo log was brought up to the database"),
        Start::Lost => {
            tracing::warn!("the redo log does not fit the database; a snapshot begins another")
        }
    }
    Ok(redo)
}

fn open_readers(path: &Path) -> Result<Vec<Arc<Mutex<Connection>>>> {
    let processors = available_parallelism().map_or(*READERS.start(), NonZero::get);
    (0..processors.clamp(*READERS.start(), *READERS.end()))
        .map(|_| Ok(Arc::new(Mutex::new(connection::open(path, Mode::Read)?))))
        .collect()
}

impl Readers {
    /// A connection of this thread's own if possible, any free one otherwise.
    fn take(&self) -> MutexGuard<'_, Connection> {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static NUMBER: Cell<usize> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed)));

        let own = NUMBER.with(Cell::get);
        for offset in 0..self.0.len() {
            if let Ok(free) = self.0[(own + offset) % self.0.len()].try_lock() {
                return free;
            }
        }
        // A reader that panicked left nothing open: its statements were reset as they were dropped.
        self.0[own % self.0.len()]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
