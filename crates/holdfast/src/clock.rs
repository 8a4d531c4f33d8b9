//! The one place that reads the time of day.

use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use holdfast_model::Timestamp;

/// The time now, in UTC. A clock before 1970 reads as 1970.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// A time by the calendar; what no calendar reaches is 1970.
pub(crate) fn date(time: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(time.as_micros()).unwrap_or_default()
}
