//! Writing a backup.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::SecondsFormat;
use holdfast_metadata::{BlobRow, BlobState, Metadata};
use holdfast_model::Hasher;
use holdfast_storage::{BlobStore, Error as StorageError, StorageKey};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::super::{Error, Operations};
use super::layout::{Directory, FORMAT, LeftOut, Summary, digest_of, name};
use super::{BackupError, Result};
use crate::clock;
use crate::error_chain::chain;

/// Rows read at a time.
pub(super) const PAGE: usize = 1000;
/// Time between two lines of progress.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Chunks of a blob that may wait to be written.
const CHUNKS_WAITING: usize = 4;

/// What to write, and where.
#[derive(Clone, Debug)]
pub(crate) struct BackupWish {
    /// The directory of backups; an absolute path.
    pub(crate) directory: PathBuf,
    /// How many backups are kept in it; all without a number.
    pub(crate) keep: Option<usize>,
    /// Copy bytes even where a second name of the same file would do.
    pub(crate) copy: bool,
}

/// What happens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub(crate) enum BackupEvent {
    /// So much is done.
    Progress {
        /// Blobs that are in the directory.
        blobs: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// An old backup was deleted.
    Deleted {
        /// Its name.
        name: String,
    },
    /// The backup is whole.
    Done(Box<Summary>),
}

/// How a blob came into the directory.
enum Kept {
    There,
    New,
    Not(String),
}

impl Operations {
    /// Writes a backup of what is acknowledged now, then deletes old ones.
    pub(crate) async fn backup(
        &self,
        wish: &BackupWish,
        listener: &mpsc::Sender<BackupEvent>,
    ) -> Result<()> {
        if !wish.directory.is_absolute() {
            let place = wish.directory.display();
            return Err(BackupError::Unusable(format!(
                "{place} is not an absolute path"
            )));
        }
        let directory = Directory::new(&wish.directory);
        let blobs = directory.blobs();
        fs::create_dir_all(&blobs).map_err(BackupError::at("make", &blobs))?;
        let _lock = directory.lock()?;
        directory.remove_unfinished()?;

        let now = clock::now();
        let view = self.view().await?;
        let Some(database) = &view.file else {
            let why = if self.metadata.is_shared() {
                "metadata in PostgreSQL is backed up by pg_dump or pg_basebackup, the stored bytes after it by the \
                 means of their storage"
            } else {
                "a registry in memory has no database to back up"
            };
            return Err(BackupError::Unusable(why.to_owned()));
        };
        let mut summary = Summary {
            format: FORMAT,
            name: name(now),
            holdfast: crate::VERSION.to_owned(),
            schema: holdfast_metadata::SCHEMA_VERSION,
            taken_at: chrono::DateTime::from_timestamp_micros(now.as_micros())
                .unwrap_or_default()
                .to_rfc3339_opts(SecondsFormat::Millis, true),
            database_digest: digest_of(database).map_err(BackupError::at("read", database))?,
            database_bytes: 0,
            repositories: 0,
            manifests: 0,
            tags: 0,
            blobs: 0,
            blob_bytes: 0,
            new_blobs: 0,
            new_bytes: 0,
            left_out: Vec::new(),
        };
        self.back_up_blobs(
            &view.metadata,
            &directory,
            wish.copy,
            &mut summary,
            listener,
        )
        .await?;
        count(&view.metadata, &mut summary).await?;
        let written = finish(directory.clone(), database.clone(), summary);
        let summary = spawn_blocking(written)
            .await
            .map_err(|error| BackupError::Unusable(format!("a backup panicked: {error}")))??;
        drop(view);
        tracing::info!(
            name = summary.name,
            blobs = summary.blobs,
            new_blobs = summary.new_blobs,
            new_bytes = summary.new_bytes,
            left_out = summary.left_out.len(),
            "wrote a backup"
        );
        if let Some(keep) = wish.keep {
            super::delete::delete_old(&directory, keep, listener).await?;
        }
        let _ = listener.send(BackupEvent::Done(Box::new(summary))).await;
        Ok(())
    }

    async fn back_up_blobs(
        &self,
        metadata: &Metadata,
        directory: &Directory,
        copy: bool,
        summary: &mut Summary,
        listener: &mpsc::Sender<BackupEvent>,
    ) -> Result<()> {
        let mut after = None;
        let mut told = Instant::now();
        loop {
            let page = metadata.blob_rows(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.digest);
            for row in page {
                let kept = match row.state {
                    // Nobody has it any more.
                    BlobState::Doomed => continue,
                    BlobState::Damaged => Kept::Not("the registry found it damaged".to_owned()),
                    BlobState::Live => self.back_up_blob(&row, directory, copy).await?,
                };
                match kept {
                    Kept::Not(why) => {
                        tracing::warn!(digest = %row.digest, why, "a blob is not in the backup");
                        summary.left_out.push(LeftOut {
                            digest: row.digest,
                            why,
                        });
                        continue;
                    }
                    Kept::There => {}
                    Kept::New => {
                        summary.new_blobs += 1;
                        summary.new_bytes += row.size;
                    }
                }
                summary.blobs += 1;
                summary.blob_bytes += row.size;
                if told.elapsed() >= TELL_EVERY {
                    told = Instant::now();
                    let progress = BackupEvent::Progress {
                        blobs: summary.blobs,
                        bytes: summary.blob_bytes,
                    };
                    if listener.send(progress).await.is_err() {
                        let why = "nobody waits for the backup any more";
                        return Err(BackupError::Unusable(why.to_owned()));
                    }
                }
            }
        }
    }

    async fn back_up_blob(&self, row: &BlobRow, directory: &Directory, copy: bool) -> Result<Kept> {
        let target = directory.blob(&row.digest);
        match fs::metadata(&target) {
            Ok(found) if found.len() == row.size => return Ok(Kept::There),
            Ok(_) => fs::remove_file(&target).map_err(BackupError::at("replace", &target))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(BackupError::at("look at", &target)(error)),
        }
        let Ok(key) = row.storage_key.parse::<StorageKey>() else {
            return Ok(Kept::Not("its storage key is malformed".to_owned()));
        };
        let parent = target.parent().expect("a blob is below the directory");
        fs::create_dir_all(parent).map_err(BackupError::at("make", parent))?;
        if !copy
            && let Some(file) = self.store.file(&key)
            && fs::hard_link(&file, &target).is_ok()
        {
            let size = fs::metadata(&target).map_err(BackupError::at("look at", &target))?;
            if size.len() == row.size {
                return Ok(Kept::New);
            }
            fs::remove_file(&target).map_err(BackupError::at("remove", &target))?;
            let why = format!("it has {} bytes instead of {}", size.len(), row.size);
            return Ok(Kept::Not(why));
        }
        copy_blob(&**self.store(), row, &key, target).await
    }
}

/// Copies a blob, and believes it only when it hashes to its digest.
async fn copy_blob(
    store: &dyn BlobStore,
    row: &BlobRow,
    key: &StorageKey,
    target: PathBuf,
) -> Result<Kept> {
    let reader = match store.open(key).await {
        Ok(reader) => reader,
        Err(error @ StorageError::NotFound(_)) => return Ok(Kept::Not(chain(&error))),
        Err(error) => return Err(error.into()),
    };
    let unfinished = target.with_extension("unfinished");
    let (sender, receiver) = mpsc::channel::<Bytes>(CHUNKS_WAITING);
    let writing = spawn_blocking({
        let unfinished = unfinished.clone();
        move || write_chunks(&unfinished, receiver)
    });
    let mut hasher = Hasher::new(row.digest.algorithm());
    let (mut offset, mut failed) = (0, None);
    while offset < reader.size() {
        match reader.read_at(offset, usize::MAX).await {
            Ok(chunk) => {
                offset += chunk.len() as u64;
                hasher.update(&chunk);
                if sender.send(chunk).await.is_err() {
                    break;
                }
            }
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    drop(sender);
    let written = writing
        .await
        .map_err(|error| BackupError::Unusable(format!("writing panicked: {error}")))?;
    let remove = |why: String| {
        let _ = fs::remove_file(&unfinished);
        Ok(Kept::Not(why))
    };
    match failed {
        Some(error @ StorageError::Truncated { .. }) => return remove(chain(&error)),
        Some(error) => return Err(Error::from(error).into()),
        None => written.map_err(BackupError::at("write", &unfinished))?,
    }
    let actual = hasher.finish();
    if actual != row.digest {
        return remove(format!("its bytes are {actual}"));
    }
    fs::rename(&unfinished, &target).map_err(BackupError::at("rename to", &target))?;
    Ok(Kept::New)
}

fn write_chunks(path: &Path, mut chunks: mpsc::Receiver<Bytes>) -> io::Result<()> {
    let mut file = File::create(path)?;
    while let Some(chunk) = chunks.blocking_recv() {
        file.write_all(&chunk)?;
    }
    Ok(())
}

async fn count(metadata: &Metadata, summary: &mut Summary) -> Result<()> {
    let mut after = None;
    loop {
        let page = metadata.all_repositories(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        summary.repositories += page.len() as u64;
        after = Some(last.clone());
    }
    let mut after = None;
    loop {
        let page = metadata.manifest_keys(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        summary.manifests += page.len() as u64;
        after = Some(*last);
    }
    let mut after = None;
    loop {
        let page = metadata.tag_rows(after.as_ref(), PAGE).await?;
        summary.tags += page.len() as u64;
        after = page.into_iter().next_back();
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Makes everything durable and gives the backup its name.
fn finish(
    directory: Directory,
    database: PathBuf,
    mut summary: Summary,
) -> impl FnOnce() -> Result<Summary> {
    move || {
        use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
        let unfinished = directory.unfinished(&summary.name);
        // The database holds secrets.
        let made = fs::DirBuilder::new().mode(0o700).create(&unfinished);
        made.map_err(BackupError::at("make", &unfinished))?;
        let copy = unfinished.join("metadata.db");
        let copied = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&copy)
            .and_then(|mut file| io::copy(&mut File::open(&database)?, &mut file));
        summary.database_bytes = copied.map_err(BackupError::at("write", &copy))?;
        let text = serde_json::to_vec_pretty(&summary).expect("a summary is a plain struct");
        let path = unfinished.join("backup.json");
        fs::write(&path, text).map_err(BackupError::at("write", &path))?;
        let sync = || {
            let opened = File::open(directory.path())?;
            rustix::fs::syncfs(&opened)?;
            opened.sync_all()
        };
        sync().map_err(BackupError::at("sync", directory.path()))?;
        let path = directory.backup(&summary.name);
        fs::rename(&unfinished, &path).map_err(BackupError::at("rename to", &path))?;
        sync().map_err(BackupError::at("sync", directory.path()))?;
        Ok(summary)
    }
}
