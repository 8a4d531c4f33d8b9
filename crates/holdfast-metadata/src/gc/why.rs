//! Why a digest is kept in a repository, and until when.

use holdfast_model::{Digest, RepositoryName, Tag, Timestamp};

use super::Reason;
use super::manifests::is_held;
use crate::operation::{Operation, Transaction, params};
use crate::{Metadata, Result, repositories};

/// Most holders of one kind that are named.
const NAMED: usize = 10;

pub(crate) const WHY: [&str; 8] = [
    "SELECT name FROM tags WHERE repo_id = ?1 AND manifest_id = ?2 ORDER BY name LIMIT ?3",
    "SELECT p.digest FROM manifest_children c JOIN manifests p ON p.repo_id = c.repo_id AND p.id = c.parent_id
     WHERE c.repo_id = ?1 AND c.child_digest = ?2 LIMIT ?3",
    "SELECT s.digest FROM manifests m JOIN manifests s ON s.repo_id = m.repo_id AND s.digest = m.subject_digest
     WHERE m.repo_id = ?1 AND m.id = ?2",
    "SELECT due_at, reason FROM gc_manifest_queue WHERE repo_id = ?1 AND digest = ?2",
    "SELECT m.digest FROM manifest_blobs u JOIN manifests m ON m.repo_id = u.repo_id AND m.id = u.manifest_id
     WHERE u.repo_id = ?1 AND u.digest = ?2 LIMIT ?3",
    "SELECT used, lease_until FROM repo_blobs WHERE repo_id = ?1 AND digest = ?2",
    "SELECT r.path FROM repo_blobs l JOIN repositories r ON r.id = l.repo_id
     WHERE l.digest = ?1 AND l.repo_id <> ?2 ORDER BY l.repo_id LIMIT ?3",
    "SELECT purge_at FROM manifest_trash WHERE repo_id = ?1 AND digest = ?2",
];

/// What keeps something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// A tag points at the manifest.
    Tag(Tag),
    /// An index names the manifest.
    Parent(Digest),
    /// The manifest is about this one, which is there.
    Subject(Digest),
    /// The manifest has none of these, and nothing asks for its deletion.
    Unasked,
    /// The manifest is looked at again then, and deleted unless something holds it by then.
    Queued {
        /// When.
        due_at: Timestamp,
        /// Why.
        reason: &'static str,
    },
    /// The deleted manifest can be restored until then.
    Trash(Timestamp),
    /// A manifest of the repository needs the blob.
    Manifest(Digest),
    /// No manifest of the repository needs the blob; its link stays until then.
    Lease(Timestamp),
    /// Another repository has the blob, so its bytes stay.
    Repository(RepositoryName),
}

/// Why a digest is kept in a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Why {
    /// The manifest of this digest is in the repository.
    pub manifest: bool,
    /// The blob of this digest is in the repository.
    pub blob: bool,
    /// What keeps them; at most ten of a kind.
    pub holds: Vec<Hold>,
}

impl Metadata {
    /// Why a digest is kept in a repository.
    pub async fn gc_why(&self, repository: &RepositoryName, digest: &Digest) -> Result<Why> {
        self.read(Ask { repository, digest }).await
    }
}

struct Ask<'a> {
    repository: &'a RepositoryName,
    digest: &'a Digest,
}

impl Operation for Ask<'_> {
    type Output = Why;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Why> {
        let mut why = Why::default();
        let Some(repo_id) = repositories::id_of(tx, self.repository).await? else {
            return Ok(why);
        };
        let one = params![repo_id, *self.digest];
        let id = "SELECT id FROM manifests WHERE repo_id = ?1 AND digest = ?2";
        if let Some(mut row) = tx.first(id, one).await? {
            why.manifest = true;
            self.about_manifest(tx, repo_id, row.integer()?, &mut why.holds)
                .await?;
        }
        self.about_blob(tx, repo_id, &mut why).await?;
        if let Some(mut row) = tx.first(WHY[7], one).await? {
            why.holds.push(Hold::Trash(row.time()?));
        }
        Ok(why)
    }
}

impl Ask<'_> {
    async fn about_manifest<T: Transaction>(
        &self,
        tx: &mut T,
        repo_id: i64,
        id: i64,
        holds: &mut Vec<Hold>,
    ) -> Result<()> {
        for mut row in tx.query(WHY[0], params![repo_id, id, NAMED]).await? {
            holds.push(Hold::Tag(row.parsed()?));
        }
        let digest = *self.digest;
        for mut row in tx.query(WHY[1], params![repo_id, digest, NAMED]).await? {
            holds.push(Hold::Parent(row.digest()?));
        }
        for mut row in tx.query(WHY[2], params![repo_id, id]).await? {
            holds.push(Hold::Subject(row.digest()?));
        }
        let queued = tx.first(WHY[3], params![repo_id, digest]).await?;
        if let Some(mut row) = queued {
            holds.push(Hold::Queued {
                due_at: row.time()?,
                reason: Reason::from_code(row.integer()?)?.text(),
            });
        } else if !is_held(tx, repo_id, id, digest).await? {
            holds.push(Hold::Unasked);
        }
        Ok(())
    }

    async fn about_blob<T: Transaction>(
        &self,
        tx: &mut T,
        repo_id: i64,
        why: &mut Why,
    ) -> Result<()> {
        let digest = *self.digest;
        for mut row in tx.query(WHY[4], params![repo_id, digest, NAMED]).await? {
            why.holds.push(Hold::Manifest(row.digest()?));
        }
        if let Some(mut row) = tx.first(WHY[5], params![repo_id, digest]).await? {
            why.blob = true;
            if row.integer()? == 0 {
                why.holds.push(Hold::Lease(row.time()?));
            }
        }
        for mut row in tx.query(WHY[6], params![digest, repo_id, NAMED]).await? {
            why.holds.push(Hold::Repository(row.parsed()?));
        }
        Ok(())
    }
}
