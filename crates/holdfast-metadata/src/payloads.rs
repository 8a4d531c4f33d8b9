//! Payloads of manifests in a place that nodes share, so that not each of them has to fetch them from the database.
//!
//! Nothing but payloads is kept there. What a digest stands for never changes, and the database says each time whether
//! the manifest is there, under which digest, and what it is. So whatever becomes of that place (empty, gone,
//! slow, wrong), it cannot make an answer stale or wrong; it can only be of no use.

use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::pin::Pin;

use bytes::Bytes;
use holdfast_model::Digest;

/// The sizes of no payload.
// The larger end comes first on purpose.
pub(crate) const NONE: RangeInclusive<u64> = RangeInclusive::new(1, 0);

/// The payload, unless it cannot be had.
pub type PayloadReply<'a> = Pin<Box<dyn Future<Output = Option<Bytes>> + Send + 'a>>;

/// Payloads of manifests by digest, shared by nodes.
pub trait SharedPayloads: Debug + Send + Sync {
    /// Sizes of payloads that it pays to ask for; an empty range while there is nobody to ask.
    fn sizes(&self) -> RangeInclusive<u64>;

    /// The payload of this digest and size. It answers in bounded time, and whatever it gives has that digest.
    fn get<'a>(&'a self, digest: &'a Digest, size: u64) -> PayloadReply<'a>;

    /// Keeps a payload, some time soon and if possible.
    fn put(&self, digest: &Digest, payload: &Bytes);
}
