//! What a check of the store needs: every row page by page with what it should agree with, the repairs,
//! and which tags a damage touches.
//!
//! Each page is one statement, so each row is seen together with what it is compared with, at one moment;
//! what changes meanwhile is never taken for damage. A repair looks once more inside its transaction.

mod affected;
mod blobs;
mod keys;
mod links;
mod manifests;
mod repair;
mod repositories;
mod tags;

pub use affected::{Affected, AffectedRepository};
pub use blobs::{BlobRow, BlobState, StaleBlob};
pub use links::LinkRow;
pub use manifests::{ManifestRecord, NamedBlob};
pub use repair::Repair;
pub use repositories::RepositoryRow;
pub use tags::TagRow;

#[cfg(test)]
pub(crate) use affected::{LINKING, NAMING, PARENTS, TAGS_OF};
#[cfg(test)]
pub(crate) use blobs::{BLOB_ROW, BLOBS_PAGE, KNOWN_KEY, KNOWN_MANIFEST, KNOWN_PROBLEM, STALEST};
#[cfg(test)]
pub(crate) use keys::{BLOB_KEYS, DISCARDED_KEYS, KNOWN_UPLOAD};
#[cfg(test)]
pub(crate) use links::LINKS_PAGE;
#[cfg(test)]
pub(crate) use manifests::{KEYS_PAGE, RECORD};
#[cfg(test)]
pub(crate) use repositories::REPOSITORIES_PAGE;
#[cfg(test)]
pub(crate) use tags::TAGS_PAGE;
