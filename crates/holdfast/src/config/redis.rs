//! The `redis` section and `storage.cache`: a cache that nodes share.
//!
//! It is used under two conditions: `storage.cache.blobdescriptor` asks for it, as in Distribution, and the metadata
//! is in PostgreSQL. Whoever sets it and does not get it is told why.

use std::path::PathBuf;
use std::time::Duration;

use super::access::Metadata;
use super::document::{Node, quoted};
use super::listen::Address;
use super::reader::Section;
use super::secret::Secret;

/// Most addresses of a cluster or of sentinels.
const MAX_ADDRESSES: usize = 100;
const UNUSED: &str =
    "storage.cache has no effect here: the metadata index makes a descriptor cache unnecessary";

/// How Redis is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redis {
    /// Who is asked.
    pub servers: RedisServers,
    /// The user; the server's default without.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// The number of the database.
    pub database: i64,
    /// Whether version 3 of the protocol is spoken, not 2.
    pub resp3: bool,
    /// What the connection is called.
    pub client_name: Option<String>,
    /// Whether the server is told the name of the client library.
    pub identity: bool,
    /// Added to that name.
    pub identity_suffix: Option<String>,
    /// Longest time to connect.
    pub dial_timeout: Duration,
    /// Longest time for an answer.
    pub read_timeout: Duration,
    /// Longest time to store a value.
    pub write_timeout: Duration,
    /// Shortest pause before a lost connection is made again.
    pub pause_min: Duration,
    /// Longest such pause; not below the shortest.
    pub pause_max: Duration,
    /// TLS, if it is spoken.
    pub tls: Option<RedisTls>,
}

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisServers {
    /// One server.
    One(Address),
    /// The master that sentinels name.
    Sentinels {
        /// Their addresses.
        sentinels: Vec<Address>,
        /// The name of the master.
        master: String,
        /// The user at the sentinels.
        username: Option<String>,
        /// Its password.
        password: Option<Secret>,
    },
    /// A cluster.
    Cluster {
        /// Some of its nodes.
        nodes: Vec<Address>,
        /// Most redirections of a command.
        redirects: u32,
        /// Whether replicas are read from.
        replicas: bool,
    },
}

/// TLS to Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisTls {
    /// The client's certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The authorities for the server's certificate; the system's if empty.
    pub root_cas: Vec<PathBuf>,
}

impl Redis {
    /// Reads the section; `None` when it is not used.
    pub(super) fn read(top: &Section<'_>, metadata: &Metadata) -> Option<Self> {
        let redis = top.section("redis");
        let storage = top.section("storage");
        let wanted = is_wanted(&storage);
        let read = Self::values(&redis);
        let shared = matches!(metadata, Metadata::Postgres(_));
        let cache = storage.section("cache");
        match read {
            Some(read) if wanted && shared => return Some(read),
            Some(_) if wanted => redis.warn_at(
                redis.at(),
                "redis is not used: it is a cache for nodes that share metadata.postgres; with its own database a node \
                 has in memory what it would ask Redis for"
                    .to_owned(),
            ),
            Some(_) => redis.warn_at(
                redis.at(),
                "redis is not used: storage.cache.blobdescriptor is not redis".to_owned(),
            ),
            None if wanted => cache.warn("blobdescriptor", "redis has no address and is not used"),
            None if redis.is_set() => {
                redis.warn_at(redis.at(), "redis is not used: it has no address".to_owned());
            }
            None => {}
        }
        if cache.is_set() && !wanted {
            cache.notice_at(cache.at(), UNUSED.to_owned());
        }
        None
    }

    fn values(redis: &Section<'_>) -> Option<Self> {
        let servers = RedisServers::read(redis);
        let pause_min = limit(redis, "minretrybackoff");
        let read = |servers| Self {
            servers,
            username: redis.text("username"),
            password: redis.text("password").map(Secret::new),
            database: redis.integer("db").unwrap_or_default(),
            resp3: protocol(redis),
            client_name: redis.text("clientname"),
            identity: !redis.flag("disableidentity"),
            identity_suffix: redis.text("identitysuffix"),
            dial_timeout: limit(redis, "dialtimeout"),
            read_timeout: limit(redis, "readtimeout"),
            write_timeout: limit(redis, "writetimeout"),
            pause_min,
            pause_max: limit(redis, "maxretrybackoff").max(pause_min),
            tls: RedisTls::read(&redis.section("tls")),
        };
        servers.map(read)
    }
}

/// Whether `storage.cache` asks for Redis. Distribution warns about a word that it does not know and caches nothing.
fn is_wanted(storage: &Section<'_>) -> bool {
    let cache = storage.section("cache");
    match cache.text("blobdescriptor").as_deref() {
        Some("redis") => true,
        None | Some("inmemory") => false,
        Some(other) => {
            let text = format!("{} is not a cache; inmemory and redis are", quoted(other));
            cache.warn("blobdescriptor", text);
            false
        }
    }
}

fn protocol(redis: &Section<'_>) -> bool {
    match redis.integer("protocol") {
        Some(1) => {
            redis.refuse("protocol", "there are versions 2 and 3");
            false
        }
        version => version == Some(3),
    }
}

/// A limit of time. Distribution's library takes numbers below zero for none, which nobody here waits for.
fn limit(redis: &Section<'_>, name: &str) -> Duration {
    match redis.nanoseconds(name).map(u64::try_from) {
        Some(Ok(nanoseconds)) if nanoseconds > 0 => Duration::from_nanos(nanoseconds),
        Some(Err(_)) => {
            redis.warn(name, "a limit is needed here, so the default counts");
            redis.default_duration(name)
        }
        Some(Ok(_)) | None => redis.default_duration(name),
    }
}

impl RedisServers {
    fn read(redis: &Section<'_>) -> Option<Self> {
        let mut addresses = Vec::new();
        let mut add = |node: &Node, key: &str, text: &str| match address(text) {
            Ok(address) => addresses.push(address),
            Err(why) => redis.refuse_at(&node.at, key, why),
        };
        let single = redis.text("addr");
        let listed = redis.list("addrs");
        if listed.len() > MAX_ADDRESSES {
            redis.refuse("addrs", format!("at most {MAX_ADDRESSES} addresses"));
        }
        match (&single, redis.get("addr")) {
            (Some(_), _) if !listed.is_empty() => {
                redis.warn("addr", "has no effect beside redis.addrs, which is set too");
            }
            (Some(text), Some(node)) => add(node, "redis.addr", text),
            _ => {}
        }
        for (node, text) in &listed {
            add(node, "redis.addrs", text);
        }
        let redirects = redis.integer("maxredirects").unwrap_or_default();
        let redirects = u32::try_from(redirects).unwrap_or_default();
        let replicas = redis.flag("readonly") | redis.flag("routerandomly");
        let master = redis.text("mastername");
        let username = redis.text("sentinelusername");
        let password = redis.text("sentinelpassword").map(Secret::new);
        let (unused, why): (&[&[&str]], _) = match (&master, addresses.len()) {
            (Some(_), _) => (&[&CLUSTER_ONLY], "without a cluster"),
            (None, 0 | 1) => (&[&CLUSTER_ONLY, &SENTINELS_ONLY], "with one server"),
            (None, _) => (&[&SENTINELS_ONLY, &NO_CLUSTER], "with a cluster"),
        };
        for name in unused.concat().into_iter().filter(|name| redis.has(name)) {
            redis.warn(name, format!("has no effect {why}"));
        }
        match (master, addresses.len()) {
            (_, 0) => None,
            (Some(master), _) => Some(Self::Sentinels {
                sentinels: addresses,
                master,
                username,
                password,
            }),
            (None, 1) => addresses.pop().map(Self::One),
            (None, _) => Some(Self::Cluster {
                nodes: addresses,
                redirects,
                replicas,
            }),
        }
    }
}

const CLUSTER_ONLY: [&str; 3] = ["maxredirects", "readonly", "routerandomly"];
const SENTINELS_ONLY: [&str; 2] = ["sentinelusername", "sentinelpassword"];
const NO_CLUSTER: [&str; 4] = ["clientname", "disableidentity", "identitysuffix", "db"];

/// Without a host it is this machine, as in Go.
fn address(text: &str) -> Result<Address, String> {
    let mut address = Address::parse(text)?;
    if address.port == 0 {
        return Err("expected a host and a port to connect to".to_owned());
    }
    if address.host.is_empty() {
        "localhost".clone_into(&mut address.host);
    }
    Ok(address)
}

impl RedisTls {
    fn read(tls: &Section<'_>) -> Option<Self> {
        let (certificate, key) = (tls.path_of("certificate"), tls.path_of("key"));
        let mut root_cas = Vec::new();
        for name in ["rootcas", "clientcas"] {
            root_cas.extend(tls.list(name).into_iter().map(|(_, path)| path.into()));
        }
        let enabled = tls.flag("enabled");
        let written = certificate.is_some() || key.is_some() || !root_cas.is_empty();
        if tls.has("enabled") && !enabled {
            if written {
                tls.warn(
                    "enabled",
                    "is false: Redis is not spoken to by TLS, and the certificates are not used",
                );
            }
            return None;
        }
        let client = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => {
                tls.refuse("certificate", "needs redis.tls.key beside it");
                None
            }
            (None, Some(_)) => {
                tls.refuse("key", "needs redis.tls.certificate beside it");
                None
            }
        };
        (enabled || written).then_some(Self { client, root_cas })
    }
}
