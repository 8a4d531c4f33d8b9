//! The redo log: every page that a commit wrote, kept beside snapshots of the database.
//!
//! A snapshot is a copy of the database (`jobs/snapshot.rs` of the server makes it); log `n` holds what was
//! committed after snapshot `n` was taken. Both only ever grow, so a copy of them that is made while the
//! server runs, file by file and in any order, is whole: the newest snapshot in it, the logs from there on, and
//! what the write-ahead log adds to them give a state no older than the beginning of the copy. The database
//! file itself is changed in place by checkpoints and has no such property.
//!
//! The log repeats the frames of SQLite's write-ahead log (WAL), which carry a chain of checksums. Rules:
//!
//! * **R1** After each commit its frames are appended, before anybody is answered.
//! * **R2** The log is synced before a checkpoint ends, which is what lets the WAL start over, and after the first
//!   record of each cycle of the WAL. So after a power loss whatever the log lacks of the last cycle is in the WAL,
//!   and the log says which cycle that is.
//! * **R3** A log begins where the one before it ends, and says how long that one is.
//! * **R4** A log knows the file it belongs to (inode and time of birth). A database that is another file was
//!   copied or restored by hand: it is not believed, but rebuilt (`rebuild.rs`).
//! * **R5** Between two checkpoints the file's time and size are on record (`face.rs`), as long as the log is whole.
//!   With a WAL beside it, a file that looks otherwise was overwritten by hand: it is rebuilt too, if snapshot and
//!   logs reach to its last change.
//!
//! Commits cost one more write to the page cache, and a sync for each cycle of the WAL (16 MiB). When the log
//! cannot be written, the commit stands, and the log counts as broken until the next snapshot begins another.

mod face;
mod log;
mod position;
mod rebuild;
mod record;
#[cfg(test)]
mod tests;
mod wal;

pub(super) use log::{Redo, RedoTotals, Start};
pub use rebuild::{Database, Rebuilt};
pub(crate) use rebuild::{inspect, rebuild};

use std::path::{Path, PathBuf};

/// Where log `number` is.
pub(crate) fn log_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:010}.log"))
}

/// The numbers of the logs in a directory, ascending. A directory that is not there has none.
pub(crate) fn log_numbers(directory: &Path) -> std::io::Result<Vec<u64>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log"));
        numbers.extend(number.and_then(|digits| digits.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The write-ahead log of a database.
fn wal_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}
