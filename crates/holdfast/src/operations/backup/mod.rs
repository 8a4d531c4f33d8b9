//! Backups: the registry of one moment in a directory of its own, and back from there.
//!
//! ```text
//! <directory>/
//! ├── lock                         held while a backup is written or deleted
//! ├── blobs/<algorithm>/<2>/<hex>  bytes by their digest, shared by all backups in the directory
//! ├── 20261126T092409.123Z/        a backup: there only once it is whole
//! │   ├── metadata.db              the database
//! │   └── backup.json              what it holds, with the digest of the database
//! └── unfinished-<name>/           one that was cut short; the next removes it
//! ```
//!
//! Why a backup is whole: it is made from a view (`operations/view.rs`), in which every live blob has its bytes
//! until the view is dropped. Its blobs are written and synced, then the database and `backup.json`, then the
//! directory gets its name. What was acknowledged before the view was made is in it. Each blob is in the directory once,
//! so another backup writes what is new.

mod delete;
mod layout;
mod read;
mod repository;
mod restore;
mod write;

pub(crate) use layout::find;
pub(crate) use repository::{RepositoryRestored, RepositoryWish};
pub(crate) use restore::{RestoreWish, Restored, restore};
pub(crate) use write::{BackupEvent, BackupWish};

/// Why a backup was not written or read; one line of text each.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    /// A file or directory of the backup.
    #[error("cannot {operation} {path}")]
    File {
        /// What was attempted.
        operation: &'static str,
        /// With what.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// What is there is not what a backup has.
    #[error("{0}")]
    Unusable(String),
    /// The registry's side.
    #[error(transparent)]
    Registry(#[from] super::Error),
}

impl BackupError {
    fn at(
        operation: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> BackupError {
        move |source| BackupError::File {
            operation,
            path: path.display().to_string(),
            source,
        }
    }
}

impl From<holdfast_metadata::Error> for BackupError {
    fn from(error: holdfast_metadata::Error) -> Self {
        super::Error::from(error).into()
    }
}

impl From<holdfast_storage::Error> for BackupError {
    fn from(error: holdfast_storage::Error) -> Self {
        super::Error::from(error).into()
    }
}

type Result<T, E = BackupError> = std::result::Result<T, E>;
