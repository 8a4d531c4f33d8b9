//! Connections: how they are set up, and a [`Transaction`] over one.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use holdfast_model::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, Value as SqliteValue, ValueRef};
use rusqlite::{CachedStatement, Connection, ErrorCode, OpenFlags, ToSql, ffi};

use crate::ids::Ids;
use crate::operation::{Param, Row, Transaction, Value};
use crate::{Error, Result};

/// How long a connection waits for another process, a backup for example.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements kept by each connection: more than there are in this crate.
const STATEMENTS: usize = 128;
/// Page cache of the writer and of each reader; what both miss is in the system's cache.
const WRITER_CACHE_KIB: i64 = 32 << 10;
const READER_CACHE_KIB: i64 = 4 << 10;
/// What the log file is cut back to after a checkpoint.
const LOG_LIMIT_BYTES: i64 = 64 << 20;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Read,
    Write,
}

pub(super) fn open(path: &Path, mode: Mode) -> Result<Connection> {
    let access = match mode {
        Mode::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Mode::Write => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    };
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(failure)?;
    set_up(&connection).map_err(failure)?;
    let pragma = |name, value: i64| connection.pragma_update(None, name, value).map_err(failure);
    match mode {
        Mode::Write => {
            let journal: String = connection
                .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))
                .map_err(failure)?;
            if journal != "wal" {
                let reason = crate::error::Unexpected(format!(
                    "its journal mode stays {journal} instead of wal"
                ));
                return Err(Error::Unavailable(Arc::new(reason)));
            }
            // The writer copies the log back itself, once the redo log has what is in it.
            pragma("wal_autocheckpoint", 0)?;
            pragma("journal_size_limit", LOG_LIMIT_BYTES)?;
            pragma("cache_size", -WRITER_CACHE_KIB)?;
        }
        Mode::Read => {
            pragma("query_only", 1)?;
            pragma("cache_size", -READER_CACHE_KIB)?;
        }
    }
    Ok(connection)
}

/// Makes a file for a database, which holds secrets: for this user's eyes only.
pub(super) fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path).map(drop)
}

pub(super) fn open_memory() -> Result<Connection> {
    let connection = Connection::open_in_memory().map_err(failure)?;
    set_up(&connection).map_err(failure)?;
    Ok(connection)
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Plans do not depend on bound values. Without this, a statement that might use a partial index is
    // compiled anew each time it is bound, which costs ten times the look-up itself.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "foreign_keys", 1)?;
    connection.pragma_update(None, "temp_store", "memory")
}

/// Sorts SQLite's errors by what can be done about them.
pub(crate) fn failure(error: rusqlite::Error) -> Error {
    let code = error
        .sqlite_error()
        .map(|error| (error.code, error.extended_code));
    let cause = Arc::new(error);
    match code {
        Some((ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _)) => Error::Busy(cause),
        Some((ErrorCode::DiskFull, _) | (_, ffi::SQLITE_IOERR_SHMSIZE)) => Error::Full(cause),
        Some((ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _)) => Error::Corrupt(cause),
        Some((
            ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::OutOfMemory
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::NoLargeFileSupport,
            _,
        )) => Error::Unavailable(cause),
        _ => Error::Internal(cause),
    }
}

/// The output of a future that never waits, as all futures over [`SqliteTransaction`] are.
pub(super) fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("an operation waits for nothing but its transaction"),
    }
}

/// A [`Transaction`] whose calls are done when they return.
pub(super) struct SqliteTransaction<'a> {
    connection: &'a mut Connection,
    ids: &'a Ids,
}

impl<'a> SqliteTransaction<'a> {
    pub(super) fn new(connection: &'a mut Connection, ids: &'a Ids) -> Self {
        SqliteTransaction { connection, ids }
    }

    fn bound(&self, sql: &str, params: &[Param<'_>]) -> rusqlite::Result<CachedStatement<'_>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        for (index, param) in params.iter().enumerate() {
            statement.raw_bind_parameter(index + 1, param)?;
        }
        Ok(statement)
    }

    fn rows(&self, sql: &str, params: &[Param<'_>]) -> rusqlite::Result<Vec<Row>> {
        let mut statement = self.bound(sql, params)?;
        let columns = statement.column_count();
        let mut found = Vec::new();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            found.push(Row::new(
                (0..columns)
                    .map(|column| value(row.get_ref(column)?))
                    .collect::<rusqlite::Result<_>>()?,
            ));
        }
        Ok(found)
    }
}

impl Transaction for SqliteTransaction<'_> {
    fn query(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> impl Future<Output = Result<Vec<Row>>> + Send {
        std::future::ready(self.rows(sql, params).map_err(failure))
    }

    fn execute(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> impl Future<Output = Result<u64>> + Send {
        let changed = self
            .bound(sql, params)
            .and_then(|mut statement| statement.raw_execute());
        std::future::ready(changed.map(|rows| rows as u64).map_err(failure))
    }

    fn new_id(&mut self, now: Timestamp) -> i64 {
        self.ids.make(now)
    }
}

/// A value as it is stored.
pub(crate) fn value(stored: ValueRef<'_>) -> rusqlite::Result<Value> {
    Ok(match stored {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Integer(value),
        ValueRef::Text(_) => Value::Text(stored.as_str()?.to_owned()),
        ValueRef::Blob(value) => Value::Bytes(value.to_vec()),
        ValueRef::Real(value) => Value::Text(value.to_string()),
    })
}

impl ToSql for Param<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Param::Null => ToSqlOutput::Owned(SqliteValue::Null),
            Param::Integer(value) => ToSqlOutput::Owned(SqliteValue::Integer(*value)),
            Param::Text(value) => ToSqlOutput::Borrowed(ValueRef::Text(value.as_bytes())),
            Param::Bytes(value) => ToSqlOutput::Borrowed(ValueRef::Blob(value)),
            Param::Digest(digest) => ToSqlOutput::Owned(SqliteValue::Blob(digest.to_bytes())),
        })
    }
}
