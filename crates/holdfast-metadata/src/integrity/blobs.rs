//! Rows of `blobs`, and whether a stored object is known.

use holdfast_model::{Digest, Timestamp};

use crate::blobs::state::{DAMAGED, DOOMED, LIVE};
use crate::operation::{Durability, Operation, Row, Transaction, Write, params};
use crate::{Error, Metadata, Result};

macro_rules! blob_rows {
    ($which:literal) => {
        concat!(
            "SELECT b.digest, b.size_bytes, b.state, b.storage_key,
            CASE WHEN EXISTS (SELECT 1 FROM repo_blobs l WHERE l.digest = b.digest) THEN 1 ELSE 0 END,
            CASE WHEN EXISTS (SELECT 1 FROM gc_blob_queue q WHERE q.digest = b.digest) THEN 1 ELSE 0 END,
            CASE WHEN EXISTS (SELECT 1 FROM gc_object_outbox o WHERE o.storage_key = b.storage_key)
                 THEN 1 ELSE 0 END
     FROM blobs b WHERE ",
            $which
        )
    };
}
pub(crate) const BLOBS_PAGE: &str = blob_rows!("b.digest > ?1 ORDER BY b.digest LIMIT ?2");
pub(crate) const BLOB_ROW: &str = blob_rows!("b.digest = ?1");
pub(crate) const KNOWN_KEY: &str = "SELECT 1 FROM blobs WHERE digest = ?1 AND storage_key = ?2
     UNION ALL SELECT 1 FROM gc_object_outbox WHERE storage_key = ?2 LIMIT 1";
pub(crate) const KNOWN_MANIFEST: &str = "SELECT 1 FROM manifests WHERE digest = ?1 LIMIT 1";
pub(crate) const KNOWN_PROBLEM: &str = "SELECT 1 FROM adoption_problems WHERE digest = ?1 LIMIT 1";
pub(crate) const STALEST: &str = "SELECT digest, size_bytes, storage_key, verified_at FROM blobs
     WHERE state = 0 AND (verified_at, digest) > (?1, ?2) AND verified_at < ?3
     ORDER BY verified_at, digest LIMIT ?4";

/// A blob, and what the database says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobRow {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its state.
    pub state: BlobState,
    /// Where its bytes are.
    pub storage_key: String,
    /// Whether a repository has it.
    pub linked: bool,
    /// Whether the collector is to look at it.
    pub queued: bool,
    /// Whether its bytes are to be deleted.
    pub discarded: bool,
}

/// The state of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobState {
    /// Its bytes are there.
    Live,
    /// Nobody has it; its bytes are about to go.
    Doomed,
    /// Its bytes are missing or wrong.
    Damaged,
}

/// A blob whose bytes were not read for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleBlob {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Where its bytes are.
    pub storage_key: String,
    /// When they were read last.
    pub verified_at: Timestamp,
}

fn blob_row(mut row: Row) -> Result<BlobRow> {
    let (digest, size) = (row.digest()?, row.size()?);
    let state = match row.integer()? {
        LIVE => BlobState::Live,
        DOOMED => BlobState::Doomed,
        DAMAGED => BlobState::Damaged,
        other => {
            return Err(Error::corrupt(format!(
                "blob {digest} has the unknown state {other}"
            )));
        }
    };
    Ok(BlobRow {
        digest,
        size,
        state,
        storage_key: row.text()?,
        linked: row.integer()? != 0,
        queued: row.integer()? != 0,
        discarded: row.integer()? != 0,
    })
}

impl Metadata {
    /// A page of all blobs in the order of their digests, after a digest.
    pub async fn blob_rows(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<BlobRow>> {
        self.read(Page { after, limit }).await
    }

    /// What the database says about one blob.
    pub async fn blob_row(&self, digest: &Digest) -> Result<Option<BlobRow>> {
        self.read(One { digest }).await
    }

    /// For each object, by digest and storage key, whether something is known of it: it holds the bytes of
    /// a blob, it is to be deleted, it is the text of a manifest, or adoption left it alone.
    pub async fn objects_known(&self, objects: &[(Digest, &str)]) -> Result<Vec<bool>> {
        self.read(Known { objects }).await
    }

    /// Live blobs that were not read since `before`, the stalest first, after one of them.
    pub async fn stalest_blobs(
        &self,
        after: Option<&StaleBlob>,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<StaleBlob>> {
        self.read(Stalest {
            after,
            before,
            limit,
        })
        .await
    }

    /// Notes that the bytes under these keys were read and are what their digests say.
    pub async fn blobs_verified(&self, blobs: Vec<(Digest, String)>, now: Timestamp) -> Result<()> {
        self.write(Verified { blobs, now }).await
    }
}

struct Page<'a> {
    after: Option<&'a Digest>,
    limit: usize,
}

impl Operation for Page<'_> {
    type Output = Vec<BlobRow>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Vec<BlobRow>> {
        let after = self.after.map(Digest::to_bytes).unwrap_or_default();
        let rows = tx
            .query(BLOBS_PAGE, params![after.as_slice(), self.limit])
            .await?;
        rows.into_iter().map(blob_row).collect()
    }
}

struct One<'a> {
    digest: &'a Digest,
}

impl Operation for One<'_> {
    type Output = Option<BlobRow>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Option<BlobRow>> {
        let row = tx.first(BLOB_ROW, params![*self.digest]).await?;
        row.map(blob_row).transpose()
    }
}

struct Known<'a> {
    objects: &'a [(Digest, &'a str)],
}

impl Operation for Known<'_> {
    type Output = Vec<bool>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Vec<bool>> {
        let mut known = Vec::with_capacity(self.objects.len());
        for (digest, key) in self.objects {
            known.push(
                tx.first(KNOWN_KEY, params![*digest, *key]).await?.is_some()
                    || tx.first(KNOWN_MANIFEST, params![*digest]).await?.is_some()
                    || tx.first(KNOWN_PROBLEM, params![*digest]).await?.is_some(),
            );
        }
        Ok(known)
    }
}

struct Stalest<'a> {
    after: Option<&'a StaleBlob>,
    before: Timestamp,
    limit: usize,
}

impl Operation for Stalest<'_> {
    type Output = Vec<StaleBlob>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Vec<StaleBlob>> {
        let (at, digest) = self.after.map_or((i64::MIN, Vec::new()), |blob| {
            (blob.verified_at.as_micros(), blob.digest.to_bytes())
        });
        let rows = tx
            .query(
                STALEST,
                params![at, digest.as_slice(), self.before, self.limit],
            )
            .await?;
        rows.into_iter()
            .map(|mut row| {
                Ok(StaleBlob {
                    digest: row.digest()?,
                    size: row.size()?,
                    storage_key: row.text()?,
                    verified_at: row.time()?,
                })
            })
            .collect()
    }
}

struct Verified {
    blobs: Vec<(Digest, String)>,
    now: Timestamp,
}

impl Operation for Verified {
    type Output = ();

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<()> {
        for (digest, key) in &self.blobs {
            tx.execute(
                "UPDATE blobs SET verified_at = ?3 WHERE digest = ?1 AND storage_key = ?2 AND state = 0",
                params![*digest, key.as_str(), self.now],
            )
            .await?;
        }
        Ok(())
    }
}

impl Write for Verified {
    // Lost, it costs one more reading.
    const DURABILITY: Durability = Durability::Relaxed;
}
