//! Where things are in a directory of backups.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use holdfast_model::{Algorithm, Digest, Hasher, Timestamp};
use serde::{Deserialize, Serialize};

use super::{BackupError, Result};

/// The format of this release.
pub(super) const FORMAT: u32 = 1;
/// Longest `backup.json` that is read.
const SUMMARY_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What the name of a backup that is being written begins with.
const UNFINISHED: &str = "unfinished-";

/// What a backup holds: `backup.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// The format; a newer one is refused.
    pub(crate) format: u32,
    /// Its name in the directory.
    pub(crate) name: String,
    /// The release that wrote it.
    pub(crate) holdfast: String,
    /// The version of the database's schema.
    pub(crate) schema: u64,
    /// When the view was made (RFC 3339).
    pub(crate) taken_at: String,
    /// The digest of `metadata.db`.
    pub(crate) database_digest: Digest,
    /// Its size.
    pub(crate) database_bytes: u64,
    /// Repositories in it.
    pub(crate) repositories: u64,
    /// Manifests in it.
    pub(crate) manifests: u64,
    /// Tags in it.
    pub(crate) tags: u64,
    /// Blobs in it.
    pub(crate) blobs: u64,
    /// Their bytes.
    pub(crate) blob_bytes: u64,
    /// Blobs that were not in the directory before.
    pub(crate) new_blobs: u64,
    /// Their bytes.
    pub(crate) new_bytes: u64,
    /// Blobs that the registry had damaged; they are not in it.
    pub(crate) left_out: Vec<LeftOut>,
}

/// A blob that could not be taken into a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeftOut {
    /// Its digest.
    pub(crate) digest: Digest,
    /// Why.
    pub(crate) why: String,
}

/// A directory of backups.
#[derive(Clone, Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new(path: &Path) -> Directory {
        Directory(path.to_owned())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let algorithm = digest.algorithm().to_string();
        self.blobs().join(algorithm).join(&hex[..2]).join(hex)
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.0.join("blobs")
    }

    pub(super) fn backup(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn unfinished(&self, name: &str) -> PathBuf {
        self.0.join(format!("{UNFINISHED}{name}"))
    }

    /// Keeps others from writing to the directory until it is dropped.
    pub(super) fn lock(&self) -> Result<File> {
        let path = self.0.join("lock");
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(BackupError::at("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(BackupError::Unusable(format!(
                "another backup is being written to {}",
                self.0.display()
            ))),
            Err(TryLockError::Error(error)) => Err(BackupError::at("lock", &path)(error)),
        }
    }

    /// Removes backups that were cut short.
    pub(super) fn remove_unfinished(&self) -> Result<()> {
        for entry in self.entries()? {
            if entry.starts_with(UNFINISHED) {
                let path = self.0.join(entry);
                fs::remove_dir_all(&path).map_err(BackupError::at("remove", &path))?;
            }
        }
        Ok(())
    }

    fn entries(&self) -> Result<Vec<String>> {
        let list = BackupError::at("list", &self.0);
        let names = fs::read_dir(&self.0).and_then(|entries| {
            entries
                .map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default()))
                .collect::<std::io::Result<Vec<_>>>()
        });
        names.map_err(list)
    }

    /// All whole backups, oldest first.
    pub(super) fn backups(&self) -> Result<Vec<Summary>> {
        let mut found = Vec::new();
        let mut names = self.entries()?;
        names.sort_unstable();
        for name in names {
            let path = self.backup(&name).join("backup.json");
            if name.starts_with(UNFINISHED) || !path.is_file() {
                continue;
            }
            found.push(read_summary(&path)?);
        }
        Ok(found)
    }
}

fn read_summary(path: &Path) -> Result<Summary> {
    let size = fs::metadata(path)
        .map_err(BackupError::at("read", path))?
        .len();
    if size > SUMMARY_BYTES_MAX {
        let path = path.display();
        return Err(BackupError::Unusable(format!("{path} is too long")));
    }
    let text = fs::read(path).map_err(BackupError::at("read", path))?;
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let unusable = |error: serde_json::Error| {
        BackupError::Unusable(format!("{} is damaged: {error}", path.display()))
    };
    // Looked at first, so that a newer one is told from a damaged one.
    let Format { format } = serde_json::from_slice(&text).map_err(unusable)?;
    if format != FORMAT {
        return Err(BackupError::Unusable(format!(
            "{} has format {format}, this release reads format {FORMAT}",
            path.display()
        )));
    }
    serde_json::from_slice(&text).map_err(unusable)
}

/// The backup of this name, or the newest.
pub(crate) fn find(directory: &Path, name: Option<&str>) -> Result<(Directory, Summary)> {
    let directory = Directory::new(directory);
    let backups = directory.backups()?;
    let found = match name {
        None => backups.into_iter().next_back(),
        Some(name) => backups.into_iter().find(|backup| backup.name == name),
    };
    let place = directory.path().display().to_string();
    let found = found.ok_or_else(|| {
        BackupError::Unusable(match name {
            None => format!("there is no whole backup in {place}"),
            Some(name) => format!("there is no whole backup {name} in {place}"),
        })
    })?;
    Ok((directory, found))
}

/// A backup's name: the time it shows.
pub(super) fn name(now: Timestamp) -> String {
    let time = chrono::DateTime::from_timestamp_micros(now.as_micros()).unwrap_or_default();
    time.format("%Y%m%dT%H%M%S%.3fZ").to_string()
}

/// Reads a file through.
pub(super) fn digest_of(path: &Path) -> std::io::Result<Digest> {
    use std::io::Read as _;
    let mut file = File::open(path)?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            length => hasher.update(&buffer[..length]),
        }
    }
}
