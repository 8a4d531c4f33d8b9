//! Adoption of a tree that another registry wrote: repositories, links, manifests and tags become rows,
//! the blobs stay where they are.
//!
//! The caller walks the tree and hands over what it found. Everything here only adds: a link, manifest
//! or tag that is there already stays as it is, so a walk may be repeated from any point, and a push in
//! the middle of it wins. What was deleted must not come back; therefore a repository is done before
//! anything in it may be deleted, and what is done is not walked again (a rescan looks only at what is
//! newer than the walk before it).
//!
//! Changes are [`Relaxed`](crate::operation::Durability::Relaxed): after a loss of power the walk repeats
//! its last steps. The log is written in order, so a repository is never marked done ahead of its rows.

mod content;
mod problems;
mod repositories;
mod tags;
mod uploads;
mod walk;

pub use content::FoundBlob;
#[cfg(test)]
pub(crate) use content::{BLOBS_PAGE, FIND_BLOB_ROW, LINK_ROW, LINKED, MANIFEST_ROW};
#[cfg(test)]
pub(crate) use problems::{PROBLEMS_PAGE, TAGS_OF};
pub use problems::{Problem, ProblemKind, Severity};
pub(crate) use repositories::WAITING_CATALOG_PAGE;
pub use repositories::{AdoptionState, FoundRepository};
#[cfg(test)]
pub(crate) use repositories::{FIND_STATE, WAITING_PAGE};
#[cfg(test)]
pub(crate) use tags::LAST_CHANGE;
pub use tags::{AdoptTag, TagAdopted};
#[cfg(test)]
pub(crate) use uploads::DUE_UPLOADS;
pub use uploads::OldUpload;
#[cfg(test)]
pub(crate) use walk::FIND_WALK;
pub use walk::{AdoptionWalk, Counts, GcHold, Stage};
