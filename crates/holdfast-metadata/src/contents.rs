//! What each repository has, page by page, for those who copy it somewhere else: export and restore.

use holdfast_model::{Digest, RepositoryName, Tag};

use crate::blobs::state::LIVE;
use crate::operation::{Operation, Transaction, params};
use crate::{Metadata, Result};

pub(crate) const REPOSITORIES: &str = "SELECT path FROM repositories
     WHERE path > ?1 AND deleted_at IS NULL ORDER BY path LIMIT ?2";
pub(crate) const BLOBS: &str = "SELECT l.digest, b.size_bytes, b.storage_key, b.state
     FROM repositories r
     JOIN repo_blobs l ON l.repo_id = r.id
     JOIN blobs b ON b.digest = l.digest
     WHERE r.path = ?1 AND r.deleted_at IS NULL AND l.digest > ?2 ORDER BY l.digest LIMIT ?3";
pub(crate) const MANIFESTS: &str = "SELECT m.id, m.digest
     FROM repositories r JOIN manifests m ON m.repo_id = r.id
     WHERE r.path = ?1 AND r.deleted_at IS NULL AND m.id > ?2 ORDER BY m.id LIMIT ?3";
// Row by row, as a page of tags must be read in their order, whatever the planner thinks of joins.
pub(crate) const TAGS: &str = "SELECT t.name,
     (SELECT m.digest FROM manifests m WHERE m.repo_id = t.repo_id AND m.id = t.manifest_id)
     FROM tags t
     WHERE t.repo_id = (SELECT r.id FROM repositories r WHERE r.path = ?1 AND r.deleted_at IS NULL)
     AND t.name > ?2 ORDER BY t.name LIMIT ?3";
pub(crate) const HAS_LINK: &str = "SELECT 1
     FROM repositories r JOIN repo_blobs l ON l.repo_id = r.id AND l.digest = ?2
     WHERE r.path = ?1 AND r.deleted_at IS NULL";
pub(crate) const DISCARDED: &str = "SELECT 1 FROM gc_object_outbox WHERE storage_key = ?1";

/// A blob that a repository has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryBlob {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Where its bytes are.
    pub storage_key: String,
    /// Whether they are there, as far as is known.
    pub live: bool,
}

/// A manifest that a repository has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryManifest {
    /// Its place in the order of pushes: what a manifest refers to comes before it, as a rule.
    pub id: i64,
    /// Its digest.
    pub digest: Digest,
}

impl Metadata {
    /// A page of all repositories that anything was ever pushed to, in byte order, after a name.
    pub async fn all_repositories(
        &self,
        after: Option<&RepositoryName>,
        limit: usize,
    ) -> Result<Vec<RepositoryName>> {
        self.read(Repositories { after, limit }).await
    }

    /// A page of the blobs of a repository by digest, after one.
    pub async fn repository_blobs(
        &self,
        repository: &RepositoryName,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<RepositoryBlob>> {
        self.read(Blobs {
            repository,
            after,
            limit,
        })
        .await
    }

    /// A page of the manifests of a repository in the order of their ids, after one.
    pub async fn repository_manifests(
        &self,
        repository: &RepositoryName,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<RepositoryManifest>> {
        self.read(Manifests {
            repository,
            after,
            limit,
        })
        .await
    }

    /// A page of the tags of a repository in byte order, after one, and what each points at.
    pub async fn tag_targets(
        &self,
        repository: &RepositoryName,
        after: Option<&Tag>,
        limit: usize,
    ) -> Result<Vec<(Tag, Digest)>> {
        self.read(Tags {
            repository,
            after,
            limit,
        })
        .await
    }

    /// Whether a repository has a blob, whatever became of its bytes.
    pub async fn has_link(&self, repository: &RepositoryName, digest: &Digest) -> Result<bool> {
        self.read(HasLink { repository, digest }).await
    }

    /// Whether the bytes under this key are waiting for their deletion.
    pub async fn is_discarded(&self, storage_key: &str) -> Result<bool> {
        self.read(IsDiscarded { storage_key }).await
    }
}

struct Repositories<'a> {
    after: Option<&'a RepositoryName>,
    limit: usize,
}

impl Operation for Repositories<'_> {
    type Output = Vec<RepositoryName>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Self::Output> {
        let after = self.after.map_or("", RepositoryName::as_str);
        let rows = tx.query(REPOSITORIES, params![after, self.limit]).await?;
        rows.into_iter().map(|mut row| row.parsed()).collect()
    }
}

struct Blobs<'a> {
    repository: &'a RepositoryName,
    after: Option<&'a Digest>,
    limit: usize,
}

impl Operation for Blobs<'_> {
    type Output = Vec<RepositoryBlob>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Self::Output> {
        let after = self.after.map(Digest::to_bytes).unwrap_or_default();
        let page = params![self.repository.as_str(), after.as_slice(), self.limit];
        let rows = tx.query(BLOBS, page).await?;
        rows.into_iter()
            .map(|mut row| {
                Ok(RepositoryBlob {
                    digest: row.digest()?,
                    size: row.size()?,
                    storage_key: row.text()?,
                    live: row.integer()? == LIVE,
                })
            })
            .collect()
    }
}

struct Manifests<'a> {
    repository: &'a RepositoryName,
    after: Option<i64>,
    limit: usize,
}

impl Operation for Manifests<'_> {
    type Output = Vec<RepositoryManifest>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Self::Output> {
        let after = self.after.unwrap_or(i64::MIN);
        let page = params![self.repository.as_str(), after, self.limit];
        let rows = tx.query(MANIFESTS, page).await?;
        rows.into_iter()
            .map(|mut row| {
                Ok(RepositoryManifest {
                    id: row.integer()?,
                    digest: row.digest()?,
                })
            })
            .collect()
    }
}

struct Tags<'a> {
    repository: &'a RepositoryName,
    after: Option<&'a Tag>,
    limit: usize,
}

impl Operation for Tags<'_> {
    type Output = Vec<(Tag, Digest)>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Self::Output> {
        let after = self.after.map_or("", Tag::as_str);
        let page = params![self.repository.as_str(), after, self.limit];
        let rows = tx.query(TAGS, page).await?;
        rows.into_iter()
            .map(|mut row| Ok((row.parsed()?, row.digest()?)))
            .collect()
    }
}

struct IsDiscarded<'a> {
    storage_key: &'a str,
}

impl Operation for IsDiscarded<'_> {
    type Output = bool;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<bool> {
        let row = tx.first(DISCARDED, params![self.storage_key]).await?;
        Ok(row.is_some())
    }
}

struct HasLink<'a> {
    repository: &'a RepositoryName,
    digest: &'a Digest,
}

impl Operation for HasLink<'_> {
    type Output = bool;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<bool> {
        let row = tx
            .first(HAS_LINK, params![self.repository.as_str(), *self.digest])
            .await?;
        Ok(row.is_some())
    }
}
