//! Committed objects: made visible, measured, deleted. All of it runs on blocking threads.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use bytes::Bytes;
use holdfast_model::UploadId;
use rustix::fs::OFlags;

use super::directories;
use super::lease::Lease;
use super::{Shared, staging};
use crate::{Error, Result, StorageKey};

/// How often a commit makes its directory anew when deletions of the same digest keep removing it.
const COMMIT_ATTEMPTS: usize = 16;

/// Renames a synced staging file to its key and makes the entry durable.
pub(super) fn commit(
    shared: &Shared,
    lease: &Lease,
    staged: &Path,
    key: &StorageKey,
) -> Result<()> {
    let object = shared.paths.object(key);
    let directory = object.parent().expect("an object is below the root");
    shared.committing.note(&shared.paths, lease.id(), key)?;
    for _ in 0..COMMIT_ATTEMPTS {
        shared.directories.make(directory)?;
        match fs::rename(staged, &object) {
            Ok(()) => {
                // What was there is replaced.
                shared.open_files.forget(key);
                return shared.directories.sync_entry(directory);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::at("commit", &object)(error)),
        }
        if !staged.try_exists().map_err(Error::at("find", staged))? {
            if let Some(made) = shared.paths.digest_directory(&object) {
                remove_if_empty(made);
            }
            return Err(staging::unknown(shared, lease.id()));
        }
        // The staging file is there, so the directory was missing: a deletion has just removed it.
    }
    Err(Error::unavailable(
        "commit",
        object.display().to_string(),
        "its directory keeps disappearing",
    ))
}

/// Renames an object back to its staging file. Needs no space, so it also works on a full disk.
pub(super) fn uncommit(
    shared: &Shared,
    _lease: &Lease,
    id: UploadId,
    key: &StorageKey,
) -> Result<()> {
    let object = shared.paths.object(key);
    match fs::rename(&object, shared.paths.upload(id)) {
        Ok(()) => shared.open_files.forget(key),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::NotFound(key.clone()));
        }
        Err(error) => return Err(Error::at("take back", &object)(error)),
    }
    shared.committing.settle(&shared.paths, id, key);
    if let Some(made) = shared.paths.digest_directory(&object) {
        remove_if_empty(made);
    }
    Ok(())
}

/// Opens an object, and measures it.
pub(super) fn open(shared: &Shared, key: &StorageKey) -> Result<(File, u64)> {
    let path = shared.paths.object(key);
    // Another registry's tree may hold anything: opening a pipe would wait for who writes to it.
    let opened = File::options()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(&path);
    match opened {
        Ok(file) => {
            let size = file_size(&path, file.metadata())?;
            Ok((file, size))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            shared.lock.confirm_in_place()?;
            Err(Error::NotFound(key.clone()))
        }
        Err(error) => Err(Error::at("open", &path)(error)),
    }
}

/// Reads the whole of a small object.
pub(super) fn get(shared: &Shared, key: &StorageKey, max: u64) -> Result<Bytes> {
    let (file, size) = open(shared, key)?;
    let too_large = |size| Error::TooLarge {
        key: key.clone(),
        size,
        max,
    };
    if size > max {
        return Err(too_large(size));
    }
    let mut content = Vec::new();
    // One more, which tells a file that has grown since.
    let read = file.take(max.saturating_add(1)).read_to_end(&mut content);
    read.map_err(Error::at("read", &shared.paths.object(key)))?;
    match content.len() as u64 {
        read if read > max => Err(too_large(read)),
        _ => Ok(content.into()),
    }
}

pub(super) fn size(shared: &Shared, key: &StorageKey) -> Result<Option<u64>> {
    let path = shared.paths.object(key);
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            shared.lock.confirm_in_place().map(|()| None)
        }
        found => file_size(&path, found).map(Some),
    }
}

/// The size of a file, and an error for a directory in its place.
pub(super) fn file_size(path: &Path, metadata: io::Result<fs::Metadata>) -> Result<u64> {
    let metadata = metadata.map_err(Error::at("measure", path))?;
    if metadata.is_file() {
        return Ok(metadata.len());
    }
    Err(Error::unavailable(
        "read",
        path.display().to_string(),
        "it is not a file",
    ))
}

/// Removes objects and the directories of their own that they leave empty; the directories above stay,
/// as Distribution leaves them.
pub(super) fn delete(shared: &Shared, keys: &[StorageKey]) -> Result<()> {
    let mut changed = BTreeSet::new();
    let mut some_absent = false;
    for key in keys {
        let object = shared.paths.object(key);
        let removed = fs::remove_file(&object);
        shared.open_files.forget(key);
        match removed {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => some_absent = true,
            Err(error) => return Err(Error::at("delete", &object)(error)),
        }
        let directory = object.parent().expect("an object is below the root");
        // Also after an absent object: an earlier deletion may have been cut short before its sync.
        let own = shared.paths.own_directories(&object);
        let emptied = own
            .into_iter()
            .take_while(|own| remove_if_empty(own))
            .last();
        changed.insert(
            emptied
                .and_then(Path::parent)
                .unwrap_or(directory)
                .to_owned(),
        );
    }
    if some_absent {
        shared.lock.confirm_in_place()?;
    }
    directories::sync_removals(&changed.into_iter().collect::<Vec<_>>())
}

/// Removes a directory if it is empty. Whether it is not there now, be it through this call or an
/// earlier one.
fn remove_if_empty(directory: &Path) -> bool {
    match fs::remove_dir(directory) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}
