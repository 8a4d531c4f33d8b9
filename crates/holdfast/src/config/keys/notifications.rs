//! Keys of `notifications`.

use super::Kind::{Duration, Flag, Section, Text};
use super::{Entry, NUMBER, key};

#[rustfmt::skip] // One key per line reads as the table it is.
pub(super) const ENTRIES: &[Entry] = &[
    key("notifications", Section, "", "Webhooks about pushes, pulls and deletions.").not_yet(),
    key("notifications.events.includereferences", Flag, "false", "Adds the references of a manifest to its events.").not_yet(),
    key("notifications.endpoints[].name", Text, "", "Name of the endpoint in logs and metrics.").not_yet(),
    key("notifications.endpoints[].url", Text, "", "URL the events are sent to.").not_yet(),
    key("notifications.endpoints[].headers.*[]", Text, "", "A value of a header of the request.").secret().not_yet(),
    key("notifications.endpoints[].disabled", Flag, "false", "Turns the endpoint off.").not_yet(),
    key("notifications.endpoints[].timeout", Duration, "1s", "Longest time for the answer.").not_yet(),
    key("notifications.endpoints[].threshold", NUMBER, "10", "Failures in a row before a pause.").not_yet(),
    key("notifications.endpoints[].backoff", Duration, "1s", "Length of the pause.").not_yet(),
    key("notifications.endpoints[].ignoredmediatypes[]", Text, "", "Older spelling of `ignore.mediatypes`.").not_yet(),
    key("notifications.endpoints[].ignore.mediatypes[]", Text, "", "A media type that is not sent.").not_yet(),
    key("notifications.endpoints[].ignore.actions[]", Text, "", "An action that is not sent.").not_yet(),
];
