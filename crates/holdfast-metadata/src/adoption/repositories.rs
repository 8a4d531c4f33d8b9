//! Which repositories the tree holds, and which of them are done.

use holdfast_model::{RepositoryName, Timestamp};

use super::ProblemKind;
use crate::operation::{Durability, Operation, Transaction, Write, params};
use crate::{Metadata, Result, repositories};

pub(crate) const FIND_STATE: &str =
    "SELECT state, since, seen_at FROM adoption_repositories WHERE path = ?1";
pub(crate) const WAITING_PAGE: &str = "SELECT path FROM adoption_repositories
     WHERE path > ?1 AND state = 0 ORDER BY path LIMIT ?2";
pub(crate) const WAITING_CATALOG_PAGE: &str = "SELECT path FROM adoption_repositories
     WHERE path > ?1 AND state = 0 AND populated = 1 ORDER BY path LIMIT ?2";

/// A repository of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRepository {
    /// Its name.
    pub name: RepositoryName,
    /// It has links to manifests, so that the catalog names it.
    pub populated: bool,
}

/// Whether a repository of the tree has been taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdoptionState {
    /// The tree has no such repository, as far as the walk has come.
    Unknown,
    /// It is there and not done.
    Waiting {
        /// What is older than this was looked at by an earlier walk, and is no news.
        since: Option<Timestamp>,
    },
    /// All of it is in the database.
    Done {
        /// When the walk over it began.
        seen_at: Option<Timestamp>,
    },
}

impl Metadata {
    /// Notes repositories of the tree. They are in the catalog from now on.
    pub async fn note_repositories(&self, found: Vec<FoundRepository>) -> Result<()> {
        self.write(Note { found }).await
    }

    /// Whether a repository has been taken over.
    pub async fn adoption_state(&self, repository: &RepositoryName) -> Result<AdoptionState> {
        self.read(FindState { repository }).await
    }

    /// Some repositories that wait, in byte order, after a name.
    pub async fn waiting_repositories(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<RepositoryName>> {
        self.read(WaitingPage {
            after: after.unwrap_or_default(),
            limit,
        })
        .await
    }

    /// Notes that everything in the directory of a repository is known until `seen_at`: this registry wrote it.
    pub async fn repository_exported(
        &self,
        repository: &RepositoryName,
        seen_at: Timestamp,
    ) -> Result<()> {
        self.write(Exported {
            repository: repository.clone(),
            seen_at,
        })
        .await
    }

    /// Notes that all of a repository has been taken over by a walk over it that began at `seen_at`.
    /// `existed` says that it had, or has, manifests, so that clients are told of it though it be empty.
    pub async fn repository_adopted(
        &self,
        repository: &RepositoryName,
        existed: bool,
        seen_at: Timestamp,
    ) -> Result<()> {
        self.write(Adopted {
            repository: repository.clone(),
            existed,
            seen_at,
        })
        .await
    }
}

struct Note {
    found: Vec<FoundRepository>,
}

impl Operation for Note {
    type Output = ();

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<()> {
        let mut new = 0;
        for FoundRepository { name, populated } in &self.found {
            let populated = i64::from(*populated);
            new += tx
                .execute(
                    "INSERT INTO adoption_repositories (path, populated) VALUES (?1, ?2)
                     ON CONFLICT (path) DO NOTHING",
                    params![name.as_str(), populated],
                )
                .await?;
        }
        let sum = "UPDATE adoption SET repositories = repositories + ?1 WHERE id = 1";
        tx.execute(sum, params![new]).await.map(drop)
    }
}

impl Write for Note {
    const DURABILITY: Durability = Durability::Relaxed;
}

struct FindState<'a> {
    repository: &'a RepositoryName,
}

impl Operation for FindState<'_> {
    type Output = AdoptionState;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<AdoptionState> {
        let path = self.repository.as_str();
        let Some(mut row) = tx.first(FIND_STATE, params![path]).await? else {
            return Ok(AdoptionState::Unknown);
        };
        let done = row.integer()? != 0;
        let since = row.maybe_integer()?.map(Timestamp::from_micros);
        let seen_at = row.maybe_integer()?.map(Timestamp::from_micros);
        Ok(if done {
            AdoptionState::Done { seen_at }
        } else {
            AdoptionState::Waiting { since }
        })
    }
}

struct WaitingPage<'a> {
    after: &'a str,
    limit: usize,
}

impl Operation for WaitingPage<'_> {
    type Output = Vec<RepositoryName>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Vec<RepositoryName>> {
        let rows = tx
            .query(WAITING_PAGE, params![self.after, self.limit])
            .await?;
        rows.into_iter().map(|mut row| row.parsed()).collect()
    }
}

struct Adopted {
    repository: RepositoryName,
    existed: bool,
    seen_at: Timestamp,
}

impl Operation for Adopted {
    type Output = ();

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<()> {
        // What could not be read was not seen: a rescan looks at all of the repository, though a tag that was
        // deleted since comes back with it.
        let changed = tx
            .execute(
                "UPDATE adoption_repositories SET state = 1,
                 seen_at = CASE WHEN EXISTS (SELECT 1 FROM adoption_problems WHERE repository = ?1 AND kind = ?3)
                           THEN NULL ELSE CAST(?2 AS BIGINT) END
                 WHERE path = ?1 AND state = 0",
                params![
                    self.repository.as_str(),
                    self.seen_at,
                    ProblemKind::Unreadable as i64
                ],
            )
            .await?;
        if changed == 0 {
            return Ok(());
        }
        if self.existed {
            let repo_id = repositories::id_or_new(tx, &self.repository, self.seen_at).await?;
            tx.execute(
                "UPDATE repositories SET population = 2 WHERE id = ?1 AND population = 0",
                params![repo_id],
            )
            .await?;
        }
        tx.execute(
            "UPDATE adoption SET repositories_done = repositories_done + 1 WHERE id = 1",
            params![],
        )
        .await
        .map(drop)
    }
}

impl Write for Adopted {
    const DURABILITY: Durability = Durability::Relaxed;
}

/// Whether things of a repository may be added. To be asked in the transaction that adds them: once it
/// is done, some of them may have been deleted again.
pub(super) async fn is_waiting<T: Transaction>(
    tx: &mut T,
    repository: &RepositoryName,
) -> Result<bool> {
    let waiting = "SELECT 1 FROM adoption_repositories WHERE path = ?1 AND state = 0 /*FOR SHARE*/";
    Ok(tx
        .first(waiting, params![repository.as_str()])
        .await?
        .is_some())
}

struct Exported {
    repository: RepositoryName,
    seen_at: Timestamp,
}

impl Operation for Exported {
    type Output = ();

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<()> {
        tx.execute(
            "INSERT INTO adoption_repositories (path, state, populated, seen_at) VALUES (?1, 1, 0, ?2)
             ON CONFLICT (path) DO UPDATE SET seen_at = excluded.seen_at WHERE adoption_repositories.state = 1",
            params![self.repository.as_str(), self.seen_at],
        )
        .await?;
        Ok(())
    }
}

impl Write for Exported {
    const DURABILITY: Durability = Durability::Durable;
}
