//! Keys of `redis`, in the forms of Distribution 2.8 (`addr`, `pool`) and 3 (`addrs` and the rest).

use super::Kind::{Duration, Flag, Integer, Path, Section, Text};
use super::{COUNT, Entry, NUMBER, key};

const ONE_CONNECTION: &str =
    "one connection carries the commands of all requests at once, so there is no pool";

#[rustfmt::skip] // One key per line reads as the table it is.
pub(super) const ENTRIES: &[Entry] = &[
    key("redis", Section, "", "A Redis server that nodes with `metadata.postgres` share as a cache. It is used when `storage.cache.blobdescriptor` is `redis`."),
    key("redis.addr", Text, "", "Address of the server, `host:port` (2.8)."),
    key("redis.pool.maxidle", NUMBER, "", "Most idle connections (2.8).").ignored(ONE_CONNECTION),
    key("redis.pool.maxactive", NUMBER, "", "Most connections (2.8).").ignored(ONE_CONNECTION),
    key("redis.pool.idletimeout", Duration, "", "Age at which an idle connection is closed (2.8).").ignored(ONE_CONNECTION),
    key("redis.addrs[]", Text, "", "Address of a server, `host:port`. Several are a cluster, or the sentinels of `mastername`."),
    key("redis.clientname", Text, "", "Name told to the server. Not with a cluster."),
    key("redis.db", COUNT, "0", "Number of the database. A cluster has only 0."),
    key("redis.protocol", Integer { min: 0, max: 3 }, "2", "Version of the protocol, 2 or 3. Nothing that is asked needs 3."),
    key("redis.username", Text, "", "User."),
    key("redis.password", Text, "", "Password.").secret(),
    key("redis.sentinelusername", Text, "", "User at the sentinels."),
    key("redis.sentinelpassword", Text, "", "Password at the sentinels.").secret(),
    key("redis.mastername", Text, "", "Name of the master; with it, the addresses are those of sentinels."),
    key("redis.maxretries", NUMBER, "", "Most retries of a command.").ignored("a command that fails is not sent again: the database answers"),
    key("redis.minretrybackoff", Duration, "100ms", "Shortest pause before a lost connection is made again. Requests do not wait for that."),
    key("redis.maxretrybackoff", Duration, "10s", "Longest such pause."),
    key("redis.dialtimeout", Duration, "1s", "Longest time to connect."),
    key("redis.readtimeout", Duration, "100ms", "Longest time for an answer; beyond it the database answers and the connection is given up."),
    key("redis.writetimeout", Duration, "100ms", "Longest time to store a value."),
    key("redis.contexttimeoutenabled", Flag, "", "Ends commands with the request that needs them.").ignored("commands end by their own timeouts"),
    key("redis.poolfifo", Flag, "", "Uses idle connections in turn.").ignored(ONE_CONNECTION),
    key("redis.poolsize", NUMBER, "", "Connections per processor.").ignored(ONE_CONNECTION),
    key("redis.pooltimeout", Duration, "", "Longest wait for a connection.").ignored(ONE_CONNECTION),
    key("redis.minidleconns", NUMBER, "", "Fewest idle connections.").ignored(ONE_CONNECTION),
    key("redis.maxidleconns", NUMBER, "", "Most idle connections.").ignored(ONE_CONNECTION),
    key("redis.maxactiveconns", NUMBER, "", "Most connections.").ignored(ONE_CONNECTION),
    key("redis.connmaxidletime", Duration, "", "Age at which an idle connection is closed.").ignored(ONE_CONNECTION),
    key("redis.connmaxlifetime", Duration, "", "Age at which any connection is closed.").ignored(ONE_CONNECTION),
    key("redis.maxredirects", Integer { min: -1, max: 100 }, "3", "Most redirections within a cluster; -1 for none."),
    key("redis.readonly", Flag, "false", "Reads from replicas of a cluster."),
    key("redis.routebylatency", Flag, "", "Reads from the nearest node.").ignored("latency is not measured; readonly and routerandomly read from replicas"),
    key("redis.routerandomly", Flag, "false", "Reads from a replica of a cluster, chosen by chance, as `readonly` does here."),
    key("redis.disableidentity", Flag, "false", "Does not tell the server the name of the client library. Not with a cluster."),
    key("redis.identitysuffix", Text, "", "Added to that name. Not with a cluster."),
    key("redis.unstableresp3", Flag, "", "Allows unstable answers of protocol 3.").ignored("no command that is used has such answers"),
    key("redis.tls.enabled", Flag, "", "Speaks TLS. Default: when any other key of this section is set. The system's authorities count unless `rootcas` has others."),
    key("redis.tls.certificate", Path, "", "Client certificate."),
    key("redis.tls.key", Path, "", "Key of the client certificate."),
    key("redis.tls.rootcas[]", Path, "", "Authority for the server's certificate."),
    key("redis.tls.clientcas[]", Path, "", "The same in Distribution 3.0."),
];
