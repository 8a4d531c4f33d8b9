//! Keys of `proxy`.

use super::Kind::{Duration, Text};
use super::{Entry, key};

const NO_PROXY: &str = "the pull-through cache is not part of this release, and starting without it would serve an empty registry that accepts pushes";

#[rustfmt::skip] // One key per line reads as the table it is.
pub(super) const ENTRIES: &[Entry] = &[
    key("proxy.remoteurl", Text, "", "The registry to cache.").refused(NO_PROXY),
    key("proxy.username", Text, "", "User at that registry.").not_yet(),
    key("proxy.password", Text, "", "Password at that registry.").secret().not_yet(),
    key("proxy.ttl", Duration, "168h", "Age at which cached content is removed.").not_yet(),
    key("proxy.exec.command", Text, "", "Helper program that supplies credentials.").not_yet(),
    key("proxy.exec.lifetime", Duration, "", "Time for which its answer is kept.").not_yet(),
    key("proxy.cachewritetimeout", Duration, "5m", "Longest time for writing into the cache.").not_yet(),
];
