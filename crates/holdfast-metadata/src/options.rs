//! How metadata is opened.

use std::path::PathBuf;
use std::time::Duration;

/// Memory for cached answers unless set otherwise.
pub const DEFAULT_CACHE_BYTES: u64 = 32 << 20;
/// How long an unused link, and a deleted manifest, is kept unless set otherwise.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(24 * 60 * 60);
/// Changes that may wait for the writer unless set otherwise; one more is refused as overload.
pub const DEFAULT_QUEUE_LENGTH: usize = 4096;

/// Where the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In this file, on a local disk (SQLite's log does not work on network file systems). The file
    /// is made when absent; its directory is not.
    File(PathBuf),
    /// In memory, gone with the last handle. One connection serves everybody: for tests and trials.
    Memory,
}

/// How metadata is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the database is.
    pub location: Location,
    /// Memory for cached answers; 0 turns the cache off.
    pub cache_bytes: u64,
    /// The lease of an unused link, and how long a deleted manifest is kept.
    pub grace: Duration,
    /// The directory of the redo logs; none are kept without one. It must be there.
    pub redo: Option<PathBuf>,
    /// A manifest that loses its last tag is queued for review so much later; never if `None`.
    pub untagged_after: Option<Duration>,
    /// Changes that may wait for the writer.
    pub queue_length: usize,
    /// Where the counter in new ids starts: chance, so that two processes hardly ever make the same.
    pub id_seed: u64,
}

impl Options {
    /// The defaults for this location.
    pub fn new(location: Location, id_seed: u64) -> Options {
        Options {
            location,
            cache_bytes: DEFAULT_CACHE_BYTES,
            grace: DEFAULT_GRACE,
            redo: None,
            untagged_after: None,
            queue_length: DEFAULT_QUEUE_LENGTH,
            id_seed,
        }
    }
}
