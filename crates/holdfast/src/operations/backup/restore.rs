//! A whole registry from a backup, into a place where none is.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use holdfast_metadata::{BlobRow, BlobState, Location, Metadata, Options};
use holdfast_model::{Algorithm, Digest, Hasher, UploadId};
use holdfast_storage::{BlobStore, Filesystem, StorageKey};
use tokio::task::spawn_blocking;

use super::layout::{Directory, Summary};
use super::write::PAGE;
use super::{BackupError, Result, read};
use crate::{clock, random};

/// Blobs up to this size are written together.
const SMALL_BYTES: u64 = 1024 * 1024;
/// How many, and how many bytes.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of a large blob read at a time.
const CHUNK_BYTES: usize = 1024 * 1024;

/// What to restore, and where to.
#[derive(Clone, Debug)]
pub(crate) struct RestoreWish {
    /// The storage directory.
    pub(crate) root: PathBuf,
    /// The database.
    pub(crate) database: PathBuf,
    /// Write nothing, only read the backup through.
    pub(crate) verify: bool,
}

/// What was restored, or read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Restored {
    /// Blobs whose bytes are right.
    pub(crate) blobs: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Blobs that are missing from the backup or wrong in it.
    pub(crate) damaged: Vec<(Digest, String)>,
}

/// Restores a backup, or reads it through.
pub(crate) async fn restore(
    directory: &Directory,
    summary: &Summary,
    wish: &RestoreWish,
) -> Result<Restored> {
    let mut restored = Restored::default();
    if wish.verify {
        let opened = read::open(directory, summary, &std::env::temp_dir()).await?;
        blobs(&opened.metadata, directory, None, &mut restored).await?;
        return Ok(restored);
    }
    refuse_what_is_there(wish)?;
    let store = Filesystem::open(&wish.root, true)?;
    if let Some(parent) = wish.database.parent() {
        fs::create_dir_all(parent).map_err(BackupError::at("make", parent))?;
    }
    let mut unfinished = wish.database.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    read::copy_database(directory, summary, &unfinished)?;
    let options = Options::new(
        Location::File(unfinished.clone()),
        u64::from_le_bytes(random::bytes()),
    );
    let metadata = Metadata::open(options, clock::now()).await?;
    let store: Arc<dyn BlobStore> = store;
    blobs(&metadata, directory, Some(&*store), &mut restored).await?;
    metadata.close().await?;
    drop(metadata);
    // The last step: without a database, the next start says so rather than serving half of it.
    let check = unfinished.clone();
    spawn_blocking(move || holdfast_metadata::recovery::check(&check))
        .await
        .map_err(|error| BackupError::Unusable(format!("checking panicked: {error}")))??;
    fs::rename(&unfinished, &wish.database)
        .and_then(|()| {
            let parent = wish.database.parent().unwrap_or(Path::new("."));
            fs::File::open(parent)?.sync_all()
        })
        .map_err(BackupError::at("rename to", &wish.database))?;
    Ok(restored)
}

fn refuse_what_is_there(wish: &RestoreWish) -> Result<()> {
    let there = |path: &Path| {
        BackupError::Unusable(format!(
            "{} is there already; a backup is restored where nothing is",
            path.display()
        ))
    };
    if wish.database.exists() {
        return Err(there(&wish.database));
    }
    match fs::read_dir(&wish.root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(BackupError::at("list", &wish.root)(error)),
        // A new disk has one of these.
        Ok(mut entries) => {
            let other =
                entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != *"lost+found"));
            if other {
                Err(there(&wish.root))
            } else {
                Ok(())
            }
        }
    }
}

/// Goes through every blob of the backup; writes it when there is a store.
async fn blobs(
    metadata: &Metadata,
    directory: &Directory,
    store: Option<&dyn BlobStore>,
    restored: &mut Restored,
) -> Result<()> {
    let mut after = None;
    let mut batch = Vec::new();
    let mut batch_bytes = 0;
    loop {
        let page = metadata.blob_rows(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.digest);
        for row in page.into_iter().filter(|row| row.state == BlobState::Live) {
            let path = directory.blob(&row.digest);
            let outcome = if row.size <= SMALL_BYTES {
                read_small(&row, &path).map(|bytes| {
                    batch_bytes += bytes.len();
                    batch.push((row.storage_key.clone(), bytes));
                })
            } else {
                copy_large(&row, &path, store).await?
            };
            match outcome {
                Ok(()) => {
                    restored.blobs += 1;
                    restored.bytes += row.size;
                }
                Err(why) => {
                    if store.is_some() {
                        // So that a push of it brings it back.
                        let now = clock::now();
                        metadata
                            .mark_damaged(&row.digest, &row.storage_key, now)
                            .await?;
                    }
                    restored.damaged.push((row.digest, why));
                }
            }
            if batch.len() >= BATCH || batch_bytes >= BATCH_BYTES {
                batch_bytes = 0;
                put(store, std::mem::take(&mut batch)).await?;
            }
        }
    }
    put(store, batch).await
}

async fn put(store: Option<&dyn BlobStore>, batch: Vec<(String, Bytes)>) -> Result<()> {
    let Some(store) = store else { return Ok(()) };
    let mut objects = Vec::with_capacity(batch.len());
    for (key, bytes) in batch {
        objects.push((parsed(&key)?, bytes));
    }
    Ok(store.put(objects).await?)
}

fn parsed(key: &str) -> Result<StorageKey> {
    key.parse()
        .map_err(|_| BackupError::Unusable(format!("the backup has the storage key {key:?}")))
}

fn read_small(row: &BlobRow, path: &Path) -> std::result::Result<Bytes, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let digest = Hasher::digest(row.digest.algorithm(), &bytes);
    if digest == row.digest {
        Ok(bytes.into())
    } else {
        Err(format!("its bytes are {digest}"))
    }
}

/// Reads a large blob through, and into the store if there is one. The inner error is the blob's own.
async fn copy_large(
    row: &BlobRow,
    path: &Path,
    store: Option<&dyn BlobStore>,
) -> Result<std::result::Result<(), String>> {
    use std::io::Read as _;
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let id = UploadId::from_random(random::bytes());
    let mut hasher = Hasher::new(row.digest.algorithm());
    let mut writer = match store {
        None => None,
        Some(store) => {
            store.begin_upload(id).await?;
            Some(store.resume_upload(id, None, Algorithm::Sha256).await?)
        }
    };
    let wrong = loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        match file.read(&mut chunk) {
            Ok(0) => {
                let digest = hasher.finish();
                break (digest != row.digest).then(|| format!("its bytes are {digest}"));
            }
            Ok(length) => {
                chunk.truncate(length);
                hasher.update(&chunk);
                if let Some(writer) = &mut writer {
                    writer.write(chunk.into()).await?;
                }
            }
            Err(error) => break Some(error.to_string()),
        }
    };
    let (Some(writer), Some(store)) = (writer, store) else {
        return Ok(wrong.map_or(Ok(()), Err));
    };
    match wrong {
        None => {
            writer.commit(&parsed(&row.storage_key)?).await?;
            // Nobody else knows of this upload. A bucket still has the object that this one was copied from.
            store.abort_upload(id).await?;
            Ok(Ok(()))
        }
        Some(why) => {
            drop(writer);
            store.abort_upload(id).await?;
            Ok(Err(why))
        }
    }
}
