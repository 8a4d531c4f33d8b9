//! How metadata is opened.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use holdfast_model::Timestamp;

use crate::SharedPayloads;

/// Memory for cached answers unless set otherwise.
pub const DEFAULT_CACHE_BYTES: u64 = 32 << 20;
/// How long an unused link, and a deleted manifest, is kept unless set otherwise.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(24 * 60 * 60);
/// Changes that may wait for the writer unless set otherwise; one more is refused as overload.
pub const DEFAULT_QUEUE_LENGTH: usize = 4096;

/// Connections to PostgreSQL unless set otherwise.
pub const DEFAULT_POSTGRES_CONNECTIONS: usize = 20;
/// How long to wait for a connection to PostgreSQL unless set otherwise.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time of one statement unless set otherwise.
pub const DEFAULT_STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for a lock unless set otherwise.
pub const DEFAULT_LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the database is.
#[derive(Clone, Debug)]
pub enum Location {
    /// In this file, on a local disk (SQLite's log does not work on network file systems). The file
    /// is made when absent; its directory is not.
    File(PathBuf),
    /// In memory, gone with the last handle. One connection serves everybody: for tests and trials.
    Memory,
    /// In PostgreSQL, which several nodes may share.
    Postgres(Box<PostgresOptions>),
}

/// How a PostgreSQL database is used.
#[derive(Clone)]
pub struct PostgresOptions {
    /// Where it is and who asks: a URL, or words such as `host=/run/postgresql dbname=holdfast`.
    pub connection: String,
    /// Standbys, written likewise, that may be asked for manifests by digest.
    pub replicas: Vec<String>,
    /// Whether and how connections are encrypted.
    pub tls: PostgresTls,
    /// Most connections of this process to each server.
    pub connections_max: usize,
    /// Longest time to make a connection.
    pub connect_timeout: Duration,
    /// Longest time to wait for a connection while all are in use.
    pub wait_timeout: Duration,
    /// Longest time for one statement.
    pub statement_timeout: Duration,
    /// Longest time to wait for a lock.
    pub lock_timeout: Duration,
    /// Whether statements are prepared once for each connection. A pooler between, such as PgBouncer in its
    /// transaction mode, needs this off unless it follows prepared statements.
    pub prepared_statements: bool,
    /// Reads this node's clock, which must agree with the database's.
    pub clock: fn() -> Timestamp,
}

/// Whether and how connections to PostgreSQL are encrypted; the words are libpq's `sslmode`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PostgresTls {
    /// They are not.
    #[default]
    Disable,
    /// They are, to whoever answers.
    Require,
    /// They are, and the server proves by a certificate that it has the name it was called by.
    VerifyFull {
        /// The authorities that may sign it, in PEM; the system's without.
        root_certificates: Option<PathBuf>,
    },
}

impl PostgresOptions {
    /// The defaults for this place.
    pub fn new(connection: impl Into<String>, clock: fn() -> Timestamp) -> PostgresOptions {
        PostgresOptions {
            connection: connection.into(),
            replicas: Vec::new(),
            tls: PostgresTls::Disable,
            connections_max: DEFAULT_POSTGRES_CONNECTIONS,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            wait_timeout: DEFAULT_CONNECT_TIMEOUT,
            statement_timeout: DEFAULT_STATEMENT_TIMEOUT,
            lock_timeout: DEFAULT_LOCK_TIMEOUT,
            prepared_statements: true,
            clock,
        }
    }
}

// A connection may contain a password.
impl fmt::Debug for PostgresOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PostgresOptions")
            .field("tls", &self.tls)
            .field("connections_max", &self.connections_max)
            .finish_non_exhaustive()
    }
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
    /// Where nodes that share a database keep payloads of manifests as well.
    pub shared_payloads: Option<Arc<dyn SharedPayloads>>,
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
            shared_payloads: None,
            id_seed,
        }
    }
}
