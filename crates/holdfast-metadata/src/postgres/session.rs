//! A connection for whoever has the database to himself: the copy from one engine to the other.

use holdfast_model::Timestamp;
use tokio_postgres::types::ToSql;

use super::connection::{Lease, Role, Server};
use super::error::{failure, unavailable};
use super::{migrate, sql};
use crate::migrations::MIGRATIONS;
use crate::operation::Value;
use crate::{PostgresOptions, Result};

/// A connection without limits on time.
#[derive(Debug)]
pub(crate) struct Session {
    lease: Lease,
    // Its end would be that of the connection.
    _server: Server,
}

impl Session {
    /// Connects, refuses while a node is connected, and brings the schema up to date.
    pub(crate) async fn open(options: &PostgresOptions, now: Timestamp) -> Result<Session> {
        let server = Server::new(&options.connection, options, Role::Primary)?;
        let mut lease = server.lease().await?;
        // Nobody else gets it, whatever became of its transaction.
        lease.soil();
        let session = Session {
            lease,
            _server: server,
        };
        session
            .execute("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")
            .await?;
        session.refuse_company().await?;
        migrate::migrate(session.lease.client(), MIGRATIONS, now).await?;
        Ok(session)
    }

    /// Nodes keep connections open, so one that runs is seen.
    async fn refuse_company(&self) -> Result<()> {
        let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
             AND application_name = current_setting('application_name') AND pid <> pg_backend_pid()";
        match self.rows(others).await?.concat().as_slice() {
            [Value::Integer(0)] => Ok(()),
            [Value::Integer(others)] => Err(unavailable(format!(
                "the database is in use: {others} connections of registries are open; stop those first"
            ))),
            _ => Err(unavailable("the server does not say who is connected")),
        }
    }

    pub(crate) async fn execute(&self, sql: &str) -> Result<()> {
        let done = self.lease.client().batch_execute(sql).await;
        done.map_err(failure)
    }

    pub(crate) async fn rows(&self, sql: &str) -> Result<Vec<Vec<Value>>> {
        let rows = self.lease.client().query_typed(sql, &[]).await;
        rows.map_err(failure)?.iter().map(sql::values).collect()
    }

    pub(crate) async fn insert(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<()> {
        let done = self.lease.client().execute(sql, params).await;
        done.map(drop).map_err(failure)
    }
}
