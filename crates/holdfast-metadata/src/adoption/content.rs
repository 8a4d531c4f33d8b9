//! Blobs, links and manifests of the tree.

use holdfast_model::{Digest, RepositoryName, Timestamp};

use super::repositories::is_waiting;
use crate::blobs::attach;
use crate::blobs::state::{DAMAGED, DOOMED, LIVE};
use crate::manifests::Put;
use crate::operation::{Durability, Operation, Transaction, Write, changed_meanwhile, params};
use crate::{Error, Metadata, PutManifest, PutOutcome, Result, gc, repositories};

pub(crate) const FIND_BLOB_ROW: &str = "SELECT state, storage_key FROM blobs WHERE digest = ?1";
pub(crate) const LINKED: &str = "SELECT 1 FROM repo_blobs WHERE digest = ?1 LIMIT 1";
pub(crate) const MANIFEST_ROW: &str = "SELECT 1 FROM manifests WHERE repo_id = ?1 AND digest = ?2";
pub(crate) const LINK_ROW: &str = "SELECT 1 FROM repo_blobs WHERE repo_id = ?1 AND digest = ?2";
pub(crate) const BLOBS_PAGE: &str =
    "SELECT digest FROM blobs WHERE digest > ?1 ORDER BY digest LIMIT ?2";

/// A stored object that is named after a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundBlob {
    /// The digest it is named after.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Where it is.
    pub storage_key: String,
    /// It lies where another registry would look for it, rather than in a place of our own choice.
    pub canonical: bool,
}

impl Metadata {
    /// Takes stored objects over as blobs that no repository has yet, and for blobs whose own bytes are about to be
    /// deleted or are damaged. An object that a live blob of its digest does not need, as it has another, goes to the
    /// outbox.
    pub async fn adopt_blobs(&self, found: Vec<FoundBlob>, now: Timestamp) -> Result<()> {
        self.write(AdoptBlobs { found, now }).await
    }

    /// Whether any blob is known.
    pub async fn any_blob(&self) -> Result<bool> {
        self.read(AnyBlob).await
    }

    /// Those of these digests of which no blob is known.
    pub async fn unknown_content(&self, digests: &[Digest]) -> Result<Vec<Digest>> {
        self.read(UnknownContent { digests }).await
    }

    /// Links blobs into a repository; how many links are new, and the digests of which no live blob is
    /// known.
    pub async fn adopt_links(
        &self,
        repository: &RepositoryName,
        digests: Vec<Digest>,
        now: Timestamp,
    ) -> Result<(u64, Vec<Digest>)> {
        let lease_until = now.plus(self.grace());
        self.write(AdoptLinks {
            repository: repository.clone(),
            digests,
            lease_until,
            now,
        })
        .await
    }

    /// Those of these digests of which the repository has no manifest.
    pub async fn unknown_manifests(
        &self,
        repository: &RepositoryName,
        digests: &[Digest],
    ) -> Result<Vec<Digest>> {
        self.read(Without {
            repository,
            digests,
            sql: MANIFEST_ROW,
        })
        .await
    }

    /// Those of these digests that no link of the repository has.
    pub async fn unlinked_blobs(
        &self,
        repository: &RepositoryName,
        digests: &[Digest],
    ) -> Result<Vec<Digest>> {
        self.read(Without {
            repository,
            digests,
            sql: LINK_ROW,
        })
        .await
    }

    /// Stores manifests of a repository; how many are new. Their references are not required.
    pub async fn adopt_manifests(
        &self,
        repository: &RepositoryName,
        manifests: Vec<PutManifest>,
    ) -> Result<u64> {
        let grace = self.grace();
        let puts = manifests.into_iter();
        self.write(AdoptManifests {
            repository: repository.clone(),
            puts: puts
                .map(|manifest| Put {
                    manifest,
                    grace,
                    untagged_after: self.untagged_after(),
                })
                .collect(),
        })
        .await
    }

    /// Queues the blobs after a digest that no repository has; where to go on, `None` at the end.
    ///
    /// The bytes of a manifest that was found and could not be taken over are left alone: they are no
    /// blob any more, so that nothing deletes them.
    pub async fn queue_unlinked_blobs(
        &self,
        after: Option<Digest>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Option<Digest>> {
        self.write(QueueUnlinked { after, limit, now }).await
    }
}

struct AdoptBlobs {
    found: Vec<FoundBlob>,
    now: Timestamp,
}

impl Operation for AdoptBlobs {
    type Output = ();

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<()> {
        let (mut blobs, mut bytes) = (0_u64, 0_u64);
        for found in &self.found {
            let key = found.storage_key.as_str();
            if gc::claim_is_refused(tx, key).await? {
                continue;
            }
            let row = tx.first(FIND_BLOB_ROW, params![found.digest]).await?;
            let row = row.map(|mut row| Ok::<_, Error>((row.integer()?, row.text()?)));
            match row.transpose()? {
                None => {
                    blobs += tx
                        .execute(
                            "INSERT INTO blobs (digest, size_bytes, state, storage_key, created_at, state_at)
                             VALUES (?1, ?2, 0, ?3, ?4, ?4) ON CONFLICT (digest) DO NOTHING",
                            params![found.digest, found.size, key, self.now],
                        )
                        .await?;
                    bytes += found.size;
                }
                Some((_, same)) if same == key => {}
                // Ours only after it is committed: what has a live row already is not being committed there.
                Some((LIVE, _)) if found.canonical => {
                    let content = Some((found.digest, found.size));
                    gc::discard_key(tx, key, content, self.now).await?;
                }
                Some((DOOMED, dead_key)) => {
                    self.take_over(tx, found, DOOMED, &dead_key).await?;
                    blobs += 1;
                    bytes += found.size;
                }
                // The old bytes are not given up: nobody has read these, and a check takes the ones that are right.
                Some((DAMAGED, damaged_key)) if found.canonical => {
                    self.take_over(tx, found, DAMAGED, &damaged_key).await?;
                }
                Some(_) => {}
            }
        }
        let sum =
            "UPDATE adoption SET blobs = blobs + ?1, blob_bytes = blob_bytes + ?2 WHERE id = 1";
        tx.execute(sum, params![blobs, bytes]).await.map(drop)
    }
}

impl AdoptBlobs {
    /// Makes a blob live again with an object that was found, provided that it is still in this state.
    async fn take_over<T: Transaction>(
        &self,
        tx: &mut T,
        found: &FoundBlob,
        state: i64,
        old_key: &str,
    ) -> Result<()> {
        let taken = tx
            .execute(
                "UPDATE blobs SET state = 0, storage_key = ?2, size_bytes = ?3, created_at = ?4, state_at = ?4,
                 verified_at = 0 WHERE digest = ?1 AND state = ?5 AND storage_key = ?6",
                params![found.digest, found.storage_key.as_str(), found.size, self.now, state, old_key],
            )
            .await?;
        if taken == 0 {
            return Err(changed_meanwhile());
        }
        Ok(())
    }
}

impl Write for AdoptBlobs {
    const DURABILITY: Durability = Durability::Relaxed;
}

struct AnyBlob;

impl Operation for AnyBlob {
    type Output = bool;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<bool> {
        let first: &[u8] = &[];
        Ok(tx.first(BLOBS_PAGE, params![first, 1_i64]).await?.is_some())
    }
}

struct UnknownContent<'a> {
    digests: &'a [Digest],
}

impl Operation for UnknownContent<'_> {
    type Output = Vec<Digest>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Vec<Digest>> {
        let mut unknown = Vec::new();
        for digest in self.digests {
            if tx.first(FIND_BLOB_ROW, params![*digest]).await?.is_none() {
                unknown.push(*digest);
            }
        }
        Ok(unknown)
    }
}

struct AdoptLinks {
    repository: RepositoryName,
    digests: Vec<Digest>,
    lease_until: Timestamp,
    now: Timestamp,
}

impl Operation for AdoptLinks {
    type Output = (u64, Vec<Digest>);

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<(u64, Vec<Digest>)> {
        let (mut linked, mut missing) = (0_u64, Vec::new());
        if !is_waiting(tx, &self.repository).await? {
            return Ok((linked, missing));
        }
        let mut repo_id = None;
        for digest in &self.digests {
            // A damaged blob keeps its links, and may get some: the next push brings it back.
            let live = "SELECT 1 FROM blobs WHERE digest = ?1 AND state <> 1 /*FOR SHARE*/";
            if tx.first(live, params![*digest]).await?.is_none() {
                missing.push(*digest);
                continue;
            }
            let id = match repo_id {
                Some(id) => id,
                None => repositories::id_or_new(tx, &self.repository, self.now).await?,
            };
            repo_id = Some(id);
            if tx.first(LINK_ROW, params![id, *digest]).await?.is_none() {
                attach(tx, id, *digest, self.lease_until).await?;
                linked += 1;
            }
        }
        let sum = "UPDATE adoption SET links = links + ?1 WHERE id = 1";
        tx.execute(sum, params![linked]).await?;
        Ok((linked, missing))
    }
}

impl Write for AdoptLinks {
    const DURABILITY: Durability = Durability::Relaxed;
}

/// The digests of which the repository has no such row.
struct Without<'a> {
    repository: &'a RepositoryName,
    digests: &'a [Digest],
    sql: &'static str,
}

impl Operation for Without<'_> {
    type Output = Vec<Digest>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Vec<Digest>> {
        let Some(repo_id) = repositories::id_of(tx, self.repository).await? else {
            return Ok(self.digests.to_vec());
        };
        let mut without = Vec::new();
        for digest in self.digests {
            let found = tx.first(self.sql, params![repo_id, *digest]).await?;
            if found.is_none() {
                without.push(*digest);
            }
        }
        Ok(without)
    }
}

struct AdoptManifests {
    repository: RepositoryName,
    puts: Vec<Put>,
}

impl Operation for AdoptManifests {
    type Output = u64;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<u64> {
        let mut stored = 0_u64;
        if !is_waiting(tx, &self.repository).await? {
            return Ok(stored);
        }
        for put in &self.puts {
            let outcome = put.run(tx).await?;
            stored += u64::from(outcome == PutOutcome::Stored { created: true });
        }
        let sum = "UPDATE adoption SET manifests = manifests + ?1 WHERE id = 1";
        tx.execute(sum, params![stored]).await?;
        Ok(stored)
    }
}

impl Write for AdoptManifests {
    const DURABILITY: Durability = Durability::Relaxed;
}

struct QueueUnlinked {
    after: Option<Digest>,
    limit: usize,
    now: Timestamp,
}

impl Operation for QueueUnlinked {
    type Output = Option<Digest>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Option<Digest>> {
        let after = self.after.map(|after| after.to_bytes()).unwrap_or_default();
        let rows = tx
            .query(BLOBS_PAGE, params![after.as_slice(), self.limit])
            .await?;
        let full = rows.len() == self.limit;
        let mut last = None;
        for mut row in rows {
            let digest = row.digest()?;
            last = Some(digest);
            if tx.first(LINKED, params![digest]).await?.is_some() {
                continue;
            }
            let unread = "SELECT 1 FROM adoption_problems WHERE digest = ?1 AND kind BETWEEN 5 AND 8 LIMIT 1";
            if tx.first(unread, params![digest]).await?.is_some() {
                let forget = "DELETE FROM blobs WHERE digest = ?1 AND state = 0";
                tx.execute(forget, params![digest]).await?;
            } else {
                gc::queue_blob(tx, digest, self.now).await?;
            }
        }
        Ok(last.filter(|_| full))
    }
}

impl Write for QueueUnlinked {
    const DURABILITY: Durability = Durability::Relaxed;
}
