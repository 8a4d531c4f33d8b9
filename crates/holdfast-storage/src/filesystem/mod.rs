//! Bytes in a directory, laid out as Distribution has it (`paths.rs` draws the tree).
//!
//! An upload is one file under `holdfast/uploads`, made with its first bytes and hashed as it is
//! appended to. Committing syncs its data, renames it to its key and syncs the directories on the way.
//!
//! What is there after the process is killed, or after the power fails, at each step:
//!
//! | after | killed | power lost |
//! |---|---|---|
//! | `begin_upload` | nothing | nothing |
//! | `write`, `suspend` | every byte a job wrote; the record may say less | any prefix, possibly with holes: see below |
//! | sync in `commit` | the staging file, whole | the same: data and length are synced |
//! | rename in `commit` | the object, whole | the object or the staging file, whole |
//! | `commit` | the object | the object: every directory up to the root is synced |
//! | `put` | each object, whole, or what was there before | the same |
//! | `delete` | nothing | nothing: the directories that lost an entry are synced |
//!
//! The key is never seen with part of its bytes: only a rename creates it, and only after the sync.
//! The directory the staging file leaves is not synced: a rename is one step in a journal, and a
//! staging file that came back on a file system without one belongs to no session and is aborted by
//! start-up recovery.
//!
//! After a power loss a staging file may have holes *below* a recorded offset, and a recorded hash
//! state would vouch for bytes that are not there. Staging files that survive a restart of the machine
//! are therefore moved to `holdfast/unverified` when the store opens, and hashed from the start whenever
//! they are resumed; a restart of the server alone trusts the record, as the page cache survived.
//!
//! A client that sends nothing holds no thread: bytes are gathered on the async side and handed to
//! the blocking pool one full buffer at a time. What is written passes the page cache by where the file
//! system allows it, which halves the cost of a push. A cached file is read without any thread at all.

mod blocking;
mod buffer_pool;
mod committing;
mod direct_io;
mod directories;
mod lease;
mod listing;
mod lock;
mod object;
mod open_files;
mod paths;
mod probe;
#[cfg(test)]
mod push_tests;
mod put;
mod reader;
mod staging;
#[cfg(test)]
mod tests;
mod uncached;
mod upload_buffers;
mod writeback;
mod writer;

use std::path::{self, Path, PathBuf};
use std::sync::Arc;
use std::thread;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_model::{Algorithm, Timestamp, UploadId};
use tokio::sync::Semaphore;

use self::blocking::Blocking;
use self::buffer_pool::BufferPool;
use self::committing::Committing;
use self::direct_io::DirectIo;
use self::directories::Directories;
use self::lease::Leases;
use self::lock::StoreLock;
use self::open_files::OpenFiles;
use self::paths::Paths;
use self::reader::{InlineReads, READ_BUFFER_BYTES};
use self::staging::Begun;
use self::upload_buffers::UploadBuffers;
use crate::blob_store::check_put;
use crate::{BlobReader, BlobStore, Error, Listing, Progress, Result, StorageKey, UploadWriter};

/// Disk jobs of uploads and deletions at once.
const WRITE_JOBS: usize = 64;
/// Disk jobs of downloads at once.
const READ_JOBS: usize = 64;
/// Most files kept open for the next pull; fewer where the system allows few.
const OPEN_FILES: u64 = 1024;
/// One descriptor in so many may be such a file.
const OPEN_FILES_PART: u64 = 8;

/// A store in a directory.
#[derive(Debug)]
pub struct Filesystem {
    shared: Arc<Shared>,
    probing: Arc<tokio::sync::Mutex<()>>,
}

/// What readers, writers and their disk jobs share; the directory is ours until the last is gone.
#[derive(Debug)]
struct Shared {
    paths: Paths,
    lock: StoreLock,
    directories: Directories,
    leases: Arc<Leases>,
    begun: Begun,
    committing: Committing,
    upload_buffers: Arc<UploadBuffers>,
    direct_io: DirectIo,
    hash_threads: Arc<Semaphore>,
    read_buffers: Arc<BufferPool>,
    writes: Blocking,
    reads: Blocking,
    inline_reads: InlineReads,
    open_files: OpenFiles,
}

/// How many files are kept open for the next pull.
fn open_files() -> usize {
    let allowed = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let part = allowed.map_or(OPEN_FILES, |allowed| allowed / OPEN_FILES_PART);
    usize::try_from(part.min(OPEN_FILES)).expect("a thousand fits")
}

impl Filesystem {
    /// Opens the store in `root`, making what is missing. Blocks on the disk.
    ///
    /// Fails with [`Error::Locked`] while another store has it open, and when uploads and blobs are on
    /// different file systems, between which nothing can be renamed.
    ///
    /// With `direct_io`, uploads are written past the page cache where the file system takes that.
    pub fn open(root: impl AsRef<Path>, direct_io: bool) -> Result<Arc<Filesystem>> {
        let root = path::absolute(root.as_ref()).map_err(Error::at("find", root.as_ref()))?;
        let directories = Directories::new(&root);
        let paths = Paths::new(root);
        for directory in [
            paths.uploads(),
            paths.unverified_uploads(),
            paths.committing(),
            paths.blobs(),
        ] {
            directories.make(&directory)?;
        }
        directories.make_private(&paths.snapshots())?;
        if let Some(above) = paths.root().parent() {
            // Best effort: the root may have been made just now, but what is above it is not ours.
            let _ = directories::sync(above);
        }
        let lock = StoreLock::take(&paths)?;
        if lock.restarted() {
            staging::distrust_all(&paths)?;
        }
        lock.record()?;
        match probe::probe(&paths) {
            // A full store still serves pulls and deletions.
            Err(error @ Error::Full { .. }) => {
                tracing::warn!(root = %paths.root().display(), %error, "storage is full");
            }
            other => other?,
        }
        let inline_reads = InlineReads::for_directory(&paths.blobs())?;
        let local = inline_reads.may_open();
        Ok(Arc::new(Filesystem {
            shared: Arc::new(Shared {
                paths,
                lock,
                directories,
                leases: Arc::default(),
                begun: Begun::default(),
                committing: Committing::default(),
                upload_buffers: Arc::default(),
                direct_io: DirectIo::new(direct_io),
                hash_threads: Arc::new(Semaphore::new(hash_threads())),
                read_buffers: BufferPool::new(READ_BUFFER_BYTES),
                writes: Blocking::new(WRITE_JOBS),
                reads: Blocking::new(READ_JOBS),
                inline_reads,
                open_files: OpenFiles::new(if local { open_files() } else { 0 }),
            }),
            probing: Arc::default(),
        }))
    }

    /// The directory of the snapshots of the metadata, where redo logs belong too. Only this user may read it.
    pub fn snapshots_directory(&self) -> PathBuf {
        self.shared.paths.snapshots()
    }

    /// Runs a disk job that changes something.
    async fn change<T, J>(&self, job: J) -> Result<T>
    where
        T: Send + 'static,
        J: FnOnce(&Arc<Shared>) -> Result<T> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        self.shared.writes.run(move || job(&shared)).await
    }
}

/// Processors that may hash ahead of the disk: all but the one that requests are served on.
fn hash_threads() -> usize {
    thread::available_parallelism().map_or(1, |processors| processors.get().max(2) - 1)
}

#[async_trait]
impl BlobStore for Filesystem {
    fn driver(&self) -> &'static str {
        "filesystem"
    }

    async fn begin_upload(&self, id: UploadId) -> Result<()> {
        self.shared.begun.insert(id);
        Ok(())
    }

    async fn resume_upload(
        &self,
        id: UploadId,
        saved: Option<Progress>,
        algorithm: Algorithm,
    ) -> Result<Box<dyn UploadWriter>> {
        let lease = self.shared.leases.take(id).await?;
        let lane = if self.shared.begun.contains(id) {
            staging::start(&self.shared, lease, algorithm)
        } else {
            self.change(move |shared| staging::resume(shared, lease, id, saved, algorithm))
                .await?
        };
        Ok(Box::new(writer::Writer::new(
            Arc::clone(&self.shared),
            lane,
        )))
    }

    async fn uncommit_upload(&self, id: UploadId, key: &StorageKey) -> Result<()> {
        let lease = self.shared.leases.take(id).await?;
        let key = key.clone();
        self.change(move |shared| object::uncommit(shared, &lease, id, &key))
            .await
    }

    fn settle_commit(&self, id: UploadId, key: &StorageKey) {
        let Shared {
            committing, paths, ..
        } = &*self.shared;
        committing.settle(paths, id, key);
    }

    async fn unsettled_commits(&self) -> Result<Vec<(UploadId, StorageKey)>> {
        self.change(|shared| committing::noted(&shared.paths)).await
    }

    async fn abort_upload(&self, id: UploadId) -> Result<()> {
        // No lease: a caller may abort an upload whose writer it still has in hand.
        self.change(move |shared| staging::abort(shared, id)).await
    }

    async fn staged_uploads(&self) -> Result<Vec<UploadId>> {
        self.change(|shared| staging::list(shared)).await
    }

    async fn open(&self, key: &StorageKey) -> Result<Box<dyn BlobReader>> {
        Ok(Box::new(reader::Reader::open(&self.shared, key).await?))
    }

    async fn size(&self, key: &StorageKey) -> Result<Option<u64>> {
        let (shared, key) = (Arc::clone(&self.shared), key.clone());
        self.shared
            .reads
            .run(move || object::size(&shared, &key))
            .await
    }

    async fn get(&self, key: &StorageKey, max: u64) -> Result<Bytes> {
        let (shared, key) = (Arc::clone(&self.shared), key.clone());
        self.shared
            .reads
            .run(move || object::get(&shared, &key, max))
            .await
    }

    async fn list(&self, directory: &StorageKey) -> Result<Box<dyn Listing>> {
        let walk = listing::Walk::new(directory, true);
        Ok(Box::new(listing::Entries::new(&self.shared, walk)))
    }

    async fn children(&self, directory: &StorageKey) -> Result<Box<dyn Listing>> {
        let walk = listing::Walk::new(directory, false);
        Ok(Box::new(listing::Entries::new(&self.shared, walk)))
    }

    async fn modified(&self, directory: &StorageKey) -> Result<Option<Timestamp>> {
        let (shared, directory) = (Arc::clone(&self.shared), directory.clone());
        self.shared
            .reads
            .run(move || listing::directory_modified(&shared, &directory))
            .await
    }

    async fn put(&self, objects: Vec<(StorageKey, Bytes)>) -> Result<()> {
        check_put(&objects)?;
        self.change(move |shared| put::put(shared, &objects)).await
    }

    async fn link(&self, from: &StorageKey, to: &StorageKey) -> Result<()> {
        let (from, to) = (from.clone(), to.clone());
        self.change(move |shared| put::link(shared, &from, &to))
            .await
    }

    fn file(&self, key: &StorageKey) -> Option<PathBuf> {
        Some(self.shared.paths.object(key))
    }

    async fn delete(&self, keys: &[StorageKey]) -> Result<()> {
        let keys = keys.to_vec();
        self.change(move |shared| object::delete(shared, &keys))
            .await
    }

    async fn probe(&self) -> Result<()> {
        // One at a time, so that a hanging disk is not given a thread per question.
        let probing = Arc::clone(&self.probing).lock_owned().await;
        self.change(move |shared| {
            let _probing = probing;
            probe::probe(&shared.paths)
        })
        .await
    }
}
