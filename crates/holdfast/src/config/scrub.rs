//! The section `scrub`.

use std::time::Duration;

use super::reader::Section;

/// Reading stored bytes again in the background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scrub {
    /// Whether it happens.
    pub enabled: bool,
    /// Each blob is read once in this time, if the rate allows.
    pub interval: Duration,
    /// Most bytes read in a second.
    pub bytes_per_second: u64,
}

impl Scrub {
    pub(super) fn read(scrub: &Section<'_>) -> Self {
        Self {
            enabled: scrub.flag("enabled"),
            interval: scrub.positive_duration("interval"),
            bytes_per_second: scrub.count("rate") as u64,
        }
    }
}
