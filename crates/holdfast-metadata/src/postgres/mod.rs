//! The PostgreSQL engine: several equal nodes on one database.
//!
//! A change is one transaction at READ COMMITTED with the row locks that its statements name, and locks by name
//! where there is no row ([`Lock`](crate::operation::Lock)). A change that meets another (deadlock, a unique or
//! foreign key, a row that changed under it) is undone as a whole and run anew, a bounded number of times.
//!
//! What an error promises: `Busy`, `Overloaded`, `Full` and `Closed` that nothing was changed. `Unavailable` promises
//! nothing: when the connection breaks while a commit is under way, nobody knows what became of it. Callers stay
//! right because none of them undoes anything outside the database then: bytes that were given a key keep it, and
//! what was asked for may be asked again. A manifest is found stored, a tag set, a blob linked; bytes without a
//! row stay until somebody looks for such (`check`).
//!
//! Nobody waits without end: for a connection, an answer, a lock and one's turn there are limits, and beyond
//! them the answer is an error at once.

mod connection;
mod error;
mod migrate;
mod session;
mod sql;
mod tls;
mod transaction;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use holdfast_model::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::engine::Totals;
use crate::ids::Ids;
use crate::migrations::MIGRATIONS;
use crate::operation::{Operation, Write};
use crate::{Error, Options, PostgresOptions, Result};

use connection::{Role, Server};
use error::unavailable;
pub(crate) use session::Session;
use transaction::{Fault, PostgresTransaction};

/// How often a change is run that meets others.
const ATTEMPTS: u32 = 8;
/// The pause before a change is run for the third time; twice as long before each further time.
const PAUSE: Duration = Duration::from_millis(4);
/// How long a replica that failed is not asked.
const REPLICA_PAUSE: Duration = Duration::from_secs(5);

/// The engine. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Postgres(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    primary: Server,
    replicas: Vec<Replica>,
    next_replica: AtomicUsize,
    ids: Ids,
    totals: Totals,
    /// A permit for each change that may be under way.
    changes: Arc<Semaphore>,
    /// The same for questions.
    questions: Arc<Semaphore>,
    limit: u32,
}

#[derive(Debug)]
struct Replica {
    server: Server,
    /// When it may be asked again.
    rests_until: std::sync::Mutex<Option<Instant>>,
}

impl Postgres {
    /// Connects, and brings the schema up to date.
    pub(crate) async fn open(
        options: &Options,
        postgres: &PostgresOptions,
        now: Timestamp,
    ) -> Result<Postgres> {
        let primary = Server::new(&postgres.connection, postgres, Role::Primary)?;
        let replica = |connection: &String| {
            Ok(Replica {
                server: Server::new(connection, postgres, Role::Replica)?,
                rests_until: std::sync::Mutex::default(),
            })
        };
        let replicas = postgres.replicas.iter().map(replica);
        let replicas = replicas.collect::<Result<Vec<_>>>()?;
        let mut lease = primary.lease().await?;
        // Should it be given up half-way, the connection goes, and with it what was begun.
        lease.soil();
        migrate::migrate(lease.client(), MIGRATIONS, now).await?;
        lease.clean();
        drop(lease);
        let limit = u32::try_from(options.queue_length)
            .unwrap_or(u32::MAX)
            .max(1);
        let permits = || Arc::new(Semaphore::new(limit as usize));
        Ok(Postgres(Arc::new(Inner {
            primary,
            replicas,
            next_replica: AtomicUsize::new(0),
            ids: Ids::new(options.id_seed),
            totals: Totals::default(),
            changes: permits(),
            questions: permits(),
            limit,
        })))
    }

    /// Answers a question.
    pub(crate) async fn read<O: Operation>(&self, question: &O) -> Result<O::Output> {
        let _permit = permit(&self.0.questions)?;
        let mut again = true;
        loop {
            match self.0.ask(&self.0.primary, question).await {
                Ok(answer) => return Ok(answer),
                // The server was started anew since: the next connection is a new one.
                Err((_, Some(Fault::Broken))) if again => again = false,
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// Answers a question whose answer never changes once it is there: from a replica, unless there is none that
    /// knows.
    pub(crate) async fn read_unchanging<O, T>(&self, question: &O) -> Result<Option<T>>
    where
        O: Operation<Output = Option<T>>,
    {
        let replicas = &self.0.replicas;
        if !replicas.is_empty() {
            let turn = self.0.next_replica.fetch_add(1, Ordering::Relaxed);
            let replica = &replicas[turn % replicas.len()];
            if !replica.rests() {
                let _permit = permit(&self.0.questions)?;
                match self.0.ask(&replica.server, question).await {
                    Ok(Some(answer)) => return Ok(Some(answer)),
                    Ok(None) => {}
                    Err((error, _)) => replica.rest(&error),
                }
            }
        }
        self.read(question).await
    }

    /// Makes a change; the answer comes once it is committed.
    pub(crate) async fn write<O: Write>(&self, change: O) -> Result<O::Output> {
        let permit = permit(&self.0.changes)?;
        self.0.run(change, permit).await
    }

    /// Makes a change some time soon.
    pub(crate) fn write_soon<O: Write>(&self, change: O) -> Result<()> {
        let permit = permit(&self.0.changes)?;
        let runtime = Handle::try_current().map_err(|error| unavailable(error.to_string()))?;
        let inner = self.0.clone();
        runtime.spawn(async move {
            if let Err(error) = inner.run(change, permit).await {
                tracing::debug!(%error, "a change that nobody waits for was not made");
            }
        });
        Ok(())
    }

    /// Refuses further changes, and waits for those under way.
    pub(crate) async fn close(&self) -> Result<()> {
        // All permits are free once no change is under way, and whoever waits for them comes first.
        if let Ok(all) = self.0.changes.acquire_many(self.0.limit).await {
            self.0.changes.close();
            drop(all);
        }
        Ok(())
    }

    pub(crate) fn totals(&self) -> &Totals {
        &self.0.totals
    }
}

fn permit(permits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
    permits
        .clone()
        .try_acquire_owned()
        .map_err(|error| match error {
            TryAcquireError::Closed => Error::Closed,
            TryAcquireError::NoPermits => Error::Overloaded,
        })
}

impl Inner {
    async fn ask<O: Operation>(
        &self,
        server: &Server,
        question: &O,
    ) -> Result<O::Output, (Error, Option<Fault>)> {
        let mut lease = server.lease().await.map_err(|error| (error, None))?;
        let mut tx = PostgresTransaction::questions(server, &mut lease, &self.ids);
        let answer = question.run(&mut tx).await;
        answer.map_err(|error| (error, tx.fault()))
    }

    async fn run<O: Write>(&self, change: O, _permit: OwnedSemaphorePermit) -> Result<O::Output> {
        self.totals.waiting.fetch_add(1, Ordering::Relaxed);
        let outcome = self.run_until_done(&change).await;
        self.totals.waiting.fetch_sub(1, Ordering::Relaxed);
        if outcome.is_ok() {
            self.totals.commits.fetch_add(1, Ordering::Relaxed);
            self.totals.changes.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    async fn run_until_done<O: Write>(&self, change: &O) -> Result<O::Output> {
        let (mut attempt, mut reconnect) = (1, true);
        loop {
            let (error, fault) = match self.attempt(change).await {
                Ok(output) => return Ok(output),
                Err(failed) => failed,
            };
            match fault {
                Fault::Met if attempt < ATTEMPTS => {
                    tracing::debug!(%error, attempt, "a metadata change met another and runs anew");
                    // The other is over by now, as a rule.
                    if attempt > 1 {
                        tokio::time::sleep(PAUSE * 2_u32.pow(attempt - 2)).await;
                    }
                    attempt += 1;
                }
                // Nothing was committed over it.
                Fault::Broken if reconnect => reconnect = false,
                Fault::Met | Fault::Broken | Fault::Silent | Fault::Other => return Err(error),
            }
        }
    }

    async fn attempt<O: Write>(&self, change: &O) -> Result<O::Output, (Error, Fault)> {
        let server = &self.primary;
        let lease = server.lease().await;
        let mut lease = lease.map_err(|error| (error, Fault::Other))?;
        let mut tx = PostgresTransaction::change(server, &mut lease, &self.ids, O::DURABILITY);
        let output = change.run(&mut tx).await;
        let failed = match (output, tx.fault()) {
            (Ok(output), None) => {
                let end = if O::UNDONE { "ROLLBACK" } else { "COMMIT" };
                return match tx.end(end).await {
                    Ok(()) => Ok(output),
                    // What became of the commit is not known: it must not be run again.
                    Err((error, Fault::Broken)) => Err((error, Fault::Other)),
                    Err(failed) => Err(failed),
                };
            }
            (Ok(_), Some(_)) => (
                Error::internal("a metadata change goes on after a statement failed"),
                Fault::Other,
            ),
            (Err(error), Some(fault)) => (error, fault),
            // It says that something changed under it.
            (Err(error @ Error::Busy(_)), None) => (error, Fault::Met),
            (Err(error), None) => (error, Fault::Other),
        };
        if !failed.1.ends_connection() {
            // When this fails the connection goes, and with it what was begun.
            let _ = tx.end("ROLLBACK").await;
        }
        Err(failed)
    }
}

impl Replica {
    fn rests(&self) -> bool {
        let until = self.rests_until.lock();
        let until = until.unwrap_or_else(std::sync::PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn rest(&self, error: &Error) {
        tracing::warn!(
            error = error as &dyn std::error::Error,
            "a PostgreSQL replica cannot be asked; the primary is"
        );
        let until = self.rests_until.lock();
        *until.unwrap_or_else(std::sync::PoisonError::into_inner) =
            Some(Instant::now() + REPLICA_PAUSE);
    }
}
