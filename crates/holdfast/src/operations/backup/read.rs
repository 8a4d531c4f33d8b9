//! Reading a backup.

use std::fs;
use std::path::Path;

use holdfast_metadata::{Location, Metadata, Options};
use tempfile::TempDir;

use super::layout::{Directory, Summary, digest_of};
use super::{BackupError, Result};
use crate::{clock, random};

/// The metadata of a backup, in a copy: a backup may lie where nothing can be written, or where SQLite cannot lock.
pub(super) struct Opened {
    pub(super) metadata: Metadata,
    _directory: TempDir,
}

/// Copies the database of a backup into a directory made below `scratch`, and opens it.
pub(super) async fn open(
    directory: &Directory,
    summary: &Summary,
    scratch: &Path,
) -> Result<Opened> {
    let made = tempfile::Builder::new()
        .prefix("view-")
        .tempdir_in(scratch)
        .map_err(BackupError::at("make a directory in", scratch))?;
    let file = made.path().join("metadata.db");
    copy_database(directory, summary, &file)?;
    let options = Options::new(Location::File(file), u64::from_le_bytes(random::bytes()));
    Ok(Opened {
        metadata: Metadata::open(options, clock::now()).await?,
        _directory: made,
    })
}

/// Copies the database of a backup, if it is what `backup.json` says.
pub(super) fn copy_database(directory: &Directory, summary: &Summary, to: &Path) -> Result<()> {
    let source = directory.backup(&summary.name).join("metadata.db");
    fs::copy(&source, to).map_err(BackupError::at("read", &source))?;
    let digest = digest_of(to).map_err(BackupError::at("read", to))?;
    if digest != summary.database_digest {
        return Err(BackupError::Unusable(format!(
            "{} is damaged: it is {digest}, and was {}",
            source.display(),
            summary.database_digest
        )));
    }
    Ok(())
}
