//! Keys of `redis`, in the forms of Distribution 2.8 (`addr`, `pool`) and 3 (`addrs` and the rest).

use super::Kind::{Duration, Flag, Path, Section, Text};
use super::{COUNT, Entry, NUMBER, key};

/// A row of the section, none of which takes effect yet.
const fn row(path: &'static str, kind: super::Kind, about: &'static str) -> Entry {
    key(path, kind, "", about).not_yet()
}

#[rustfmt::skip] // One key per line reads as the table it is.
pub(super) const ENTRIES: &[Entry] = &[
    row("redis", Section, "A Redis server shared by several nodes."),
    row("redis.addr", Text, "Address of the server (2.8)."),
    row("redis.pool.maxidle", NUMBER, "Most idle connections (2.8)."),
    row("redis.pool.maxactive", NUMBER, "Most connections (2.8)."),
    row("redis.pool.idletimeout", Duration, "Age at which an idle connection is closed (2.8)."),
    row("redis.addrs[]", Text, "Address of a server; several make a cluster."),
    row("redis.clientname", Text, "Name told to the server."),
    row("redis.db", NUMBER, "Number of the database."),
    row("redis.protocol", COUNT, "Version of the protocol."),
    row("redis.username", Text, "User."),
    row("redis.password", Text, "Password.").secret(),
    row("redis.sentinelusername", Text, "User at the sentinels."),
    row("redis.sentinelpassword", Text, "Password at the sentinels.").secret(),
    row("redis.mastername", Text, "Name of the master; set it to use sentinels."),
    row("redis.maxretries", NUMBER, "Most retries of a command."),
    row("redis.minretrybackoff", Duration, "Shortest pause before a retry."),
    row("redis.maxretrybackoff", Duration, "Longest pause before a retry."),
    row("redis.dialtimeout", Duration, "Longest time to connect."),
    row("redis.readtimeout", Duration, "Longest time for an answer."),
    row("redis.writetimeout", Duration, "Longest time to send a command."),
    row("redis.contexttimeoutenabled", Flag, "Ends commands with the request that needs them."),
    row("redis.poolfifo", Flag, "Uses idle connections in turn."),
    row("redis.poolsize", NUMBER, "Connections per processor."),
    row("redis.pooltimeout", Duration, "Longest wait for a connection."),
    row("redis.minidleconns", NUMBER, "Fewest idle connections."),
    row("redis.maxidleconns", NUMBER, "Most idle connections."),
    row("redis.maxactiveconns", NUMBER, "Most connections."),
    row("redis.connmaxidletime", Duration, "Age at which an idle connection is closed."),
    row("redis.connmaxlifetime", Duration, "Age at which any connection is closed."),
    row("redis.maxredirects", NUMBER, "Most redirections within a cluster."),
    row("redis.readonly", Flag, "Reads from replicas of a cluster."),
    row("redis.routebylatency", Flag, "Reads from the nearest node."),
    row("redis.routerandomly", Flag, "Reads from any node."),
    row("redis.disableidentity", Flag, "Does not tell the server the name of the client library."),
    row("redis.identitysuffix", Text, "Added to that name."),
    row("redis.unstableresp3", Flag, "Allows unstable answers of protocol 3."),
    row("redis.tls.certificate", Path, "Client certificate."),
    row("redis.tls.key", Path, "Key of the client certificate."),
    row("redis.tls.rootcas[]", Path, "Authority for the server's certificate."),
    row("redis.tls.clientcas[]", Path, "The same in Distribution 3.0."),
];
