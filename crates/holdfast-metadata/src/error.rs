//! Why a call failed, named for what its caller can do about it.

use std::sync::Arc;

/// The cause behind an error; shared, because one failed commit answers many callers.
type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// Why metadata could not be read or changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Too many changes wait already: try again in a moment.
    #[error("too many metadata changes are waiting")]
    Overloaded,
    /// Somebody else holds the database: try again in a moment.
    #[error("the metadata database is busy")]
    Busy(#[source] Cause),
    /// The disk is full: the change was not made, reads go on.
    #[error("there is no space left for metadata")]
    Full(#[source] Cause),
    /// The database cannot be reached, read or written at all.
    #[error("the metadata database is not available")]
    Unavailable(#[source] Cause),
    /// The database does not hold what it should; it needs an operator.
    #[error("the metadata database is damaged")]
    Corrupt(#[source] Cause),
    /// [`Metadata::close`](crate::Metadata::close) was called.
    #[error("the metadata database is closed")]
    Closed,
    /// A newer release has changed the schema.
    #[error(
        "the metadata database has schema version {found}, this release knows versions up to {known}; start the newer release again"
    )]
    NewerSchema {
        /// The version in the database.
        found: i64,
        /// The newest version of this release.
        known: i64,
    },
    /// A migration in the database is not the one this release has under that number.
    #[error(
        "schema version {version} of the metadata database was made by another migration than this release's"
    )]
    ChangedSchema {
        /// The version that differs.
        version: i64,
    },
    /// This crate broke a rule of its own; the change was not made.
    #[error("a metadata change broke a rule of the database")]
    Internal(#[source] Cause),
}

/// A stored value that this release cannot have written.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unexpected(pub(crate) String);

impl Error {
    /// Whether the engine says that its file is damaged, rather than that a value in it is not ours.
    pub(crate) fn is_file_damage(&self) -> bool {
        matches!(self, Error::Corrupt(cause) if cause.is::<rusqlite::Error>())
    }

    pub(crate) fn corrupt(what: impl Into<String>) -> Error {
        Error::Corrupt(Arc::new(Unexpected(what.into())))
    }

    pub(crate) fn internal(what: impl Into<String>) -> Error {
        Error::Internal(Arc::new(Unexpected(what.into())))
    }
}
