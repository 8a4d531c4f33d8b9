//! Claims of jobs.

use super::on_every_engine;
use crate::fixture::{Database, NOW, later};

on_every_engine!(one_node_has_a_job_until_it_gives_it_up_or_is_gone);

async fn one_node_has_a_job_until_it_gives_it_up_or_is_gone(db: &Database) {
    let claim = async |job: &str, node: &str, until, now| {
        let claimed = db.metadata.claim_job(job, node, until, now);
        claimed.await.unwrap()
    };
    assert!(claim("walk", "a", later(10), NOW).await);
    assert!(!claim("walk", "b", later(10), later(9)).await);
    assert!(claim("other", "b", later(10), NOW).await, "another job");
    // Renewed in time, it stays.
    assert!(claim("walk", "a", later(20), later(9)).await);
    assert!(!claim("walk", "b", later(20), later(15)).await);
    // Not renewed, it is anybody's.
    assert!(claim("walk", "b", later(40), later(20)).await);
    assert!(!claim("walk", "a", later(40), later(21)).await);
    db.metadata.release_job("walk", "a").await.unwrap();
    assert!(
        !claim("walk", "a", later(40), later(21)).await,
        "not its own"
    );
    db.metadata.release_job("walk", "b").await.unwrap();
    assert!(claim("walk", "a", later(40), later(21)).await);
}
