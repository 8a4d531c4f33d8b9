//! When manifests were last pulled, for policies that ask.
//!
//! A pull notes itself in memory, and only while a policy wants to know; a job writes the notes in batches.
//! What was noted since the last batch is lost with the process.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use holdfast_metadata::Pull;
use holdfast_model::{Digest, RepositoryName, Timestamp};

/// Parts with a lock of their own.
const PARTS: usize = 16;
/// Most manifests noted in one part between two batches; more are not.
const NOTED_MAX: usize = 4096;

type Part = Mutex<HashMap<(RepositoryName, Digest), Timestamp>>;

/// Pulls since the last batch.
pub(crate) struct Pulls {
    wanted: bool,
    parts: [Part; PARTS],
    hasher: RandomState,
}

impl Pulls {
    /// Notes pulls, if they are wanted.
    pub(super) fn new(wanted: bool) -> Pulls {
        Pulls {
            wanted,
            parts: Default::default(),
            hasher: RandomState::new(),
        }
    }

    /// Notes a pull.
    pub(super) fn note(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        now: impl FnOnce() -> Timestamp,
    ) {
        if !self.wanted {
            return;
        }
        let part = self.hasher.hash_one(digest) as usize % PARTS;
        let mut noted = self.parts[part]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let key = (repository.clone(), *digest);
        if noted.len() < NOTED_MAX || noted.contains_key(&key) {
            noted.insert(key, now());
        }
    }

    /// Takes what was noted.
    pub(super) fn take(&self) -> Vec<Pull> {
        let mut pulls = Vec::new();
        for part in &self.parts {
            let noted = std::mem::take(&mut *part.lock().unwrap_or_else(PoisonError::into_inner));
            pulls.extend(noted.into_iter().map(|((repository, digest), at)| Pull {
                repository,
                digest,
                at,
            }));
        }
        pulls
    }
}

impl super::Operations {
    /// Writes what was noted of pulls.
    pub(crate) async fn record_pulls(&self) -> super::Result<()> {
        /// Pulls in one transaction.
        const BATCH: usize = 256;
        let pulls = self.pulls.take();
        for batch in pulls.chunks(BATCH) {
            self.metadata.record_pulls(batch.to_vec()).await?;
        }
        Ok(())
    }
}
