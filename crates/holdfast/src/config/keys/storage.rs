//! Keys of `storage` that hold for every driver, and the drivers of this machine.

use super::Kind::{Choice, Duration, Flag, Path, Section, Text};
use super::{COUNT, Entry, NUMBER, key};

const INDEXED: &str = "the metadata index makes a descriptor cache unnecessary";

#[rustfmt::skip] // One key per line reads as the table it is.
pub(super) const ENTRIES: &[Entry] = &[
    key("storage.filesystem", Section, "", "Keeps content in a directory."),
    key("storage.filesystem.rootdirectory", Path, "/var/lib/registry", "The directory, made on demand."),
    key("storage.filesystem.maxthreads", NUMBER, "", "Parallel file operations.")
        .ignored("file operations are scheduled without a fixed number of threads"),
    key("storage.filesystem.directio", Flag, "true", "Writes uploads past the page cache where the file system takes that: pushes are faster, and the first pull of a new blob reads the disk."),
    key("storage.inmemory", Section, "", "Keeps content in memory; it is lost at exit."),
    key("storage.delete.enabled", Flag, "false", "Allows manifests, tags and blobs to be deleted."),
    key("storage.redirect.disable", Flag, "false", "Never sends clients to the storage itself. With an object store they are, for blobs, by a URL that is good for 20 minutes."),
    key("storage.cache.blobdescriptor", Choice(&["inmemory", "redis"]), "", "`redis`: nodes with `metadata.postgres` share a cache there (see `redis`). `inmemory` has no effect: the metadata index makes a descriptor cache unnecessary."),
    key("storage.cache.layerinfo", Text, "", "Older spelling of `storage.cache.blobdescriptor`.").alias("storage.cache.blobdescriptor"),
    key("storage.cache.blobdescriptorsize", COUNT, "", "Entries of the cache in memory.").ignored(INDEXED),
    key("storage.maintenance.readonly.enabled", Flag, "false", "Refuses every change to content."),
    key("storage.maintenance.uploadpurging.enabled", Flag, "true", "Removes upload sessions that were left behind."),
    key("storage.maintenance.uploadpurging.age", Duration, "168h", "Age at which an upload session counts as left behind."),
    key("storage.maintenance.uploadpurging.interval", Duration, "24h", "Time between two searches for such sessions."),
    key("storage.maintenance.uploadpurging.dryrun", Flag, "false", "Logs what would be removed and removes nothing."),
    key("storage.tag.concurrencylimit", COUNT, "", "Parallel look-ups when tags are searched.")
        .ignored("the metadata index finds the tags of a digest without a search"),
    key("storage.redis", Section, "", "The `redis` section, misplaced.").alias("redis"),
];
