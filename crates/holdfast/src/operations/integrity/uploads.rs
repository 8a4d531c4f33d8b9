//! The part of a check that compares upload sessions with staged bytes.

use std::collections::HashSet;

use holdfast_model::UploadId;

use super::check::{Check, Ended};
use super::report::{Finding, Kind, Outcome};
use crate::operations::Operations;

impl Check {
    /// A session is recorded before its first byte and forgotten before its last. So bytes without a session
    /// and a session without bytes are damage when they are seen with nobody at work on them.
    pub(super) async fn uploads(&mut self) -> Result<(), Ended> {
        let operations = self.operations.clone();
        if operations.store().is_shared() {
            // What is staged there is found by its session alone, and other nodes work on it.
            return if self.adopting {
                Ok(())
            } else {
                self.unfinished().await
            };
        }
        let staged: HashSet<UploadId> = staged(&operations).await?;
        let mut unknown = staged.clone();
        let mut without_bytes = Vec::new();
        let mut after = None;
        loop {
            let page = operations.open_uploads(after).await?;
            let Some(last) = page.last() else {
                break;
            };
            after = Some(last.id);
            for upload in page {
                unknown.remove(&upload.id);
                if upload.offset > 0 && !staged.contains(&upload.id) {
                    without_bytes.push(upload);
                }
            }
        }
        if unknown.is_empty() && without_bytes.is_empty() {
            return Ok(());
        }
        for id in unknown {
            // Whoever works on it is done with it then.
            let Some(_guard) = operations.sessions.take(id).await else {
                continue;
            };
            if !self::staged(&operations).await?.contains(&id) {
                continue;
            }
            let mut finding = Finding::new(Kind::StagingOrphan, None, format!("upload {id}"));
            if self.options.repair {
                operations.store().abort_upload(id).await?;
                finding.outcome = Outcome::Repaired;
            }
            self.report(finding).await?;
        }
        for upload in without_bytes {
            let (repository, id) = (&upload.repository, upload.id);
            let Some(_guard) = operations.sessions.take(id).await else {
                continue;
            };
            let now = operations.metadata().upload(repository, id).await?;
            if now.is_none_or(|now| now.offset == 0)
                || self::staged(&operations).await?.contains(&id)
            {
                continue;
            }
            let mut finding = Finding::new(Kind::UploadBytes, None, format!("upload {id}"))
                .within(Some(repository.as_str()), Vec::new());
            if self.options.repair {
                operations.discard(repository, id, None).await?;
                finding.outcome = Outcome::Repaired;
            }
            self.report(finding).await?;
        }
        Ok(())
    }
}

async fn staged(operations: &Operations) -> Result<HashSet<UploadId>, Ended> {
    let staged = operations.store().staged_uploads().await?;
    Ok(staged.into_iter().collect())
}
