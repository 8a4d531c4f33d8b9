//! What each tag pointed at, and why that changed. A tag's history outlives the tag.

use holdfast_model::{Digest, RepositoryName, Tag, Timestamp};

use crate::operation::{Operation, Row, Transaction, params};
use crate::{Error, Metadata, Result, repositories};

pub(crate) const HISTORY_PAGE: &str =
    "SELECT id, old_digest, new_digest, reason, at FROM tag_history
     WHERE repo_id = ?1 AND name = ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4";

/// Why a tag changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagReason {
    /// A push set it.
    Push = 0,
    /// It was deleted, or the manifest it pointed at.
    Delete = 1,
    /// It was set back.
    Restore = 2,
    /// It was taken over from another registry.
    Import = 3,
    /// Its time was over.
    Expiry = 4,
}

/// A line of a tag's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagChange {
    /// Which line: later ones have larger numbers.
    pub id: i64,
    /// What the tag pointed at before; nothing if there was no such tag.
    pub old: Option<Digest>,
    /// What it pointed at then; nothing if it went.
    pub new: Option<Digest>,
    /// Why.
    pub reason: TagReason,
    /// When.
    pub at: Timestamp,
}

impl Metadata {
    /// A page of a tag's history, the newest line first, from before a line; `None` if there is no such
    /// repository. A tag that never was has no lines.
    pub async fn tag_history(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Option<Vec<TagChange>>> {
        self.read(Page {
            repository,
            tag,
            before: before.unwrap_or(i64::MAX),
            limit,
        })
        .await
    }
}

struct Page<'a> {
    repository: &'a RepositoryName,
    tag: &'a Tag,
    before: i64,
    limit: usize,
}

impl Operation for Page<'_> {
    type Output = Option<Vec<TagChange>>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Option<Vec<TagChange>>> {
        let Some(repo_id) = repositories::id_of(tx, self.repository).await? else {
            return Ok(None);
        };
        let params = params![repo_id, self.tag.as_str(), self.before, self.limit];
        let rows = tx.query(HISTORY_PAGE, params).await?;
        let lines: Result<Vec<TagChange>> = rows.into_iter().map(line).collect();
        lines.map(Some)
    }
}

/// The number of the newest line.
pub(crate) async fn newest<T: Transaction>(
    tx: &mut T,
    repo_id: i64,
    tag: &Tag,
) -> Result<Option<i64>> {
    let params = params![repo_id, tag.as_str(), i64::MAX, 1_i64];
    match tx.first(HISTORY_PAGE, params).await? {
        Some(mut row) => Ok(Some(row.integer()?)),
        None => Ok(None),
    }
}

fn line(mut row: Row) -> Result<TagChange> {
    Ok(TagChange {
        id: row.integer()?,
        old: row.maybe_digest()?,
        new: row.maybe_digest()?,
        reason: match row.integer()? {
            0 => TagReason::Push,
            1 => TagReason::Delete,
            2 => TagReason::Restore,
            3 => TagReason::Import,
            4 => TagReason::Expiry,
            other => {
                return Err(Error::corrupt(format!(
                    "a tag changed for the unknown reason {other}"
                )));
            }
        },
        at: row.time()?,
    })
}

/// What happened to a tag.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) old: Option<Digest>,
    pub(crate) new: Option<Digest>,
    pub(crate) reason: TagReason,
}

impl Change {
    pub(crate) fn deleted(old: Digest) -> Change {
        Change {
            old: Some(old),
            new: None,
            reason: TagReason::Delete,
        }
    }
}

/// Writes a line, after all lines of the tag so far: the clocks of two nodes may differ. The caller has the tag
/// locked.
pub(crate) async fn record<T: Transaction>(
    tx: &mut T,
    repo_id: i64,
    tag: &Tag,
    Change { old, new, reason }: Change,
    actor: Option<i64>,
    now: Timestamp,
) -> Result<()> {
    // Behind a line of the tag from a clock that is ahead, an id that hardly anybody else has, and another each time.
    let id = tx.new_id(now);
    tx.execute(
        "INSERT INTO tag_history (id, repo_id, name, old_digest, new_digest, actor_id, reason, at)
         VALUES (COALESCE((SELECT MAX(h.id) + 1 + CAST(?1 AS BIGINT) % 1048576 FROM tag_history h
                           WHERE h.repo_id = ?2 AND h.name = ?3 AND h.id >= ?1), ?1), ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            id,
            repo_id,
            tag.as_str(),
            old,
            new,
            actor,
            reason as i64,
            now
        ],
    )
    .await?;
    Ok(())
}
