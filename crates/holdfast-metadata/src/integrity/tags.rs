//! Rows of `tags`.

use crate::operation::{Operation, Transaction, params};
use crate::{Metadata, Result};

pub(crate) const TAGS_PAGE: &str = "SELECT t.repo_id, t.name, r.path,
            CASE WHEN EXISTS (SELECT 1 FROM manifests m WHERE m.repo_id = t.repo_id AND m.id = t.manifest_id)
                 THEN 1 ELSE 0 END
     FROM tags t LEFT JOIN repositories r ON r.id = t.repo_id
     WHERE (t.repo_id, t.name) > (?1, ?2) ORDER BY t.repo_id, t.name LIMIT ?3";

/// A tag, and what the database says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagRow {
    /// The repository.
    pub repo_id: i64,
    /// Its name; `None` when the row of the repository is not there.
    pub repository: Option<String>,
    /// The tag.
    pub tag: String,
    /// Whether the manifest it points at is there.
    pub has_manifest: bool,
}

impl Metadata {
    /// A page of all tags by repository and name, after a tag.
    pub async fn tag_rows(&self, after: Option<&TagRow>, limit: usize) -> Result<Vec<TagRow>> {
        self.read(Page { after, limit }).await
    }
}

struct Page<'a> {
    after: Option<&'a TagRow>,
    limit: usize,
}

impl Operation for Page<'_> {
    type Output = Vec<TagRow>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Vec<TagRow>> {
        let (repo_id, name) = self
            .after
            .map_or((i64::MIN, ""), |tag| (tag.repo_id, tag.tag.as_str()));
        let rows = tx
            .query(TAGS_PAGE, params![repo_id, name, self.limit])
            .await?;
        rows.into_iter()
            .map(|mut row| {
                Ok(TagRow {
                    repo_id: row.integer()?,
                    tag: row.text()?,
                    repository: row.maybe_text()?,
                    has_manifest: row.integer()? != 0,
                })
            })
            .collect()
    }
}
