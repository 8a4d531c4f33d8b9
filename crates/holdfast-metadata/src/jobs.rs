//! Jobs that one node does for all: a claim that its holder renews, and that is anybody's once it is not renewed.
//!
//! A claim keeps nodes from doing the same work twice. It protects no data: a node that sleeps past its claim goes on
//! beside its successor for a while, so whatever is done under a claim must be right without it.

use holdfast_model::Timestamp;

use crate::operation::{Durability, Operation, Transaction, Write, params};
use crate::{Metadata, Result};

impl Metadata {
    /// Claims a job for a node until then, or renews its claim; false while another node has it.
    pub async fn claim_job(
        &self,
        job: &str,
        node: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool> {
        self.write(Claim {
            job: job.to_owned(),
            node: node.to_owned(),
            until,
            now,
        })
        .await
    }

    /// Gives a job up, if the node has it.
    pub async fn release_job(&self, job: &str, node: &str) -> Result<()> {
        self.write(Release {
            job: job.to_owned(),
            node: node.to_owned(),
        })
        .await
    }
}

struct Claim {
    job: String,
    node: String,
    until: Timestamp,
    now: Timestamp,
}

impl Operation for Claim {
    type Output = bool;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<bool> {
        let (job, node) = (self.job.as_str(), self.node.as_str());
        let claimed = tx
            .execute(
                "INSERT INTO job_claims (job, node, until) VALUES (?1, ?2, ?3)
                 ON CONFLICT (job) DO UPDATE SET node = excluded.node, until = excluded.until
                 WHERE job_claims.node = excluded.node OR job_claims.until <= ?4",
                params![job, node, self.until, self.now],
            )
            .await?;
        Ok(claimed > 0)
    }
}

impl Write for Claim {
    const DURABILITY: Durability = Durability::Relaxed;
}

struct Release {
    job: String,
    node: String,
}

impl Operation for Release {
    type Output = ();

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<()> {
        let sql = "DELETE FROM job_claims WHERE job = ?1 AND node = ?2";
        tx.execute(sql, params![self.job.as_str(), self.node.as_str()])
            .await?;
        Ok(())
    }
}

impl Write for Release {
    const DURABILITY: Durability = Durability::Relaxed;
}
