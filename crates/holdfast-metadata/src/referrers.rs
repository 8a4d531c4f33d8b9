//! Referrers: the manifests of a repository that name another as their subject.

use holdfast_model::{Digest, MediaType, RepositoryName};

use crate::operation::{Operation, Transaction, params};
use crate::{Metadata, Result, repositories};

pub(crate) const REFERRERS_PAGE: &str = "SELECT digest, media_type, octet_length(payload), artifact_type, annotations
     FROM manifests WHERE repo_id = ?1 AND subject_digest = ?2 AND digest > ?3 ORDER BY digest LIMIT ?4";
pub(crate) const REFERRERS_PAGE_BY_TYPE: &str =
    "SELECT digest, media_type, octet_length(payload), artifact_type, annotations
     FROM manifests WHERE repo_id = ?1 AND subject_digest = ?2 AND digest > ?3 AND artifact_type = ?5
     ORDER BY digest LIMIT ?4";

/// A manifest that refers to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referrer {
    /// Its digest.
    pub digest: Digest,
    /// What its payload is.
    pub media_type: MediaType,
    /// Bytes of its payload.
    pub size: u64,
    /// The kind of artifact.
    pub artifact_type: Option<String>,
    /// Its annotations, a JSON object.
    pub annotations_json: Option<String>,
}

impl Metadata {
    /// A page of the referrers of a subject, which need not exist, in the order of their digests, after
    /// a digest; only those of one artifact type if that is given.
    pub async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<Referrer>> {
        self.read(Page {
            repository,
            subject,
            artifact_type,
            after,
            limit,
        })
        .await
    }
}

struct Page<'a> {
    repository: &'a RepositoryName,
    subject: &'a Digest,
    artifact_type: Option<&'a str>,
    after: Option<&'a Digest>,
    limit: usize,
}

impl Operation for Page<'_> {
    type Output = Vec<Referrer>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Vec<Referrer>> {
        let Some(repo_id) = repositories::id_of(tx, self.repository).await? else {
            return Ok(Vec::new());
        };
        // No bytes at all come before every digest.
        let after = self.after.map(Digest::to_bytes).unwrap_or_default();
        let after = after.as_slice();
        let rows = match self.artifact_type {
            None => {
                tx.query(
                    REFERRERS_PAGE,
                    params![repo_id, *self.subject, after, self.limit],
                )
                .await?
            }
            Some(artifact_type) => {
                let params = params![repo_id, *self.subject, after, self.limit, artifact_type];
                tx.query(REFERRERS_PAGE_BY_TYPE, params).await?
            }
        };
        rows.into_iter()
            .map(|mut row| {
                Ok(Referrer {
                    digest: row.digest()?,
                    media_type: row.parsed()?,
                    size: row.size()?,
                    artifact_type: row.maybe_text()?,
                    annotations_json: row.maybe_text()?,
                })
            })
            .collect()
    }
}
