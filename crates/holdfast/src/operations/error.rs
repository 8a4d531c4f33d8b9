//! What may go wrong when a registry does its work, named for what the caller can do about it.
//!
//! `http/error.rs` says how each looks on the wire.

use holdfast_model::{Digest, ManifestError, Reference, RepositoryName, Tag, UploadId};

/// Why an operation was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The repository has no such blob, or the caller may not know that it has.
    #[error("blob {0} is not in this repository")]
    BlobUnknown(Digest),
    /// The repository has no such manifest.
    #[error("manifest {reference} is not in repository {repository}")]
    ManifestUnknown {
        /// Where it was looked for.
        repository: RepositoryName,
        /// What was looked for.
        reference: Reference,
    },
    /// The manifest is there, in a form the client did not say it can read.
    #[error("{0}")]
    NotAcceptable(&'static str),
    /// Nothing was ever pushed under this name.
    #[error("repository {0} is not known")]
    RepositoryUnknown(RepositoryName),
    /// No such upload session in this repository.
    #[error("upload session {0} is not known")]
    UploadUnknown(UploadId),
    /// Another request is writing to the session and did not end in time.
    #[error("another request is writing to this upload session")]
    UploadBusy {
        /// Bytes that the session held when last recorded.
        offset: u64,
    },
    /// Another push of the same content did not end in time.
    #[error("another push of blob {0} takes too long")]
    BlobBusy(Digest),
    /// Too many sessions are open.
    #[error("{limit} upload sessions are open, which is the limit; finish or cancel some")]
    TooManyUploads {
        /// The configured limit.
        limit: u64,
    },
    /// The bytes hash to something else than the client said.
    #[error("content is {actual}, sent as {expected}")]
    DigestMismatch {
        /// What the client said.
        expected: Digest,
        /// What the bytes are.
        actual: Digest,
    },
    /// The chunk does not begin where the stored bytes end.
    #[error("the upload has {offset} bytes, and the chunk begins at {first}")]
    OutOfOrder {
        /// Bytes the session holds.
        offset: u64,
        /// Where the chunk begins.
        first: u64,
    },
    /// `Content-Range` and `Content-Length` disagree.
    #[error("the chunk is {length} bytes long, its Content-Range says {range}")]
    ChunkLength {
        /// `Content-Length`.
        length: u64,
        /// Length by `Content-Range`.
        range: u64,
    },
    /// The bytes are not a manifest.
    #[error(transparent)]
    ManifestInvalid(#[from] ManifestError),
    /// A layer points at a URL that the configuration does not allow.
    #[error("invalid URL on layer: {0}")]
    LayerUrl(String),
    /// The manifest is longer than the limit.
    #[error("the manifest is over the limit of {limit} bytes")]
    ManifestTooLarge {
        /// The configured limit in bytes.
        limit: u64,
    },
    /// The manifest refers to content that the repository lacks.
    #[error("{} blobs and {} manifests that the manifest refers to are not in this repository", .blobs.len(), .manifests.len())]
    ReferencesUnknown {
        /// Missing config and layers.
        blobs: Vec<Digest>,
        /// Missing children of an index.
        manifests: Vec<Digest>,
    },
    /// The tag never changed, or was nothing before its last change.
    #[error("tag {0} pointed at nothing before its last change, or never was there")]
    NothingBefore(Tag),
    /// What is to be restored had content that is gone.
    #[error("{} blobs and {} manifests that it had are gone", .blobs.len(), .manifests.len())]
    ContentGone {
        /// Missing config and layers.
        blobs: Vec<Digest>,
        /// Missing children of an index.
        manifests: Vec<Digest>,
    },
    /// More is below an index than one command restores.
    #[error(
        "one command restores at most {manifests} manifests of {bytes} bytes in all; restore the children of the index first"
    )]
    TooManyToRestore {
        /// Most manifests.
        manifests: usize,
        /// Most bytes of them.
        bytes: usize,
    },
    /// More tags in one push than the limit.
    #[error("one push may set at most {limit} tags")]
    TooManyTags {
        /// The configured limit.
        limit: usize,
    },
    /// Manifests of the repository use the blob.
    #[error("blob {digest} is used by a manifest of this repository; delete the manifest first")]
    BlobInUse {
        /// The blob.
        digest: Digest,
        /// Some of the manifests that use it.
        manifests: Vec<Digest>,
    },
    /// The configuration does not allow deletes.
    #[error("deletes are off; storage.delete.enabled turns them on")]
    DeletesOff,
    /// The registry takes no writes now.
    #[error("the registry is read-only")]
    ReadOnly,
    /// The request body broke off.
    #[error("the request body ended early: {0}")]
    ClientGone(String),
    /// The request body stood still for too long.
    #[error("the request body was not complete within {seconds} seconds of waiting")]
    BodyStalled {
        /// The configured patience.
        seconds: u64,
    },
    /// Nothing may be collected now.
    #[error("garbage collection waits: {0}")]
    CollectionHeld(&'static str),
    /// The same content was being deleted at that moment; trying again helps.
    #[error("the same content is being deleted; try again")]
    Conflict,
    /// The repository has the blob, and its stored bytes are missing or wrong.
    #[error("the stored bytes of blob {0} are damaged; pushing it again brings them back")]
    BlobDamaged(Digest),
    /// Another check is under way.
    #[error("a check of the store is under way already")]
    CheckUnderWay,
    /// What was asked for must wait for another registry's tree to be taken over.
    #[error("{0} is still being taken over from another registry; try again in a few seconds")]
    Adopting(String),
    /// The storage of another registry is still being adopted.
    #[error("the storage of another registry is being adopted; export when that is done")]
    StillAdopting,
    /// Other nodes may be deleting what stands where an export would put bytes.
    #[error(
        "where nodes share a database, blobs are not moved to the paths of another registry; `export IMAGE… -o FILE` writes images"
    )]
    ExportShared,
    /// An archive that cannot be made of what was asked for.
    #[error("{0}")]
    NotExportable(String),
    /// A repository whose name leaves no room for the names of its files.
    #[error("the name of repository {0} is too long for the layout of links")]
    NameTooLong(RepositoryName),
    /// A file beside the registry's data could not be written or read.
    #[error("a file failed")]
    File(#[source] std::io::Error),
    /// The bytes could not be written or read.
    #[error("storage failed")]
    Storage(#[from] holdfast_storage::Error),
    /// The facts could not be written or read.
    #[error("the metadata database failed")]
    Metadata(#[from] holdfast_metadata::Error),
}
