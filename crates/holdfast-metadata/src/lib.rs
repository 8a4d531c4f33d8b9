//! Every fact about the stored bytes: repositories, links, manifests with their payload, tags,
//! referrers, upload sessions, and what garbage collection still has to look at.
//!
//! [`Metadata`] is the handle. Each change is one transaction, written once as an
//! `Operation` over a small `Transaction` trait, so that both engines run the same SQL and
//! the same logic. SQLite (the `sqlite` module) is for one node: one writer thread with group
//! commit, reads inline on the calling thread, and a cache of hot answers in front (the `cache` module).
//! PostgreSQL (the `postgres` module) is for any number of equal nodes.
//!
//! Invariants, on which every pull rests (the schema enforces the first by foreign keys):
//!
//! * **I1** what a manifest needs is linked into its repository; **I2** a linked blob is live, or it is
//!   known to be damaged, is not served and is taken for absent by whoever might bring it;
//! * **I3** a storage key in the outbox is not the key of a live blob and never will be again;
//! * **I4** bytes are deleted only through the outbox; **I5** a live blob's key was completely written
//!   and its digest checked before it got here.
//!
//! Nothing here touches blob storage or reads a clock: time comes in as an argument.

mod adoption;
mod blobs;
mod cache;
mod contents;
mod engine;
mod error;
mod gc;
mod ids;
mod integrity;
mod jobs;
mod lease;
mod manifests;
mod metadata;
mod migrations;
mod operation;
mod options;
mod payloads;
mod postgres;
mod pulls;
pub mod recovery;
mod referrers;
mod repositories;
mod settings;
mod sqlite;
#[cfg(test)]
mod statements;
mod tag_history;
mod tags;
mod transfer;
mod uploads;

pub use adoption::{
    AdoptTag, AdoptionState, AdoptionWalk, Counts, FoundBlob, FoundRepository, GcHold, OldUpload,
    Problem, ProblemKind, Severity, Stage, TagAdopted,
};
pub use blobs::{Blob, LinkBlob, Linked, LinkedStored, Unlinked};
pub use contents::{RepositoryBlob, RepositoryManifest};
pub use error::Error;
pub use gc::{
    Collected, Day, Discarded, Due, GcStatus, Hold, Kind, Moment, Queue, Reason, Untagged,
    UntaggedPage, UntaggedPolicy, Why,
};
pub use integrity::{
    Affected, AffectedRepository, BlobRow, BlobState, LinkRow, ManifestRecord, NamedBlob, Repair,
    RepositoryRow, StaleBlob, TagRow,
};
pub use manifests::{
    BlobReference, ChildReference, NeededBlobs, PutManifest, PutOutcome, Restore, RestoreTag,
    Restored, StoredManifest, TrashedManifest,
};
pub use metadata::{Counters, EngineFault, Metadata, RedoState};
pub use migrations::SCHEMA_VERSION;
pub use options::{
    DEFAULT_CACHE_BYTES, DEFAULT_CONNECT_TIMEOUT, DEFAULT_GRACE, DEFAULT_LOCK_TIMEOUT,
    DEFAULT_POSTGRES_CONNECTIONS, DEFAULT_QUEUE_LENGTH, DEFAULT_STATEMENT_TIMEOUT, Location,
    Options, PostgresOptions, PostgresTls,
};
pub use payloads::{PayloadReply, SharedPayloads};
pub use pulls::Pull;
pub use referrers::{Referrer, Referrers};
pub use sqlite::Pinned;
pub use tag_history::{TagChange, TagReason};
pub use transfer::{Copied, copy_database};
pub use uploads::{ExpiredUpload, NewUpload, OpenUpload, Upload, UploadCreated, UploadProgress};

/// What every call answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;
