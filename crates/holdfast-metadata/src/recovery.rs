//! A database that is gone, or is not the one the server wrote, put together again from a snapshot and the redo
//! logs after it. `sqlite/redo` says why that is whole.
//!
//! These functions block on the disk and run before a database is opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::sqlite::{failure, redo};
use crate::{Error, Result};

pub use crate::sqlite::redo::{Database, Rebuilt};

/// Looks at a database and the redo logs in a directory without opening it.
pub fn inspect(database: &Path, logs: &Path) -> std::io::Result<Database> {
    match redo::inspect(database, logs)? {
        Database::Usable if mark(database).try_exists()? => Ok(Database::Damaged),
        found => Ok(found),
    }
}

/// The file that says that a database is damaged, for the next start.
pub fn mark(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".damaged");
    name.into()
}

/// Leaves that file.
pub(crate) fn mark_damaged(database: &Path) -> std::io::Result<()> {
    std::fs::write(mark(database), "")
}

/// The numbers of the redo logs in a directory, ascending.
pub fn log_numbers(logs: &Path) -> std::io::Result<Vec<u64>> {
    redo::log_numbers(logs)
}

/// Where a redo log is.
pub fn log_path(logs: &Path, number: u64) -> PathBuf {
    redo::log_path(logs, number)
}

/// Brings the copy of snapshot `number` in `file` up to date: by the redo logs from that number on, and by what the
/// write-ahead log beside `database` adds to them. Then checks it through.
pub fn rebuild(file: &Path, number: u64, logs: &Path, database: &Path) -> Result<Rebuilt> {
    let rebuilt = redo::rebuild(file, number, logs, database)
        .map_err(|error| Error::Unavailable(Arc::new(error)))?;
    check(file)?;
    Ok(rebuilt)
}

/// Reads a database through: its pages and its indexes, which are [`Error::Corrupt`] when they are damaged, and its
/// foreign keys, of which those that lead nowhere are [`Error::Internal`].
pub fn check(file: &Path) -> Result<()> {
    let connection =
        Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failure)?;
    // Its write-ahead log may be needed still.
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(failure)?;
    let verdict: String = connection
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(failure)?;
    if verdict != "ok" {
        return Err(Error::corrupt(verdict));
    }
    let dangling = connection
        .prepare("PRAGMA foreign_key_check")
        .and_then(|mut statement| statement.exists([]))
        .map_err(failure)?;
    if dangling {
        return Err(Error::internal("a row refers to another that is not there"));
    }
    connection.close().map_err(|(_, error)| failure(error))
}
