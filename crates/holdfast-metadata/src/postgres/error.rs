//! PostgreSQL's errors, sorted by what can be done about them.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use deadpool_postgres::{HookError, PoolError};
use tokio_postgres::error::SqlState;

use crate::Error;

/// An error with the server's own words: the driver's does not print them.
#[derive(Debug)]
struct Said(tokio_postgres::Error);

impl fmt::Display for Said {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(error) = self.0.as_db_error() else {
            return self.0.fmt(formatter);
        };
        let code = error.code().code();
        write!(formatter, "PostgreSQL says: {} ({code}", error.message())?;
        if let Some(constraint) = error.constraint() {
            write!(formatter, ", {constraint}")?;
        }
        formatter.write_str(")")
    }
}

impl StdError for Said {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self.0.as_db_error() {
            Some(_) => None,
            None => self.0.source(),
        }
    }
}

/// What an error is to those who asked.
pub(super) fn failure(error: tokio_postgres::Error) -> Error {
    let (code, lost) = (error.code().cloned(), is_lost(&error));
    let cause = Arc::new(Said(error));
    let Some(code) = code else {
        return if lost {
            // No answer of the server's: what was under way may or may not have been done.
            Error::Unavailable(cause)
        } else {
            Error::Internal(cause)
        };
    };
    match code {
        SqlState::DISK_FULL => Error::Full(cause),
        // The server has undone the change and says so.
        SqlState::T_R_SERIALIZATION_FAILURE
        | SqlState::T_R_DEADLOCK_DETECTED
        | SqlState::LOCK_NOT_AVAILABLE
        | SqlState::QUERY_CANCELED => Error::Busy(cause),
        SqlState::READ_ONLY_SQL_TRANSACTION => Error::Unavailable(cause),
        SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED => Error::Corrupt(cause),
        code => match &code.code()[..2] {
            // Connections, authorization, unknown databases, resources, operators, the system.
            "08" | "28" | "3D" | "53" | "57" | "58" | "25" => Error::Unavailable(cause),
            _ => Error::Internal(cause),
        },
    }
}

/// Whether the connection is gone.
pub(super) fn is_lost(error: &tokio_postgres::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<std::io::Error>() {
            return true;
        }
        cause = error.source();
    }
    error.is_closed()
}

/// Whether the change that met this error may be what it should on a second try: it met another.
pub(super) fn met_another(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| {
        [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::UNIQUE_VIOLATION,
            SqlState::FOREIGN_KEY_VIOLATION,
        ]
        .contains(code)
    })
}

/// Why there is no connection.
pub(super) fn no_connection(error: PoolError) -> Error {
    match error {
        PoolError::Backend(error) => match failure(error) {
            // Whatever keeps a connection from being made, nothing was done over it.
            Error::Unavailable(cause) | Error::Busy(cause) | Error::Internal(cause) => {
                Error::Unavailable(cause)
            }
            other => other,
        },
        PoolError::PostCreateHook(HookError::Backend(error)) => match failure(error) {
            Error::Busy(cause) | Error::Internal(cause) => Error::Unavailable(cause),
            other => other,
        },
        PoolError::PostCreateHook(HookError::Message(why)) => unavailable(why),
        PoolError::Timeout(kind) => unavailable(format!(
            "no connection in time ({kind:?}): all are in use, or the server does not answer"
        )),
        error => unavailable(error.to_string()),
    }
}

pub(super) fn unavailable(why: impl Into<String>) -> Error {
    Error::Unavailable(Arc::new(crate::error::Unexpected(why.into())))
}
