//! The one place that reads the time of day.

use std::time::{SystemTime, UNIX_EPOCH};

use holdfast_model::Timestamp;

/// The time now, in UTC. A clock before 1970 reads as 1970.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
