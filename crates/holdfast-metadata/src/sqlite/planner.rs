//! What SQLite's planner is told of the tables, instead of measuring them.
//!
//! Whoever deletes a row makes SQLite look for rows that still refer to it (foreign keys), and SQLite
//! plans these look-ups itself. Without statistics it takes any first column of a key for ten rows, and
//! a primary key for cheaper than another index: it would read all tags or all blobs in use of a repository
//! for each manifest or link deleted. So it is told that a repository has many rows. The figures are fixed,
//! and with them the plans, whatever is stored.

use rusqlite::{Connection, TransactionBehavior};

use super::failure;
use crate::Result;

/// Table, index, and the rows in all, then those that share the first column, the first two, and so on.
const SHAPES: [(&str, &str, &str); 4] = [
    ("manifest_blobs", "manifest_blobs", "1000000 10000 4 1"),
    ("manifest_blobs", "manifest_blobs_digest", "1000000 10000 2"),
    ("tags", "tags", "1000000 10000 1"),
    ("tags", "tags_manifest", "1000000 10000 1"),
];

/// Puts the figures in place. Connections opened later read them by themselves.
pub(super) fn describe(connection: &mut Connection) -> Result<()> {
    fill(connection).map_err(failure)
}

fn fill(connection: &mut Connection) -> rusqlite::Result<()> {
    // An empty table of statistics, unless there is one.
    connection.execute_batch("ANALYZE sqlite_schema")?;
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let known: Vec<(String, String, String)> = tx
        .prepare("SELECT tbl, idx, stat FROM sqlite_stat1 ORDER BY tbl, idx")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let known = known
        .iter()
        .map(|(table, index, shape)| (table.as_str(), index.as_str(), shape.as_str()));
    if !known.eq(SHAPES) {
        tx.execute_batch("DELETE FROM sqlite_stat1")?;
        for shape in SHAPES {
            tx.execute(
                "INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?1, ?2, ?3)",
                shape,
            )?;
        }
    }
    tx.commit()?;
    connection.execute_batch("ANALYZE sqlite_schema")
}
