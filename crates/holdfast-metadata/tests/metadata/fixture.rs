//! Databases and the things put into them.

use std::path::PathBuf;

use bytes::Bytes;
use holdfast_metadata::{
    BlobReference, ChildReference, LinkBlob, Linked, Location, Metadata, NewUpload, Options,
    PostgresOptions, PutManifest, PutOutcome,
};
use holdfast_model::{Digest, MediaType, Reference, RepositoryName, Tag, Timestamp, UploadId};
use holdfast_tests::{Postgres, PostgresDatabase};
use tempfile::TempDir;

pub(crate) const HOUR: i64 = 3_600_000_000;
/// When everything happens unless it happens later.
pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

pub(crate) fn later(hours: i64) -> Timestamp {
    Timestamp::from_micros(NOW.as_micros() + hours * HOUR)
}

pub(crate) struct Database {
    pub(crate) metadata: Metadata,
    place: Place,
}

/// Where a test can look into the database by itself.
enum Place {
    Nowhere,
    File(TempDir),
    Postgres(PostgresDatabase),
}

impl Database {
    pub(crate) async fn memory() -> Database {
        let metadata = Metadata::open(Options::new(Location::Memory, 1), NOW)
            .await
            .unwrap();
        Database {
            metadata,
            place: Place::Nowhere,
        }
    }

    /// A database that was opened elsewhere.
    pub(crate) fn of(metadata: Metadata) -> Database {
        Database {
            metadata,
            place: Place::Nowhere,
        }
    }

    pub(crate) async fn file() -> Database {
        let directory = tempfile::tempdir().unwrap();
        let location = Location::File(directory.path().join("metadata.db"));
        let metadata = Metadata::open(Options::new(location, 1), NOW)
            .await
            .unwrap();
        Database {
            metadata,
            place: Place::File(directory),
        }
    }

    pub(crate) async fn postgres() -> Database {
        let database = Postgres::shared().database();
        Database {
            metadata: node(&database, 1).await,
            place: Place::Postgres(database),
        }
    }

    /// Whether the test can look into it by itself.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.place, Place::Nowhere)
    }

    pub(crate) fn path(&self) -> PathBuf {
        match &self.place {
            Place::File(directory) => directory.path().join("metadata.db"),
            Place::Nowhere | Place::Postgres(_) => panic!("the database has no file"),
        }
    }

    /// A connection of the test's own to a file, with foreign keys enforced.
    pub(crate) fn sql(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(self.path()).unwrap();
        connection.pragma_update(None, "foreign_keys", 1).unwrap();
        connection
    }

    /// Runs statements, written for SQLite; the error, if they are refused.
    pub(crate) fn try_execute(&self, sql: &str) -> Result<(), String> {
        match &self.place {
            Place::Postgres(database) => database.try_query(&for_postgres(sql)).map(drop),
            Place::File(_) | Place::Nowhere => {
                let done = self.sql().execute_batch(sql);
                done.map_err(|error| error.to_string())
            }
        }
    }

    pub(crate) fn execute(&self, sql: &str) {
        self.try_execute(sql).unwrap();
    }

    /// The one number that a question answers.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        match &self.place {
            Place::Postgres(database) => database.query(&for_postgres(sql)).parse().unwrap(),
            Place::File(_) | Place::Nowhere => {
                self.sql().query_row(sql, [], |row| row.get(0)).unwrap()
            }
        }
    }

    pub(crate) fn count(&self, from: &str) -> i64 {
        self.number(&format!("SELECT count(*) FROM {from}"))
    }

    /// Links a blob whose storage key nobody had before.
    pub(crate) async fn link(&self, repository: &str, digest: Digest) {
        let key = format!("{repository}/{digest}");
        self.metadata
            .link_blob(blob(repository, digest, &key))
            .await
            .unwrap();
    }

    pub(crate) async fn put(&self, manifest: PutManifest) {
        let outcome = self.metadata.put_manifest(manifest).await.unwrap();
        assert!(matches!(outcome, PutOutcome::Stored { .. }), "{outcome:?}");
    }

    /// The payload under a reference.
    pub(crate) async fn get(&self, repository: &str, reference: &str) -> Option<Bytes> {
        let reference: Reference = reference.parse().unwrap();
        let found = self
            .metadata
            .manifest(&name(repository), &reference)
            .await
            .unwrap();
        found.map(|manifest| manifest.payload.clone())
    }
}

/// A node on a PostgreSQL database; its number keeps its ids apart.
pub(crate) async fn node(database: &PostgresDatabase, number: u64) -> Metadata {
    let options = PostgresOptions::new(database.connection(), clock);
    let location = Location::Postgres(Box::new(options));
    Metadata::open(Options::new(location, number * 500_000), NOW)
        .await
        .unwrap()
}

/// The clock of this machine.
pub(crate) fn clock() -> Timestamp {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
}

fn for_postgres(sql: &str) -> String {
    sql.replace("x'", "'\\x").replace(" AS BLOB)", " AS BYTEA)")
}

/// Makes a test of each behaviour for each engine that a test can look into by itself.
macro_rules! on_every_database {
    ($($behaviour:ident),* $(,)?) => {
        mod file {
            $(#[tokio::test] async fn $behaviour() { super::$behaviour(&super::Database::file().await).await })*
        }
        mod postgres {
            $(#[tokio::test] async fn $behaviour() { super::$behaviour(&super::Database::postgres().await).await })*
        }
    };
}
pub(crate) use on_every_database;

pub(crate) fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

pub(crate) fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

pub(crate) fn digest(number: u64) -> Digest {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&number.to_be_bytes());
    Digest::sha256(hash)
}

pub(crate) fn upload_id(number: u8) -> UploadId {
    UploadId::from_random([number; 16])
}

pub(crate) fn upload(repository: &str, number: u8) -> NewUpload {
    NewUpload {
        repository: name(repository),
        id: upload_id(number),
        storage_key: format!("uploads/{number}"),
        algorithm: None,
        expires_at: later(1),
        now: NOW,
        limit_open_sessions: 100,
    }
}

pub(crate) fn blob(repository: &str, digest: Digest, storage_key: &str) -> LinkBlob {
    LinkBlob {
        repository: name(repository),
        digest,
        size: 10,
        storage_key: storage_key.to_owned(),
        upload: None,
        leftovers: Vec::new(),
        now: NOW,
    }
}

pub(crate) fn stored(linked: &Linked) -> bool {
    matches!(linked, Linked::Stored)
}

/// A manifest that names nothing, with its number as payload.
pub(crate) fn manifest(repository: &str, number: u64) -> PutManifest {
    PutManifest {
        repository: name(repository),
        digest: digest(number),
        media_type: MediaType::OCI_MANIFEST,
        payload: Bytes::from(number.to_string()),
        artifact_type: None,
        subject: None,
        annotations_json: None,
        image_size: 0,
        blobs: Vec::new(),
        children: Vec::new(),
        tags: Vec::new(),
        pushed_by: None,
        now: NOW,
    }
}

pub(crate) fn tagged(mut manifest: PutManifest, tags: &[&str]) -> PutManifest {
    manifest.tags = tags.iter().map(|text| tag(text)).collect();
    manifest
}

pub(crate) fn layer(digest: Digest) -> BlobReference {
    BlobReference {
        digest,
        media_type: "application/vnd.oci.image.layer.v1.tar".to_owned(),
        size: 10,
        required: true,
    }
}

pub(crate) fn child(digest: Digest) -> ChildReference {
    ChildReference {
        digest,
        media_type: MediaType::OCI_MANIFEST.to_string(),
        size: 10,
        platform: Some("linux/amd64".to_owned()),
        required: true,
    }
}
