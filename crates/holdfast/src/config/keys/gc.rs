//! Keys of our own section `gc`.

use super::Kind::{Duration, Flag, Text};
use super::{COUNT, Entry, key};

#[rustfmt::skip] // One key per line reads as the table it is.
pub(super) const ENTRIES: &[Entry] = &[
    key("gc.enabled", Flag, "true", "Gives back the space of what is no longer needed, while the registry serves."),
    key("gc.grace", Duration, "24h", "How long a blob is kept that no manifest needs (a push may be about to), and how long a deleted manifest can be restored. A push that takes longer from its first blob to its manifest may have to send a blob again."),
    key("gc.interval", Duration, "10s", "Pause between two looks at what is due."),
    key("gc.rate", COUNT, "1000", "Most steps in a second: manifests, links and blobs looked at, objects deleted; 0 for as many as can be."),
    key("gc.window", Text, "", "The time of the day, in UTC, at which garbage is collected, such as `22:00-06:00`; always when absent."),
    key("gc.deleteuntaggedafter", Duration, "0s", "Deletes a manifest so long after its last tag went, unless an index or a referrer's subject holds it; `0s` keeps manifests without tags, as `registry:2` does."),
    key("gc.keeppulledwithin", Duration, "0s", "Keeps a manifest without tags while it was pulled within this time."),
];
