//! The schema's history and how a database is brought up to date.
//!
//! Each file of `schema/` is one step, applied in order, in one transaction, and noted in
//! `schema_versions` with its SHA-256. A database whose past steps are not the ones compiled in here is refused: a
//! released file is never edited again. So is one made by a newer release, with one exception.
//!
//! Several nodes may share a PostgreSQL database, and are upgraded one after the other. So each step says which
//! older schema's releases go on working after it ([`Migration::compatible_with`]), and PostgreSQL's
//! `schema_versions` remembers that. The rule for who writes a step: what it adds (tables, indexes, columns with a
//! default) is new to the releases before and in nobody's way; what it takes away or renames was used last by the
//! release before the one before. Then a step is compatible with the schema before its own, and a rolling upgrade by
//! one release at a time needs no pause. A step that cannot keep to it is compatible with itself alone: older nodes
//! must be stopped first, and do not start afterwards.
//!
//! The files use PostgreSQL's types. [`sqlite_ddl`] turns them into SQLite's: `BIGINT`, `SMALLINT` and
//! `BYTEA` get the names strict tables know, `{TABLE}` becomes `STRICT`, `{CLUSTERED}` becomes `STRICT,
//! WITHOUT ROWID`, and `{BYTE ORDER}` (PostgreSQL: `COLLATE "C"`) is SQLite's own order. `postgres/migrate.rs`
//! does the same in PostgreSQL.

use holdfast_model::Timestamp;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use sha2::{Digest as _, Sha256};

use crate::sqlite::failure;
use crate::{Error, Result};

/// One step of the schema.
pub(crate) struct Migration {
    pub(crate) version: i64,
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
    /// The oldest schema whose releases work with a database after this step.
    pub(crate) compatible_with: i64,
}

/// All steps, oldest first, numbered from 1 without gaps. PostgreSQL came with the seventh.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "initial",
        sql: include_str!("../schema/0001_initial.sql"),
        compatible_with: 7,
    },
    Migration {
        version: 2,
        name: "damage",
        sql: include_str!("../schema/0002_damage.sql"),
        compatible_with: 7,
    },
    Migration {
        version: 3,
        name: "adoption",
        sql: include_str!("../schema/0003_adoption.sql"),
        compatible_with: 7,
    },
    Migration {
        version: 4,
        name: "trash_missing",
        sql: include_str!("../schema/0004_trash_missing.sql"),
        compatible_with: 7,
    },
    Migration {
        version: 5,
        name: "repairs",
        sql: include_str!("../schema/0005_repairs.sql"),
        compatible_with: 7,
    },
    Migration {
        version: 6,
        name: "garbage collection",
        sql: include_str!("../schema/0006_garbage_collection.sql"),
        compatible_with: 7,
    },
    Migration {
        version: 7,
        name: "upload state",
        sql: include_str!("../schema/0007_upload_state.sql"),
        compatible_with: 7,
    },
    Migration {
        version: 8,
        name: "nodes",
        sql: include_str!("../schema/0008_nodes.sql"),
        compatible_with: 7,
    },
];

/// The version of this release's schema.
pub const SCHEMA_VERSION: u64 = MIGRATIONS.len() as u64;

const SCHEMA_VERSIONS: &str = "
CREATE TABLE IF NOT EXISTS schema_versions (
  version BIGINT PRIMARY KEY,
  name TEXT NOT NULL,
  checksum BYTEA NOT NULL,
  applied_at BIGINT NOT NULL
) {TABLE};";

/// Brings the database to this release's schema, or says why that cannot be.
pub(crate) fn migrate(connection: &mut Connection, now: Timestamp) -> Result<()> {
    apply(connection, MIGRATIONS, now)
}

fn apply(connection: &mut Connection, migrations: &[Migration], now: Timestamp) -> Result<()> {
    loop {
        // Another process may be doing the same: look again under the lock each time.
        let tx = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failure)?;
        tx.execute_batch(&sqlite_ddl(SCHEMA_VERSIONS))
            .map_err(failure)?;
        let applied = verify(&tx, migrations)?;
        let Some(migration) = migrations.get(applied) else {
            return tx.commit().map_err(failure);
        };
        tx.execute_batch(&sqlite_ddl(migration.sql))
            .map_err(failure)?;
        tx.execute(
            "INSERT INTO schema_versions (version, name, checksum, applied_at) VALUES (?1, ?2, ?3, ?4)",
            params![migration.version, migration.name, checksum(migration), now.as_micros()],
        )
        .map_err(failure)?;
        tx.commit().map_err(failure)?;
        tracing::info!(
            schema = migration.version,
            name = migration.name,
            "metadata schema updated"
        );
    }
}

/// How many of the migrations the database has, provided that its history is ours.
fn verify(tx: &Transaction<'_>, migrations: &[Migration]) -> Result<usize> {
    let mut statement = tx
        .prepare("SELECT version, checksum FROM schema_versions ORDER BY version")
        .map_err(failure)?;
    let rows = statement
        .query_map([], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
        })
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .map_err(failure)?;
    let rows: Vec<Applied> = rows
        .into_iter()
        .map(|(version, checksum)| Applied {
            version,
            checksum,
            // The file is this process's alone.
            compatible_with: version,
        })
        .collect();
    count_applied(migrations, &rows)
}

/// A step that a database has.
pub(crate) struct Applied {
    pub(crate) version: i64,
    pub(crate) checksum: Vec<u8>,
    pub(crate) compatible_with: i64,
}

/// How many of the migrations are among those of a database, provided that they are ours and that this release
/// works with the others.
pub(crate) fn count_applied(migrations: &[Migration], applied: &[Applied]) -> Result<usize> {
    let known = migrations.len() as i64;
    for (index, step) in (1..).zip(applied) {
        match usize::try_from(index - 1)
            .ok()
            .and_then(|at| migrations.get(at))
        {
            Some(ours) if ours.version == step.version && checksum(ours) == step.checksum => {}
            Some(_) => {
                return Err(Error::ChangedSchema {
                    version: step.version,
                });
            }
            None if step.compatible_with <= known => {}
            None => {
                return Err(Error::NewerSchema {
                    found: step.version,
                    known,
                });
            }
        }
    }
    Ok(applied.len().min(migrations.len()))
}

pub(crate) fn checksum(migration: &Migration) -> Vec<u8> {
    Sha256::digest(migration.sql).to_vec()
}

fn sqlite_ddl(sql: &str) -> String {
    sql.replace("{TABLE}", "STRICT")
        .replace("{CLUSTERED}", "STRICT, WITHOUT ROWID")
        .replace(" {BYTE ORDER}", "")
        .replace("BIGINT", "INTEGER")
        .replace("SMALLINT", "INTEGER")
        .replace("BYTEA", "BLOB")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(7);

    fn tables(connection: &Connection) -> i64 {
        connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn versions_are_numbered_without_gaps() {
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.version, index as i64 + 1);
        }
    }

    #[test]
    fn fresh_then_again() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, NOW).unwrap();
        let before = tables(&connection);
        migrate(&mut connection, NOW).unwrap();
        assert_eq!(tables(&connection), before);
        let loose: i64 = connection
            .query_row("SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND strict = 0 AND name NOT LIKE 'sqlite_%'", [], |row| row.get(0))
            .unwrap();
        assert_eq!(loose, 0, "every table is strict");
    }

    #[test]
    fn a_newer_database_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, NOW).unwrap();
        let next = MIGRATIONS.len() as i64 + 1;
        connection
            .execute(
                "INSERT INTO schema_versions VALUES (?1, 'later', x'00', 0)",
                [next],
            )
            .unwrap();
        let error = migrate(&mut connection, NOW).unwrap_err();
        assert!(
            matches!(error, Error::NewerSchema { found, known } if found == next && known == next - 1)
        );
    }

    #[test]
    fn a_changed_history_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, NOW).unwrap();
        connection
            .execute(
                "UPDATE schema_versions SET checksum = x'00' WHERE version = 1",
                [],
            )
            .unwrap();
        assert!(matches!(
            migrate(&mut connection, NOW),
            Err(Error::ChangedSchema { version: 1 })
        ));
    }

    #[test]
    fn a_failing_step_leaves_nothing_and_the_next_start_goes_on_from_there() {
        let step = |version, sql| Migration {
            version,
            name: "test",
            sql,
            compatible_with: version,
        };
        let first = "CREATE TABLE a (x BIGINT) {TABLE};";
        let mut connection = Connection::open_in_memory().unwrap();
        let broken = [
            step(1, first),
            step(2, "CREATE TABLE b (x BYTEA) {TABLE}; nonsense;"),
        ];
        assert!(apply(&mut connection, &broken, NOW).is_err());
        let only_first = tables(&connection);
        let mended = [step(1, first), step(2, "CREATE TABLE b (x BYTEA) {TABLE};")];
        apply(&mut connection, &mended, NOW).unwrap();
        assert_eq!(tables(&connection), only_first + 1);
    }
}
