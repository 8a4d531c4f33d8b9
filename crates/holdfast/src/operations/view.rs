//! The registry as it was at one moment, for long work beside pushes and deletions.
//!
//! What a view names can be read until it is dropped: it is a copy of the metadata, made after the collector
//! was kept from deleting bytes. A blob that is live in the copy had its bytes then (I2), and bytes go only through
//! the collector (I4), which waits. Its space comes back later; everything else goes on.

use std::path::PathBuf;
use std::sync::Arc;

use holdfast_metadata::{Location, Metadata, Options};
use tempfile::TempDir;
use tokio::sync::OwnedMutexGuard;

use super::{Error, Operations, Result};
use crate::{clock, random};

/// The registry at one moment.
pub(crate) struct View {
    /// Its metadata. Nothing is written to it.
    pub(crate) metadata: Metadata,
    /// The file of the metadata; none of a registry in memory, whose metadata goes on.
    pub(crate) file: Option<PathBuf>,
    _directory: Option<TempDir>,
    _held: OwnedMutexGuard<()>,
}

impl Operations {
    /// Keeps the collector from deleting bytes.
    pub(super) async fn deletions_held(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.collector.deleting).lock_owned().await
    }

    /// Makes a view of what is acknowledged now.
    pub(crate) async fn view(&self) -> Result<View> {
        let held = self.deletions_held().await;
        let Some(pinned) = self.metadata.pin()? else {
            return Ok(View {
                metadata: self.metadata.clone(),
                file: None,
                _directory: None,
                _held: held,
            });
        };
        let scratch = self.rules.scratch.clone();
        let copied = tokio::task::spawn_blocking(move || -> Result<(TempDir, PathBuf)> {
            // The copy holds secrets: its directory is for this user alone.
            let directory = tempfile::Builder::new()
                .prefix(PREFIX)
                .tempdir_in(scratch.unwrap_or_else(std::env::temp_dir))
                .map_err(Error::File)?;
            let file = directory.path().join("metadata.db");
            pinned.copy_to(&file)?;
            Ok((directory, file))
        });
        let (directory, file) = copied
            .await
            .map_err(|error| Error::File(std::io::Error::other(error.to_string())))??;
        let options = Options::new(
            Location::File(file.clone()),
            u64::from_le_bytes(random::bytes()),
        );
        Ok(View {
            metadata: Metadata::open(options, clock::now()).await?,
            file: Some(file),
            _directory: Some(directory),
            _held: held,
        })
    }
}

/// What the names of copies begin with.
const PREFIX: &str = "view-";

/// Removes the copies that processes before this one left.
pub(crate) fn remove_old_views(scratch: &std::path::Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(scratch)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
