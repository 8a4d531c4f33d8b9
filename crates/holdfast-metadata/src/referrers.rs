//! Referrers: the manifests of a repository that name another as their subject.

use holdfast_model::{Digest, MediaType, RepositoryName};

use crate::operation::{Operation, Transaction, params};
use crate::{Metadata, Result, repositories};

pub(crate) const REFERRERS_PAGE: &str = "SELECT digest, media_type, octet_length(payload), artifact_type, octet_length(annotations)
     FROM manifests WHERE repo_id = ?1 AND subject_digest = ?2 AND digest > ?3 ORDER BY digest LIMIT ?4";
pub(crate) const REFERRERS_PAGE_BY_TYPE: &str =
    "SELECT digest, media_type, octet_length(payload), artifact_type, octet_length(annotations)
     FROM manifests WHERE repo_id = ?1 AND subject_digest = ?2 AND digest > ?3 AND artifact_type = ?5
     ORDER BY digest LIMIT ?4";

pub(crate) const ANNOTATIONS: &str =
    "SELECT annotations FROM manifests WHERE repo_id = ?1 AND digest = ?2";

/// Bytes of annotations after which a page of referrers ends.
const PAGE_BYTES: u64 = 4 << 20;

/// A page of referrers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Referrers {
    /// The referrers, in the order of their digests.
    pub entries: Vec<Referrer>,
    /// Whether more follow.
    pub more: bool,
}

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
    /// a digest; only those of one artifact type if that is given. A page has at least one entry, at most
    /// `limit`, and ends early when their annotations are long.
    pub async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Referrers> {
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
    type Output = Referrers;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Referrers> {
        let Some(repo_id) = repositories::id_of(tx, self.repository).await? else {
            return Ok(Referrers::default());
        };
        // No bytes at all come before every digest.
        let after = self.after.map(Digest::to_bytes).unwrap_or_default();
        let after = after.as_slice();
        let rows = match self.artifact_type {
            None => {
                tx.query(
                    REFERRERS_PAGE,
                    params![repo_id, *self.subject, after, self.limit + 1],
                )
                .await?
            }
            Some(artifact_type) => {
                let params = params![repo_id, *self.subject, after, self.limit + 1, artifact_type];
                tx.query(REFERRERS_PAGE_BY_TYPE, params).await?
            }
        };
        let mut page = Referrers::default();
        let mut bytes = 0;
        for mut row in rows {
            let (digest, media_type, size) = (row.digest()?, row.parsed()?, row.size()?);
            let artifact_type = row.maybe_text()?;
            let length = row.maybe_integer()?.unwrap_or_default().unsigned_abs();
            let full = !page.entries.is_empty() && bytes + length > PAGE_BYTES;
            if full || page.entries.len() == self.limit {
                page.more = true;
                break;
            }
            bytes += length;
            let annotations_json = match tx.first(ANNOTATIONS, params![repo_id, digest]).await? {
                Some(mut row) => row.maybe_text()?,
                None => None,
            };
            page.entries.push(Referrer {
                digest,
                media_type,
                size,
                artifact_type,
                annotations_json,
            });
        }
        Ok(page)
    }
}
