//! SQLite's own checks of its file.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::connection::failure;
use crate::{EngineFault, Result};

/// Most faults of the file that are named.
const FAULTS_NAMED: usize = 100;

pub(super) fn examine(connection: &Connection) -> Result<Vec<EngineFault>> {
    let mut faults = Vec::new();
    let mut statement = connection
        .prepare(&format!("PRAGMA integrity_check({FAULTS_NAMED})"))
        .map_err(failure)?;
    let mut rows = statement.query([]).map_err(failure)?;
    while let Some(row) = rows.next().map_err(failure)? {
        let fault: String = row.get(0).map_err(failure)?;
        if fault != "ok" {
            faults.push(EngineFault::File(fault));
        }
    }
    let mut counts = BTreeMap::<(String, String), u64>::new();
    let mut statement = connection
        .prepare("PRAGMA foreign_key_check")
        .map_err(failure)?;
    let mut rows = statement.query([]).map_err(failure)?;
    while let Some(row) = rows.next().map_err(failure)? {
        let tables = (row.get(0).map_err(failure)?, row.get(2).map_err(failure)?);
        *counts.entry(tables).or_default() += 1;
    }
    faults.extend(
        counts
            .into_iter()
            .map(|((table, parent), rows)| EngineFault::References {
                table,
                parent,
                rows,
            }),
    );
    Ok(faults)
}
