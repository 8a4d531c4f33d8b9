//! How the database's file looked when nothing but the write-ahead log was ahead of it (R5).

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::linux::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::wal_path;

fn path(directory: &Path) -> PathBuf {
    directory.join("database.face")
}

fn of(database: &Path) -> io::Result<String> {
    let found = fs::metadata(database)?;
    let (seconds, nanoseconds) = (found.st_mtime(), found.st_mtime_nsec());
    Ok(format!("{seconds}.{nanoseconds:09} {}\n", found.st_size()))
}

/// Notes how the file looks now.
pub(super) fn note(database: &Path, directory: &Path) -> io::Result<()> {
    let made = directory.join("database.face.unfinished");
    let mut file = File::create(&made)?;
    // Not synced: what a loss of power leaves of it costs a needless rebuild at worst.
    file.write_all(of(database)?.as_bytes())?;
    fs::rename(made, path(directory))
}

/// Forgets how it looked: it is about to change.
pub(super) fn forget(directory: &Path) -> io::Result<()> {
    match fs::remove_file(path(directory)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether somebody else has changed the file that the write-ahead log beside it belongs to. Not known when there
/// is no such log: then the file is whole by itself.
pub(super) fn is_another(database: &Path, directory: &Path) -> io::Result<bool> {
    let absent_is = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Ok(String::new()),
        _ => Err(error),
    };
    let log = fs::metadata(wal_path(database)).map_or(0, |found| found.len());
    let noted = fs::read_to_string(path(directory)).or_else(absent_is)?;
    Ok(log > 0 && !noted.is_empty() && noted != of(database)?)
}
