//! Databases and the things put into them.

use std::path::PathBuf;

use bytes::Bytes;
use holdfast_metadata::{
    BlobReference, ChildReference, LinkBlob, Linked, Location, Metadata, NewUpload, Options,
    PutManifest, PutOutcome,
};
use holdfast_model::{Digest, MediaType, Reference, RepositoryName, Tag, Timestamp, UploadId};
use tempfile::TempDir;

pub(crate) const HOUR: i64 = 3_600_000_000;
/// When everything happens unless it happens later.
pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

pub(crate) fn later(hours: i64) -> Timestamp {
    Timestamp::from_micros(NOW.as_micros() + hours * HOUR)
}

pub(crate) struct Database {
    pub(crate) metadata: Metadata,
    directory: Option<TempDir>,
}

impl Database {
    pub(crate) async fn memory() -> Database {
        let metadata = Metadata::open(Options::new(Location::Memory, 1), NOW)
            .await
            .unwrap();
        Database {
            metadata,
            directory: None,
        }
    }

    /// A database that was opened elsewhere.
    pub(crate) fn of(metadata: Metadata) -> Database {
        Database {
            metadata,
            directory: None,
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
            directory: Some(directory),
        }
    }

    /// Whether the test can look into it by itself.
    pub(crate) fn is_file(&self) -> bool {
        self.directory.is_some()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.as_ref().unwrap().path().join("metadata.db")
    }

    /// A connection of the test's own, with foreign keys enforced.
    pub(crate) fn sql(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(self.path()).unwrap();
        connection.pragma_update(None, "foreign_keys", 1).unwrap();
        connection
    }

    pub(crate) fn count(&self, from: &str) -> i64 {
        self.sql()
            .query_row(&format!("SELECT count(*) FROM {from}"), [], |row| {
                row.get(0)
            })
            .unwrap()
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
