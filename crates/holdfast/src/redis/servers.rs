//! Connections to one server, to the master that sentinels name, and to a cluster.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::cluster::ClusterClientBuilder;
use ::redis::cluster_async::ClusterConnection;
use ::redis::cluster_read_routing::RandomReplicaStrategy;
use ::redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use ::redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind,
    FromRedisValue, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo, RedisError,
    RedisResult, ServerErrorKind, TlsCertificates, TlsMode,
};

use crate::config::{Address, Redis, RedisServers, RedisTls, Secret};

/// What the connection is called to the server, in place of a version of the library.
const LIBRARY: &str = "redis-rs";

/// A connection; clones share it, and many commands may be under way on it.
#[derive(Clone)]
pub(super) enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Server(_) => "Server",
            Self::Cluster(_) => "Cluster",
        })
    }
}

impl Connection {
    /// Sends a command and waits for the answer, as long as the caller does.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        match self.clone() {
            Self::Server(mut server) => command.query_async(&mut server).await,
            Self::Cluster(mut cluster) => command.query_async(&mut cluster).await,
        }
    }
}

/// Whether somebody answered who merely does not do what was asked. Otherwise the connection is of no use, or
/// leads to the wrong one.
pub(super) fn is_refusal(error: &RedisError) -> bool {
    use ServerErrorKind::{ClusterDown, MasterDown, ReadOnly};
    match error.kind() {
        ErrorKind::Server(kind) => !matches!(kind, ClusterDown | MasterDown | ReadOnly),
        ErrorKind::Extension => true,
        _ => false,
    }
}

/// Connects, and makes sure that somebody answers.
pub(super) async fn connect(settings: &Redis) -> Result<Connection, String> {
    let addresses = match &settings.servers {
        RedisServers::One(_) => 1,
        RedisServers::Sentinels { sentinels, .. } => sentinels.len() + 1,
        RedisServers::Cluster { nodes, .. } => nodes.len(),
    };
    // One after the other may be tried in vain.
    let limit = settings.dial_timeout * u32::try_from(addresses).unwrap_or(u32::MAX);
    let opened = within(limit, open(settings)).await?;
    let ping = ::redis::cmd("PING");
    within(settings.read_timeout, async {
        let answer = opened.ask::<()>(&ping).await;
        answer.map_err(|error| error.to_string())
    })
    .await?;
    Ok(opened)
}

async fn within<T>(
    limit: Duration,
    attempt: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    match tokio::time::timeout(limit, attempt).await {
        Ok(done) => done,
        Err(_) => Err(format!("no answer within {limit:?}")),
    }
}

async fn open(settings: &Redis) -> Result<Connection, String> {
    let tls = match settings.tls.clone() {
        None => None,
        Some(tls) => {
            let read = tokio::task::spawn_blocking(move || certificates(&tls)).await;
            Some(read.map_err(|error| error.to_string())??)
        }
    };
    let opened = match &settings.servers {
        RedisServers::One(address) => {
            server(settings, &address.host, address.port, tls.as_ref()).await
        }
        RedisServers::Sentinels { .. } => match master(settings, tls.as_ref()).await {
            Ok((host, port)) => server(settings, &host, port, tls.as_ref()).await,
            Err(error) => Err(error),
        },
        RedisServers::Cluster { .. } => cluster(settings, tls).await,
    };
    opened.map_err(|error| error.to_string())
}

async fn server(
    settings: &Redis,
    host: &str,
    port: u16,
    tls: Option<&TlsCertificates>,
) -> RedisResult<Connection> {
    let info = place(host, port, tls.is_some()).into_connection_info()?;
    let info = info.set_redis_settings(who(settings));
    let client = match tls {
        None => Client::open(info)?,
        Some(tls) => Client::build_with_tls(info, tls.clone())?,
    };
    let limits = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(settings.dial_timeout))
        .set_response_timeout(Some(settings.read_timeout.max(settings.write_timeout)));
    let connection = client
        .get_multiplexed_async_connection_with_config(&limits)
        .await?;
    let connection = Connection::Server(connection);
    if let Some(name) = &settings.client_name {
        let mut command = ::redis::cmd("CLIENT");
        command.arg("SETNAME").arg(name);
        connection.ask::<()>(&command).await?;
    }
    Ok(connection)
}

/// The address of the master, whom the sentinels name and who says so himself.
async fn master(settings: &Redis, tls: Option<&TlsCertificates>) -> RedisResult<(String, u16)> {
    let RedisServers::Sentinels {
        sentinels,
        master,
        username,
        password,
    } = &settings.servers
    else {
        return Err((ErrorKind::EmptySentinelList, "there are no sentinels").into());
    };
    let sentinels = sentinels
        .iter()
        .map(|address| place(&address.host, address.port, tls.is_some()));
    let mut builder = SentinelClientBuilder::new(sentinels, master, SentinelServerType::Master)?
        .set_client_to_redis_protocol(protocol(settings))
        .set_client_to_redis_db(settings.database);
    if let Some(username) = username {
        builder = builder.set_client_to_sentinel_username(username);
    }
    if let Some(password) = password {
        builder = builder.set_client_to_sentinel_password(password.reveal());
    }
    if let Some(username) = &settings.username {
        builder = builder.set_client_to_redis_username(username);
    }
    if let Some(password) = &settings.password {
        builder = builder.set_client_to_redis_password(password.reveal());
    }
    if let Some(tls) = tls {
        builder = builder
            .set_client_to_sentinel_tls_mode(TlsMode::Secure)
            .set_client_to_sentinel_certificates(tls.clone())
            .set_client_to_redis_tls_mode(TlsMode::Secure)
            .set_client_to_redis_certificates(tls.clone());
    }
    let client = builder.build()?.async_get_client().await?;
    match client.get_connection_info().addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            Ok((host.clone(), *port))
        }
        _ => Err((
            ErrorKind::MasterNameNotFoundBySentinel,
            "the sentinels name no address",
        )
            .into()),
    }
}

async fn cluster(settings: &Redis, tls: Option<TlsCertificates>) -> RedisResult<Connection> {
    let RedisServers::Cluster {
        nodes,
        redirects,
        replicas,
    } = &settings.servers
    else {
        return Err((ErrorKind::ClusterConnectionNotFound, "there is no cluster").into());
    };
    let infos = nodes.iter().map(|Address { host, port }| {
        let info = place(host, *port, tls.is_some()).into_connection_info();
        // A cluster has no numbered databases.
        info.map(|info| info.set_redis_settings(credentials(settings)))
    });
    let infos = infos.collect::<RedisResult<Vec<ConnectionInfo>>>()?;
    let mut builder = ClusterClientBuilder::new(infos)
        .retries(*redirects)
        .connection_timeout(settings.dial_timeout)
        .response_timeout(settings.read_timeout.max(settings.write_timeout))
        .use_protocol(protocol(settings));
    if *replicas {
        builder = builder.read_routing_strategy(RandomReplicaStrategy);
    }
    if let Some(tls) = tls {
        builder = builder.tls(TlsMode::Secure).certs(tls);
    }
    let connection = builder.build()?.get_async_connection().await?;
    Ok(Connection::Cluster(connection))
}

fn place(host: &str, port: u16, tls: bool) -> ConnectionAddr {
    let host = host.to_owned();
    if tls {
        ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}

fn credentials(settings: &Redis) -> RedisConnectionInfo {
    let mut who = RedisConnectionInfo::default();
    if let Some(username) = &settings.username {
        who = who.set_username(username);
    }
    if let Some(password) = settings.password.as_ref().map(Secret::reveal) {
        who = who.set_password(password);
    }
    who.set_protocol(protocol(settings))
}

fn who(settings: &Redis) -> RedisConnectionInfo {
    let who = credentials(settings).set_db(settings.database);
    match &settings.identity_suffix {
        _ if !settings.identity => who.set_skip_set_lib_name(),
        Some(suffix) => who.set_lib_name(format!("{LIBRARY}({suffix})"), crate::VERSION),
        None => who,
    }
}

fn protocol(settings: &Redis) -> ProtocolVersion {
    if settings.resp3 {
        ProtocolVersion::RESP3
    } else {
        ProtocolVersion::RESP2
    }
}

/// Read for each connection, so that new files count from the next one on.
fn certificates(tls: &RedisTls) -> Result<TlsCertificates, String> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    let client_tls = match &tls.client {
        None => None,
        Some((certificate, key)) => Some(ClientTlsConfig {
            client_cert: read(certificate)?,
            client_key: read(key)?,
        }),
    };
    let mut roots = Vec::new();
    for path in &tls.root_cas {
        roots.extend(read(path)?);
        roots.push(b'\n');
    }
    Ok(TlsCertificates {
        client_tls,
        root_cert: (!roots.is_empty()).then_some(roots),
    })
}
