//! Listing a directory, a batch at a time.
//!
//! A walk goes depth first and holds one open directory for each level it is in, so that its memory does
//! not depend on how much there is. Each batch is one job on a blocking thread: a caller who takes his
//! time holds none.
//!
//! Linked directories count, as operators put parts of a tree elsewhere; one that leads back to a directory
//! it is in is named as unreadable.

use std::fs::{self, DirEntry, FileType, ReadDir};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use holdfast_model::Timestamp;

use super::Shared;
use crate::{Error, LISTED_AT_ONCE, Listed, Listing, Result, StorageKey};

/// A listing that its caller drives.
pub(super) struct Entries {
    shared: Arc<Shared>,
    /// None while a batch is being read, and for good if that was cancelled or failed.
    walk: Option<Walk>,
}

impl Entries {
    pub(super) fn new(shared: &Arc<Shared>, walk: Walk) -> Entries {
        Entries {
            shared: Arc::clone(shared),
            walk: Some(walk),
        }
    }
}

#[async_trait]
impl Listing for Entries {
    async fn next(&mut self) -> Result<Vec<Listed>> {
        let Some(mut walk) = self.walk.take() else {
            return Err(Error::unavailable(
                "list",
                "a directory",
                "the listing was broken off before",
            ));
        };
        let shared = Arc::clone(&self.shared);
        let job = move || {
            let batch = walk.batch(&shared)?;
            Ok((walk, batch))
        };
        let (walk, batch) = self.shared.reads.run(job).await?;
        self.walk = Some(walk);
        Ok(batch)
    }
}

/// Where a walk is.
pub(super) struct Walk {
    /// The directory to begin with, until it has been opened.
    start: Option<StorageKey>,
    recursive: bool,
    levels: Vec<Level>,
}

struct Level {
    key: StorageKey,
    entries: ReadDir,
}

impl Walk {
    pub(super) fn new(directory: &StorageKey, recursive: bool) -> Walk {
        Walk {
            start: Some(directory.clone()),
            recursive,
            levels: Vec::new(),
        }
    }

    fn batch(&mut self, shared: &Shared) -> Result<Vec<Listed>> {
        if let Some(start) = self.start.take() {
            let path = shared.paths.object(&start);
            match fs::read_dir(&path) {
                Ok(entries) => self.levels.push(Level {
                    key: start,
                    entries,
                }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    shared.lock.confirm_in_place()?;
                }
                Err(error) => return Err(Error::at("list", &path)(error)),
            }
        }
        let mut batch = Vec::new();
        while batch.len() < LISTED_AT_ONCE {
            let Some(level) = self.levels.last_mut() else {
                break;
            };
            match level.entries.next() {
                None => drop(self.levels.pop()),
                Some(Ok(entry)) => batch.extend(self.look_at(&entry)),
                Some(Err(error)) => {
                    let path = shared.paths.object(&level.key);
                    batch.push(unreadable(&path, "list", error));
                    self.levels.pop();
                }
            }
        }
        Ok(batch)
    }

    /// What to say of one entry; a directory may become a level instead.
    fn look_at(&mut self, entry: &DirEntry) -> Option<Listed> {
        let path = entry.path();
        let above = &self.levels.last()?.key;
        let name = entry.file_name();
        let Some(key) = name.to_str().and_then(|name| above.join(name).ok()) else {
            let path = format!("{above}/{}", name.to_string_lossy());
            return Some(Listed::Foreign { path });
        };
        let kind = match kind(entry) {
            Ok(kind) => kind,
            Err(error) => return vanished_or(&path, "examine", error),
        };
        if kind.is_dir() {
            if let Err(error) = leads_on(entry, &path) {
                return vanished_or(&path, "list", error);
            }
            if !self.recursive {
                return Some(Listed::Directory { key });
            }
            return match fs::read_dir(&path) {
                Ok(entries) => {
                    self.levels.push(Level { key, entries });
                    None
                }
                Err(error) => vanished_or(&path, "list", error),
            };
        }
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => Some(Listed::Object {
                key,
                size: found.len(),
                modified: modified(&found),
            }),
            Ok(_) => Some(unreadable(
                &path,
                "read",
                io::Error::other("it is not a file"),
            )),
            Err(error) => vanished_or(&path, "examine", error),
        }
    }
}

/// An error for a linked directory that is one of those above it.
fn leads_on(entry: &DirEntry, path: &Path) -> io::Result<()> {
    if !entry.file_type()?.is_symlink() {
        return Ok(());
    }
    let identity = |found: fs::Metadata| (found.dev(), found.ino());
    let inside = identity(fs::metadata(path)?);
    for above in path.ancestors().skip(1) {
        let above = match above {
            empty if empty.as_os_str().is_empty() => Path::new("."),
            above => above,
        };
        if identity(fs::metadata(above)?) == inside {
            return Err(io::Error::other(
                "it leads back to a directory that it is in",
            ));
        }
    }
    Ok(())
}

/// What an entry is; of a link, what it leads to.
fn kind(entry: &DirEntry) -> io::Result<FileType> {
    match entry.file_type()? {
        link if link.is_symlink() => Ok(fs::metadata(entry.path())?.file_type()),
        kind => Ok(kind),
    }
}

/// Nothing for what went away while the listing came to it.
fn vanished_or(path: &Path, operation: &'static str, error: io::Error) -> Option<Listed> {
    let gone = error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err();
    (!gone).then(|| unreadable(path, operation, error))
}

fn unreadable(path: &Path, operation: &'static str, error: io::Error) -> Listed {
    Listed::Unreadable {
        path: path.display().to_string(),
        error: Error::at(operation, path)(error),
    }
}

/// When a directory was last changed; `None` when there is none.
pub(super) fn directory_modified(
    shared: &Shared,
    directory: &StorageKey,
) -> Result<Option<Timestamp>> {
    let path = shared.paths.object(directory);
    match fs::metadata(&path) {
        Ok(found) => Ok(modified(&found).filter(|_| found.is_dir())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            shared.lock.confirm_in_place().map(|()| None)
        }
        Err(error) => Err(Error::at("examine", &path)(error)),
    }
}

fn modified(found: &fs::Metadata) -> Option<Timestamp> {
    let seconds = found.mtime().checked_mul(1_000_000)?;
    Some(Timestamp::from_micros(
        seconds.checked_add(found.mtime_nsec() / 1000)?,
    ))
}
