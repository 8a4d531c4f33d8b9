//! What a round would take away: the round itself, in one transaction that is undone.
//!
//! So a dry run and a real one cannot disagree. On an engine with one writer other changes wait meanwhile,
//! hence its limit.

use std::time::Duration;

use holdfast_model::{Digest, RepositoryName};

use super::{Collected, Moment, UntaggedPolicy, blobs, links, manifests};
use crate::operation::{Durability, Operation, Transaction, Write};
use crate::{Metadata, Result};

/// Reviews between two looks at a queue.
const BATCH: usize = 1000;

impl Metadata {
    /// What a round would take away, at most about `limit` things; and whether that is all.
    pub async fn rehearse_gc(
        &self,
        moment: Moment,
        policy: UntaggedPolicy,
        untagged: Vec<(RepositoryName, Digest)>,
        limit: usize,
    ) -> Result<(Vec<Collected>, bool)> {
        self.write(Rehearsal {
            moment,
            policy,
            untagged,
            grace: self.grace(),
            limit,
        })
        .await
    }
}

struct Rehearsal {
    moment: Moment,
    policy: UntaggedPolicy,
    untagged: Vec<(RepositoryName, Digest)>,
    grace: Duration,
    limit: usize,
}

impl Operation for Rehearsal {
    type Output = (Vec<Collected>, bool);

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Self::Output> {
        let (moment, policy, grace) = (self.moment, self.policy, self.grace);
        let mut collected = Vec::new();
        let queue = super::untagged::QueueUntagged {
            manifests: self.untagged.clone(),
            due_at: moment.now,
        };
        queue.run(tx).await?;
        let limit = BATCH;
        while collected.len() < self.limit {
            let due = manifests::Due { moment, limit }.run(tx).await?;
            if !due.is_empty() {
                for (repository, digests) in due {
                    let review = manifests::Review {
                        repository,
                        digests,
                        moment,
                        policy,
                        grace,
                    };
                    collected.extend(review.run(tx).await?);
                }
                continue;
            }
            let due = links::Due { moment, limit }.run(tx).await?;
            if !due.is_empty() {
                for (repository, digests) in due {
                    let review = links::Review {
                        repository,
                        digests,
                        moment,
                        grace,
                    };
                    collected.extend(review.run(tx).await?);
                }
                continue;
            }
            let digests = blobs::Due { moment, limit }.run(tx).await?;
            if digests.is_empty() {
                return Ok((collected, true));
            }
            let review = blobs::Review {
                digests,
                moment,
                not_before: moment.now,
            };
            collected.extend(review.run(tx).await?);
        }
        Ok((collected, false))
    }
}

impl Write for Rehearsal {
    const DURABILITY: Durability = Durability::Relaxed;
    const UNDONE: bool = true;
}
