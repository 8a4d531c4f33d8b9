//! Notes of commits under way, so that a crash leaves no object that nothing names.
//!
//! Between the rename of a commit and the record that its caller makes of it, there is an object that no
//! record names. So a note is made before the rename, an empty file whose name says upload and key. Once the
//! caller has settled the matter, the note is free to be renamed for another commit. What notes there are after
//! a crash name every object in that state, and a few that are settled.
//!
//! Notes are renamed rather than deleted: ext4 slows down where many files were deleted a short time ago.
//!
//! A note is not synced: it is an entry older than the rename, and a file system with a journal keeps the
//! order. On one without, a power loss may leave such an object without a note, which a check finds.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use holdfast_model::UploadId;

use super::paths::Paths;
use crate::storage_key::COMPONENT_BYTES_MAX;
use crate::{Error, Result, StorageKey};

/// Stands for a slash in the name of a note, and before the key; no key and no upload id has it.
const SLASH: char = '+';

/// Notes whose matter is settled: as many as there were commits at one time.
#[derive(Debug, Default)]
pub(super) struct Committing(Mutex<Vec<PathBuf>>);

impl Committing {
    /// Makes the note of a commit that is about to happen.
    pub(super) fn note(&self, paths: &Paths, id: UploadId, key: &StorageKey) -> Result<()> {
        // Anything else is found by its name.
        let Some(note) = key.digest().and_then(|_| note_path(paths, id, key)) else {
            return Ok(());
        };
        let settled = self.settled().pop();
        if settled.is_some_and(|settled| fs::rename(settled, &note).is_ok()) {
            return Ok(());
        }
        match File::create_new(&note) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(Error::at("create", &note)(error))
            }
            _ => Ok(()),
        }
    }

    /// The object is named by a record, or is not there.
    pub(super) fn settle(&self, paths: &Paths, id: UploadId, key: &StorageKey) {
        self.settled().extend(note_path(paths, id, key));
    }

    fn settled(&self) -> std::sync::MutexGuard<'_, Vec<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The commits that have a note.
pub(super) fn noted(paths: &Paths) -> Result<Vec<(UploadId, StorageKey)>> {
    let directory = paths.committing();
    let mut noted = Vec::new();
    for entry in fs::read_dir(&directory).map_err(Error::at("list", &directory))? {
        let name = entry.map_err(Error::at("list", &directory))?.file_name();
        // What is not named like a note is not ours to touch.
        noted.extend(name.to_str().and_then(parse));
    }
    Ok(noted)
}

/// Where the note of a commit is; `None` when its name would be too long, as no digest's key makes it.
fn note_path(paths: &Paths, id: UploadId, key: &StorageKey) -> Option<PathBuf> {
    let name = format!("{id}{SLASH}{key}").replace('/', SLASH.encode_utf8(&mut [0; 4]));
    (name.len() <= COMPONENT_BYTES_MAX).then(|| paths.committing().join(name))
}

fn parse(name: &str) -> Option<(UploadId, StorageKey)> {
    let (id, key) = name.split_once(SLASH)?;
    let key = key.replace(SLASH, "/");
    Some((id.parse().ok()?, key.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_model::{Algorithm, Hasher};

    #[test]
    fn every_key_of_a_digest_has_a_note() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path().to_owned());
        fs::create_dir_all(paths.committing()).unwrap();
        let (committing, id) = (Committing::default(), UploadId::from_random([3; 16]));
        let mut keys = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let digest = Hasher::digest(algorithm, b"abc");
            keys.push(StorageKey::canonical(&digest));
            keys.push(StorageKey::incarnation(&digest, [0xff; 16]));
        }
        for key in &keys {
            committing.note(&paths, id, key).unwrap();
            committing.note(&paths, id, key).unwrap();
        }
        fs::write(paths.committing().join("something else"), "").unwrap();
        let sorted = |mut noted: Vec<(UploadId, StorageKey)>| {
            noted.sort();
            noted
        };
        let all = keys.iter().map(|key| (id, key.clone())).collect();
        assert_eq!(sorted(noted(&paths).unwrap()), sorted(all));
        // What is settled serves the next commits.
        for key in &keys[2..] {
            committing.settle(&paths, id, key);
        }
        let other = UploadId::from_random([4; 16]);
        for key in &keys[..3] {
            committing.note(&paths, other, key).unwrap();
        }
        let mut wanted: Vec<_> = keys[..2].iter().map(|key| (id, key.clone())).collect();
        wanted.extend(keys[..3].iter().map(|key| (other, key.clone())));
        assert_eq!(sorted(noted(&paths).unwrap()), sorted(wanted));
    }
}
