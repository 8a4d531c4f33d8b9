//! Connections: how they are made, set up, kept and given up.

use std::time::Duration;

use deadpool_postgres::{
    Client, Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime,
};
use holdfast_model::Timestamp;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::{Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::{failure, no_connection, unavailable};
use super::tls;
use crate::options::{PostgresOptions, PostgresTls};
use crate::{Error, Result};

/// What this node's clock may be off the database's. Leases count in hours and are compared with the clock of
/// whichever node is asked.
pub(crate) const CLOCK_OFFSET_MAX: Duration = Duration::from_secs(10);
/// Longest time that a transaction may do nothing: far longer than a node takes between two statements.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// What the server gets beyond its own time-out to say that it gave up, before it counts as gone.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);
/// The most that is waited for a replica: a client waits as well, and the primary knows the answer.
const REPLICA_PATIENCE: Duration = Duration::from_secs(2);

/// One server and the connections to it.
#[derive(Debug)]
pub(super) struct Server {
    pool: Pool,
    /// Whether statements are prepared once for each connection.
    pub(super) prepares: bool,
    /// What each transaction begins with.
    pub(super) begin: Begin,
    /// When an answer counts as lost.
    pub(super) patience: Duration,
}

/// How transactions begin.
#[derive(Clone, Debug)]
pub(super) struct Begin {
    pub(super) durable: String,
    pub(super) relaxed: String,
}

/// What a server is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Everything.
    Primary,
    /// Questions whose answers never change.
    Replica,
}

impl Server {
    pub(super) fn new(connection: &str, options: &PostgresOptions, role: Role) -> Result<Server> {
        let config = config(connection, options, role)?;
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = match tls::client_config(&options.tls)? {
            None => Manager::from_config(config, NoTls, recycling),
            Some(tls) => Manager::from_config(config, MakeRustlsConnect::new(tls), recycling),
        };
        let limits = limits(options);
        let session = options.prepared_statements.then(|| limits("SET"));
        let clock = (role == Role::Primary).then_some(options.clock);
        let within = |longest: Duration| match role {
            Role::Primary => longest,
            Role::Replica => longest.min(REPLICA_PATIENCE),
        };
        let patience = within(options.connect_timeout);
        let pool = Pool::builder(manager)
            .max_size(options.connections_max)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(within(options.wait_timeout)))
            .create_timeout(Some(patience))
            .recycle_timeout(Some(patience))
            .post_create(Hook::async_fn(move |client, _| {
                let session = session.clone();
                Box::pin(async move {
                    // The pool's own limit ends before this.
                    let ready = set_up(client, session.as_deref(), clock);
                    let ready = tokio::time::timeout(patience, ready).await;
                    ready.unwrap_or(Err(HookError::message("the server did not answer in time")))
                })
            }))
            .build()
            .map_err(|error| Error::internal(error.to_string()))?;
        // A pooler gives each transaction another session.
        let local = match options.prepared_statements {
            true => String::new(),
            false => limits("SET LOCAL"),
        };
        let durable = format!("BEGIN ISOLATION LEVEL READ COMMITTED;{local}");
        Ok(Server {
            pool,
            prepares: options.prepared_statements,
            begin: Begin {
                relaxed: format!("{durable}SET LOCAL synchronous_commit = off;"),
                durable,
            },
            patience: within(options.statement_timeout + ANSWER_MARGIN),
        })
    }

    pub(super) async fn lease(&self) -> Result<Lease> {
        let client = self.pool.get().await.map_err(no_connection)?;
        Ok(Lease {
            client: Some(client),
            clean: true,
        })
    }
}

/// Statements that bound what a session does, set as told.
fn limits(options: &PostgresOptions) -> impl Fn(&str) -> String + use<> {
    let milliseconds = |time: Duration| time.as_millis().clamp(1, i32::MAX as u128);
    let statement = milliseconds(options.statement_timeout);
    let lock = milliseconds(options.lock_timeout);
    let idle = milliseconds(IDLE_TIMEOUT);
    move |set| {
        format!(
            "{set} statement_timeout = {statement};{set} lock_timeout = {lock};\
             {set} idle_in_transaction_session_timeout = {idle};"
        )
    }
}

fn config(connection: &str, options: &PostgresOptions, role: Role) -> Result<Config> {
    let mut config: Config = connection
        .parse()
        .map_err(|error: tokio_postgres::Error| unavailable(format!("the connection: {error}")))?;
    if config.get_application_name().is_none() {
        config.application_name("holdfast");
    }
    config
        .ssl_mode(match options.tls {
            PostgresTls::Disable => SslMode::Disable,
            PostgresTls::Require | PostgresTls::VerifyFull { .. } => SslMode::Require,
        })
        .connect_timeout(options.connect_timeout)
        .tcp_user_timeout(options.statement_timeout + ANSWER_MARGIN)
        .keepalives_idle(ANSWER_MARGIN)
        .keepalives_interval(ANSWER_MARGIN);
    if role == Role::Primary {
        // Of several hosts the one that takes writes, so that a failover needs no new configuration.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    Ok(config)
}

async fn set_up(
    client: &mut deadpool_postgres::ClientWrapper,
    session: Option<&str>,
    clock: Option<fn() -> Timestamp>,
) -> Result<(), HookError> {
    if let Some(session) = session {
        client
            .batch_execute(session)
            .await
            .map_err(HookError::Backend)?;
    }
    let Some(clock) = clock else { return Ok(()) };
    let asked = clock().as_micros();
    let time = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)";
    let rows = client.query_typed(time, &[]).await;
    let rows = rows.map_err(HookError::Backend)?;
    let answered = clock().as_micros();
    let server: i64 = match rows.first() {
        Some(row) => row.try_get(0).map_err(HookError::Backend)?,
        None => return Err(HookError::message("the server does not tell the time")),
    };
    match offset(asked, answered, server) {
        Some(micros) => Err(HookError::message(format!(
            "the clock of this machine and the database's differ by {} s, and at most {} s are allowed: set them by NTP",
            micros / 1_000_000,
            CLOCK_OFFSET_MAX.as_secs()
        ))),
        None => Ok(()),
    }
}

/// By how much two clocks differ for certain, in microseconds, if that is too much: the server's was read some time
/// between two looks at ours.
fn offset(asked: i64, answered: i64, server: i64) -> Option<i64> {
    let certain = (asked - server).max(server - answered);
    let allowed = i64::try_from(CLOCK_OFFSET_MAX.as_micros()).unwrap_or(i64::MAX);
    (certain > allowed).then_some(certain)
}

/// A connection in use. One that is left in the middle of a transaction, or that did not answer, is closed.
#[derive(Debug)]
pub(super) struct Lease {
    client: Option<Client>,
    clean: bool,
}

impl Lease {
    pub(super) fn client(&self) -> &Client {
        self.client.as_ref().expect("only a drop takes it")
    }

    /// Nobody may have it unless it is clean again.
    pub(super) fn soil(&mut self) {
        self.clean = false;
    }

    pub(super) fn clean(&mut self) {
        self.clean = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(client) = self.client.take().filter(|_| !self.clean) {
            drop(Object::take(client));
        }
    }
}

/// Waits for an answer, and not for ever.
pub(super) async fn answer<T>(
    patience: Duration,
    asked: impl Future<Output = std::result::Result<T, tokio_postgres::Error>>,
) -> std::result::Result<T, Lost> {
    match tokio::time::timeout(patience, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Lost::Refused(error)),
        Err(_elapsed) => Err(Lost::Silent),
    }
}

/// Why there is no answer.
pub(super) enum Lost {
    /// The server, or the driver, says why.
    Refused(tokio_postgres::Error),
    /// Nobody says anything.
    Silent,
}

impl Lost {
    pub(super) fn into_error(self) -> Error {
        match self {
            Lost::Refused(error) => failure(error),
            Lost::Silent => unavailable("the server did not answer in time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_differ_when_no_reading_explains_it() {
        let second = 1_000_000;
        for (asked, answered, server, wanted) in [
            (0, 0, 0, None),
            (0, second, 10 * second, None),
            (0, second, 12 * second, Some(11 * second)),
            (30 * second, 31 * second, 19 * second, Some(11 * second)),
            (0, 60 * second, 30 * second, None),
        ] {
            assert_eq!(
                offset(asked, answered, server),
                wanted,
                "{asked} {answered} {server}"
            );
        }
    }
}
