//! Waiting for something that happens on its own, with a deadline in place of a guess.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything that a test waits for may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(20);

/// Waits until `happened` says so.
///
/// # Panics
/// When it does not happen in time.
#[track_caller]
pub fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let started = Instant::now();
    while !happened() {
        assert!(
            started.elapsed() < DEADLINE,
            "not within {DEADLINE:?}: {what}"
        );
        thread::sleep(POLL);
    }
}
