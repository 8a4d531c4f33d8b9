//! Manifests with everything that was drawn from their payload.

use holdfast_model::{Digest, MediaType};

use crate::operation::{Operation, Transaction, params};
use crate::{Metadata, Result};

pub(crate) const KEYS_PAGE: &str = "SELECT repo_id, id FROM manifests
     WHERE (repo_id, id) > (?1, ?2) ORDER BY repo_id, id LIMIT ?3";
pub(crate) const RECORD: &str = "SELECT m.digest, m.media_type, m.artifact_type, m.subject_digest,
            m.annotations, m.image_size, r.path, m.payload
     FROM manifests m LEFT JOIN repositories r ON r.id = m.repo_id WHERE m.repo_id = ?1 AND m.id = ?2";
const MISSING: &str = "SELECT position, digest FROM manifest_missing_blobs
     WHERE repo_id = ?1 AND manifest_id = ?2";
const BLOBS: &str = "SELECT u.position, u.digest,
            CASE WHEN EXISTS (SELECT 1 FROM repo_blobs l WHERE l.repo_id = u.repo_id AND l.digest = u.digest)
                 THEN 1 ELSE 0 END
     FROM manifest_blobs u WHERE u.repo_id = ?1 AND u.manifest_id = ?2";
const CHILDREN: &str = "SELECT child_digest, platform FROM manifest_children
     WHERE repo_id = ?1 AND parent_id = ?2 ORDER BY child_digest";

/// A manifest with everything that was drawn from its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestRecord {
    /// The repository.
    pub repo_id: i64,
    /// Its name; `None` when the row of the repository is not there.
    pub repository: Option<String>,
    /// The manifest.
    pub id: i64,
    /// Its digest.
    pub digest: Digest,
    /// What its payload is.
    pub media_type: MediaType,
    /// The kind of artifact.
    pub artifact_type: Option<String>,
    /// What it refers to.
    pub subject: Option<Digest>,
    /// Its annotations, a JSON object.
    pub annotations_json: Option<String>,
    /// What a pull of it transfers, in bytes.
    pub image_size: u64,
    /// The bytes as they were pushed.
    pub payload: Vec<u8>,
    /// The blobs it names.
    pub blobs: Vec<NamedBlob>,
    /// The manifests it names, with their platforms.
    pub children: Vec<(Digest, Option<String>)>,
}

/// A blob that a manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedBlob {
    /// Its place in the manifest.
    pub position: u64,
    /// Its digest.
    pub digest: Digest,
    /// Whether the manifest waits for it: the repository did not have it.
    pub awaited: bool,
    /// Whether the repository has it.
    pub linked: bool,
}

impl Metadata {
    /// A page of the keys of all manifests, repository and id, after a key.
    pub async fn manifest_keys(
        &self,
        after: Option<(i64, i64)>,
        limit: usize,
    ) -> Result<Vec<(i64, i64)>> {
        self.read(Keys { after, limit }).await
    }

    /// A manifest with everything that was drawn from it.
    pub async fn manifest_record(&self, key: (i64, i64)) -> Result<Option<ManifestRecord>> {
        self.read(Record { key }).await
    }
}

struct Keys {
    after: Option<(i64, i64)>,
    limit: usize,
}

impl Operation for Keys {
    type Output = Vec<(i64, i64)>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Vec<(i64, i64)>> {
        let (repo_id, id) = self.after.unwrap_or((i64::MIN, i64::MIN));
        let rows = tx
            .query(KEYS_PAGE, params![repo_id, id, self.limit])
            .await?;
        rows.into_iter()
            .map(|mut row| Ok((row.integer()?, row.integer()?)))
            .collect()
    }
}

struct Record {
    key: (i64, i64),
}

impl Operation for Record {
    type Output = Option<ManifestRecord>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Option<ManifestRecord>> {
        let (repo_id, id) = self.key;
        let mut blobs = Vec::new();
        // Rows move from the first table to the second: read in this order, none is overlooked.
        for mut row in tx.query(MISSING, params![repo_id, id]).await? {
            blobs.push(NamedBlob {
                position: row.size()?,
                digest: row.digest()?,
                awaited: true,
                linked: false,
            });
        }
        for mut row in tx.query(BLOBS, params![repo_id, id]).await? {
            let position = row.size()?;
            blobs.retain(|blob| blob.position != position);
            blobs.push(NamedBlob {
                position,
                digest: row.digest()?,
                awaited: false,
                linked: row.integer()? != 0,
            });
        }
        blobs.sort_by_key(|blob| blob.position);
        let children = tx.query(CHILDREN, params![repo_id, id]).await?;
        let children = children
            .into_iter()
            .map(|mut row| Ok((row.digest()?, row.maybe_text()?)))
            .collect::<Result<_>>()?;
        // Last: a manifest that is still here had all its rows before.
        let Some(mut row) = tx.first(RECORD, params![repo_id, id]).await? else {
            return Ok(None);
        };
        Ok(Some(ManifestRecord {
            repo_id,
            id,
            blobs,
            children,
            digest: row.digest()?,
            media_type: row.parsed()?,
            artifact_type: row.maybe_text()?,
            subject: match row.maybe_bytes()? {
                Some(bytes) => Some(
                    Digest::from_bytes(&bytes)
                        .map_err(|error| crate::Error::Corrupt(std::sync::Arc::new(error)))?,
                ),
                None => None,
            },
            annotations_json: row.maybe_text()?,
            image_size: row.size()?,
            repository: row.maybe_text()?,
            payload: row.bytes()?,
        }))
    }
}
