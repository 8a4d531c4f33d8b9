//! The part of a check that needs the database alone: links, manifests, tags, repositories.

use holdfast_metadata::{LinkRow, ManifestRecord, Repair};
use holdfast_model::{Algorithm, Digest, Hasher};
use holdfast_storage::StorageKey;

use super::check::{Check, Ended, PAGE};
use super::manifests::{Difference, differences};
use super::report::{Finding, Kind};
use super::verify::Pace;
use crate::error_chain::chain;

impl Check {
    pub(super) async fn links(&mut self) -> Result<(), Ended> {
        let mut after: Option<LinkRow> = None;
        loop {
            let metadata = self.operations.metadata().clone();
            let page = metadata.link_rows(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.clone());
            self.summary.links += page.len() as u64;
            for link in page {
                self.link(&link).await?;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn link(&mut self, link: &LinkRow) -> Result<(), Ended> {
        let (repo_id, digest) = (link.repo_id, link.digest);
        let finding = async |check: &Check, kind, detail: &str| {
            let finding = Finding::new(kind, Some(digest), detail);
            Ok::<_, Ended>(if link.repository.is_none() {
                finding.within(None, Vec::new())
            } else {
                finding.touching(check.affected(&digest).await?)
            })
        };
        if !link.has_blob {
            let found = finding(self, Kind::LinkWithoutBlob, "there is no row of the blob").await?;
            // What somebody publishes at this moment may be taken back.
            let publishers = self.operations.publishers.clone();
            let _no_publisher = publishers.wait(digest).await;
            let repair = if self.options.repair && link.needed {
                self.blob_again(&digest).await
            } else {
                Some(Repair::DropLink { repo_id, digest })
            };
            self.settle(found, repair).await?;
        }
        if link.awaited {
            let found = finding(self, Kind::BlobUnlinked, "a manifest waits for it").await?;
            self.settle(found, Some(Repair::HandOver { repo_id, digest }))
                .await?;
        }
        if link.needed && !link.used {
            let found = finding(self, Kind::LinkUnmarked, "in use, not marked so").await?;
            self.settle(found, Some(Repair::UseLink { repo_id, digest }))
                .await?;
        }
        if !link.needed && !link.awaited && link.used && !link.queued && link.has_blob {
            let detail = "marked as in use, needed by nothing, not queued";
            let found = finding(self, Kind::LinkForgotten, detail).await?;
            self.settle(found, Some(Repair::QueueLink { repo_id, digest }))
                .await?;
        }
        Ok(())
    }

    /// The row that a blob should have: live if its bytes are found, else damaged.
    async fn blob_again(&mut self, digest: &Digest) -> Option<Repair> {
        let mut pace = Pace::new(self.options.bytes_per_second);
        let found = self.operations.find_bytes(digest, None, &mut pace).await;
        match found {
            Ok(Some((key, size))) => Some(Repair::RestoreBlob {
                digest: *digest,
                size,
                storage_key: key.as_str().to_owned(),
                whole: true,
            }),
            Ok(None) => Some(Repair::RestoreBlob {
                digest: *digest,
                size: 0,
                storage_key: StorageKey::canonical(digest).as_str().to_owned(),
                whole: false,
            }),
            Err(error) => {
                tracing::warn!(%digest, error = chain(&error), "the bytes of a blob could not be looked for");
                None
            }
        }
    }

    pub(super) async fn manifests(&mut self) -> Result<(), Ended> {
        let mut after = None;
        loop {
            let metadata = self.operations.metadata().clone();
            let page = metadata.manifest_keys(after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(*last);
            for key in page {
                self.manifest(key).await?;
            }
        }
    }

    async fn manifest(&mut self, key: (i64, i64)) -> Result<(), Ended> {
        let metadata = self.operations.metadata().clone();
        let record = match metadata.manifest_record(key).await {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(()),
            Err(error @ holdfast_metadata::Error::Corrupt(_)) => {
                let detail = format!(
                    "manifest {} of repository {}: {}",
                    key.1,
                    key.0,
                    chain(&error)
                );
                let finding = Finding::new(Kind::ManifestFacts, None, detail);
                return self.settle(finding, None).await;
            }
            Err(error) => return Err(error.into()),
        };
        self.summary.manifests += 1;
        tokio::task::yield_now().await;
        let first = differences(&record);
        if first.is_empty() {
            return Ok(());
        }
        // Its rows were read one table after the other: only what is seen twice is there.
        let Some(again) = metadata.manifest_record(key).await? else {
            return Ok(());
        };
        for difference in differences(&again) {
            let seen =
                |one: &&Difference| (one.kind, one.digest) == (difference.kind, difference.digest);
            if first.iter().find(seen).is_some() {
                self.difference(&again, difference).await?;
            }
        }
        Ok(())
    }

    async fn difference(
        &mut self,
        record: &ManifestRecord,
        difference: Difference,
    ) -> Result<(), Ended> {
        let metadata = self.operations.metadata().clone();
        let affected = metadata
            .affected_by_manifest((record.repo_id, record.id), super::AFFECTED_NAMED)
            .await?;
        let finding = Finding::new(difference.kind, Some(difference.digest), difference.detail)
            .touching(affected);
        let mut repair = difference.repair;
        if self.options.repair && difference.kind == Kind::ManifestDigest {
            repair = self.payload_again(record).await;
        }
        if self.options.repair && difference.kind == Kind::BlobUnlinked {
            // The link needs the row of the blob.
            let publishers = self.operations.publishers.clone();
            let _no_publisher = publishers.wait(difference.digest).await;
            let row = metadata.blob_row(&difference.digest).await?;
            if row.is_none()
                && let Some(again) = self.blob_again(&difference.digest).await
            {
                metadata.repair(again, crate::clock::now()).await?;
            }
        }
        self.settle(finding, repair).await
    }

    /// The payload of a manifest from an object of its digest, as other registries keep it.
    async fn payload_again(&self, record: &ManifestRecord) -> Option<Repair> {
        let key = StorageKey::canonical(&record.digest);
        let limit = self.operations.rules().manifest_bytes;
        let payload = self.operations.store().get(&key, limit).await.ok()?;
        let algorithm: Algorithm = record.digest.algorithm();
        (Hasher::digest(algorithm, &payload) == record.digest).then(|| Repair::ManifestPayload {
            repo_id: record.repo_id,
            id: record.id,
            payload: payload.to_vec(),
        })
    }

    pub(super) async fn tags(&mut self) -> Result<(), Ended> {
        let mut after = None;
        loop {
            let metadata = self.operations.metadata().clone();
            let page = metadata.tag_rows(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.clone());
            for tag in page.into_iter().filter(|tag| !tag.has_manifest) {
                let detail = "points at a manifest that is not there";
                let finding = Finding::new(Kind::TagTarget, None, detail)
                    .within(tag.repository.as_deref(), vec![tag.tag.clone()]);
                let repair = Repair::Tag {
                    repo_id: tag.repo_id,
                    tag: tag.tag,
                };
                self.settle(finding, Some(repair)).await?;
            }
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn repositories(&mut self) -> Result<(), Ended> {
        let mut after = None;
        loop {
            let metadata = self.operations.metadata().clone();
            let page = metadata.repository_rows(after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.id);
            for one in page {
                if one.populated == one.has_manifest {
                    continue;
                }
                let detail = if one.populated {
                    "listed without a manifest"
                } else {
                    "not listed, with manifests"
                };
                let finding = Finding::new(Kind::RepositoryListed, None, detail)
                    .within(Some(&one.repository), Vec::new());
                let repair = Repair::Population { repo_id: one.id };
                self.settle(finding, Some(repair)).await?;
            }
            tokio::task::yield_now().await;
        }
    }
}
