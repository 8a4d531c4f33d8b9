//! Staging files: begun, resumed, hashed again, given up. All of it runs on blocking threads.
//!
//! Invariant: a staging file in `uploads` only grows. So whatever was recorded of it, however old, is
//! true of its beginning, and a client cannot have other bytes counted under a recorded hash. A power
//! loss may break that, which is why the file then moves to `unverified` for the rest of its life.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdfast_model::{Algorithm, Digest, UploadId};

use super::Shared;
use super::lease::Lease;
use super::paths::Paths;
use super::writer::Lane;
use crate::resumption::starting_point;
use crate::{Error, Progress, Result};

/// Uploads that were begun and have no file yet: most get their first bytes and their end in one
/// request, and then the disk has one job instead of two. As many as sessions without bytes are open.
/// Lost with the process; an upload without bytes can be begun again.
///
/// An upload that leaves this table before its file was made was aborted, and gets none.
#[derive(Debug, Default)]
pub(super) struct Begun(Mutex<HashSet<UploadId>>);

impl Begun {
    pub(super) fn insert(&self, id: UploadId) {
        self.ids().insert(id);
    }

    pub(super) fn contains(&self, id: UploadId) -> bool {
        self.ids().contains(&id)
    }

    fn remove(&self, id: UploadId) -> bool {
        self.ids().remove(&id)
    }

    fn ids(&self) -> MutexGuard<'_, HashSet<UploadId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lane for an upload that has no file yet.
pub(super) fn start(shared: &Arc<Shared>, lease: Lease, algorithm: Algorithm) -> Box<Lane> {
    let path = shared.paths.upload(lease.id());
    let progress = starting_point(None, 0, algorithm);
    Box::new(Lane::new(shared, lease, None, path, progress))
}

/// Makes the file of an upload that has none yet.
pub(super) fn create(shared: &Shared, id: UploadId, path: &Path) -> Result<File> {
    let file = File::create_new(path).map_err(Error::at("create", path))?;
    // Asked after, so that an abort in between finds either the entry or the file.
    if shared.begun.remove(id) {
        return Ok(file);
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::at("delete", path)(error))
        }
        _ => Err(Error::UploadUnknown(id)),
    }
}

/// Bytes read at a time when a staging file is hashed again.
const HASH_BYTES: usize = 256 * 1024;

/// Opens a staging file and brings its hash up to its end.
pub(super) fn resume(
    shared: &Arc<Shared>,
    lease: Lease,
    id: UploadId,
    saved: Option<Progress>,
    algorithm: Algorithm,
) -> Result<Box<Lane>> {
    let staged = open(shared, id)?;
    let saved = saved.filter(|_| staged.verified);
    let stored_bytes = staged
        .file
        .metadata()
        .map_err(Error::at("measure", &staged.path))?
        .len();
    let mut progress = starting_point(saved, stored_bytes, algorithm);
    if progress.offset < stored_bytes {
        hash_from(&staged, &mut progress)?;
    }
    Ok(Box::new(Lane::new(
        shared,
        lease,
        Some(staged.file),
        staged.path,
        progress,
    )))
}

/// Hashes what is staged from its start.
pub(super) fn hash(shared: &Shared, id: UploadId, algorithm: Algorithm) -> Result<Digest> {
    let mut progress = starting_point(None, 0, algorithm);
    if shared.begun.contains(id) {
        return Ok(progress.hasher.finish());
    }
    let staged = open(shared, id)?;
    hash_from(&staged, &mut progress)?;
    Ok(progress.hasher.finish())
}

pub(super) fn abort(shared: &Shared, id: UploadId) -> Result<()> {
    let mut absent = 0;
    let begun = shared.begun.remove(id);
    let places = [shared.paths.upload(id), shared.paths.unverified_upload(id)];
    for path in &places {
        match fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => absent += 1,
            Err(error) => return Err(Error::at("delete", path)(error)),
        }
    }
    if absent == places.len() && !begun {
        shared.lock.confirm_in_place()
    } else {
        Ok(())
    }
}

pub(super) fn list(shared: &Shared) -> Result<Vec<UploadId>> {
    let mut uploads = Vec::new();
    for directory in [shared.paths.uploads(), shared.paths.unverified_uploads()] {
        uploads.extend(ids_in(&directory)?);
    }
    uploads.sort_unstable();
    uploads.dedup();
    Ok(uploads)
}

/// Moves every staging file to where no recorded hash is believed, so that each resumption hashes it
/// from its start.
///
/// The moves need no sync: while they may be undone, so may be the record that this boot made them.
pub(super) fn distrust_all(paths: &Paths) -> Result<()> {
    for id in ids_in(&paths.uploads())? {
        let path = paths.upload(id);
        fs::rename(&path, paths.unverified_upload(id)).map_err(Error::at("set aside", &path))?;
    }
    Ok(())
}

fn ids_in(directory: &Path) -> Result<Vec<UploadId>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(directory).map_err(Error::at("list", directory))? {
        let name = entry.map_err(Error::at("list", directory))?.file_name();
        // What is not named like an upload is not ours to touch.
        ids.extend(name.to_str().and_then(|name| name.parse::<UploadId>().ok()));
    }
    Ok(ids)
}

struct Staged {
    file: File,
    path: PathBuf,
    /// Whether a recorded hash may vouch for the bytes below its offset.
    verified: bool,
}

fn open(shared: &Shared, id: UploadId) -> Result<Staged> {
    let places = [
        (shared.paths.upload(id), true),
        (shared.paths.unverified_upload(id), false),
    ];
    for (path, verified) in places {
        match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => {
                return Ok(Staged {
                    file,
                    path,
                    verified,
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::at("open", &path)(error)),
        }
    }
    Err(unknown(shared, id))
}

/// The error for a staging file that is in neither place.
pub(super) fn unknown(shared: &Shared, id: UploadId) -> Error {
    shared
        .lock
        .confirm_in_place()
        .err()
        .unwrap_or(Error::UploadUnknown(id))
}

/// Adds what the file has from `progress.offset` on.
fn hash_from(staged: &Staged, progress: &mut Progress) -> Result<()> {
    let mut buffer = vec![0; HASH_BYTES];
    loop {
        match staged.file.read_at(&mut buffer, progress.offset) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                progress.hasher.update(&buffer[..length]);
                progress.offset += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::at("read", &staged.path)(error)),
        }
    }
}
