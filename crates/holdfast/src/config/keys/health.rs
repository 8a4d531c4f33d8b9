//! Keys of `health`.

use super::Kind::{Duration, Flag, Integer, Path, Text};
use super::{COUNT, Entry, key};

#[rustfmt::skip] // One key per line reads as the table it is.
pub(super) const ENTRIES: &[Entry] = &[
    key("health.storagedriver.enabled", Flag, "false", "Checks that the storage answers."),
    key("health.storagedriver.interval", Duration, "10s", "Time between two checks."),
    key("health.storagedriver.threshold", COUNT, "0", "Failures in a row that make the registry unhealthy; 0 and 1 are the same."),
    key("health.file[].file", Path, "", "The registry is unhealthy while this file exists; required."),
    key("health.file[].interval", Duration, "10s", "Time between two checks."),
    key("health.file[].threshold", COUNT, "", "Failures in a row.").ignored("a file that exists counts at once, as in Distribution"),
    key("health.http[].uri", Text, "", "URL asked with HEAD; required."),
    key("health.http[].headers.*[]", Text, "", "A value of a header of the request.").secret(),
    key("health.http[].statuscode", Integer { min: 100, max: 599 }, "200", "Status that counts as healthy."),
    key("health.http[].timeout", Duration, "", "Longest time for the answer; unset means 10s."),
    key("health.http[].interval", Duration, "10s", "Time between two checks."),
    key("health.http[].threshold", COUNT, "0", "Failures in a row that make the registry unhealthy."),
    key("health.tcp[].addr", Text, "", "Address that must accept a connection; required."),
    key("health.tcp[].timeout", Duration, "", "Longest time to connect; unset means 10s."),
    key("health.tcp[].interval", Duration, "10s", "Time between two checks."),
    key("health.tcp[].threshold", COUNT, "0", "Failures in a row that make the registry unhealthy."),
];
