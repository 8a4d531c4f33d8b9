//! The engines, as one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use holdfast_model::Timestamp;

use crate::cache::Versions;
use crate::operation::{Operation, Write};
use crate::postgres::Postgres;
use crate::sqlite::Sqlite;
use crate::{EngineFault, Error, Location, Options, Pinned, Result};

/// What an engine did since the start.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Transactions committed.
    pub(crate) commits: AtomicU64,
    /// Changes in them.
    pub(crate) changes: AtomicU64,
    /// Changes that wait now.
    pub(crate) waiting: AtomicUsize,
}

/// What runs operations.
#[derive(Debug)]
pub(crate) enum Engine {
    /// In this process, which alone has the database.
    Sqlite(Box<Sqlite>),
    /// In a server that other nodes use as well.
    Postgres(Postgres),
}

impl Engine {
    pub(crate) async fn open(
        options: &Options,
        versions: Arc<Versions>,
        now: Timestamp,
    ) -> Result<Engine> {
        Ok(match &options.location {
            Location::Postgres(postgres) => {
                Engine::Postgres(Postgres::open(options, postgres, now).await?)
            }
            Location::File(_) | Location::Memory => {
                Engine::Sqlite(Box::new(Sqlite::open(options, versions, now)?))
            }
        })
    }

    pub(crate) async fn read<O: Operation>(&self, question: O) -> Result<O::Output> {
        match self {
            Engine::Sqlite(sqlite) => sqlite.read(question).await,
            Engine::Postgres(postgres) => postgres.read(&question).await,
        }
    }

    /// A question whose answer, once there is one, never changes.
    pub(crate) async fn read_unchanging<O, T>(&self, question: O) -> Result<Option<T>>
    where
        O: Operation<Output = Option<T>>,
    {
        match self {
            Engine::Sqlite(sqlite) => sqlite.read(question).await,
            Engine::Postgres(postgres) => postgres.read_unchanging(&question).await,
        }
    }

    pub(crate) async fn write<O: Write>(&self, change: O) -> Result<O::Output> {
        match self {
            Engine::Sqlite(sqlite) => sqlite.write(change).await,
            Engine::Postgres(postgres) => postgres.write(change).await,
        }
    }

    pub(crate) fn write_soon<O: Write>(&self, change: O) -> Result<()> {
        match self {
            Engine::Sqlite(sqlite) => sqlite.write_soon(change),
            Engine::Postgres(postgres) => postgres.write_soon(change),
        }
    }

    pub(crate) async fn close(&self) -> Result<()> {
        match self {
            Engine::Sqlite(sqlite) => sqlite.close().await,
            Engine::Postgres(postgres) => postgres.close().await,
        }
    }

    pub(crate) fn totals(&self) -> &Totals {
        match self {
            Engine::Sqlite(sqlite) => sqlite.totals(),
            Engine::Postgres(postgres) => postgres.totals(),
        }
    }

    /// The engine in this process, if that is it.
    pub(crate) fn sqlite(&self) -> Option<&Sqlite> {
        match self {
            Engine::Sqlite(sqlite) => Some(sqlite),
            Engine::Postgres(_) => None,
        }
    }

    pub(crate) fn pin(&self) -> Result<Option<Pinned>> {
        match self {
            Engine::Sqlite(sqlite) => sqlite.pin(),
            Engine::Postgres(_) => Ok(None),
        }
    }

    pub(crate) async fn snapshot(&self, number: u64) -> Result<Pinned> {
        match self {
            Engine::Sqlite(sqlite) => sqlite.snapshot(number).await,
            Engine::Postgres(_) => Err(Error::internal(
                "a snapshot was asked of a PostgreSQL database; pg_dump and its own backups make them",
            )),
        }
    }

    pub(crate) fn examine(&self) -> Result<Vec<EngineFault>> {
        match self {
            Engine::Sqlite(sqlite) => sqlite.examine(),
            // The server enforces the references, and pg_amcheck looks at its files.
            Engine::Postgres(_) => Ok(Vec::new()),
        }
    }
}
