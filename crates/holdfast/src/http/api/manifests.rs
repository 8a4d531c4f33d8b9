//! `/api/v1/manifests`: deleted manifests, and the way back.

use std::sync::Arc;

use holdfast_model::{Digest, RepositoryName};
use serde::{Deserialize, Serialize};

use super::tags::Restored;
use super::{Request, page_size, parsed, time};
use crate::app::App;
use crate::http::error::Error;

/// Which page of which repository's deleted manifests.
#[derive(Debug)]
pub(super) struct TrashPage {
    repository: RepositoryName,
    after: Option<Digest>,
    limit: usize,
}

impl TrashPage {
    pub(super) fn parse(request: &Request<'_>) -> Result<TrashPage, Error> {
        Ok(TrashPage {
            repository: request.wanted("repository")?,
            after: request.maybe("after")?,
            limit: page_size(request)?,
        })
    }
}

/// A page of deleted manifests, in the order of their digests.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Trash {
    /// The manifests.
    pub(crate) manifests: Vec<Deleted>,
    /// The `after` of the next page, when there may be one.
    pub(crate) next: Option<Digest>,
}

/// A deleted manifest.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Deleted {
    /// Its digest.
    pub(crate) digest: Digest,
    /// What it is.
    pub(crate) media_type: String,
    /// Its own bytes.
    pub(crate) size: u64,
    /// When it was deleted (RFC 3339).
    pub(crate) deleted_at: String,
    /// Until when it is kept (RFC 3339).
    pub(crate) kept_until: String,
}

/// `GET /manifests/trash`
pub(super) async fn trash(app: &Arc<App>, page: TrashPage) -> Result<Trash, Error> {
    let TrashPage {
        repository,
        after,
        limit,
    } = page;
    let found = app.operations.trash(&repository, after.as_ref(), limit);
    let found = found.await?;
    let last = found.last().map(|manifest| manifest.digest);
    Ok(Trash {
        next: last.filter(|_| found.len() == limit),
        manifests: found
            .into_iter()
            .map(|manifest| Deleted {
                digest: manifest.digest,
                media_type: manifest.media_type.to_string(),
                size: manifest.size,
                deleted_at: time(manifest.deleted_at),
                kept_until: time(manifest.purge_at),
            })
            .collect(),
    })
}

/// Which manifest is to come back.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RestoreManifest {
    /// Its repository.
    pub(crate) repository: RepositoryName,
    /// Its digest.
    pub(crate) digest: String,
}

/// `POST /manifests/restore`
pub(super) async fn restore(app: &Arc<App>, wish: RestoreManifest) -> Result<Restored, Error> {
    let digest: Digest = parsed("digest", &wish.digest)?;
    let operations = app.operations.clone();
    let work = async move { operations.restore_manifest(&wish.repository, digest).await };
    Ok(super::change(app, work).await?.into())
}
