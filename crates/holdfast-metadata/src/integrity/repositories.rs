//! Rows of `repositories`.

use crate::operation::{Operation, Transaction, params};
use crate::{Metadata, Result};

pub(crate) const REPOSITORIES_PAGE: &str = "SELECT r.id, r.path, r.population,
            CASE WHEN EXISTS (SELECT 1 FROM manifests m WHERE m.repo_id = r.id) THEN 1 ELSE 0 END
     FROM repositories r WHERE r.id > ?1 AND r.deleted_at IS NULL ORDER BY r.id LIMIT ?2";

/// A repository, and what the database says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryRow {
    /// Its id.
    pub id: i64,
    /// Its name.
    pub repository: String,
    /// Whether it is marked as having a manifest.
    pub populated: bool,
    /// Whether it has one.
    pub has_manifest: bool,
}

impl Metadata {
    /// A page of all repositories by id, after an id.
    pub async fn repository_rows(
        &self,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<RepositoryRow>> {
        self.read(Page { after, limit }).await
    }
}

struct Page {
    after: Option<i64>,
    limit: usize,
}

impl Operation for Page {
    type Output = Vec<RepositoryRow>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Vec<RepositoryRow>> {
        let after = self.after.unwrap_or(i64::MIN);
        let rows = tx
            .query(REPOSITORIES_PAGE, params![after, self.limit])
            .await?;
        rows.into_iter()
            .map(|mut row| {
                Ok(RepositoryRow {
                    id: row.integer()?,
                    repository: row.text()?,
                    populated: row.integer()? == 1,
                    has_manifest: row.integer()? != 0,
                })
            })
            .collect()
    }
}
