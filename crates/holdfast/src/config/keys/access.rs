//! Keys of our own sections `metadata` and `access`.

use super::Kind::{Choice, Duration, Flag, Integer, Path, Section, Text};
use super::{Entry, key};

#[rustfmt::skip] // One key per line reads as the table it is.
pub(super) const ENTRIES: &[Entry] = &[
    key("metadata.path", Path, "", "The SQLite database with the metadata. Default: `holdfast/metadata.db` in the root directory of the filesystem driver; in memory with the inmemory driver."),
    key("metadata.snapshots.interval", Duration, "1h", "Time between two snapshots of the metadata in the blob storage, when something changed. What is committed in between is in a log beside them."),
    key("metadata.snapshots.keep", Integer { min: 2, max: 1000 }, "3", "Snapshots of the metadata that are kept."),
    key("metadata.postgres", Section, "", "PostgreSQL in place of the SQLite database, for several equal nodes. Version 13 or newer."),
    key("metadata.postgres.url", Text, "", "Where the database is, such as `postgres://user@host:5432/database`; `sslmode` and `sslrootcert` may stand in it. Excludes `host`, `port`, `user`, `password` and `database`.").secret(),
    key("metadata.postgres.host", Text, "", "Name or address of the server, or the directory of its socket. Several, separated by commas, are tried until one takes writes."),
    key("metadata.postgres.port", Integer { min: 1, max: 65535 }, "5432", "Port of the server."),
    key("metadata.postgres.user", Text, "", "User at the server. It must own the schema it works in, or all its tables. Default: the user that runs the registry."),
    key("metadata.postgres.password", Text, "", "Password at the server.").secret(),
    key("metadata.postgres.passwordfile", Path, "", "A file with the password, read at start; for the URL and the replicas that have none, too."),
    key("metadata.postgres.database", Text, "holdfast", "Name of the database."),
    key("metadata.postgres.sslmode", Choice(&["disable", "require", "verify-full"]), "", "`disable`: not encrypted. `require`: encrypted, to whoever answers. `verify-full`: encrypted, and the server proves its name by a certificate. Default: `disable` to this machine, `verify-full` to others."),
    key("metadata.postgres.rootcert", Path, "", "Authorities that may sign the server's certificate, in PEM. Default: the system's."),
    key("metadata.postgres.maxconnections", Integer { min: 1, max: 1000 }, "20", "Most connections of this node, to each server. All nodes together must stay below the server's `max_connections`."),
    key("metadata.postgres.connecttimeout", Duration, "5s", "Longest time to make a connection."),
    key("metadata.postgres.waittimeout", Duration, "5s", "Longest wait for a connection while all are in use; then the answer is 503."),
    key("metadata.postgres.statementtimeout", Duration, "30s", "Longest time for one statement. Without prepared statements it bounds changes only; an answer that takes five seconds longer counts as lost in any case."),
    key("metadata.postgres.locktimeout", Duration, "10s", "Longest wait for a lock."),
    key("metadata.postgres.preparedstatements", Flag, "true", "Prepares each statement once for each connection. `false` for poolers that give each transaction another connection, such as PgBouncer below 1.21."),
    key("metadata.postgres.replicas[]", Text, "", "URL of a standby that may be asked for manifests by digest. What it does not have is asked of the primary; what was deleted a moment ago, it may still have.").secret(),
    key("access.anonymouspull", Flag, "false", "Allows reading without credentials; writing still needs a login."),
    key("access.administrators[]", Text, "", "Users of `auth.htpasswd` who may use the management API (`/api/v1`) on the main address. Without any, it answers on the control socket alone, which a node with a bucket and PostgreSQL does not have."),
];
