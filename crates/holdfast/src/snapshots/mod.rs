//! Snapshots of the metadata, in the blob store: what brings back a database that is gone.
//!
//! A snapshot is the database, page by page, compressed. Beside it stands the redo log of everything committed
//! after it (`holdfast_metadata`, module `sqlite::redo`), so on this storage a lost database loses nothing.
//! `list.json` names the snapshots, with the digest of each; it is written after a snapshot is whole, and before an
//! older one is deleted, so whatever it names can be tried from the newest on.

mod list;
mod recovery;
mod take;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use holdfast_metadata::Metadata;
use holdfast_model::Timestamp;
use holdfast_storage::BlobStore;
use tokio::sync::Mutex;

pub(crate) use list::Snapshot;
pub(crate) use recovery::{Place, needs_database, recover, recover_damaged};

/// The snapshots of one registry. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Snapshots(Arc<Inner>);

struct Inner {
    metadata: Metadata,
    store: Arc<dyn BlobStore>,
    /// Where redo logs are.
    directory: PathBuf,
    keep: usize,
    /// One at a time; the list as it was last written.
    taking: Mutex<()>,
    /// When the newest was taken; the lowest number when there is none.
    taken_at: AtomicI64,
    /// Commits that the redo logs had taken over when the newest was taken.
    commits: std::sync::atomic::AtomicU64,
    /// Bytes of the database then.
    database_bytes: std::sync::atomic::AtomicU64,
}

/// Why no snapshot was taken, or a list not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The metadata could not be copied.
    #[error("the metadata could not be copied")]
    Metadata(#[from] holdfast_metadata::Error),
    /// The blob store failed.
    #[error("the storage of snapshots failed")]
    Storage(#[from] holdfast_storage::Error),
    /// A file beside the database failed.
    #[error("a file of the snapshot failed")]
    File(#[from] std::io::Error),
    /// The list of snapshots is not one.
    #[error("the list of snapshots is damaged")]
    List(#[from] serde_json::Error),
}

impl Snapshots {
    pub(crate) fn new(
        metadata: Metadata,
        store: Arc<dyn BlobStore>,
        directory: PathBuf,
        keep: usize,
    ) -> Snapshots {
        Snapshots(Arc::new(Inner {
            metadata,
            store,
            directory,
            keep,
            taking: Mutex::default(),
            taken_at: AtomicI64::new(i64::MIN),
            commits: Default::default(),
            database_bytes: Default::default(),
        }))
    }

    /// When the newest was taken.
    pub(crate) fn taken_at(&self) -> Option<Timestamp> {
        match self.0.taken_at.load(Ordering::Relaxed) {
            i64::MIN => None,
            micros => Some(Timestamp::from_micros(micros)),
        }
    }

    fn note(&self, newest: &Snapshot, commits: u64) {
        let inner = &self.0;
        inner
            .taken_at
            .store(newest.taken_at.as_micros(), Ordering::Relaxed);
        inner.commits.store(commits, Ordering::Relaxed);
        inner
            .database_bytes
            .store(newest.database_bytes, Ordering::Relaxed);
    }
}
