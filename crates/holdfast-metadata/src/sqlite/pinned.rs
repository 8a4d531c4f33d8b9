//! A view of the database that stays as it is while the server goes on writing, and copies of it.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::connection::{self, Mode, failure};
use crate::{Error, Result};

/// How many views there are: checkpoints do not wait for them.
#[derive(Clone, Debug, Default)]
pub(super) struct Pins(Arc<AtomicUsize>);

impl Pins {
    /// Makes a view of what is committed now.
    pub(super) fn pin(&self, database: &Path) -> Result<Pinned> {
        let connection = connection::open(database, Mode::Read)?;
        self.0.fetch_add(1, Ordering::AcqRel);
        let pinned = Pinned {
            connection,
            pins: self.clone(),
        };
        // The view begins with the first read.
        pinned
            .connection
            .execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")
            .map_err(failure)?;
        Ok(pinned)
    }

    pub(super) fn any(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }
}

/// A view of the database as it was at one moment. The write-ahead log cannot start over while it lives.
#[derive(Debug)]
pub struct Pinned {
    connection: Connection,
    pins: Pins,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.pins.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Pinned {
    /// Copies the database, page by page, into a file that must not be there, durably. Blocks on the disk.
    pub fn copy_to(&self, path: &Path) -> Result<()> {
        let io = |error: std::io::Error| Error::Unavailable(Arc::new(error));
        connection::make_private(path).map_err(io)?;
        let mut copy = Connection::open(path).map_err(failure)?;
        // Nobody reads it before it is synced as a whole.
        copy.pragma_update(None, "synchronous", "off")
            .and_then(|()| copy.pragma_update(None, "journal_mode", "off"))
            .map_err(failure)?;
        let backup = Backup::new(&self.connection, &mut copy).map_err(failure)?;
        // In one step: the view is held anyway, and nobody waits for it.
        match backup.step(-1).map_err(failure)? {
            StepResult::Done => {}
            _ => {
                let why = crate::error::Unexpected("the copy was not finished".to_owned());
                return Err(Error::Busy(Arc::new(why)));
            }
        }
        drop(backup);
        copy.close().map_err(|(_, error)| failure(error))?;
        File::open(path)
            .and_then(|file| file.sync_all())
            .map_err(io)
    }
}
