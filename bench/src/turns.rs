//! Turns on a machine that others measure on as well.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::Result;

/// The way to have the machine to oneself: a lock on a file, or nothing where nobody else is there.
pub(crate) struct Turns {
    file: Option<File>,
}

/// A turn, until it is dropped.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
}

impl Turns {
    /// Nobody else is there.
    pub(crate) fn alone() -> Turns {
        Turns { file: None }
    }

    /// Whoever locks this file, by flock(1) or flock(2), has a turn.
    pub(crate) fn with_others(path: &Path) -> Result<Turns> {
        let file = File::create(path)
            .map_err(|error| format!("{} cannot be locked: {error}", path.display()))?;
        Ok(Turns { file: Some(file) })
    }

    /// Waits for a turn.
    pub(crate) fn take(&self) -> Result<Turn<'_>> {
        if let Some(file) = &self.file {
            flock(file, FlockOperation::LockExclusive)?;
        }
        Ok(Turn { turns: self })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(file) = &self.turns.file {
            let _ = flock(file, FlockOperation::Unlock);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_exclude_each_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let turns = Turns::with_others(&path).unwrap();
        let other = File::create(&path).unwrap();
        let turn = turns.take().unwrap();
        assert!(flock(&other, FlockOperation::NonBlockingLockExclusive).is_err());
        drop(turn);
        assert!(flock(&other, FlockOperation::NonBlockingLockExclusive).is_ok());
    }
}
