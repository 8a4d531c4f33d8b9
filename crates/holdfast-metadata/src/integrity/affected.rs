//! Which repositories and tags a damage touches: up from a blob or a manifest to every tag that needs it.

use std::collections::{BTreeSet, HashSet, VecDeque};

use holdfast_model::{Digest, RepositoryName, Tag};

use crate::operation::{Operation, Transaction, params};
use crate::{Metadata, Result};

pub(crate) const LINKING: &str = "SELECT l.repo_id, r.path
     FROM repo_blobs l JOIN repositories r ON r.id = l.repo_id
     WHERE l.digest = ?1 ORDER BY l.repo_id LIMIT ?2";
pub(crate) const NAMING: &str = "SELECT DISTINCT manifest_id FROM manifest_blobs
     WHERE repo_id = ?1 AND digest = ?2 LIMIT ?3";
pub(crate) const PARENTS: &str = "SELECT c.parent_id FROM manifests m
     JOIN manifest_children c ON c.repo_id = m.repo_id AND c.child_digest = m.digest
     WHERE m.repo_id = ?1 AND m.id = ?2 LIMIT ?3";
pub(crate) const TAGS_OF: &str =
    "SELECT name FROM tags WHERE repo_id = ?1 AND manifest_id = ?2 LIMIT ?3";

pub(crate) const PATH: &str = "SELECT path FROM repositories WHERE id = ?1";

/// What a damage touches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affected {
    /// By repository.
    pub repositories: Vec<AffectedRepository>,
    /// Whether there are more than were looked for.
    pub more: bool,
}

/// What a damage touches in one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AffectedRepository {
    /// The repository.
    pub repository: RepositoryName,
    /// Tags whose image cannot be pulled whole, in byte order.
    pub tags: Vec<Tag>,
    /// Manifests that need it, tagged or not, indexes over them included.
    pub manifests: u64,
}

impl Metadata {
    /// What needs this blob; at most so many repositories, and manifests and tags in each.
    pub async fn affected_by_blob(&self, digest: &Digest, limit: usize) -> Result<Affected> {
        self.read(ByBlob { digest, limit }).await
    }

    /// What needs this manifest, given by repository and id; at most so many manifests and tags.
    pub async fn affected_by_manifest(&self, key: (i64, i64), limit: usize) -> Result<Affected> {
        self.read(ByManifest { key, limit }).await
    }
}

struct ByManifest {
    key: (i64, i64),
    limit: usize,
}

impl Operation for ByManifest {
    type Output = Affected;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Affected> {
        let (repo_id, id) = self.key;
        let mut affected = Affected::default();
        if let Some(mut row) = tx.first(PATH, params![repo_id]).await? {
            let repository = (repo_id, row.parsed()?);
            climb(tx, repository, vec![id], self.limit, &mut affected).await?;
        }
        Ok(affected)
    }
}

struct ByBlob<'a> {
    digest: &'a Digest,
    limit: usize,
}

impl Operation for ByBlob<'_> {
    type Output = Affected;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Affected> {
        let rows = tx.query(LINKING, params![*self.digest, self.limit]).await?;
        let mut affected = Affected {
            more: rows.len() >= self.limit,
            repositories: Vec::with_capacity(rows.len()),
        };
        for mut row in rows {
            let (repo_id, path) = (row.integer()?, row.parsed()?);
            let start = tx
                .query(NAMING, params![repo_id, *self.digest, self.limit])
                .await?;
            let start = start
                .into_iter()
                .map(|mut row| row.integer())
                .collect::<Result<_>>()?;
            climb(tx, (repo_id, path), start, self.limit, &mut affected).await?;
        }
        Ok(affected)
    }
}

/// Adds what is reached from these manifests: they, the indexes that name them, and the tags of all.
async fn climb<T: Transaction>(
    tx: &mut T,
    (repo_id, repository): (i64, RepositoryName),
    start: Vec<i64>,
    limit: usize,
    affected: &mut Affected,
) -> Result<()> {
    let mut seen: HashSet<i64> = start.iter().copied().collect();
    let mut next = VecDeque::from(start);
    let mut tags = BTreeSet::new();
    while let Some(manifest) = next.pop_front() {
        for mut row in tx.query(TAGS_OF, params![repo_id, manifest, limit]).await? {
            tags.insert(row.parsed()?);
        }
        for mut row in tx.query(PARENTS, params![repo_id, manifest, limit]).await? {
            let parent = row.integer()?;
            if seen.len() < limit && seen.insert(parent) {
                next.push_back(parent);
            }
        }
    }
    affected.more |= seen.len() >= limit || tags.len() > limit;
    affected.repositories.push(AffectedRepository {
        repository,
        tags: tags.into_iter().take(limit).collect(),
        manifests: seen.len() as u64,
    });
    Ok(())
}
