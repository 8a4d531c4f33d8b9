//! Bringing a PostgreSQL database up to date, also when several nodes start at once; the rule for old and new
//! nodes side by side is in `migrations.rs`.
//!
//! Each step is one transaction under a lock by name, and looks again under it: another node may have made the step.
//! A step waits for the tables it changes only so long, since whatever comes meanwhile waits behind it; then
//! it lets go and tries again.

use std::time::Duration;

use deadpool_postgres::Client;
use holdfast_model::Timestamp;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use super::error::failure;
use super::sql::ddl;
use crate::Result;
use crate::migrations::{Applied, Migration, checksum, count_applied};

/// The lock's number: "holdfast" in ASCII.
const LOCK: i64 = 0x686f_6c64_6661_7374;
/// How often a step tries to get at its tables.
const ATTEMPTS: u32 = 20;
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(500);

const SCHEMA_VERSIONS: &str = "
CREATE TABLE schema_versions (
  version BIGINT PRIMARY KEY,
  name TEXT NOT NULL,
  checksum BYTEA NOT NULL,
  applied_at BIGINT NOT NULL,
  compatible_with BIGINT NOT NULL
);";

pub(crate) async fn migrate(
    client: &Client,
    migrations: &[Migration],
    now: Timestamp,
) -> Result<()> {
    // A database that is up to date needs no lock, and no right to make tables.
    if count_applied(migrations, &applied(client).await.map_err(failure)?)? == migrations.len() {
        return Ok(());
    }
    let mut attempt = 1;
    loop {
        match step(client, migrations, now).await {
            Ok(true) => return Ok(()),
            Ok(false) => attempt = 1,
            Err(error) => {
                let _ = client.batch_execute("ROLLBACK").await;
                match error {
                    Failed::Server(error)
                        if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
                            && attempt < ATTEMPTS =>
                    {
                        attempt += 1;
                        tokio::time::sleep(PAUSE).await;
                    }
                    Failed::Server(error) => return Err(failure(error)),
                    Failed::Schema(error) => return Err(error),
                }
            }
        }
    }
}

enum Failed {
    Server(tokio_postgres::Error),
    Schema(crate::Error),
}

impl From<tokio_postgres::Error> for Failed {
    fn from(error: tokio_postgres::Error) -> Failed {
        Failed::Server(error)
    }
}

/// Makes the next step; whether there is none.
async fn step(client: &Client, migrations: &[Migration], now: Timestamp) -> Result<bool, Failed> {
    client
        .batch_execute(&format!(
            "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;
             SET LOCAL idle_in_transaction_session_timeout = 0;
             SELECT pg_advisory_xact_lock({LOCK}); SET LOCAL lock_timeout = '3s'"
        ))
        .await?;
    if !has_versions(client).await? {
        client.batch_execute(SCHEMA_VERSIONS).await?;
    }
    let applied = count_applied(migrations, &applied(client).await?).map_err(Failed::Schema)?;
    let Some(migration) = migrations.get(applied) else {
        client.batch_execute("COMMIT").await?;
        return Ok(true);
    };
    client.batch_execute(&ddl(migration.sql)).await?;
    client
        .execute_typed(
            "INSERT INTO schema_versions (version, name, checksum, applied_at, compatible_with)
             VALUES ($1, $2, $3, $4, $5)",
            &[
                (&migration.version, Type::INT8),
                (&migration.name, Type::TEXT),
                (&checksum(migration), Type::BYTEA),
                (&now.as_micros(), Type::INT8),
                (&migration.compatible_with, Type::INT8),
            ],
        )
        .await?;
    client.batch_execute("COMMIT").await?;
    tracing::info!(
        schema = migration.version,
        name = migration.name,
        "metadata schema updated"
    );
    Ok(false)
}

async fn has_versions(client: &Client) -> Result<bool, tokio_postgres::Error> {
    // Not to_regclass: it answers from the session's cache, which does not know yet what another node has made
    // while this one waited for the lock.
    let table =
        "SELECT EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relname = 'schema_versions' AND n.nspname = ANY (current_schemas(false)))";
    let rows = client.query_typed(table, &[]).await?;
    Ok(rows.first().is_some_and(|row| row.get(0)))
}

async fn applied(client: &Client) -> Result<Vec<Applied>, tokio_postgres::Error> {
    if !has_versions(client).await? {
        return Ok(Vec::new());
    }
    let versions =
        "SELECT version, checksum, compatible_with FROM schema_versions ORDER BY version";
    let rows = client.query_typed(versions, &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(Applied {
                version: row.try_get(0)?,
                checksum: row.try_get(1)?,
                compatible_with: row.try_get(2)?,
            })
        })
        .collect()
}
