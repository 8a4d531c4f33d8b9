//! The section `gc`.

use std::time::Duration;

use chrono::NaiveTime;
use holdfast_metadata::UntaggedPolicy;

use super::reader::Section;

/// Garbage collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gc {
    /// Whether it goes on by itself.
    pub enabled: bool,
    /// How long what lost its last use is kept, and a deleted manifest can be restored.
    pub grace: Duration,
    /// Pause between two looks.
    pub interval: Duration,
    /// Most steps in a second; zero for as many as can be.
    pub rate: u64,
    /// The time of the day, in UTC, at which it goes on; always if `None`.
    pub window: Option<(NaiveTime, NaiveTime)>,
    /// A manifest without tag is deleted so long after it lost its last; never if `None`.
    pub delete_untagged_after: Option<Duration>,
    /// But not while it was pulled within this time.
    pub keep_pulled_within: Duration,
}

impl Gc {
    pub(super) fn read(gc: &Section<'_>) -> Self {
        let delete_untagged_after = gc
            .duration("deleteuntaggedafter")
            .filter(|after| !after.is_zero());
        let keep_pulled_within = gc.duration("keeppulledwithin").unwrap_or_default();
        if delete_untagged_after.is_none() && !keep_pulled_within.is_zero() {
            gc.warn(
                "keeppulledwithin",
                "has no effect without gc.deleteuntaggedafter: manifests without tags are kept anyway",
            );
        }
        Self {
            enabled: gc.flag("enabled"),
            grace: gc.duration("grace").unwrap_or_default(),
            interval: gc.positive_duration("interval"),
            rate: gc.count("rate") as u64,
            window: read_window(gc),
            delete_untagged_after,
            keep_pulled_within,
        }
    }

    /// What becomes of manifests without a tag.
    pub(crate) fn policy(&self) -> UntaggedPolicy {
        UntaggedPolicy {
            delete_after: self.delete_untagged_after,
            keep_pulled_within: self.keep_pulled_within,
        }
    }
}

fn read_window(gc: &Section<'_>) -> Option<(NaiveTime, NaiveTime)> {
    let text = gc.text("window")?;
    let time = |text: &str| NaiveTime::parse_from_str(text.trim(), "%H:%M").ok();
    let window = text
        .split_once('-')
        .and_then(|(from, to)| Some((time(from)?, time(to)?)))
        .filter(|(from, to)| from != to);
    if window.is_none() {
        gc.refuse(
            "window",
            "expected two times of the day in UTC, such as 22:00-06:00",
        );
    }
    window
}
