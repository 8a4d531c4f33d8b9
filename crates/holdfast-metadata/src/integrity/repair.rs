//! Repairs: each looks once more at what it is to change, changes it, and writes down the way back.
//!
//! Whatever a repair adds or sets follows from other rows, or from bytes that its caller has just hashed.
//! Bytes are given up through the outbox only (I4).

use std::fmt::Write as _;

use holdfast_model::{Digest, Timestamp, UploadId};

use super::keys::KNOWN_UPLOAD;
use crate::blobs::mark_used;
use crate::blobs::state::{DAMAGED, LIVE};
use crate::operation::{Durability, Lock, Operation, Outdated, Transaction, Write, params};
use crate::tag_history::{Change, record};
use crate::{BlobReference, Metadata, Result, gc, repositories};

/// One repair.
#[derive(Clone, Debug)]
pub enum Repair {
    /// Marks a link that manifests need as in use.
    UseLink {
        /// The repository.
        repo_id: i64,
        /// The blob.
        digest: Digest,
    },
    /// Has the collector look at a link that is marked as in use and is not.
    QueueLink {
        /// The repository.
        repo_id: i64,
        /// The blob.
        digest: Digest,
    },
    /// Has the collector look at a blob that no repository has.
    QueueBlob {
        /// The blob.
        digest: Digest,
    },
    /// Hands a linked blob to the manifests that wait for it.
    HandOver {
        /// The repository.
        repo_id: i64,
        /// The blob.
        digest: Digest,
    },
    /// Makes the link that a manifest needs; there must be a row of the blob.
    RestoreLink {
        /// The repository.
        repo_id: i64,
        /// The blob.
        digest: Digest,
    },
    /// Removes a link to a blob that has no row, and that nothing needs.
    DropLink {
        /// The repository.
        repo_id: i64,
        /// The blob.
        digest: Digest,
    },
    /// Makes the row of a blob that links need: live with bytes that were found and hashed, or damaged.
    RestoreBlob {
        /// The blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// Where its bytes are, or should be.
        storage_key: String,
        /// Whether they are there.
        whole: bool,
    },
    /// Gives a damaged blob other bytes, which were found and hashed.
    Replace {
        /// The blob.
        digest: Digest,
        /// Where the damaged bytes are.
        damaged_key: String,
        /// Where the right ones are.
        storage_key: String,
        /// How many there are.
        size: u64,
    },
    /// Takes the bytes of a blob that is not doomed out of the outbox.
    KeepKey {
        /// The blob.
        digest: Digest,
        /// Where its bytes are.
        storage_key: String,
    },
    /// Gives up the bytes of a doomed blob.
    DiscardDoomed {
        /// The blob.
        digest: Digest,
        /// Where its bytes are.
        storage_key: String,
    },
    /// Gives up bytes of which nothing is known.
    DiscardObject {
        /// Where they are.
        storage_key: String,
        /// The digest they are named after.
        digest: Digest,
        /// How many there are.
        size: u64,
        /// When they may be deleted.
        not_before: Timestamp,
    },
    /// Gives up an object that is named after an upload whose session is gone, and that no blob has. Keys go live
    /// by their session alone, so nobody can have it any more.
    DiscardStray {
        /// Where it is.
        storage_key: String,
        /// The upload.
        upload: UploadId,
        /// When it may be deleted.
        not_before: Timestamp,
    },
    /// Marks whether a repository has a manifest.
    Population {
        /// The repository.
        repo_id: i64,
    },
    /// Points a tag without a manifest at the one its history names last, or removes it.
    Tag {
        /// The repository.
        repo_id: i64,
        /// The tag.
        tag: String,
    },
    /// Writes down again what a manifest says of itself.
    ManifestFacts {
        /// The repository.
        repo_id: i64,
        /// The manifest.
        id: i64,
        /// The kind of artifact.
        artifact_type: Option<String>,
        /// What it refers to.
        subject: Option<Digest>,
        /// Its annotations, a JSON object.
        annotations_json: Option<String>,
        /// What a pull of it transfers, in bytes.
        image_size: u64,
    },
    /// Writes down again which manifests an index names.
    ManifestChildren {
        /// The repository.
        repo_id: i64,
        /// The manifest.
        id: i64,
        /// The manifests it names, with their platforms.
        children: Vec<(Digest, Option<String>)>,
    },
    /// Writes down again which blobs a manifest names: config and layers, in its order.
    ManifestBlobs {
        /// The repository.
        repo_id: i64,
        /// The manifest.
        id: i64,
        /// Config and layers.
        blobs: Vec<BlobReference>,
        /// What may stand behind them: the members of an index.
        children: Vec<Digest>,
    },
    /// Puts back the payload of a manifest, which was found and hashed.
    ManifestPayload {
        /// The repository.
        repo_id: i64,
        /// The manifest.
        id: i64,
        /// The bytes.
        payload: Vec<u8>,
    },
}

impl Metadata {
    /// Makes a repair; false when there is nothing to repair any more.
    pub async fn repair(&self, repair: Repair, now: Timestamp) -> Result<bool> {
        self.write(Mend { repair, now }).await
    }
}

struct Mend {
    repair: Repair,
    now: Timestamp,
}

/// A line of the journal.
struct Entry {
    repair: &'static str,
    subject: String,
    undo: String,
}

impl Operation for Mend {
    type Output = bool;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<bool> {
        let Some(entry) = self.mend(tx).await? else {
            return Ok(false);
        };
        let id = tx.new_id(self.now);
        tx.execute(
            "INSERT INTO repair_journal (id, at, repair, subject, undo) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                id,
                self.now,
                entry.repair,
                entry.subject.as_str(),
                entry.undo.as_str()
            ],
        )
        .await?;
        Ok(true)
    }
}

impl Write for Mend {
    const DURABILITY: Durability = Durability::Durable;

    fn outdates(&self) -> Outdated<'_> {
        Outdated::All
    }
}

impl Mend {
    async fn mend<T: Transaction>(&self, tx: &mut T) -> Result<Option<Entry>> {
        let now = self.now;
        match &self.repair {
            Repair::UseLink { repo_id, digest } => {
                lock_link(tx, *repo_id, *digest).await?;
                let changed = tx
                    .execute(
                        "UPDATE repo_blobs SET used = 1 WHERE repo_id = ?1 AND digest = ?2 AND used = 0
                         AND EXISTS (SELECT 1 FROM manifest_blobs WHERE repo_id = ?1 AND digest = ?2)",
                        params![*repo_id, *digest],
                    )
                    .await?;
                let undo = format!(
                    "UPDATE repo_blobs SET used = 0 WHERE {}",
                    link(tx, *repo_id, digest)
                );
                Ok(done(changed, "use-link", digest, undo))
            }
            Repair::QueueLink { repo_id, digest } => {
                let changed = queue_link(tx, *repo_id, *digest, now).await?;
                let undo = format!(
                    "DELETE FROM gc_link_queue WHERE {}",
                    link(tx, *repo_id, digest)
                );
                Ok(done(changed, "queue-link", digest, undo))
            }
            Repair::QueueBlob { digest } => {
                gc::queue_blob(tx, *digest, now).await?;
                let undo = format!(
                    "DELETE FROM gc_blob_queue WHERE digest = {}",
                    bytes(tx, digest)
                );
                Ok(done(1, "queue-blob", digest, undo))
            }
            Repair::HandOver { repo_id, digest } => self.hand_over(tx, *repo_id, digest).await,
            Repair::RestoreLink { repo_id, digest } => {
                let live = "SELECT 1 FROM blobs WHERE digest = ?1 AND state <> 1 /*FOR SHARE*/";
                tx.first(live, params![*digest]).await?;
                let changed = tx
                    .execute(
                        "INSERT INTO repo_blobs (repo_id, digest, used, lease_until)
                         SELECT CAST(?1 AS BIGINT), digest, 1, CAST(?3 AS BIGINT) FROM blobs
                         WHERE digest = ?2 AND state <> 1
                         ON CONFLICT (repo_id, digest) DO NOTHING",
                        params![*repo_id, *digest, now],
                    )
                    .await?;
                let undo = format!(
                    "DELETE FROM repo_blobs WHERE {}",
                    link(tx, *repo_id, digest)
                );
                Ok(done(changed, "restore-link", digest, undo))
            }
            Repair::DropLink { repo_id, digest } => {
                let row = tx
                    .first(
                        "DELETE FROM repo_blobs WHERE repo_id = ?1 AND digest = ?2
                         AND NOT EXISTS (SELECT 1 FROM blobs WHERE digest = ?2)
                         AND NOT EXISTS (SELECT 1 FROM manifest_blobs WHERE repo_id = ?1 AND digest = ?2)
                         RETURNING used, lease_until",
                        params![*repo_id, *digest],
                    )
                    .await?;
                let Some(mut row) = row else { return Ok(None) };
                let undo = format!(
                    "INSERT INTO repo_blobs (repo_id, digest, used, lease_until) VALUES ({repo_id}, {}, {}, {})",
                    bytes(tx, digest),
                    row.integer()?,
                    row.integer()?
                );
                Ok(done(1, "drop-link", digest, undo))
            }
            Repair::RestoreBlob {
                digest,
                size,
                storage_key,
                whole,
            } => {
                if *whole && gc::claim_is_refused(tx, storage_key).await? {
                    return Ok(None);
                }
                let state = if *whole { LIVE } else { DAMAGED };
                let changed = tx
                    .execute(
                        "INSERT INTO blobs (digest, size_bytes, state, storage_key, created_at, state_at, verified_at)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?5) ON CONFLICT (digest) DO NOTHING",
                        params![*digest, *size, state, storage_key.as_str(), now],
                    )
                    .await?;
                let undo = format!("DELETE FROM blobs WHERE digest = {}", bytes(tx, digest));
                Ok(done(changed, "restore-blob", digest, undo))
            }
            Repair::Replace {
                digest,
                damaged_key,
                storage_key,
                size,
            } => {
                if damaged_key == storage_key || gc::claim_is_refused(tx, storage_key).await? {
                    return Ok(None);
                }
                let row = tx
                    .first(
                        "UPDATE blobs SET state = 0, storage_key = ?3, size_bytes = ?4, state_at = ?5, verified_at = ?5
                         WHERE digest = ?1 AND storage_key = ?2 AND state = 2 RETURNING digest",
                        params![
                            *digest,
                            damaged_key.as_str(),
                            storage_key.as_str(),
                            *size,
                            now
                        ],
                    )
                    .await?;
                if row.is_none() {
                    return Ok(None);
                }
                gc::discard_key(tx, damaged_key, None, now).await?;
                let undo = format!(
                    "UPDATE blobs SET state = 2, storage_key = {0} WHERE digest = {1};
                     DELETE FROM gc_object_outbox WHERE storage_key = {0}",
                    text(damaged_key),
                    bytes(tx, digest)
                );
                Ok(done(1, "replace-bytes", digest, undo))
            }
            Repair::KeepKey {
                digest,
                storage_key,
            } => {
                let blob = "SELECT 1 FROM blobs WHERE digest = ?1 /*FOR SHARE*/";
                tx.first(blob, params![*digest]).await?;
                let row = tx
                    .first(
                        "DELETE FROM gc_object_outbox WHERE storage_key = ?2
                         AND EXISTS (SELECT 1 FROM blobs WHERE digest = ?1 AND storage_key = ?2 AND state <> 1)
                         RETURNING not_before",
                        params![*digest, storage_key.as_str()],
                    )
                    .await?;
                let Some(mut row) = row else { return Ok(None) };
                let undo = format!(
                    "INSERT INTO gc_object_outbox (storage_key, digest, not_before) VALUES ({}, {}, {})",
                    text(storage_key),
                    bytes(tx, digest),
                    row.integer()?
                );
                Ok(done(1, "keep-bytes", digest, undo))
            }
            Repair::DiscardDoomed {
                digest,
                storage_key,
            } => {
                let locked = "SELECT size_bytes FROM blobs
                              WHERE digest = ?1 AND storage_key = ?2 AND state = 1 /*FOR UPDATE*/";
                let row = tx
                    .first(locked, params![*digest, storage_key.as_str()])
                    .await?;
                let Some(mut row) = row else { return Ok(None) };
                let content = Some((*digest, row.size()?));
                gc::discard_key(tx, storage_key, content, now).await?;
                Ok(done(1, "discard-doomed", digest, forget(storage_key)))
            }
            Repair::DiscardObject {
                storage_key,
                digest,
                size,
                not_before,
            } => {
                tx.lock(Lock::StorageKey(storage_key));
                let owned =
                    "SELECT 1 FROM blobs WHERE digest = ?1 AND storage_key = ?2 /*FOR SHARE*/";
                let owner = tx
                    .first(owned, params![*digest, storage_key.as_str()])
                    .await?;
                if owner.is_some() || gc::is_discarded(tx, storage_key).await? {
                    return Ok(None);
                }
                gc::discard_key(tx, storage_key, Some((*digest, *size)), *not_before).await?;
                Ok(done(1, "discard-object", digest, forget(storage_key)))
            }
            Repair::DiscardStray {
                storage_key,
                upload,
                not_before,
            } => {
                tx.lock(Lock::StorageKey(storage_key));
                let upload = upload.to_string();
                let known = params![upload.as_str(), storage_key.as_str()];
                if tx.first(KNOWN_UPLOAD, known).await?.is_some() {
                    return Ok(None);
                }
                gc::discard_key(tx, storage_key, None, *not_before).await?;
                Ok(Some(Entry {
                    repair: "discard-stray",
                    subject: storage_key.clone(),
                    undo: forget(storage_key),
                }))
            }
            Repair::Population { repo_id } => self.population(tx, *repo_id).await,
            Repair::Tag { repo_id, tag } => self.tag(tx, *repo_id, tag).await,
            Repair::ManifestFacts {
                repo_id,
                id,
                artifact_type,
                subject,
                annotations_json,
                image_size,
            } => {
                let old = "SELECT artifact_type, subject_digest, annotations, image_size, digest FROM manifests
                           WHERE repo_id = ?1 AND id = ?2 /*FOR UPDATE*/";
                let Some(mut row) = tx.first(old, params![*repo_id, *id]).await? else {
                    return Ok(None);
                };
                let undo = format!(
                    "UPDATE manifests SET artifact_type = {}, subject_digest = {}, annotations = {}, image_size = {}
                     WHERE repo_id = {repo_id} AND id = {id}",
                    maybe_text(row.maybe_text()?.as_deref()),
                    row.maybe_bytes()?
                        .map_or_else(|| "NULL".to_owned(), |old| tx.bytes_literal(&old)),
                    maybe_text(row.maybe_text()?.as_deref()),
                    row.integer()?,
                );
                let digest = row.digest()?;
                tx.execute(
                    "UPDATE manifests SET artifact_type = ?3, subject_digest = ?4, annotations = ?5, image_size = ?6
                     WHERE repo_id = ?1 AND id = ?2",
                    params![
                        *repo_id,
                        *id,
                        artifact_type.as_deref(),
                        *subject,
                        annotations_json.as_deref(),
                        *image_size
                    ],
                )
                .await?;
                Ok(done(1, "manifest-facts", &digest, undo))
            }
            Repair::ManifestChildren {
                repo_id,
                id,
                children,
            } => self.children(tx, (*repo_id, *id), children).await,
            Repair::ManifestBlobs {
                repo_id,
                id,
                blobs,
                children,
            } => self.blobs(tx, (*repo_id, *id), blobs, children).await,
            Repair::ManifestPayload {
                repo_id,
                id,
                payload,
            } => {
                let old = "SELECT payload, digest FROM manifests
                           WHERE repo_id = ?1 AND id = ?2 /*FOR UPDATE*/";
                let Some(mut row) = tx.first(old, params![*repo_id, *id]).await? else {
                    return Ok(None);
                };
                let undo = format!(
                    "UPDATE manifests SET payload = {} WHERE repo_id = {repo_id} AND id = {id}",
                    tx.bytes_literal(&row.bytes()?)
                );
                let digest = row.digest()?;
                tx.execute(
                    "UPDATE manifests SET payload = ?3 WHERE repo_id = ?1 AND id = ?2",
                    params![*repo_id, *id, payload.as_slice()],
                )
                .await?;
                Ok(done(1, "manifest-payload", &digest, undo))
            }
        }
    }

    async fn hand_over<T: Transaction>(
        &self,
        tx: &mut T,
        repo_id: i64,
        digest: &Digest,
    ) -> Result<Option<Entry>> {
        let waiting = tx
            .query(
                "DELETE FROM manifest_missing_blobs WHERE repo_id = ?1 AND digest = ?2
                 AND EXISTS (SELECT 1 FROM repo_blobs WHERE repo_id = ?1 AND digest = ?2)
                 RETURNING manifest_id, position, media_type, size_bytes",
                params![repo_id, *digest],
            )
            .await?;
        let mut undo = String::new();
        let moved = waiting.len() as u64;
        for mut row in waiting {
            let (manifest, position) = (row.integer()?, row.integer()?);
            let (media_type, size) = (row.text()?, row.size()?);
            tx.execute(
                "INSERT INTO manifest_blobs (repo_id, manifest_id, position, digest, media_type, size_bytes)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (repo_id, manifest_id, position) DO NOTHING",
                params![repo_id, manifest, position, *digest, media_type.as_str(), size],
            )
            .await?;
            let _ = write!(
                undo,
                "DELETE FROM manifest_blobs WHERE repo_id = {repo_id} AND manifest_id = {manifest} AND position = {position};
                 INSERT INTO manifest_missing_blobs (repo_id, manifest_id, position, digest, media_type, size_bytes)
                 VALUES ({repo_id}, {manifest}, {position}, {}, {}, {size});",
                bytes(tx, digest),
                text(&media_type)
            );
        }
        if moved > 0 {
            mark_used(tx, repo_id, *digest).await?;
        }
        Ok(done(moved, "hand-over", digest, undo))
    }

    async fn population<T: Transaction>(&self, tx: &mut T, repo_id: i64) -> Result<Option<Entry>> {
        let old = "SELECT population, path FROM repositories WHERE id = ?1 /*FOR UPDATE*/";
        let Some(mut row) = tx.first(old, params![repo_id]).await? else {
            return Ok(None);
        };
        let (population, path) = (row.integer()?, row.text()?);
        let any = "SELECT id FROM manifests WHERE repo_id = ?1 LIMIT 1";
        let populated = tx.first(any, params![repo_id]).await?.is_some();
        if populated == (population == 1) {
            return Ok(None);
        }
        if populated {
            repositories::mark_populated(tx, repo_id).await?;
        } else {
            repositories::mark_if_empty(tx, repo_id).await?;
        }
        Ok(Some(Entry {
            repair: "population",
            subject: path,
            undo: format!("UPDATE repositories SET population = {population} WHERE id = {repo_id}"),
        }))
    }

    async fn tag<T: Transaction>(
        &self,
        tx: &mut T,
        repo_id: i64,
        tag: &str,
    ) -> Result<Option<Entry>> {
        let row = tx
            .first(
                "SELECT t.manifest_id, t.created_at, t.updated_at FROM tags t
                 WHERE t.repo_id = ?1 AND t.name = ?2 AND NOT EXISTS
                 (SELECT 1 FROM manifests m WHERE m.repo_id = t.repo_id AND m.id = t.manifest_id)",
                params![repo_id, tag],
            )
            .await?;
        let Some(mut row) = row else { return Ok(None) };
        let (manifest, created_at, updated_at) = (row.integer()?, row.integer()?, row.integer()?);
        let last = "SELECT h.new_digest, m.id FROM tag_history h
                    LEFT JOIN manifests m ON m.repo_id = h.repo_id AND m.digest = h.new_digest
                    WHERE h.repo_id = ?1 AND h.name = ?2 ORDER BY h.id DESC LIMIT 1";
        let (named, target) = match tx.first(last, params![repo_id, tag]).await? {
            Some(mut row) => (row.maybe_bytes()?, row.maybe_integer()?),
            None => (None, None),
        };
        let undo = if let Some(target) = target {
            tx.execute(
                "UPDATE tags SET manifest_id = ?3, updated_at = ?4 WHERE repo_id = ?1 AND name = ?2",
                params![repo_id, tag, target, self.now],
            )
            .await?;
            format!(
                "UPDATE tags SET manifest_id = {manifest}, updated_at = {updated_at}
                 WHERE repo_id = {repo_id} AND name = {}",
                text(tag)
            )
        } else {
            tx.execute(
                "DELETE FROM tags WHERE repo_id = ?1 AND name = ?2",
                params![repo_id, tag],
            )
            .await?;
            let old = named.and_then(|old| Digest::from_bytes(&old).ok());
            if let (Some(old), Ok(tag)) = (old, tag.parse()) {
                let gone = Change::deleted(old);
                record(tx, repo_id, &tag, gone, None, self.now).await?;
            }
            format!(
                "INSERT INTO tags (repo_id, name, manifest_id, created_at, updated_at)
                 VALUES ({repo_id}, {}, {manifest}, {created_at}, {updated_at})",
                text(tag)
            )
        };
        Ok(Some(Entry {
            repair: "tag",
            subject: tag.to_owned(),
            undo,
        }))
    }

    async fn children<T: Transaction>(
        &self,
        tx: &mut T,
        (repo_id, id): (i64, i64),
        children: &[(Digest, Option<String>)],
    ) -> Result<Option<Entry>> {
        let Some(digest) = manifest(tx, repo_id, id).await? else {
            return Ok(None);
        };
        let old = tx
            .query(
                "DELETE FROM manifest_children WHERE repo_id = ?1 AND parent_id = ?2
                 RETURNING child_digest, platform",
                params![repo_id, id],
            )
            .await?;
        for (child, platform) in children {
            tx.execute(
                "INSERT INTO manifest_children (repo_id, parent_id, child_digest, platform) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (repo_id, parent_id, child_digest) DO NOTHING",
                params![repo_id, id, *child, platform.as_deref()],
            )
            .await?;
        }
        let mut undo = format!(
            "DELETE FROM manifest_children WHERE repo_id = {repo_id} AND parent_id = {id};"
        );
        for mut row in old {
            let (child, platform) = (row.bytes()?, row.maybe_text()?);
            let _ = write!(
                undo,
                "INSERT INTO manifest_children (repo_id, parent_id, child_digest, platform)
                 VALUES ({repo_id}, {id}, {}, {});",
                tx.bytes_literal(&child),
                maybe_text(platform.as_deref())
            );
        }
        Ok(done(1, "manifest-children", &digest, undo))
    }

    async fn blobs<T: Transaction>(
        &self,
        tx: &mut T,
        (repo_id, id): (i64, i64),
        blobs: &[BlobReference],
        children: &[Digest],
    ) -> Result<Option<Entry>> {
        let Some(digest) = manifest(tx, repo_id, id).await? else {
            return Ok(None);
        };
        let mut undo = format!(
            "DELETE FROM manifest_blobs WHERE repo_id = {repo_id} AND manifest_id = {id};
             DELETE FROM manifest_missing_blobs WHERE repo_id = {repo_id} AND manifest_id = {id};"
        );
        // What an index names may be rows or not, as the repository was when it came: those stay.
        let mut kept = Vec::new();
        for (table, delete) in [
            (
                "manifest_blobs",
                "DELETE FROM manifest_blobs WHERE repo_id = ?1 AND manifest_id = ?2
                 RETURNING position, digest, media_type, size_bytes",
            ),
            (
                "manifest_missing_blobs",
                "DELETE FROM manifest_missing_blobs WHERE repo_id = ?1 AND manifest_id = ?2
                 RETURNING position, digest, media_type, size_bytes",
            ),
        ] {
            for mut row in tx.query(delete, params![repo_id, id]).await? {
                let (position, named) = (row.size()?, row.digest()?);
                let (media_type, size) = (row.text()?, row.size()?);
                let _ = write!(
                    undo,
                    "INSERT INTO {table} (repo_id, manifest_id, position, digest, media_type, size_bytes)
                     VALUES ({repo_id}, {id}, {position}, {}, {}, {size});",
                    bytes(tx, &named),
                    text(&media_type)
                );
                if position >= blobs.len() as u64 && children.contains(&named) {
                    kept.push((position, named, media_type, size));
                } else {
                    queue_link(tx, repo_id, named, self.now).await?;
                }
            }
        }
        let named = (0..).zip(blobs);
        let named = named
            .map(|(position, blob)| (position, blob.digest, blob.media_type.clone(), blob.size));
        for (position, named, media_type, size) in named.chain(kept) {
            tx.lock(Lock::MissingLink(repo_id, named));
            let present = "SELECT 1 FROM repo_blobs WHERE repo_id = ?1 AND digest = ?2";
            let linked = tx.first(present, params![repo_id, named]).await?.is_some();
            let insert = if linked {
                "INSERT INTO manifest_blobs (repo_id, manifest_id, position, digest, media_type, size_bytes)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (repo_id, manifest_id, position) DO NOTHING"
            } else {
                "INSERT INTO manifest_missing_blobs (repo_id, manifest_id, position, digest, media_type, size_bytes)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (repo_id, manifest_id, position) DO NOTHING"
            };
            tx.execute(
                insert,
                params![repo_id, id, position, named, media_type.as_str(), size],
            )
            .await?;
            if linked {
                mark_used(tx, repo_id, named).await?;
            }
        }
        Ok(done(1, "manifest-blobs", &digest, undo))
    }
}

async fn manifest<T: Transaction>(tx: &mut T, repo_id: i64, id: i64) -> Result<Option<Digest>> {
    let sql = "SELECT digest FROM manifests WHERE repo_id = ?1 AND id = ?2 /*FOR UPDATE*/";
    match tx.first(sql, params![repo_id, id]).await? {
        Some(mut row) => Ok(Some(row.digest()?)),
        None => Ok(None),
    }
}

async fn lock_link<T: Transaction>(tx: &mut T, repo_id: i64, digest: Digest) -> Result<()> {
    let link = "SELECT 1 FROM repo_blobs WHERE repo_id = ?1 AND digest = ?2 /*FOR UPDATE*/";
    tx.first(link, params![repo_id, digest]).await.map(drop)
}

/// Has the collector look at a link; how many were not queued yet.
async fn queue_link<T: Transaction>(
    tx: &mut T,
    repo_id: i64,
    digest: Digest,
    now: Timestamp,
) -> Result<u64> {
    tx.execute(
        "INSERT INTO gc_link_queue (repo_id, digest, due_at)
         SELECT repo_id, digest, CAST(?3 AS BIGINT) FROM repo_blobs
         WHERE repo_id = ?1 AND digest = ?2
         ON CONFLICT (repo_id, digest) DO NOTHING",
        params![repo_id, digest, now],
    )
    .await
}

/// The journal's line, if anything changed.
fn done(changed: u64, repair: &'static str, digest: &Digest, undo: String) -> Option<Entry> {
    (changed > 0).then(|| Entry {
        repair,
        subject: digest.to_string(),
        undo,
    })
}

fn link<T: Transaction>(tx: &T, repo_id: i64, digest: &Digest) -> String {
    format!("repo_id = {repo_id} AND digest = {}", bytes(tx, digest))
}

fn forget(storage_key: &str) -> String {
    format!(
        "DELETE FROM gc_object_outbox WHERE storage_key = {}",
        text(storage_key)
    )
}

fn bytes<T: Transaction>(tx: &T, digest: &Digest) -> String {
    tx.bytes_literal(&digest.to_bytes())
}

fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn maybe_text(value: Option<&str>) -> String {
    value.map_or_else(|| "NULL".to_owned(), text)
}
