//! The nouns and rules of a container registry.
//!
//! Everything here is a value or a pure function over values: no IO, no async, no clock, no chance.
//! Untrusted text becomes one of these types through its parser and in no other way, so code that
//! holds a [`RepositoryName`], [`Tag`], [`Digest`] or [`UploadId`] need not look at it twice
//! (invariant V6 of ARCHITECTURE.md).

pub mod accept;
pub mod byte_range;
pub mod descriptor;
pub mod digest;
pub mod hasher;
pub mod manifest;
pub mod media_type;
pub mod reference;
pub mod repository_name;
pub mod tag;
pub mod timestamp;
pub mod upload_id;

pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest, DigestError};
pub use hasher::Hasher;
pub use manifest::{Manifest, ManifestError};
pub use media_type::MediaType;
pub use reference::Reference;
pub use repository_name::RepositoryName;
pub use tag::Tag;
pub use timestamp::Timestamp;
pub use upload_id::UploadId;
