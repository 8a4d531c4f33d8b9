//! `/api/v1/tags`: what tags pointed at, and the way back.

use std::sync::Arc;

use holdfast_metadata::{TagChange, TagReason};
use holdfast_model::{Digest, RepositoryName, Tag};
use serde::{Deserialize, Serialize};

use super::{Request, page_size, parsed, time};
use crate::app::App;
use crate::http::error::Error;
use crate::operations::Undone;

/// Which page of which tag's history.
#[derive(Debug)]
pub(super) struct HistoryPage {
    repository: RepositoryName,
    tag: Tag,
    before: Option<i64>,
    limit: usize,
}

impl HistoryPage {
    pub(super) fn parse(request: &Request<'_>) -> Result<HistoryPage, Error> {
        Ok(HistoryPage {
            repository: request.wanted("repository")?,
            tag: request.wanted("tag")?,
            before: request.maybe("before")?,
            limit: page_size(request)?,
        })
    }
}

/// A page of a tag's history, the newest change first.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct History {
    /// The changes.
    pub(crate) changes: Vec<Change>,
    /// The `before` of the next page, when there may be one.
    pub(crate) next: Option<i64>,
}

/// A change of a tag.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Change {
    /// When (RFC 3339).
    pub(crate) at: String,
    /// Why: `push`, `delete`, `restore`, `import` or `expiry`.
    pub(crate) reason: String,
    /// What it pointed at before.
    pub(crate) old: Option<Digest>,
    /// What it pointed at then.
    pub(crate) new: Option<Digest>,
}

impl From<&TagChange> for Change {
    fn from(change: &TagChange) -> Self {
        let reason = match change.reason {
            TagReason::Push => "push",
            TagReason::Delete => "delete",
            TagReason::Restore => "restore",
            TagReason::Import => "import",
            TagReason::Expiry => "expiry",
        };
        Change {
            at: time(change.at),
            reason: reason.to_owned(),
            old: change.old,
            new: change.new,
        }
    }
}

/// `GET /tags/history`
pub(super) async fn history(app: &Arc<App>, page: HistoryPage) -> Result<History, Error> {
    let HistoryPage {
        repository,
        tag,
        before,
        limit,
    } = page;
    let lines = app.operations.tag_history(&repository, &tag, before, limit);
    let lines = lines.await?;
    Ok(History {
        changes: lines.iter().map(Change::from).collect(),
        next: lines
            .last()
            .filter(|_| lines.len() == limit)
            .map(|line| line.id),
    })
}

/// Which tag is to be set back, and to what.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RestoreTag {
    /// Its repository.
    pub(crate) repository: RepositoryName,
    /// The tag.
    pub(crate) tag: String,
    /// The manifest it is to point at; without one, the one before its last change.
    pub(crate) to: Option<String>,
}

/// What a restore did.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Restored {
    /// The manifest that is there now.
    pub(crate) digest: Digest,
    /// What the tag pointed at before.
    pub(crate) old: Option<Digest>,
    /// Every manifest that was deleted and is back.
    pub(crate) restored: Vec<Digest>,
}

impl From<Undone> for Restored {
    fn from(undone: Undone) -> Self {
        Restored {
            digest: undone.digest,
            old: undone.old,
            restored: undone.restored,
        }
    }
}

/// `POST /tags/restore`
pub(super) async fn restore(app: &Arc<App>, wish: RestoreTag) -> Result<Restored, Error> {
    let tag: Tag = parsed("tag", &wish.tag)?;
    let to: Option<Digest> = wish.to.map(|to| parsed("to", &to)).transpose()?;
    let operations = app.operations.clone();
    let work = async move { operations.restore_tag(&wish.repository, &tag, to).await };
    Ok(super::change(app, work).await?.into())
}
