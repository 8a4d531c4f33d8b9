//! Questions about blobs.

use std::sync::Arc;

use holdfast_model::{Digest, RepositoryName, Timestamp};

use super::state;
use crate::Result;
use crate::operation::{Operation, Transaction, params};

pub(crate) const FIND_LINKED: &str =
    "SELECT b.size_bytes, b.storage_key, b.state, l.used, l.lease_until
     FROM repositories r
     JOIN repo_blobs l ON l.repo_id = r.id AND l.digest = ?2
     JOIN blobs b ON b.digest = l.digest AND b.state <> 1
     WHERE r.path = ?1 AND r.deleted_at IS NULL";
pub(crate) const KEY_IN_USE: &str = "SELECT 1 FROM blobs WHERE digest = ?2
     UNION ALL SELECT 1 FROM gc_object_outbox WHERE storage_key = ?1 LIMIT 1";
pub(crate) const REPOSITORIES_WITH: &str = "SELECT r.path
     FROM repo_blobs l JOIN repositories r ON r.id = l.repo_id
     WHERE l.digest = ?1 AND r.deleted_at IS NULL ORDER BY l.repo_id LIMIT ?2";

/// A blob with what its lease depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkedBlob {
    pub(crate) size: u64,
    pub(crate) storage_key: Arc<str>,
    pub(crate) damaged: bool,
    pub(crate) used: bool,
    pub(crate) lease_until: Timestamp,
}

pub(super) struct Find<'a> {
    pub(super) repository: &'a RepositoryName,
    pub(super) digest: &'a Digest,
}

impl Operation for Find<'_> {
    type Output = Option<LinkedBlob>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Option<LinkedBlob>> {
        let Some(mut row) = tx
            .first(FIND_LINKED, params![self.repository.as_str(), *self.digest])
            .await?
        else {
            return Ok(None);
        };
        Ok(Some(LinkedBlob {
            size: row.size()?,
            storage_key: row.text()?.into(),
            damaged: row.integer()? == state::DAMAGED,
            used: row.integer()? != 0,
            lease_until: row.time()?,
        }))
    }
}

pub(super) struct KeyIsFree<'a> {
    pub(super) storage_key: &'a str,
    pub(super) digest: &'a Digest,
}

impl Operation for KeyIsFree<'_> {
    type Output = bool;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<bool> {
        Ok(tx
            .first(KEY_IN_USE, params![self.storage_key, *self.digest])
            .await?
            .is_none())
    }
}

pub(super) struct RepositoriesWith<'a> {
    pub(super) digest: &'a Digest,
    pub(super) limit: usize,
}

impl Operation for RepositoriesWith<'_> {
    type Output = Vec<RepositoryName>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Vec<RepositoryName>> {
        let rows = tx
            .query(REPOSITORIES_WITH, params![*self.digest, self.limit])
            .await?;
        rows.into_iter().map(|mut row| row.parsed()).collect()
    }
}
