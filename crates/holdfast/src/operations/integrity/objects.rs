//! The part of a check that compares rows of blobs with stored objects, both ways.

use std::sync::Arc;

use futures_util::StreamExt as _;
use holdfast_metadata::{BlobRow, BlobState, Repair};
use holdfast_model::Digest;
use holdfast_storage::{Error as StorageError, Listed, StorageKey};

use super::Damage;
use super::check::{Check, Ended, PAGE};
use super::report::{Finding, Kind, Outcome};
use super::strays::Stray;
use crate::clock;
use crate::operations::Operations;

/// Objects measured at once.
pub(super) const MEASURED_AT_ONCE: usize = 32;
/// Most orphans that one check gives up; the next one goes on.
pub(super) const ORPHANS_KEPT: usize = 100_000;

/// What a look at the bytes of a row came to.
enum Look {
    /// They are as the row says.
    Good,
    /// They are there although nobody should have them any more.
    Forgotten,
    /// They are damaged.
    Bad(Damage),
    /// It is not known.
    Unknown(StorageError),
}

impl Check {
    pub(super) async fn blobs(&mut self) -> Result<(), Ended> {
        let mut after: Option<Digest> = None;
        loop {
            let metadata = self.operations.metadata().clone();
            let page = metadata.blob_rows(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.digest);
            self.summary.blobs += page.len() as u64;
            for row in &page {
                self.keys.note(&row.storage_key);
            }
            let operations = &self.operations;
            let looks: Vec<(BlobRow, Look)> = futures_util::stream::iter(page)
                .map(|row| async move {
                    let look = operations.measure(&row).await;
                    (row, look)
                })
                .buffered(MEASURED_AT_ONCE)
                .collect()
                .await;
            for (row, look) in looks {
                self.blob(row, look).await?;
            }
        }
    }

    async fn blob(&mut self, row: BlobRow, look: Look) -> Result<(), Ended> {
        let digest = row.digest;
        if row.discarded && row.state != BlobState::Doomed {
            let detail = format!("{} is to be deleted", row.storage_key);
            let finding = Finding::new(Kind::BlobDiscarded, Some(digest), detail)
                .touching(self.affected(&digest).await?);
            let repair = Repair::KeepKey {
                digest,
                storage_key: row.storage_key.clone(),
            };
            self.settle(finding, Some(repair)).await?;
        }
        let lost = !row.linked && !row.queued && !self.adopting;
        if lost && row.state != BlobState::Doomed {
            let detail = "no repository has it, and it is not queued";
            let finding = Finding::new(Kind::BlobForgotten, Some(digest), detail);
            self.settle(finding, Some(Repair::QueueBlob { digest }))
                .await?;
        }
        let look = match look {
            Look::Good if self.options.read_data && row.state == BlobState::Live => {
                self.read(&row).await
            }
            other => other,
        };
        if matches!(look, Look::Good) && row.state != BlobState::Damaged {
            return Ok(());
        }
        // What was seen counts if the row is what it was: a key serves once, so its bytes were there all
        // the time, or should have been.
        let metadata = self.operations.metadata().clone();
        let now = metadata.blob_row(&digest).await?;
        let same = |now: &BlobRow| now.storage_key == row.storage_key && now.state == row.state;
        if !now.as_ref().is_some_and(same) {
            return Ok(());
        }
        match (row.state, look) {
            (BlobState::Damaged, look) => self.damaged(&row, look).await,
            (_, Look::Good) => Ok(()),
            (_, Look::Unknown(error)) => {
                let subject = format!("blob {digest} ({})", row.storage_key);
                self.unchecked(subject, &error).await
            }
            (_, Look::Forgotten) => {
                let detail = format!("{} is not deleted", row.storage_key);
                let finding = Finding::new(Kind::DoomedForgotten, Some(digest), detail);
                let repair = Repair::DiscardDoomed {
                    digest,
                    storage_key: row.storage_key,
                };
                self.settle(finding, Some(repair)).await
            }
            (_, Look::Bad(damage)) => self.newly_damaged(&row, damage).await,
        }
    }

    /// Reads a blob.
    async fn read(&mut self, row: &BlobRow) -> Look {
        let Ok(key) = row.storage_key.parse::<StorageKey>() else {
            return Look::Bad(Damage::Missing);
        };
        self.summary.bytes_read += row.size;
        let operations = self.operations.clone();
        let verified = operations.verify(&row.digest, row.size, &key, &mut self.pace);
        match verified.await {
            Ok(None) => Look::Good,
            Ok(Some(damage)) => Look::Bad(damage),
            Err(error) => Look::Unknown(error),
        }
    }

    async fn newly_damaged(&mut self, row: &BlobRow, damage: Damage) -> Result<(), Ended> {
        let digest = row.digest;
        let kind = match damage {
            Damage::Missing => Kind::BlobMissing,
            Damage::Size => Kind::BlobSize,
            Damage::Digest => Kind::BlobDigest,
        };
        let mut finding = Finding::new(kind, Some(digest), row.storage_key.clone())
            .touching(self.affected(&digest).await?);
        if self.options.repair {
            let operations = self.operations.clone();
            operations
                .mark_damaged(&digest, &row.storage_key, damage)
                .await?;
            finding.outcome = self.other_bytes(row).await?;
        }
        self.report(finding).await
    }

    /// A blob that was marked before: read it, and if its bytes are right after all, it is whole.
    async fn damaged(&mut self, row: &BlobRow, look: Look) -> Result<(), Ended> {
        let digest = row.digest;
        let mut finding = Finding::new(Kind::BlobDamaged, Some(digest), row.storage_key.clone())
            .touching(self.affected(&digest).await?);
        if self.options.repair {
            let whole = matches!(look, Look::Good) && matches!(self.read(row).await, Look::Good);
            finding.outcome = if whole {
                let metadata = self.operations.metadata().clone();
                metadata
                    .mark_whole(&digest, &row.storage_key, clock::now())
                    .await?;
                Outcome::Repaired
            } else {
                self.other_bytes(row).await?
            };
        }
        self.report(finding).await
    }

    /// Gives a damaged blob the right bytes if some are stored under another key.
    async fn other_bytes(&mut self, row: &BlobRow) -> Result<Outcome, Ended> {
        let operations = self.operations.clone();
        let except = Some(row.storage_key.as_str());
        // What somebody publishes at this moment may be taken back.
        let _no_publisher = operations.publishers.wait(row.digest).await;
        let found = operations
            .find_bytes(&row.digest, except, &mut self.pace)
            .await;
        let Ok(Some((key, size))) = found else {
            return Ok(Outcome::Left);
        };
        let repair = Repair::Replace {
            digest: row.digest,
            damaged_key: row.storage_key.clone(),
            storage_key: key.as_str().to_owned(),
            size,
        };
        let replaced = operations.metadata().repair(repair, clock::now()).await?;
        Ok(if replaced {
            Outcome::Repaired
        } else {
            Outcome::Left
        })
    }

    pub(super) async fn objects(&mut self) -> Result<(), Ended> {
        if self.adopting {
            let adopting =
                std::io::Error::other("a tree is being adopted, which accounts for them");
            return self.unchecked("objects without a row", &adopting).await;
        }
        let store = Arc::clone(self.operations.store());
        let mut listing = store.list(&StorageKey::blobs()).await?;
        let mut orphans = Vec::new();
        let mut seen = 0_u64;
        loop {
            let batch = listing.next().await?;
            if batch.is_empty() {
                break;
            }
            let mut objects = Vec::with_capacity(batch.len());
            for entry in batch {
                match entry {
                    Listed::Object { key, size, .. } => {
                        if let Some(digest) = key.digest() {
                            objects.push((digest, key, size));
                        }
                    }
                    Listed::Unreadable { path, error } => self.unchecked(path, &error).await?,
                    // Neither ours nor Distribution's.
                    Listed::Directory { .. } | Listed::Foreign { .. } => {}
                }
            }
            self.summary.objects += objects.len() as u64;
            let keys: Vec<(Digest, &str)> = objects
                .iter()
                .map(|(digest, key, _)| (*digest, key.as_str()))
                .collect();
            let known = self.operations.metadata().objects_known(&keys).await?;
            for (object, known) in objects.into_iter().zip(known) {
                if !known && self.operations.is_orphan(&object.0, &object.1).await? {
                    seen += 1;
                    if orphans.len() < ORPHANS_KEPT {
                        orphans.push(object);
                    }
                }
            }
        }
        let (strays, more) = self.strays().await?;
        seen += strays.len() as u64 + more;
        if seen > self.summary.blobs {
            // The database is not the one that belongs to this store.
            self.why_kept = "; there are more orphans than blobs, so none is given up";
        } else if self.options.repair
            && seen > 0
            && self.operations.warn_of_other_writers().await? > 0
        {
            self.why_kept = "; another registry has written here, so none is given up before `holdfast import --rescan`";
        }
        let not_before = clock::now().plus(self.operations.metadata().grace());
        for (digest, key, size) in orphans {
            let repair = Repair::DiscardObject {
                storage_key: key.as_str().to_owned(),
                digest,
                size,
                not_before,
            };
            // No listing of a bucket tells whether another registry has written to it, and nodes do not write there.
            let others = store.is_shared() && key == StorageKey::canonical(&digest);
            let why_kept = if others && self.why_kept.is_empty() {
                "; another registry may have written it: `holdfast import --rescan` takes it over"
            } else {
                self.why_kept
            };
            self.orphan(Some(digest), &key, repair, why_kept).await?;
        }
        for Stray { key, upload } in strays {
            let repair = Repair::DiscardStray {
                storage_key: key.as_str().to_owned(),
                upload,
                not_before,
            };
            self.orphan(None, &key, repair, self.why_kept).await?;
        }
        Ok(())
    }

    async fn orphan(
        &mut self,
        digest: Option<Digest>,
        key: &StorageKey,
        repair: Repair,
        why_kept: &str,
    ) -> Result<(), Ended> {
        let finding = Finding::new(Kind::ObjectOrphan, digest, format!("{key}{why_kept}"));
        let repair = Some(repair).filter(|_| why_kept.is_empty());
        self.settle(finding, repair).await
    }
}

impl Operations {
    /// What the length of its bytes says about a row.
    async fn measure(&self, row: &BlobRow) -> Look {
        let measured = match row.storage_key.parse() {
            Ok(key) => self.store.size(&key).await,
            Err(_no_place) => Ok(None),
        };
        match (row.state, measured) {
            // The row goes with its key in the outbox.
            (BlobState::Doomed, _) if !row.discarded => Look::Forgotten,
            (BlobState::Doomed, _) => Look::Good,
            (_, Err(error)) => Look::Unknown(error),
            (_, Ok(None)) => Look::Bad(Damage::Missing),
            (_, Ok(Some(size))) if size != row.size => Look::Bad(Damage::Size),
            (_, Ok(Some(_))) => Look::Good,
        }
    }

    /// Whether nothing is known of an object, and it is there: not one that is being published or deleted
    /// at this moment.
    async fn is_orphan(&self, digest: &Digest, key: &StorageKey) -> Result<bool, Ended> {
        let _no_publisher = self.publishers.wait(*digest).await;
        // In this order: what is deleted leaves the store before the outbox.
        let known = self
            .metadata
            .objects_known(&[(*digest, key.as_str())])
            .await?;
        Ok(!known[0] && self.store.size(key).await?.is_some())
    }
}
