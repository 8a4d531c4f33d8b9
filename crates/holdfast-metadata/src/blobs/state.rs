//! States of a row of `blobs`.

/// Its bytes are where the row says, all of them.
pub(crate) const LIVE: i64 = 0;
/// No repository has it; its bytes are about to be deleted.
pub(crate) const DOOMED: i64 = 1;
/// Repositories have it, and its bytes are missing or wrong. A push of the same digest makes it live.
pub(crate) const DAMAGED: i64 = 2;
