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

pub(crate) const ANNOTATIONS_PAGE: &str = "SELECT digest, annotations
     FROM manifests WHERE repo_id = ?1 AND subject_digest = ?2 AND digest > ?3 AND digest <= ?4 ORDER BY digest";
pub(crate) const ANNOTATIONS_PAGE_BY_TYPE: &str = "SELECT digest, annotations
     FROM manifests WHERE repo_id = ?1 AND subject_digest = ?2 AND digest > ?3 AND digest <= ?4 AND artifact_type = ?5
     ORDER BY digest";

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
            page.entries.push(Referrer {
                digest,
                media_type,
                size,
                artifact_type,
                annotations_json: None,
            });
        }
        let last = page.entries.last().map(|entry| entry.digest);
        let Some(last) = last.filter(|_| bytes > 0) else {
            return Ok(page);
        };
        // Their lengths had to be known first.
        let rows = match self.artifact_type {
            None => {
                let params = params![repo_id, *self.subject, after, last];
                tx.query(ANNOTATIONS_PAGE, params).await?
            }
            Some(artifact_type) => {
                let params = params![repo_id, *self.subject, after, last, artifact_type];
                tx.query(ANNOTATIONS_PAGE_BY_TYPE, params).await?
            }
        };
        let mut entries = page.entries.iter_mut().peekable();
        for mut row in rows {
            let digest = row.digest()?;
            // Some may have come or gone between the statements.
            while entries
                .next_if(|entry| entry.digest.to_bytes() < digest.to_bytes())
                .is_some()
            {}
            if let Some(entry) = entries.next_if(|entry| entry.digest == digest) {
                entry.annotations_json = row.maybe_text()?;
            }
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use holdfast_model::{Algorithm, Hasher, Timestamp};

    use super::*;
    use crate::operation::{Param, Row, Value};

    /// Answers as a database would that has the repository and these referrers, and counts.
    struct Counting {
        digests: Vec<Digest>,
        /// What the second look does not find any more.
        gone: Digest,
        /// What it finds for the first time.
        new: Digest,
        statements: usize,
    }

    impl Transaction for Counting {
        async fn query(&mut self, sql: &'static str, _: &[Param<'_>]) -> Result<Vec<Row>> {
            self.statements += 1;
            let bytes = |digest: &Digest| Value::Bytes(digest.to_bytes());
            let annotations = |digest: &Digest| Value::Text(digest.to_string());
            Ok(match sql {
                REFERRERS_PAGE | REFERRERS_PAGE_BY_TYPE => {
                    let known = self.digests.iter();
                    let row = |digest| {
                        let (media_type, null) = (Value::Text("a/b".to_owned()), Value::Null);
                        let (size, length) = (Value::Integer(7), Value::Integer(71));
                        Row::new(vec![bytes(digest), media_type, size, null, length])
                    };
                    known.map(row).collect()
                }
                ANNOTATIONS_PAGE | ANNOTATIONS_PAGE_BY_TYPE => {
                    let mut now = self.digests.clone();
                    now.retain(|digest| *digest != self.gone);
                    now.push(self.new);
                    now.sort_unstable();
                    let row = |digest| Row::new(vec![bytes(digest), annotations(digest)]);
                    now.iter().map(row).collect()
                }
                // The repository: its id, and whether it is listed.
                _ => vec![Row::new(vec![Value::Integer(1), Value::Integer(1)])],
            })
        }

        async fn execute(&mut self, sql: &'static str, _: &[Param<'_>]) -> Result<u64> {
            panic!("a question changes something: {sql}")
        }

        fn new_id(&mut self, _: Timestamp) -> i64 {
            panic!("a question makes an id")
        }
    }

    #[tokio::test]
    async fn a_page_takes_three_statements_however_long_it_is() {
        let digest = |number: u64| Hasher::digest(Algorithm::Sha256, &number.to_be_bytes());
        let repository = "a".parse().unwrap();
        for count in [2, 1000] {
            for artifact_type in [None, Some("x/y")] {
                let mut digests: Vec<_> = (0..count).map(digest).collect();
                digests.sort_unstable();
                let mut database = Counting {
                    gone: digests[0],
                    new: digest(5000),
                    digests: digests.clone(),
                    statements: 0,
                };
                let page = Page {
                    repository: &repository,
                    subject: &digest(9000),
                    artifact_type,
                    after: None,
                    limit: 1000,
                };
                let page = page.run(&mut database).await.unwrap();
                assert_eq!(database.statements, 3);
                let listed: Vec<_> = page.entries.iter().map(|entry| entry.digest).collect();
                assert_eq!(listed, digests);
                for entry in page.entries {
                    let expected =
                        (entry.digest != database.gone).then(|| entry.digest.to_string());
                    assert_eq!(entry.annotations_json, expected);
                }
            }
        }
    }
}
