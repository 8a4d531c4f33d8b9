//! Removing a blob from a repository at somebody's wish.

use holdfast_model::{Digest, RepositoryName, Timestamp};

use super::Unlinked;
use crate::operation::{Durability, Operation, Outdated, Transaction, Write, params};
use crate::{Result, gc, repositories};

/// Most manifests named to somebody whose wish is refused.
const USERS_NAMED: usize = 10;

pub(super) struct Unlink {
    pub(super) repository: RepositoryName,
    pub(super) digest: Digest,
    pub(super) now: Timestamp,
}

impl Operation for Unlink {
    type Output = Unlinked;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Unlinked> {
        let Some(repo_id) = repositories::id_of(tx, &self.repository).await? else {
            return Ok(Unlinked::Unknown);
        };
        let link = "SELECT used FROM repo_blobs WHERE repo_id = ?1 AND digest = ?2 /*FOR UPDATE*/";
        if tx
            .first(link, params![repo_id, self.digest])
            .await?
            .is_none()
        {
            return Ok(Unlinked::Unknown);
        }
        let users = tx
            .query(
                "SELECT DISTINCT m.digest
                 FROM manifest_blobs u JOIN manifests m ON m.repo_id = u.repo_id AND m.id = u.manifest_id
                 WHERE u.repo_id = ?1 AND u.digest = ?2 LIMIT ?3",
                params![repo_id, self.digest, USERS_NAMED],
            )
            .await?;
        if !users.is_empty() {
            let manifests = users
                .into_iter()
                .map(|mut row| row.digest())
                .collect::<Result<_>>()?;
            return Ok(Unlinked::InUse { manifests });
        }
        tx.execute(
            "DELETE FROM repo_blobs WHERE repo_id = ?1 AND digest = ?2",
            params![repo_id, self.digest],
        )
        .await?;
        gc::queue_blob(tx, self.digest, self.now).await?;
        Ok(Unlinked::Removed)
    }
}

impl Write for Unlink {
    const DURABILITY: Durability = Durability::Durable;

    fn outdates(&self) -> Outdated<'_> {
        Outdated::One(&self.repository)
    }
}
