//! The sections `metadata` and `access`.

use std::path::PathBuf;
use std::time::Duration;

use super::auth::Auth;
use super::postgres::Postgres;
use super::reader::Section;
use super::storage::Driver;

/// Where facts about content are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metadata {
    /// A SQLite database in this file.
    File(PathBuf),
    /// Memory; lost at exit.
    InMemory,
    /// A PostgreSQL database, which other nodes may share.
    Postgres(Box<Postgres>),
}

impl Metadata {
    pub(super) fn read(metadata: &Section<'_>, driver: &Driver) -> Self {
        let postgres = metadata.section("postgres");
        if postgres.is_set() {
            return Self::read_postgres(metadata, &postgres, driver);
        }
        match (metadata.path_of("path"), driver) {
            (Some(_), Driver::InMemory) => {
                let text = "a database that outlives the content in memory would describe what is gone; remove it";
                metadata.refuse("path", text);
                Self::InMemory
            }
            (None, Driver::InMemory) => Self::InMemory,
            (Some(path), _) => Self::File(path),
            (None, Driver::Filesystem { root_directory, .. }) => {
                Self::File(root_directory.join("holdfast").join("metadata.db"))
            }
            (None, Driver::S3(_) | Driver::Gcs(_) | Driver::Azure(_) | Driver::Swift(_)) => {
                let text = "is required with an object store, unless metadata.postgres is set: the file of the metadata database, on a disk that is kept";
                metadata.refuse("path", text);
                Self::InMemory
            }
        }
    }
}

impl Metadata {
    fn read_postgres(metadata: &Section<'_>, postgres: &Section<'_>, driver: &Driver) -> Self {
        if metadata.has("path") {
            metadata.refuse(
                "path",
                "metadata is in one place: remove this or metadata.postgres",
            );
        }
        if *driver == Driver::InMemory {
            let text = "a database that outlives the content in memory would describe what is gone; remove it";
            metadata.refuse("postgres", text);
        }
        if metadata.has("snapshots") {
            metadata.warn(
                "snapshots",
                "has no effect: PostgreSQL has backups of its own, such as pg_dump and pg_basebackup",
            );
        }
        Self::Postgres(Box::new(Postgres::read(postgres)))
    }
}

/// Snapshots of the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshots {
    /// Time between two, when something changed.
    pub interval: Duration,
    /// How many are kept.
    pub keep: usize,
}

impl Snapshots {
    pub(super) fn read(snapshots: &Section<'_>) -> Self {
        Self {
            interval: snapshots.positive_duration("interval"),
            keep: snapshots.count("keep"),
        }
    }
}

/// Who may do what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Whether reading needs no credentials.
    pub anonymous_pull: bool,
    /// Users who may use the management API on the main address.
    pub administrators: Vec<String>,
}

impl Access {
    pub(super) fn read(access: &Section<'_>, auth: &Auth) -> Self {
        let anonymous_pull = access.flag("anonymouspull");
        if anonymous_pull && *auth == Auth::None {
            access.warn(
                "anonymouspull",
                "has no effect: without auth everyone may read and write",
            );
        }
        let listed = access.list("administrators");
        if !listed.is_empty() && !matches!(auth, Auth::Htpasswd { .. }) {
            access.warn(
                "administrators",
                "has no effect: users are known with auth.htpasswd only; the control socket always works",
            );
        }
        Self {
            anonymous_pull,
            administrators: listed.iter().map(|(_, name)| (*name).to_owned()).collect(),
        }
    }
}
