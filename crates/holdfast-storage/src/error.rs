//! What can go wrong with stored bytes, named for what the caller can do about it.
//!
//! Invariant: an absent object and an unreadable one are never the same variant, so that deletion
//! code cannot take an outage for rubbish.

use std::io;
use std::path::Path;

use holdfast_model::UploadId;
use rustix::io::Errno;

use crate::StorageKey;

/// The result of a storage operation.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a storage operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such object; the store was reached and said so.
    #[error("no object is stored as {0}")]
    NotFound(StorageKey),

    /// There is no such upload: never begun, committed or aborted.
    #[error("upload {0} is not known to the storage")]
    UploadUnknown(UploadId),

    /// Another request still holds the upload; try again later.
    #[error("upload {0} is in use by another request")]
    UploadBusy(UploadId),

    /// No space or quota is left; the same request may succeed once there is.
    #[error("storage is full: cannot {operation} {subject}")]
    Full {
        /// What was attempted.
        operation: &'static str,
        /// The path or key concerned.
        subject: String,
        /// What the system said.
        source: io::Error,
    },

    /// An object is larger than what is read or written in one go.
    #[error("{key} has {size} bytes, more than the {max} that are read or written in one go")]
    TooLarge {
        /// The object.
        key: StorageKey,
        /// How large it is, as far as that was looked at.
        size: u64,
        /// The limit.
        max: u64,
    },

    /// Too many files are open, by this process or in the whole system, or a service of storage does not answer
    /// or asks for patience; later it may work.
    #[error("cannot {operation} {subject}")]
    Overloaded {
        /// What was attempted.
        operation: &'static str,
        /// The path or key concerned.
        subject: String,
        /// What the system said.
        source: io::Error,
    },

    /// An object ends before its size. It is damaged, and reading it again will not help.
    #[error("{key} is damaged: it ends at byte {end} of {size}")]
    Truncated {
        /// The damaged object.
        key: StorageKey,
        /// The size it had when it was opened.
        size: u64,
        /// A position within that size where no byte was.
        end: u64,
    },

    /// Another process uses the same place.
    #[error("{path} is in use by {}", holder_text(*.holder))]
    Locked {
        /// The lock file.
        path: String,
        /// The process that wrote its id there, if that could be read.
        holder: Option<u32>,
    },

    /// The store could not be reached or refused; whether the object exists is not known.
    #[error("cannot {operation} {subject}")]
    Unavailable {
        /// What was attempted.
        operation: &'static str,
        /// The path or key concerned.
        subject: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// The error for a failed system call on `subject`: [`Full`](Self::Full) or
    /// [`Overloaded`](Self::Overloaded) when that is the cause.
    ///
    /// A file that grows past what its file system can address (`EFBIG`) is not `Full`: free space
    /// would not help.
    pub(crate) fn io(
        operation: &'static str,
        subject: impl Into<String>,
        source: io::Error,
    ) -> Error {
        let subject = subject.into();
        if let Some(Errno::MFILE | Errno::NFILE) = Errno::from_io_error(&source) {
            return Error::Overloaded {
                operation,
                subject,
                source,
            };
        }
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full {
                operation,
                subject,
                source,
            },
            _ => Error::Unavailable {
                operation,
                subject,
                source,
            },
        }
    }

    /// Turns a failed system call on `path` into its error, as `map_err(Error::at("open", path))`.
    pub(crate) fn at(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::io(operation, path.display().to_string(), source)
    }

    /// An error that no system call reported.
    pub(crate) fn unavailable(
        operation: &'static str,
        subject: impl Into<String>,
        why: &'static str,
    ) -> Error {
        Error::Unavailable {
            operation,
            subject: subject.into(),
            source: io::Error::other(why),
        }
    }
}

fn holder_text(holder: Option<u32>) -> String {
    match holder {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_told_from_unavailable() {
        for (errno, full, overloaded) in [
            (Errno::NOSPC, true, false),
            (Errno::DQUOT, true, false),
            (Errno::MFILE, false, true),
            (Errno::NFILE, false, true),
            (Errno::FBIG, false, false),
            (Errno::IO, false, false),
            (Errno::ACCESS, false, false),
            (Errno::ROFS, false, false),
        ] {
            let error = Error::io("write", "x", errno.into());
            let found = (
                matches!(error, Error::Full { .. }),
                matches!(error, Error::Overloaded { .. }),
            );
            assert_eq!(found, (full, overloaded), "{errno:?}");
        }
    }

    #[test]
    fn messages_read_well() {
        let locked = Error::Locked {
            path: "/data/holdfast/lock".into(),
            holder: Some(7),
        };
        assert_eq!(
            locked.to_string(),
            "/data/holdfast/lock is in use by process 7"
        );
        let error = Error::unavailable("open", "/data/x", "the disk is on fire");
        assert_eq!(error.to_string(), "cannot open /data/x");
    }
}
