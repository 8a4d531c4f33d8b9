//! Copying a whole database from one engine to the other, while nobody uses either.
//!
//! The tables, their columns and the order in which references allow them to be filled are read from the schema
//! itself, so none can be forgotten. The source is read in one view and not changed. The target is filled in one
//! transaction: cut short, it is as empty as before, and the copy begins again.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use holdfast_model::Timestamp;
use rusqlite::Connection;
use tokio_postgres::types::ToSql;

use crate::error::Unexpected;
use crate::operation::{Param, Value};
use crate::postgres::Session;
use crate::sqlite::{failure, value, writable};
use crate::{Error, Location, Metadata, Options, Result, migrations};

/// Rows on their way at a time. So many of the widest table are fewer parameters than PostgreSQL takes.
const BATCH: usize = 500;
/// What a schema holds before anything is stored: the namespace of all repositories.
const FROM_THE_SCHEMA: &str = "namespaces";

/// A table, and how many rows of it were copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Its name.
    pub table: String,
    /// Its rows.
    pub rows: u64,
}

/// Copies everything from one database to an empty one, and compares how many rows each has of each table.
///
/// Nobody may use either meanwhile. Of PostgreSQL that is checked; who opens files knows whether a server has them.
pub async fn copy_database(from: &Location, to: &Location, now: Timestamp) -> Result<Vec<Copied>> {
    let tables = tables()?;
    let mut source = Side::open(from, now).await?;
    let mut target = Side::open(to, now).await?;
    source.begin(false).await?;
    target.begin(true).await?;
    for table in &tables {
        let rows = target.count(&table.name).await?;
        if rows > u64::from(table.name == FROM_THE_SCHEMA) {
            let why = format!("the target is not empty: its table {} has rows", table.name);
            return Err(Error::Unavailable(Arc::new(Unexpected(why))));
        }
    }
    target.clear(FROM_THE_SCHEMA).await?;
    let mut copied = Vec::with_capacity(tables.len());
    for table in tables {
        source.select(&table).await?;
        loop {
            let rows = source.fetch().await?;
            if rows.is_empty() {
                break;
            }
            target.insert(&table, &rows).await?;
        }
        let (there, here) = (
            source.count(&table.name).await?,
            target.count(&table.name).await?,
        );
        if there != here {
            let why = format!("{here} of {there} rows of {} were copied", table.name);
            return Err(Error::internal(why));
        }
        copied.push(Copied {
            table: table.name,
            rows: here,
        });
    }
    target.commit().await?;
    Ok(copied)
}

/// A table of the schema.
#[derive(Clone, Debug)]
struct Table {
    name: String,
    columns: Vec<String>,
}

/// All tables but the list of migrations, each after those that it refers to.
fn tables() -> Result<Vec<Table>> {
    let mut schema = Connection::open_in_memory().map_err(failure)?;
    migrations::migrate(&mut schema, Timestamp::from_micros(0))?;
    read_tables(&schema).map_err(failure)
}

fn read_tables(schema: &Connection) -> rusqlite::Result<Vec<Table>> {
    let texts = |sql: &str, name: &str| -> rusqlite::Result<Vec<String>> {
        schema
            .prepare(sql)?
            .query_map([name], |row| row.get(0))?
            .collect()
    };
    let mut left = texts(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> ?1 AND name NOT LIKE 'sqlite_%'
         ORDER BY name",
        "schema_versions",
    )?;
    let (mut tables, mut done) = (Vec::new(), BTreeSet::new());
    while !left.is_empty() {
        let before = left.len();
        let mut next = Vec::new();
        for name in left {
            let parents = texts("SELECT \"table\" FROM pragma_foreign_key_list(?1)", &name)?;
            if parents
                .iter()
                .all(|parent| *parent == name || done.contains(parent))
            {
                let columns = texts("SELECT name FROM pragma_table_info(?1)", &name)?;
                done.insert(name.clone());
                tables.push(Table { name, columns });
            } else {
                next.push(name);
            }
        }
        left = next;
        assert!(left.len() < before, "tables refer to each other in a ring");
    }
    Ok(tables)
}

/// One of the two databases.
enum Side {
    Sqlite {
        connection: Connection,
        /// What is being read, and how far.
        reading: Option<(Table, i64)>,
    },
    Postgres(Session),
}

impl Side {
    /// Opens it, with this release's schema.
    async fn open(location: &Location, now: Timestamp) -> Result<Side> {
        match location {
            Location::File(path) => {
                let opened = Metadata::open(Options::new(location.clone(), 0), now).await?;
                opened.close().await?;
                Ok(Side::Sqlite {
                    connection: writable(path)?,
                    reading: None,
                })
            }
            Location::Postgres(options) => Ok(Side::Postgres(Session::open(options, now).await?)),
            Location::Memory => Err(Error::internal("what is in memory is nobody else's")),
        }
    }

    async fn begin(&mut self, write: bool) -> Result<()> {
        match self {
            Side::Sqlite { connection, .. } => {
                let begin = if write { "BEGIN IMMEDIATE" } else { "BEGIN" };
                connection.execute_batch(begin).map_err(failure)
            }
            Side::Postgres(session) => {
                let begin = if write {
                    "BEGIN"
                } else {
                    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
                };
                session.execute(begin).await
            }
        }
    }

    async fn commit(&mut self) -> Result<()> {
        match self {
            Side::Sqlite { connection, .. } => connection.execute_batch("COMMIT").map_err(failure),
            Side::Postgres(session) => session.execute("COMMIT").await,
        }
    }

    async fn count(&self, table: &str) -> Result<u64> {
        let sql = format!("SELECT count(*) FROM {table}");
        let count: i64 = match self {
            Side::Sqlite { connection, .. } => connection
                .query_row(&sql, [], |row| row.get(0))
                .map_err(failure)?,
            Side::Postgres(session) => match session.rows(&sql).await?.concat().as_slice() {
                [Value::Integer(count)] => *count,
                _ => return Err(Error::internal("a count is no number")),
            },
        };
        Ok(count.unsigned_abs())
    }

    async fn clear(&mut self, table: &str) -> Result<()> {
        let sql = format!("DELETE FROM {table}");
        match self {
            Side::Sqlite { connection, .. } => connection.execute_batch(&sql).map_err(failure),
            Side::Postgres(session) => session.execute(&sql).await,
        }
    }

    async fn select(&mut self, table: &Table) -> Result<()> {
        match self {
            Side::Sqlite { reading, .. } => {
                *reading = Some((table.clone(), 0));
                Ok(())
            }
            Side::Postgres(session) => {
                // Parents among themselves: by id, which is by time.
                let sql = format!(
                    "CLOSE ALL; DECLARE rows NO SCROLL CURSOR FOR SELECT {} FROM {} ORDER BY 1",
                    table.columns.join(", "),
                    table.name
                );
                session.execute(&sql).await
            }
        }
    }

    async fn fetch(&mut self) -> Result<Vec<Vec<Value>>> {
        match self {
            Side::Sqlite {
                connection,
                reading,
            } => {
                let Some((table, offset)) = reading else {
                    return Ok(Vec::new());
                };
                let rows = read(connection, table, *offset).map_err(failure)?;
                *offset += rows.len() as i64;
                Ok(rows)
            }
            Side::Postgres(session) => session.rows(&format!("FETCH {BATCH} FROM rows")).await,
        }
    }

    async fn insert(&mut self, table: &Table, rows: &[Vec<Value>]) -> Result<()> {
        match self {
            Side::Sqlite { connection, .. } => {
                let marks = vec!["?"; table.columns.len()].join(", ");
                let sql = insertion(table, &format!("({marks})"));
                let mut statement = connection.prepare_cached(&sql).map_err(failure)?;
                for row in rows {
                    let row = row.iter().map(param);
                    statement
                        .execute(rusqlite::params_from_iter(row))
                        .map_err(failure)?;
                }
                Ok(())
            }
            Side::Postgres(session) => {
                let mut values = String::new();
                let mut number = 0;
                for row in rows {
                    values.push_str(if number == 0 { "(" } else { ", (" });
                    for column in 0..row.len() {
                        number += 1;
                        let comma = if column == 0 { "" } else { ", " };
                        let _ = write!(values, "{comma}${number}");
                    }
                    values.push(')');
                }
                let params: Vec<Param<'_>> = rows.iter().flatten().map(param).collect();
                let params: Vec<&(dyn ToSql + Sync)> =
                    params.iter().map(|param| param as _).collect();
                session.insert(&insertion(table, &values), &params).await
            }
        }
    }
}

fn insertion(table: &Table, values: &str) -> String {
    let (name, columns) = (&table.name, table.columns.join(", "));
    format!("INSERT INTO {name} ({columns}) VALUES {values}")
}

/// By position: nobody else writes, and the order of the key is that of the table itself.
fn read(connection: &Connection, table: &Table, offset: i64) -> rusqlite::Result<Vec<Vec<Value>>> {
    let sql = format!(
        "SELECT {} FROM {} LIMIT {BATCH} OFFSET ?1",
        table.columns.join(", "),
        table.name
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let columns = statement.column_count();
    let rows = statement.query_map([offset], |row| {
        (0..columns)
            .map(|column| value(row.get_ref(column)?))
            .collect()
    })?;
    rows.collect()
}

fn param(value: &Value) -> Param<'_> {
    match value {
        Value::Null => Param::Null,
        Value::Integer(value) => Param::Integer(*value),
        Value::Text(text) => Param::Text(text),
        Value::Bytes(bytes) => Param::Bytes(bytes),
    }
}
