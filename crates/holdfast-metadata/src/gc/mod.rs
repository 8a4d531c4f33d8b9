//! Garbage collection: what is no longer needed is found, given up and forgotten, step by step.
//!
//! Nothing is marked and nothing is swept. Whoever takes a reference away says so in a queue, in the same
//! transaction; the collector looks at what is due and decides by what it finds then, again in one
//! transaction for each look. So its cost follows what was deleted, not what is stored, and every step may
//! be repeated, interrupted or raced:
//!
//! | step | looks at | and unless somebody holds it |
//! |---|---|---|
//! | `manifests` | manifests that lost a parent, a subject or a tag | deletes it, as a client would |
//! | `links` | links that lost a manifest, or whose lease is over | first ends its use and starts a lease, then removes it |
//! | `blobs` | blobs that lost a link | dooms it, and puts its key into the outbox |
//! | `objects` | keys in the outbox, after their bytes were deleted | forgets key and doomed blob |
//!
//! Why no blob goes that a push relies on: a blob that answered HEAD has half a grace period of lease left,
//! or is in use and gets a whole one when it is released. A link cannot go while a manifest needs it
//! (foreign key). A key in the outbox never becomes live again (I3), so a late deletion harms nothing.
//!
//! Several collectors share the work where several nodes share a database: a review takes its row out of the queue
//! first, and leaves it alone when another has it (`SKIP LOCKED`); what another is at is not listed as due either. Objects
//! are deleted outside any transaction: whoever takes some on says until when they are his.
//!
//! *Grace* may be cut short by looking into the future: a round *as of* a later time treats every lease and
//! queue as if that time had come.

mod blobs;
mod history;
mod links;
mod manifests;
mod objects;
mod queues;
mod reason;
mod rehearsal;
mod status;
mod trash;
mod untagged;
mod why;

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_model::{Digest, RepositoryName, Timestamp};

use crate::Result;
use crate::operation::Row;

pub(crate) use queues::{
    claim_is_refused, discard_key, is_discarded, queue_blob, queue_children_of, queue_links_of,
    queue_manifest, queue_referrers_of,
};

pub use history::{Day, Kind};
pub use objects::Discarded;
pub use reason::Reason;
pub use status::{GcStatus, Queue};
pub use untagged::{Untagged, UntaggedPage};
pub use why::{Hold, Why};

#[cfg(test)]
pub(crate) use self::{
    blobs::DUE_BLOBS,
    history::HISTORY,
    links::{DUE_LINKS, ENDED_LEASES},
    manifests::DUE_MANIFESTS,
    objects::DUE_OBJECTS,
    untagged::UNTAGGED_PAGE,
    why::WHY,
};

/// When a round happens, and when it pretends to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The current time.
    pub now: Timestamp,
    /// What leases and queues are compared with: the current time, or later to cut the grace short.
    pub as_of: Timestamp,
}

impl Moment {
    /// A round that waits for everything as long as it should.
    pub fn present(now: Timestamp) -> Moment {
        Moment { now, as_of: now }
    }

    /// A round for which the grace period of `grace` is only `wait` long.
    pub fn hurried(now: Timestamp, grace: Duration, wait: Duration) -> Moment {
        Moment {
            now,
            as_of: now.plus(grace.saturating_sub(wait)),
        }
    }
}

/// What becomes of manifests without a tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UntaggedPolicy {
    /// They are deleted so long after their last tag went; never if `None`.
    pub delete_after: Option<Duration>,
    /// But not while they were pulled within this time.
    pub keep_pulled_within: Duration,
}

/// What is due in each repository.
pub type Due = BTreeMap<RepositoryName, Vec<Digest>>;

/// Rows of a repository's name and a digest.
fn by_repository(rows: Vec<Row>) -> Result<Due> {
    let mut due = Due::new();
    for mut row in rows {
        due.entry(row.parsed()?).or_default().push(row.digest()?);
    }
    Ok(due)
}

/// Something that a round took away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Collected {
    /// A manifest, with its payload kept for the grace period.
    Manifest {
        /// Where.
        repository: RepositoryName,
        /// Which.
        digest: Digest,
        /// Why it was looked at.
        reason: Reason,
    },
    /// A repository's link to a blob.
    Link {
        /// Where.
        repository: RepositoryName,
        /// To which blob.
        digest: Digest,
    },
    /// The last claim to a blob's bytes; they are deleted next.
    Blob {
        /// Which.
        digest: Digest,
        /// How many bytes it has.
        size: u64,
    },
}
