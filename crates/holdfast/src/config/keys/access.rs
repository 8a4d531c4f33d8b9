//! Keys of our own sections `metadata` and `access`.

use super::Kind::{Duration, Flag, Integer, Path, Text};
use super::{Entry, key};

#[rustfmt::skip] // One key per line reads as the table it is.
pub(super) const ENTRIES: &[Entry] = &[
    key(
        "metadata.path",
        Path,
        "",
        "The SQLite database with the metadata. Default: `holdfast/metadata.db` in the root directory of the filesystem driver; in memory with the inmemory driver.",
    ),
    key(
        "metadata.snapshots.interval",
        Duration,
        "1h",
        "Time between two snapshots of the metadata in the blob storage, when something changed. What is committed in between is in a log beside them.",
    ),
    key(
        "metadata.snapshots.keep",
        Integer { min: 2, max: 1000 },
        "3",
        "Snapshots of the metadata that are kept.",
    ),
    key(
        "access.anonymouspull",
        Flag,
        "false",
        "Allows reading without credentials; writing still needs a login.",
    ),
    key(
        "access.administrators[]",
        Text,
        "",
        "Users of `auth.htpasswd` who may use the management API (`/api/v1`) on the main address. Without any, it answers on the control socket alone.",
    ),
];
