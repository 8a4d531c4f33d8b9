//! The handle. What can be asked and changed stands with its subject: `blobs`, `manifests`, `tags`,
//! `tag_history`, `referrers`, `repositories`, `uploads`, `settings`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use holdfast_model::Timestamp;
use tokio::sync::watch;

use crate::cache::{Cache, Versions};
use crate::engine::Engine;
use crate::operation::{Operation, Write};
use crate::{Error, Location, Options, Pinned, Result, SharedPayloads, recovery};

/// Every fact about the stored bytes. Clones share one database.
///
/// When the last clone goes, changes already accepted are still made; [`close`](Metadata::close) waits
/// for them.
#[derive(Clone, Debug)]
pub struct Metadata(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engine: Engine,
    cache: Cache,
    shared_payloads: Option<Arc<dyn SharedPayloads>>,
    grace: Duration,
    untagged_after: Option<Duration>,
    /// Where the database is, if in a file.
    file: Option<PathBuf>,
    damaged: watch::Sender<bool>,
    /// It was opened as it is because nothing could be done about its damage.
    known_damage: bool,
}

/// What the database did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Transactions committed.
    pub commits: u64,
    /// Changes in them; more than commits when several shared one.
    pub changes: u64,
    /// Changes that wait now.
    pub waiting: usize,
}

/// How the redo log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedoState {
    /// The log in use; 0 when there is none.
    pub number: u64,
    /// Its length.
    pub bytes: u64,
    /// Commits that changed the database since it was opened.
    pub commits: u64,
    /// A new snapshot is needed for snapshots and logs to hold everything again.
    pub incomplete: bool,
    /// The process before ended suddenly; a snapshot makes sure of what its log may lack after a power loss.
    pub unverified: bool,
}

/// What the engine finds wrong with the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineFault {
    /// The file does not hold what it should.
    File(String),
    /// The file cannot be read to its end.
    Unreadable(String),
    /// Rows refer to others that are not there.
    References {
        /// The table they are in.
        table: String,
        /// The table they refer to.
        parent: String,
        /// How many they are.
        rows: u64,
    },
}

impl Metadata {
    /// Opens the database and brings its schema up to date.
    ///
    /// An embedded database is opened on the calling thread: call this before there is traffic.
    pub async fn open(options: Options, now: Timestamp) -> Result<Metadata> {
        let versions = Arc::new(Versions::new());
        let engine = Engine::open(&options, versions.clone(), now).await?;
        let cache = Cache::new(options.cache_bytes, versions);
        let file = match options.location {
            Location::File(path) => Some(path),
            Location::Memory | Location::Postgres(_) => None,
        };
        let known_damage = file
            .as_deref()
            .is_some_and(|file| recovery::mark(file).exists());
        Ok(Metadata(Arc::new(Inner {
            engine,
            cache,
            shared_payloads: options.shared_payloads,
            grace: options.grace,
            untagged_after: options.untagged_after,
            file,
            damaged: watch::Sender::new(false),
            known_damage,
        })))
    }

    /// Makes the changes accepted so far, tidies the files and refuses further changes. Questions are
    /// still answered. Closing twice is fine.
    pub async fn close(&self) -> Result<()> {
        self.0.engine.close().await
    }

    /// What the database did since it was opened.
    pub fn counters(&self) -> Counters {
        let totals = self.0.engine.totals();
        Counters {
            commits: totals.commits.load(Ordering::Relaxed),
            changes: totals.changes.load(Ordering::Relaxed),
            waiting: totals.waiting.load(Ordering::Relaxed),
        }
    }

    /// Whether other nodes may use the same database.
    pub fn is_shared(&self) -> bool {
        self.0.engine.sqlite().is_none()
    }

    /// A view of the database as it is now, every change that was answered in it. `None` of one in memory or in
    /// PostgreSQL, whose own tools copy it.
    pub fn pin(&self) -> Result<Option<Pinned>> {
        self.0.engine.pin()
    }

    /// A view of the database for snapshot `number`, at the moment where redo log `number` begins. Numbers rise
    /// by one. Of a file only.
    pub async fn begin_snapshot(&self, number: u64) -> Result<Pinned> {
        self.0.engine.snapshot(number).await
    }

    /// Notes that snapshot `number`, which [`begin_snapshot`](Self::begin_snapshot) began, is stored as a whole.
    pub fn end_snapshot(&self, number: u64) {
        let Some(sqlite) = self.0.engine.sqlite() else {
            return;
        };
        let totals = sqlite.redo();
        // A log that was given up meanwhile needs another.
        if totals.number.load(Ordering::Relaxed) == number {
            totals.incomplete.store(false, Ordering::Relaxed);
            totals.unverified.store(false, Ordering::Relaxed);
        }
    }

    /// The redo log; none of a database in PostgreSQL.
    pub fn redo(&self) -> RedoState {
        let Some(sqlite) = self.0.engine.sqlite() else {
            return RedoState::default();
        };
        let totals = sqlite.redo();
        RedoState {
            number: totals.number.load(Ordering::Relaxed),
            bytes: totals.bytes.load(Ordering::Relaxed),
            commits: totals.commits.load(Ordering::Relaxed),
            incomplete: totals.incomplete.load(Ordering::Relaxed),
            unverified: totals.unverified.load(Ordering::Relaxed),
        }
    }

    /// What the engine finds wrong with its own file and with references between rows: tens of seconds for
    /// a large database, on the calling thread. Nothing with PostgreSQL, which has tools of its own for that.
    pub fn examine_engine(&self) -> Result<Vec<EngineFault>> {
        let faults = match self.0.engine.examine() {
            Err(error) if error.is_file_damage() => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                vec![EngineFault::Unreadable(cause.unwrap_or_default())]
            }
            examined => examined?,
        };
        if faults
            .iter()
            .any(|fault| !matches!(fault, EngineFault::References { .. }))
        {
            self.note_damage();
        }
        Ok(faults)
    }

    /// Remembers that the database file is damaged, so that the next start puts it together anew
    /// ([`recovery::Database::Damaged`]).
    pub fn note_damage(&self) {
        if self.0.known_damage {
            tracing::error!("the metadata database is still damaged");
            return;
        }
        let first = !self.0.damaged.send_replace(true);
        if let (true, Some(file)) = (first, &self.0.file)
            && let Err(error) = recovery::mark_damaged(file)
        {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot leave a mark that the metadata database is damaged"
            );
        }
    }

    /// Whether somebody has found the database file damaged, which was not known when it was opened.
    pub fn is_damaged(&self) -> bool {
        *self.0.damaged.borrow()
    }

    /// Waits until somebody finds the database file damaged.
    pub async fn damaged(&self) {
        let mut damaged = self.0.damaged.subscribe();
        if damaged.wait_for(|damaged| *damaged).await.is_err() {
            // The sender lives as long as this.
            std::future::pending::<()>().await;
        }
    }

    pub(crate) async fn read<O: Operation>(&self, question: O) -> Result<O::Output> {
        let answer = self.0.engine.read(question).await;
        self.watched(answer)
    }

    /// Asks whichever server knows. What is there stays as it is, and what is not is asked for where changes are made.
    pub(crate) async fn read_unchanging<O, T>(&self, question: O) -> Result<Option<T>>
    where
        O: Operation<Output = Option<T>>,
    {
        let answer = self.0.engine.read_unchanging(question).await;
        self.watched(answer)
    }

    pub(crate) async fn write<O: Write>(&self, change: O) -> Result<O::Output> {
        self.undamaged()?;
        let answer = self.0.engine.write(change).await;
        self.watched(answer)
    }

    fn watched<T>(&self, answer: Result<T>) -> Result<T> {
        if let Err(error) = &answer
            && error.is_file_damage()
        {
            self.note_damage();
        }
        answer
    }

    /// What a damaged file says must neither be acted on nor get into the redo log.
    fn undamaged(&self) -> Result<()> {
        if self.is_damaged() {
            return Err(Error::corrupt("changes wait for a restart"));
        }
        Ok(())
    }

    /// Makes a change that nobody waits for.
    pub(crate) fn write_soon<O: Write>(&self, change: O) -> Result<()> {
        self.undamaged()?;
        self.0.engine.write_soon(change)
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.0.cache
    }

    pub(crate) fn shared_payloads(&self) -> Option<&dyn SharedPayloads> {
        self.0.shared_payloads.as_deref()
    }

    /// How long an unused link, and a deleted manifest, is kept.
    pub fn grace(&self) -> Duration {
        self.0.grace
    }

    pub(crate) fn untagged_after(&self) -> Option<Duration> {
        self.0.untagged_after
    }
}
