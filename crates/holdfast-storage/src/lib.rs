//! Where blob bytes live: one trait, [`BlobStore`], and the drivers that keep its promises.
//!
//! A store holds bytes and no facts. Which repository has a blob, which upload belongs to whom and
//! what may be deleted is written in the metadata database; requests find nothing by listing a store.
//! Listing is for adoption, export and repair, which compare the two.
//! This crate knows neither HTTP nor the database.
//!
//! Invariant: bytes are visible under a key only after they were committed as a whole. What a driver
//! promises beyond that is stated by `suite` (feature `testing`), which each of them passes; `faulty`
//! wraps any driver into one that fails, delays and tears on purpose.

pub mod blob_store;
pub mod cloud;
pub mod error;
pub mod filesystem;
pub mod memory;
mod resumption;
pub mod storage_key;

#[cfg(any(test, feature = "testing"))]
pub mod faulty;
#[cfg(any(test, feature = "testing"))]
pub mod suite;

pub use blob_store::{
    BlobReader, BlobStore, FileRange, LISTED_AT_ONCE, Leftovers, Listed, Listing,
    PUT_OBJECT_BYTES_MAX, Progress, READ_CHUNK_BYTES, Unfinished, UploadWriter,
};
pub use cloud::Cloud;
pub use error::{Error, Result};
pub use filesystem::Filesystem;
pub use memory::Memory;
pub use storage_key::{StorageKey, StorageKeyError};
