//! Importing images from elsewhere: another registry, an image layout in a directory, an archive.
//!
//! A [`Source`] gives out manifests and blobs; [`copy`] stores them as pushes would be stored, so that each is
//! checked against its digest, and skips what is there. An import that is broken off is simply run again.

mod archive;
mod copy;
mod credentials;
mod registry;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_model::{Digest, MediaType, Reference, RepositoryName};

use crate::operations::ByteStream;

pub(crate) use archive::{Archive, NamedImage};
pub(crate) use copy::{Copying, Event, Import, Totals, What};
pub(crate) use credentials::Credentials;
pub(crate) use registry::{Connection, RegistrySource};

/// Most bytes of a manifest or list of another registry.
const DOCUMENT_BYTES_MAX: usize = 64 << 20;

/// Why something could not be had; one line of text for people.
pub(crate) type Failure = String;

/// A manifest as another place has it, checked against its digest.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    /// Its digest.
    pub(crate) digest: Digest,
    /// What it is said to be.
    pub(crate) media_type: MediaType,
    /// Its bytes.
    pub(crate) payload: Bytes,
}

/// A place to import from. Absence is `None`, never an error.
#[async_trait]
pub(crate) trait Source: Send + Sync {
    /// All repositories.
    async fn repositories(&self) -> Result<Vec<RepositoryName>, Failure>;

    /// All tags of a repository, and the digests of what has none where the place lists such.
    async fn references(&self, repository: &RepositoryName) -> Result<Vec<Reference>, Failure>;

    /// A manifest.
    async fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<Fetched>, Failure>;

    /// The bytes of a blob.
    async fn blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<ByteStream>, Failure>;

    /// The manifests whose subject is this one, where the place can tell.
    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Vec<Digest>, Failure>;
}
