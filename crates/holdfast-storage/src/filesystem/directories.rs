//! Directories, and making their entries durable.
//!
//! A file survives a power loss only when each directory on its way has been synced since it got the
//! entry. Which of the upper directories were synced is remembered for the life of the process, so a
//! commit syncs two directories as a rule: the digest's own, and the one that holds it.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::{Error, Result};

/// How many directories are remembered; the layout has 256 for each of two algorithms, and their parents.
const REMEMBERED_MAX: usize = 4096;
/// How often a directory is made anew when deletions keep removing it.
const MAKE_ATTEMPTS: usize = 16;
/// Threads that sync the directories of one large deletion.
const SYNC_THREADS: usize = 8;

/// Knows which directories below a root are reachable after a power loss.
#[derive(Debug)]
pub(super) struct Directories {
    root: PathBuf,
    durable: Mutex<HashSet<PathBuf>>,
}

impl Directories {
    pub(super) fn new(root: &Path) -> Directories {
        Directories {
            root: root.to_owned(),
            durable: Mutex::default(),
        }
    }

    /// Makes a directory and those above it, unless they exist.
    pub(super) fn make(&self, directory: &Path) -> Result<()> {
        let mut attempts = MAKE_ATTEMPTS;
        loop {
            match fs::create_dir_all(directory) {
                // It was there, and a deletion has removed it before that could be seen.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempts > 0 => {
                    attempts -= 1;
                }
                made => return made.map_err(Error::at("make directory", directory)),
            }
        }
    }

    /// Makes a directory that only this user may look into, unless it exists.
    pub(super) fn make_private(&self, directory: &Path) -> Result<()> {
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory);
        made.map_err(Error::at("make directory", directory))
    }

    /// Makes a new entry of `leaf` durable, and `leaf` itself up to the root.
    ///
    /// `leaf` and its parent are always synced: a leaf comes and goes with its blobs. A directory
    /// above counts as durable only after a sync by this process, never because it was there: another
    /// commit may have made it an instant ago and not have synced it yet.
    pub(super) fn sync_entry(&self, leaf: &Path) -> Result<()> {
        sync(leaf)?;
        let mut made_durable = Vec::new();
        let mut below = leaf;
        while below != self.root {
            if below != leaf && self.is_durable(below) {
                break;
            }
            let Some(parent) = below.parent() else { break };
            sync(parent)?;
            if below != leaf {
                made_durable.push(below.to_owned());
            }
            below = parent;
        }
        self.remember(made_durable);
        Ok(())
    }

    fn is_durable(&self, directory: &Path) -> bool {
        self.durable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(directory)
    }

    fn remember(&self, directories: Vec<PathBuf>) {
        if directories.is_empty() {
            return;
        }
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if durable.len() + directories.len() > REMEMBERED_MAX {
            durable.clear();
        }
        durable.extend(directories);
    }
}

/// Makes the loss of entries durable: syncs each directory, or what is left above it when it is gone
/// itself. Several at a time, since a journal takes what waits for it in one go.
pub(super) fn sync_removals(directories: &[PathBuf]) -> Result<()> {
    let share = directories.len().div_ceil(SYNC_THREADS).max(1);
    thread::scope(|scope| {
        let mut shares = directories.chunks(share);
        let first = shares.next().unwrap_or_default();
        let others: Vec<_> = shares
            .map(|share| scope.spawn(|| sync_share(share)))
            .collect();
        others
            .into_iter()
            .fold(sync_share(first), |outcome, other| {
                outcome.and(
                    other
                        .join()
                        .unwrap_or_else(|payload| panic::resume_unwind(payload)),
                )
            })
    })
}

fn sync_share(directories: &[PathBuf]) -> Result<()> {
    for directory in directories {
        let mut standing = directory.as_path();
        loop {
            match (sync(standing), standing.parent()) {
                (Err(Error::Unavailable { source, .. }), Some(above))
                    if source.kind() == io::ErrorKind::NotFound =>
                {
                    standing = above;
                }
                (outcome, _) => break outcome?,
            }
        }
    }
    Ok(())
}

/// Syncs the entries of one directory.
pub(super) fn sync(directory: &Path) -> Result<()> {
    match File::open(directory).and_then(|opened| opened.sync_all()) {
        // Some network and user-space file systems cannot sync a directory, and need not.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other.map_err(Error::at("sync directory", directory)),
    }
}
