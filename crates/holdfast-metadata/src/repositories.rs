//! Repositories: a row from the first upload on, in the catalog while there is a manifest.

use holdfast_model::{RepositoryName, Timestamp};

use crate::adoption::WAITING_CATALOG_PAGE;
use crate::operation::{Lock, Operation, Transaction, params};
use crate::{Error, Metadata, Result};

pub(crate) const FIND_REPOSITORY: &str =
    "SELECT id, population FROM repositories WHERE path = ?1 AND deleted_at IS NULL";
pub(crate) const CATALOG_PAGE: &str = "SELECT path FROM repositories
     WHERE path > ?1 AND population = 1 AND deleted_at IS NULL ORDER BY path LIMIT ?2";

/// Whether a repository has manifests; the schema's `population`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Population {
    /// It never had one: clients are told that there is no such repository.
    Never = 0,
    /// It has one.
    Now = 1,
    /// It had one.
    Once = 2,
}

impl Metadata {
    /// A page of the names of all repositories that have a manifest, in byte order, after a name.
    pub async fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        self.read(CatalogPage {
            after: after.unwrap_or_default(),
            limit,
        })
        .await
    }
}

struct CatalogPage<'a> {
    after: &'a str,
    limit: usize,
}

impl Operation for CatalogPage<'_> {
    type Output = Vec<String>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Vec<String>> {
        let page = params![self.after, self.limit];
        let mut names = Vec::new();
        // Repositories of a tree that is being adopted count before their rows are here.
        for sql in [CATALOG_PAGE, WAITING_CATALOG_PAGE] {
            for mut row in tx.query(sql, page).await? {
                names.push(row.text()?);
            }
        }
        names.sort_unstable();
        names.dedup();
        names.truncate(self.limit);
        Ok(names)
    }
}

/// The repository's row, if any.
pub(crate) async fn find<T: Transaction>(
    tx: &mut T,
    name: &RepositoryName,
) -> Result<Option<(i64, Population)>> {
    let Some(mut row) = tx.first(FIND_REPOSITORY, params![name.as_str()]).await? else {
        return Ok(None);
    };
    let id = row.integer()?;
    let population = match row.integer()? {
        0 => Population::Never,
        1 => Population::Now,
        2 => Population::Once,
        other => {
            return Err(Error::corrupt(format!(
                "repository {name} has the unknown population {other}"
            )));
        }
    };
    Ok(Some((id, population)))
}

/// The repository's id.
pub(crate) async fn id_of<T: Transaction>(
    tx: &mut T,
    name: &RepositoryName,
) -> Result<Option<i64>> {
    Ok(find(tx, name).await?.map(|(id, _)| id))
}

/// The repository's id; made when there is none.
pub(crate) async fn id_or_new<T: Transaction>(
    tx: &mut T,
    name: &RepositoryName,
    now: Timestamp,
) -> Result<i64> {
    if let Some(id) = id_of(tx, name).await? {
        return Ok(id);
    }
    let id = tx.new_id(now);
    tx.execute(
        "INSERT INTO repositories (id, namespace_id, path, created_at) VALUES (?1, 0, ?2, ?3)
         ON CONFLICT (path) WHERE deleted_at IS NULL DO NOTHING",
        params![id, name.as_str(), now],
    )
    .await?;
    id_of(tx, name)
        .await?
        .ok_or_else(|| Error::internal("a repository is gone right after it was made"))
}

/// To be called after a manifest was inserted: the insert's foreign key keeps [`mark_if_empty`] out.
pub(crate) async fn mark_populated<T: Transaction>(tx: &mut T, repo_id: i64) -> Result<()> {
    tx.execute(
        "UPDATE repositories SET population = 1 WHERE id = ?1 AND population <> 1",
        params![repo_id],
    )
    .await?;
    Ok(())
}

/// To be called after a manifest was deleted.
pub(crate) async fn mark_if_empty<T: Transaction>(tx: &mut T, repo_id: i64) -> Result<()> {
    const ANY_MANIFEST: &str = "SELECT id FROM manifests WHERE repo_id = ?1 LIMIT 1";
    // Of two who delete the last two, the second to come here is the one that finds none.
    tx.lock(Lock::Population(repo_id));
    if tx.first(ANY_MANIFEST, params![repo_id]).await?.is_some() {
        return Ok(());
    }
    // Wait for pushes under way, then look again: the order of locks that `mark_populated` relies on.
    tx.query(
        "SELECT id FROM repositories WHERE id = ?1 /*FOR UPDATE*/",
        params![repo_id],
    )
    .await?;
    if tx.first(ANY_MANIFEST, params![repo_id]).await?.is_none() {
        tx.execute(
            "UPDATE repositories SET population = 2 WHERE id = ?1",
            params![repo_id],
        )
        .await?;
    }
    Ok(())
}
