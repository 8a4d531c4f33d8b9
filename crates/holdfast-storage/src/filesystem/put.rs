//! Small objects written whole: beside their place, synced, renamed.
//!
//! A sync of the disk costs the same for one file as for all that wait for it, so many objects are made
//! durable by two syncs of the file system: one before the renames, one after. Few objects are synced
//! one by one, which does not wait for the uploads that are under way on the same disk.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::Shared;
use crate::{Error, Result, StorageKey};

/// From how many objects on the whole file system is synced.
const MANY: usize = 16;
/// How often a directory is made anew when deletions of the same digest keep removing it.
const ATTEMPTS: usize = 16;

struct Written<'a> {
    key: &'a StorageKey,
    beside: PathBuf,
    object: PathBuf,
}

pub(super) fn put(shared: &Shared, objects: &[(StorageKey, Bytes)]) -> Result<()> {
    let many = objects.len() >= MANY;
    let mut written = Vec::with_capacity(objects.len());
    let outcome = objects
        .iter()
        .try_for_each(|(key, bytes)| {
            written.push(write_beside(shared, key, bytes, !many)?);
            Ok(())
        })
        .and_then(|()| publish(shared, &written, many));
    if outcome.is_err() {
        for file in &written {
            // Those that were renamed are not there any more.
            let _ = fs::remove_file(&file.beside);
        }
    }
    outcome
}

/// Gives an object another name; where the file system cannot, as between two disks, copies it.
pub(super) fn link(shared: &Shared, from: &StorageKey, to: &StorageKey) -> Result<()> {
    let (source, object) = (shared.paths.object(from), shared.paths.object(to));
    let directory = object.parent().expect("an object is below the root");
    let beside = directory.join(unused_name());
    // A file in the directory keeps a deletion from removing it meanwhile.
    drop(create(shared, directory, &beside)?);
    let linked = fs::remove_file(&beside)
        .and_then(|()| fs::hard_link(&source, &beside))
        .or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Err(error),
            _ => fs::copy(&source, &beside).and_then(|_| File::open(&beside)?.sync_data()),
        });
    if let Err(error) = linked {
        let _ = fs::remove_file(&beside);
        return match error.kind() {
            io::ErrorKind::NotFound => {
                shared.lock.confirm_in_place()?;
                Err(Error::NotFound(from.clone()))
            }
            _ => Err(Error::at("link", &source)(error)),
        };
    }
    fs::rename(&beside, &object).map_err(Error::at("rename into", &object))?;
    // Renaming one name of a file to another of the same file does nothing.
    let _ = fs::remove_file(&beside);
    shared.open_files.forget(to);
    shared.directories.sync_entry(directory)
}

/// A name beside an object that no other job of this process uses.
fn unused_name() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("holdfast-put.{number}.tmp")
}

/// Writes one object next to where it belongs.
fn write_beside<'a>(
    shared: &Shared,
    key: &'a StorageKey,
    bytes: &Bytes,
    sync: bool,
) -> Result<Written<'a>> {
    let object = shared.paths.object(key);
    let directory = object.parent().expect("an object is below the root");
    let beside = directory.join(unused_name());
    let mut file = create(shared, directory, &beside)?;
    let outcome = file
        .write_all(bytes)
        .and_then(|()| if sync { file.sync_data() } else { Ok(()) });
    if let Err(error) = outcome {
        let _ = fs::remove_file(&beside);
        return Err(Error::at("write", &beside)(error));
    }
    Ok(Written {
        key,
        beside,
        object,
    })
}

/// Makes a file and the directories above it, which a deletion may be removing at the same moment.
fn create(shared: &Shared, directory: &Path, path: &Path) -> Result<File> {
    for _ in 0..ATTEMPTS {
        shared.directories.make(directory)?;
        match File::create(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other.map_err(Error::at("create", path)),
        }
    }
    let why = "its directory keeps disappearing";
    Err(Error::unavailable(
        "create",
        path.display().to_string(),
        why,
    ))
}

fn publish(shared: &Shared, written: &[Written<'_>], many: bool) -> Result<()> {
    let mut directories = BTreeMap::new();
    for file in written {
        let directory = file.object.parent().expect("an object is below the root");
        if !directories.contains_key(directory) {
            let found = fs::metadata(directory).map_err(Error::at("find", directory))?;
            directories.insert(directory, found.dev());
        }
    }
    // An operator may have linked parts of the tree to other disks.
    let mut disks = BTreeMap::new();
    for (directory, device) in &directories {
        disks.entry(*device).or_insert(*directory);
    }
    if many {
        sync_disks(&disks)?;
    }
    for file in written {
        fs::rename(&file.beside, &file.object).map_err(Error::at("rename into", &file.object))?;
        // What was there is replaced.
        shared.open_files.forget(file.key);
    }
    if many {
        // Above a link to another disk is the disk that has the link.
        let root =
            fs::metadata(shared.paths.root()).map_err(Error::at("find", shared.paths.root()))?;
        disks.insert(root.dev(), shared.paths.root());
        return sync_disks(&disks);
    }
    directories
        .keys()
        .try_for_each(|directory| shared.directories.sync_entry(directory))
}

fn sync_disks(disks: &BTreeMap<u64, &Path>) -> Result<()> {
    for directory in disks.values() {
        File::open(directory)
            .and_then(|opened| Ok(rustix::fs::syncfs(&opened)?))
            .map_err(Error::at("sync", directory))?;
    }
    Ok(())
}
