//! Row ids: 64 bits, ordered by time, made here so that no engine needs a sequence.
//!
//! 42 bits of milliseconds since 1970 (until 2109), then 21 bits of a counter that starts at random.
//! Two million ids in one millisecond of one process are distinct; two processes collide once in two
//! million when they make an id in the same millisecond, and then the primary key refuses the second.

use std::sync::atomic::{AtomicU64, Ordering};

use holdfast_model::Timestamp;

const COUNTER_BITS: u32 = 21;
const TIME_BITS: u32 = 42;

/// Makes ids.
#[derive(Debug)]
pub(crate) struct Ids(AtomicU64);

impl Ids {
    pub(crate) fn new(seed: u64) -> Ids {
        Ids(AtomicU64::new(seed))
    }

    pub(crate) fn make(&self, now: Timestamp) -> i64 {
        let milliseconds = (now.as_micros() / 1000).clamp(0, (1 << TIME_BITS) - 1);
        let counter = self.0.fetch_add(1, Ordering::Relaxed) & ((1 << COUNTER_BITS) - 1);
        milliseconds << COUNTER_BITS | counter as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_positive_and_ordered_by_time() {
        let ids = Ids::new(u64::MAX);
        let mut last = -1;
        for micros in [i64::MIN, 1_000, 2_000, 1_700_000_000_000_000, i64::MAX] {
            let id = ids.make(Timestamp::from_micros(micros));
            assert!(id > last, "{micros}");
            last = id;
        }
        assert_ne!(
            ids.make(Timestamp::from_micros(0)),
            ids.make(Timestamp::from_micros(0))
        );
    }
}
