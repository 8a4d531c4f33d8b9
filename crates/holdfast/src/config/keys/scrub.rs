//! Keys of our own section `scrub`.

use super::Kind::{Duration, Flag, Integer};
use super::{ANY_MAX, Entry, key};

#[rustfmt::skip] // One key per line reads as the table it is.
pub(super) const ENTRIES: &[Entry] = &[
    key("scrub.enabled", Flag, "true", "Reads stored blobs again in the background and compares their digests; only with the filesystem driver."),
    key("scrub.interval", Duration, "720h", "Each blob is read once in this time, as far as the rate allows, those first that were not read for longest. A push counts as reading."),
    key("scrub.rate", Integer { min: 1, max: ANY_MAX }, "8388608", "Most bytes read in a second."),
];
