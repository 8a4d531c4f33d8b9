//! Walking over the manifests of a repository.

use holdfast_model::{Digest, RepositoryName};

use crate::operation::{Operation, Transaction, params};
use crate::{Metadata, Result, repositories};

pub(crate) const MANIFESTS_PAGE: &str =
    "SELECT id, digest FROM manifests WHERE repo_id = ?1 AND digest > ?2 ORDER BY digest LIMIT ?3";
pub(crate) const BLOBS_OF: &str =
    "SELECT digest FROM manifest_blobs WHERE repo_id = ?1 AND manifest_id = ?2 ORDER BY position";

/// A manifest and the blobs it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeededBlobs {
    /// The manifest.
    pub manifest: Digest,
    /// The blobs, in its order.
    pub blobs: Vec<Digest>,
}

impl Metadata {
    /// A page of the manifests of a repository in the order of their digests, after a digest.
    pub async fn manifests_after(
        &self,
        repository: &RepositoryName,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<NeededBlobs>> {
        self.read(Page {
            repository,
            after,
            limit,
        })
        .await
    }
}

struct Page<'a> {
    repository: &'a RepositoryName,
    after: Option<&'a Digest>,
    limit: usize,
}

impl Operation for Page<'_> {
    type Output = Vec<NeededBlobs>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Vec<NeededBlobs>> {
        let Some(repo_id) = repositories::id_of(tx, self.repository).await? else {
            return Ok(Vec::new());
        };
        // No bytes at all come before every digest.
        let after = self.after.map(Digest::to_bytes).unwrap_or_default();
        let rows = tx
            .query(
                MANIFESTS_PAGE,
                params![repo_id, after.as_slice(), self.limit],
            )
            .await?;
        let mut page = Vec::with_capacity(rows.len());
        for mut row in rows {
            let (id, manifest) = (row.integer()?, row.digest()?);
            let blobs = tx.query(BLOBS_OF, params![repo_id, id]).await?;
            page.push(NeededBlobs {
                manifest,
                blobs: blobs
                    .into_iter()
                    .map(|mut row| row.digest())
                    .collect::<Result<_>>()?,
            });
        }
        Ok(page)
    }
}
