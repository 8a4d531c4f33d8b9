//! One process per directory, and whether the machine restarted since the last one.
//!
//! The lock is the kernel's (`flock`), so it ends with its process however that ends. The file says
//! who holds it and in which boot of the machine, for people and for the next process; it is never
//! deleted, since deleting a lock file is a race.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::process;

use super::paths::Paths;
use crate::{Error, Result};

/// More than a process id and a boot id need.
const LOCK_FILE_BYTES_MAX: u64 = 256;

/// The directory is ours while this lives.
#[derive(Debug)]
pub(super) struct StoreLock {
    path: PathBuf,
    file: File,
    restarted: bool,
}

impl StoreLock {
    pub(super) fn take(paths: &Paths) -> Result<StoreLock> {
        let path = paths.lock();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::at("open", &path))?;
        let mut record = String::new();
        // A file that cannot be read as text counts as empty: no pid to name, and an unknown boot.
        let _ = (&file)
            .take(LOCK_FILE_BYTES_MAX)
            .read_to_string(&mut record);
        let mut lines = record.lines();
        let holder = lines.next().and_then(|line| line.parse().ok());
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Locked {
                    path: path.display().to_string(),
                    holder,
                });
            }
            Err(TryLockError::Error(error)) => return Err(Error::at("lock", &path)(error)),
        }
        let boot = boot_id();
        let restarted = boot.is_none() || lines.next().map(str::to_owned) != boot;
        Ok(StoreLock {
            path,
            file,
            restarted,
        })
    }

    /// Whether the machine may have restarted since the process before this one, so that what it
    /// wrote without syncing may have holes.
    pub(super) fn restarted(&self) -> bool {
        self.restarted
    }

    /// Writes this process and boot into the file, once the directory is in order.
    ///
    /// A full disk is no reason not to serve: the lock holds without it, and the next process will
    /// take the boot as unknown.
    pub(super) fn record(&self) -> Result<()> {
        let record = format!("{}\n{}\n", process::id(), boot_id().unwrap_or_default());
        let written = self
            .file
            .set_len(0)
            .and_then(|()| self.file.write_all_at(record.as_bytes(), 0));
        match written.map_err(Error::at("write", &self.path)) {
            Err(Error::Full { .. }) => Ok(()),
            other => other,
        }
    }

    /// Checks that the directory is still the one that was opened.
    ///
    /// Asked before a missing file is called absent: when a disk is unmounted, every path is missing.
    pub(super) fn confirm_in_place(&self) -> Result<()> {
        let found = fs::metadata(&self.path).map_err(Error::at("find", &self.path))?;
        let ours = self
            .file
            .metadata()
            .map_err(Error::at("find", &self.path))?;
        if (found.dev(), found.ino()) == (ours.dev(), ours.ino()) {
            return Ok(());
        }
        let why = "another directory is in its place; was a disk unmounted?";
        Err(Error::unavailable(
            "recognise",
            self.path.display().to_string(),
            why,
        ))
    }
}

/// What distinguishes this start of the machine from every other, where the kernel tells.
fn boot_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = text.trim();
    (!id.is_empty()).then(|| id.to_owned())
}
