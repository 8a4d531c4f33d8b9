//! Deleting old backups, and the blobs that only they had.

use std::fs;
use std::path::PathBuf;

use holdfast_metadata::BlobState;
use holdfast_model::Digest;
use tokio::sync::mpsc;

use super::layout::Directory;
use super::read::{self, Opened};
use super::write::BackupEvent;
use super::{BackupError, Result};

/// Deletes all but the newest backups. The caller has the lock of the directory.
///
/// A backup loses its name first, then go the blobs that none of the others names: so whatever stops this, no
/// backup that is left lacks a blob.
pub(super) async fn delete_old(
    directory: &Directory,
    keep: usize,
    listener: &mpsc::Sender<BackupEvent>,
) -> Result<()> {
    let mut backups = directory.backups()?;
    let kept = backups.split_off(backups.len().saturating_sub(keep.max(1)));
    if backups.is_empty() {
        return Ok(());
    }
    let mut opened = Vec::new();
    for summary in &kept {
        let scratch = std::env::temp_dir();
        opened.push(read::open(directory, summary, &scratch).await?);
    }
    for summary in &backups {
        let (from, to) = (
            directory.backup(&summary.name),
            directory.unfinished(&summary.name),
        );
        fs::rename(&from, &to).map_err(BackupError::at("rename", &from))?;
        let _ = listener
            .send(BackupEvent::Deleted {
                name: summary.name.clone(),
            })
            .await;
    }
    directory.remove_unfinished()?;
    for path in blob_files(directory)? {
        let digest = digest_of_path(&path);
        if let Some(digest) = digest
            && !named(&opened, &digest).await?
        {
            fs::remove_file(&path).map_err(BackupError::at("remove", &path))?;
        }
    }
    Ok(())
}

async fn named(backups: &[Opened], digest: &Digest) -> Result<bool> {
    for backup in backups {
        let row = backup.metadata.blob_row(digest).await?;
        if row.is_some_and(|row| row.state == BlobState::Live) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Every file below `blobs`, leftovers of copies included.
fn blob_files(directory: &Directory) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![directory.blobs()];
    while let Some(path) = directories.pop() {
        let entries = fs::read_dir(&path).map_err(BackupError::at("list", &path))?;
        for entry in entries {
            let entry = entry.map_err(BackupError::at("list", &path))?.path();
            match entry.is_dir() {
                true => directories.push(entry),
                false => files.push(entry),
            }
        }
    }
    Ok(files)
}

fn digest_of_path(path: &std::path::Path) -> Option<Digest> {
    let hex = path.file_name()?.to_str()?;
    let algorithm = path.parent()?.parent()?.file_name()?.to_str()?;
    format!("{algorithm}:{hex}").parse().ok()
}
