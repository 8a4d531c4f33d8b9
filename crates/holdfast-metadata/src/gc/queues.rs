//! What garbage collection has to look at, noted in the transaction that gave the reason.
//!
//! A queued row is a hint: the collector decides by what it finds when it gets there. A row that says
//! "look now" keeps the earlier of two times; one that says "look when the grace period is over" the later.
//!
//! Several rows are written in the order of their digests, here and by whoever takes them out: where changes run
//! side by side, two that meet wait for each other in one direction only.

use holdfast_model::{Digest, Timestamp};

use super::Reason;
use crate::Result;
use crate::operation::{Lock, Transaction, params};

/// Queues the links of a manifest that is about to be deleted.
pub(crate) async fn queue_links_of<T: Transaction>(
    tx: &mut T,
    repo_id: i64,
    manifest_id: i64,
    now: Timestamp,
) -> Result<()> {
    tx.execute(
        "INSERT INTO gc_link_queue (repo_id, digest, due_at)
         SELECT DISTINCT repo_id, digest, CAST(?3 AS BIGINT) FROM manifest_blobs
         WHERE repo_id = ?1 AND manifest_id = ?2 ORDER BY digest
         ON CONFLICT (repo_id, digest) DO UPDATE SET due_at = excluded.due_at
         WHERE gc_link_queue.due_at > excluded.due_at",
        params![repo_id, manifest_id, now],
    )
    .await?;
    Ok(())
}

/// Queues the children of an index that is about to be deleted.
pub(crate) async fn queue_children_of<T: Transaction>(
    tx: &mut T,
    repo_id: i64,
    manifest_id: i64,
    due_at: Timestamp,
) -> Result<()> {
    tx.execute(
        "INSERT INTO gc_manifest_queue (repo_id, digest, due_at, reason)
         SELECT repo_id, child_digest, CAST(?3 AS BIGINT), CAST(?4 AS SMALLINT) FROM manifest_children
         WHERE repo_id = ?1 AND parent_id = ?2 ORDER BY child_digest
         ON CONFLICT (repo_id, digest) DO UPDATE SET due_at = excluded.due_at, reason = excluded.reason",
        params![repo_id, manifest_id, due_at, Reason::ParentGone as i64],
    )
    .await?;
    Ok(())
}

/// Queues the referrers of a manifest that is about to be deleted.
pub(crate) async fn queue_referrers_of<T: Transaction>(
    tx: &mut T,
    repo_id: i64,
    subject: Digest,
    due_at: Timestamp,
) -> Result<()> {
    tx.execute(
        "INSERT INTO gc_manifest_queue (repo_id, digest, due_at, reason)
         SELECT repo_id, digest, CAST(?3 AS BIGINT), CAST(?4 AS SMALLINT) FROM manifests
         WHERE repo_id = ?1 AND subject_digest = ?2 ORDER BY digest
         ON CONFLICT (repo_id, digest) DO UPDATE SET due_at = excluded.due_at, reason = excluded.reason",
        params![repo_id, subject, due_at, Reason::SubjectGone as i64],
    )
    .await?;
    Ok(())
}

/// Queues a manifest.
pub(crate) async fn queue_manifest<T: Transaction>(
    tx: &mut T,
    repo_id: i64,
    digest: Digest,
    due_at: Timestamp,
    reason: Reason,
) -> Result<()> {
    tx.execute(
        "INSERT INTO gc_manifest_queue (repo_id, digest, due_at, reason) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (repo_id, digest) DO UPDATE SET due_at = excluded.due_at, reason = excluded.reason",
        params![repo_id, digest, due_at, reason as i64],
    )
    .await?;
    Ok(())
}

/// Queues a blob that lost a link.
pub(crate) async fn queue_blob<T: Transaction>(
    tx: &mut T,
    digest: Digest,
    now: Timestamp,
) -> Result<()> {
    tx.execute(
        "INSERT INTO gc_blob_queue (digest, due_at) VALUES (?1, ?2)
         ON CONFLICT (digest) DO UPDATE SET due_at = excluded.due_at
         WHERE gc_blob_queue.due_at > excluded.due_at",
        params![digest, now],
    )
    .await?;
    Ok(())
}

/// Whether the bytes under a storage key are to be deleted.
pub(crate) async fn is_discarded<T: Transaction>(tx: &mut T, storage_key: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM gc_object_outbox WHERE storage_key = ?1";
    Ok(tx.first(sql, params![storage_key]).await?.is_some())
}

/// Whether the bytes under a storage key are to be deleted, so that no blob may have it. Otherwise nobody else
/// gives the key up while this change is under way.
pub(crate) async fn claim_is_refused<T: Transaction>(
    tx: &mut T,
    storage_key: &str,
) -> Result<bool> {
    tx.lock(Lock::StorageKey(storage_key));
    is_discarded(tx, storage_key).await
}

/// Gives up a storage key: its bytes will be deleted and it will never be live again (I3).
pub(crate) async fn discard_key<T: Transaction>(
    tx: &mut T,
    storage_key: &str,
    content: Option<(Digest, u64)>,
    not_before: Timestamp,
) -> Result<()> {
    let (digest, size) = content.unzip();
    tx.execute(
        "INSERT INTO gc_object_outbox (storage_key, digest, size_bytes, not_before) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (storage_key) DO NOTHING",
        params![storage_key, digest, size, not_before],
    )
    .await?;
    Ok(())
}
