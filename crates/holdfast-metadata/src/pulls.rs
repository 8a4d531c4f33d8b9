//! When manifests were last pulled. Counted in memory by the server and written in batches, never by a pull.

use holdfast_model::{Digest, RepositoryName, Timestamp};

use crate::operation::{Durability, Operation, Transaction, Write, params};
use crate::{Metadata, Result, repositories};

/// A pull of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    /// From where.
    pub repository: RepositoryName,
    /// Which manifest.
    pub digest: Digest,
    /// When.
    pub at: Timestamp,
}

impl Metadata {
    /// Notes pulls. Of manifests that are gone nothing is noted.
    pub async fn record_pulls(&self, mut pulls: Vec<Pull>) -> Result<()> {
        // Two nodes that note the same wait for each other in one direction only.
        pulls.sort_by(|a, b| (&a.repository, a.digest).cmp(&(&b.repository, b.digest)));
        self.write(Record { pulls }).await
    }
}

struct Record {
    pulls: Vec<Pull>,
}

impl Operation for Record {
    type Output = ();

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<()> {
        for pull in &self.pulls {
            let Some(repo_id) = repositories::id_of(tx, &pull.repository).await? else {
                continue;
            };
            tx.execute(
                "INSERT INTO last_pulls (repo_id, digest, pulled_at)
                 SELECT repo_id, digest, CAST(?3 AS BIGINT) FROM manifests WHERE repo_id = ?1 AND digest = ?2
                 ON CONFLICT (repo_id, digest) DO UPDATE SET pulled_at = excluded.pulled_at
                 WHERE last_pulls.pulled_at < excluded.pulled_at",
                params![repo_id, pull.digest, pull.at],
            )
            .await?;
        }
        Ok(())
    }
}

impl Write for Record {
    const DURABILITY: Durability = Durability::Relaxed;
}
