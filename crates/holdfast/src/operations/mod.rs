//! What a registry does, without HTTP: push and pull of blobs and manifests, tags, catalog, referrers.
//!
//! Every operation takes validated types, asks metadata and storage, and returns a domain result or an
//! [`Error`]. Storage is never called inside a metadata transaction (invariant V3), and an operation that
//! returns success has made its effect durable (V1).

mod adoption;
pub(crate) mod backup;
mod blobs;
mod collect;
mod error;
mod export;
mod integrity;
mod manifests;
mod outbox;
mod policy;
mod pulls;
mod read_only;
#[cfg(test)]
mod tests;
mod undo;
mod uploads;
mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use holdfast_metadata::Metadata;
use holdfast_model::{Digest, UploadId};
use holdfast_storage::BlobStore;

use crate::config::Validation;
use crate::held::Held;
use crate::middleware::Redirects;
use pulls::Pulls;
use read_only::ReadOnly;

use adoption::Adoption;

pub(crate) use adoption::{ManifestKind, is_another_registrys, manifest_kind};
pub(crate) use collect::Round;

pub(crate) use error::Error;
pub(crate) use export::{ArchiveFormat, Exported, ImageName, LinksWish};
pub(crate) use integrity::{CheckOptions, Damage, Event, Finding, Outcome, Summary};
pub(crate) use manifests::instead;
pub(crate) use read_only::{FOLLOW_INTERVAL, Maintenance};
pub(crate) use undo::Undone;
pub(crate) use uploads::Chunk;
pub(crate) use view::remove_old_views;

/// What an operation returns.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// The body of a request, frame by frame.
pub(crate) type ByteStream = BoxStream<'static, Result<Bytes>>;

/// What may be done, from the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Manifests, tags and blobs may be deleted.
    pub deletes: bool,
    /// The configuration allows no change of content.
    pub read_only: bool,
    /// What a pushed manifest must satisfy.
    pub push: Validation,
    /// Most bytes of a manifest.
    pub manifest_bytes: u64,
    /// Most tags set by one manifest push.
    pub tags_per_push: usize,
    /// Most open upload sessions.
    pub upload_sessions: u64,
    /// How long an unfinished upload session lives after its last request.
    pub upload_age: Duration,
    /// Note when manifests are pulled.
    pub note_pulls: bool,
    /// Where copies of the metadata may be made for a while; the system's place without one.
    pub scratch: Option<PathBuf>,
}

/// The registry's work on its two stores. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Operations {
    metadata: Metadata,
    store: Arc<dyn BlobStore>,
    rules: Arc<Rules>,
    sessions: Held<UploadId>,
    publishers: Held<Digest>,
    /// One check at a time.
    checking: Arc<tokio::sync::Mutex<()>>,
    collector: Arc<collect::Collector>,
    pulls: Arc<Pulls>,
    redirects: Arc<Redirects>,
    read_only: ReadOnly,
    /// What was found of stored bytes since the start.
    found: Arc<integrity::Found>,
    adoption: Adoption,
}

impl Operations {
    /// Puts the two stores to work under these rules.
    pub(crate) fn new(metadata: Metadata, store: Arc<dyn BlobStore>, rules: Rules) -> Operations {
        let note_pulls = rules.note_pulls;
        Operations {
            metadata,
            store,
            read_only: ReadOnly::new(rules.read_only),
            rules: Arc::new(rules),
            sessions: Held::default(),
            publishers: Held::default(),
            checking: Arc::default(),
            collector: Arc::default(),
            pulls: Arc::new(Pulls::new(note_pulls)),
            redirects: Arc::default(),
            found: Arc::default(),
            adoption: Adoption::default(),
        }
    }

    /// The same, sending clients where the middleware of storage says.
    pub(crate) fn sending(mut self, redirects: Redirects) -> Operations {
        self.redirects = Arc::new(redirects);
        self
    }

    /// Where clients are sent for bytes.
    pub(crate) fn redirects(&self) -> &Redirects {
        &self.redirects
    }

    /// The rules in force.
    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The database of facts, for reads that need no rule: tags, catalog, referrers.
    pub(crate) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The store of bytes, for health checks.
    pub(crate) fn store(&self) -> &Arc<dyn BlobStore> {
        &self.store
    }
}
