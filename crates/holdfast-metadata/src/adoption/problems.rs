//! What is not as it should be in the tree. Nothing is skipped without a row here.

use holdfast_model::{Digest, Timestamp};

use crate::operation::{Durability, Operation, Row, Transaction, Write, params};
use crate::{Error, Metadata, Result, repositories};

pub(crate) const PROBLEMS_PAGE: &str =
    "SELECT repository, kind, place, tag, digest, manifest, detail, found_at FROM adoption_problems
     WHERE (repository, kind, place) > (?1, ?2, ?3) ORDER BY repository, kind, place LIMIT ?4";
pub(crate) const TAGS_OF: &str =
    "SELECT t.name FROM manifests m JOIN tags t ON t.repo_id = m.repo_id AND t.manifest_id = m.id
     WHERE m.repo_id = ?1 AND m.digest = ?2 LIMIT ?3";

/// Tags named with one problem.
const TAGS_NAMED: usize = 10;
/// Rows deleted in one statement.
const CLEARED_AT_ONCE: usize = 1000;

/// What is wrong; the schema's `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProblemKind {
    /// A link that holds no digest, or one that does not belong in its place.
    LinkInvalid = 1,
    /// A link without content, whose place tells what it meant; it was followed.
    LinkEmpty = 2,
    /// A link to a blob that is not stored.
    LinkDangling = 3,
    /// A manifest that is not stored.
    ManifestMissing = 4,
    /// A stored manifest whose bytes are not those of its digest.
    ManifestCorrupt = 5,
    /// A stored manifest that cannot be read as one.
    ManifestInvalid = 6,
    /// A manifest of Docker's schema 1.
    ManifestSchema1 = 7,
    /// A manifest over the limit.
    ManifestTooLarge = 8,
    /// A config or layer that a manifest needs and the repository does not have.
    BlobMissing = 9,
    /// A stored blob whose bytes are not those of its digest.
    BlobCorrupt = 10,
    /// A tag whose manifest is not in the repository.
    TagDangling = 11,
    /// A tag that points at nothing.
    TagEmpty = 12,
    /// A name that no repository, tag or digest can have.
    NameInvalid = 13,
    /// Something that could not be read.
    Unreadable = 14,
    /// An upload of which nobody knows when it began; it stays.
    UploadUndated = 15,
    /// A file that has no place in such a tree; it stays.
    Leftover = 16,
}

/// What a problem costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something that was pushed cannot be pulled, or not all of it.
    Harm,
    /// Nothing: it was mended, or it could not be pulled before either.
    Note,
}

impl ProblemKind {
    /// All of them.
    pub const ALL: [ProblemKind; 16] = {
        use ProblemKind::*;
        [
            LinkInvalid,
            LinkEmpty,
            LinkDangling,
            ManifestMissing,
            ManifestCorrupt,
            ManifestInvalid,
            ManifestSchema1,
            ManifestTooLarge,
            BlobMissing,
            BlobCorrupt,
            TagDangling,
            TagEmpty,
            NameInvalid,
            Unreadable,
            UploadUndated,
            Leftover,
        ]
    };

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        use ProblemKind::*;
        match self {
            LinkInvalid => "link-invalid",
            LinkEmpty => "link-empty",
            LinkDangling => "link-dangling",
            ManifestMissing => "manifest-missing",
            ManifestCorrupt => "manifest-corrupt",
            ManifestInvalid => "manifest-invalid",
            ManifestSchema1 => "manifest-schema1",
            ManifestTooLarge => "manifest-too-large",
            BlobMissing => "blob-missing",
            BlobCorrupt => "blob-corrupt",
            TagDangling => "tag-dangling",
            TagEmpty => "tag-empty",
            NameInvalid => "name-invalid",
            Unreadable => "unreadable",
            UploadUndated => "upload-undated",
            Leftover => "leftover",
        }
    }

    /// What it costs.
    pub fn severity(self) -> Severity {
        use ProblemKind::*;
        match self {
            LinkEmpty | LinkDangling | TagEmpty | UploadUndated | Leftover => Severity::Note,
            LinkInvalid | ManifestMissing | ManifestCorrupt | ManifestInvalid | ManifestSchema1
            | ManifestTooLarge | BlobMissing | BlobCorrupt | TagDangling | NameInvalid
            | Unreadable => Severity::Harm,
        }
    }
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The repository; empty when it is of none.
    pub repository: String,
    /// What is wrong.
    pub kind: ProblemKind,
    /// What tells it from others of its kind: a path below the root, or a digest.
    pub place: String,
    /// The tag concerned.
    pub tag: Option<String>,
    /// The content concerned.
    pub digest: Option<Digest>,
    /// The manifest that needs the content.
    pub manifest: Option<Digest>,
    /// What there is to say beyond that.
    pub detail: String,
    /// When it was found.
    pub found_at: Timestamp,
}

impl Metadata {
    /// Notes problems; one that was noted before stays as it was.
    pub async fn note_problems(&self, problems: Vec<Problem>) -> Result<()> {
        self.write(Note { problems }).await
    }

    /// Forgets the problems of a repository, or with an empty name those of none, before it is looked
    /// at again.
    pub async fn clear_problems(&self, repository: &str) -> Result<()> {
        loop {
            let change = Clear {
                repository: repository.to_owned(),
            };
            if self.write(change).await? < CLEARED_AT_ONCE as u64 {
                return Ok(());
            }
        }
    }

    /// Some problems after one, by repository and kind, and the tags that point at the manifest
    /// concerned.
    pub async fn problems(
        &self,
        after: Option<&Problem>,
        limit: usize,
    ) -> Result<Vec<(Problem, Vec<String>)>> {
        self.read(Page { after, limit }).await
    }
}

struct Note {
    problems: Vec<Problem>,
}

impl Operation for Note {
    type Output = ();

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<()> {
        let mut new = 0;
        for problem in &self.problems {
            new += tx
                .execute(
                    "INSERT INTO adoption_problems
                     (repository, kind, place, tag, digest, manifest, detail, found_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (repository, kind, place) DO NOTHING",
                    params![
                        problem.repository.as_str(),
                        problem.kind as i64,
                        problem.place.as_str(),
                        problem.tag.as_deref(),
                        problem.digest,
                        problem.manifest,
                        problem.detail.as_str(),
                        problem.found_at
                    ],
                )
                .await?;
        }
        let sum = "UPDATE adoption SET problems = problems + ?1 WHERE id = 1";
        tx.execute(sum, params![new]).await.map(drop)
    }
}

impl Write for Note {
    const DURABILITY: Durability = Durability::Relaxed;
}

struct Clear {
    repository: String,
}

impl Operation for Clear {
    type Output = u64;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<u64> {
        let cleared = tx
            .execute(
                "DELETE FROM adoption_problems WHERE repository = ?1 AND (kind, place) IN
                 (SELECT kind, place FROM adoption_problems WHERE repository = ?1 LIMIT ?2)",
                params![self.repository.as_str(), CLEARED_AT_ONCE],
            )
            .await?;
        let sum = "UPDATE adoption SET problems = problems - ?1 WHERE id = 1";
        tx.execute(sum, params![cleared]).await?;
        Ok(cleared)
    }
}

impl Write for Clear {
    const DURABILITY: Durability = Durability::Relaxed;
}

struct Page<'a> {
    after: Option<&'a Problem>,
    limit: usize,
}

impl Operation for Page<'_> {
    type Output = Vec<(Problem, Vec<String>)>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Self::Output> {
        let (repository, kind, place) = self.after.map_or(("", 0, ""), |after| {
            (
                after.repository.as_str(),
                after.kind as i64,
                after.place.as_str(),
            )
        });
        let rows = tx
            .query(PROBLEMS_PAGE, params![repository, kind, place, self.limit])
            .await?;
        let mut page = Vec::with_capacity(rows.len());
        for row in rows {
            let problem = read(row)?;
            let tags = match &problem.tag {
                Some(tag) => vec![tag.clone()],
                None => tags_of(tx, &problem).await?,
            };
            page.push((problem, tags));
        }
        Ok(page)
    }
}

fn read(mut row: Row) -> Result<Problem> {
    let repository = row.text()?;
    let code = row.integer()?;
    let kind = ProblemKind::ALL
        .into_iter()
        .find(|kind| *kind as i64 == code)
        .ok_or_else(|| Error::corrupt(format!("a problem is of the unknown kind {code}")))?;
    Ok(Problem {
        repository,
        kind,
        place: row.text()?,
        tag: row.maybe_text()?,
        digest: row.maybe_digest()?,
        manifest: row.maybe_digest()?,
        detail: row.text()?,
        found_at: row.time()?,
    })
}

async fn tags_of<T: Transaction>(tx: &mut T, problem: &Problem) -> Result<Vec<String>> {
    let (Ok(repository), Some(manifest)) = (problem.repository.parse(), problem.manifest) else {
        return Ok(Vec::new());
    };
    let Some(repo_id) = repositories::id_of(tx, &repository).await? else {
        return Ok(Vec::new());
    };
    let rows = tx
        .query(TAGS_OF, params![repo_id, manifest, TAGS_NAMED])
        .await?;
    rows.into_iter().map(|mut row| row.text()).collect()
}
