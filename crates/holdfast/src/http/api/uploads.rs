//! `/api/v1/uploads`: upload sessions that are open.

use std::sync::Arc;

use holdfast_model::{RepositoryName, UploadId};
use http::Response;
use serde::{Deserialize, Serialize};

use super::lines::{self, Gone};
use super::{parsed, time};
use crate::app::App;
use crate::error_chain::chain;
use crate::http::body::Body;
use crate::http::error::Error;

/// An open session.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OpenUpload {
    /// Its id.
    pub(crate) id: String,
    /// The repository it is for.
    pub(crate) repository: String,
    /// Bytes received, as last recorded.
    pub(crate) offset: u64,
    /// When it was opened (RFC 3339).
    pub(crate) created_at: String,
    /// When it ends unless it goes on (RFC 3339).
    pub(crate) expires_at: String,
}

impl From<holdfast_metadata::OpenUpload> for OpenUpload {
    fn from(upload: holdfast_metadata::OpenUpload) -> Self {
        OpenUpload {
            id: upload.id.to_string(),
            repository: upload.repository.to_string(),
            offset: upload.offset,
            created_at: time(upload.created_at),
            expires_at: time(upload.expires_at),
        }
    }
}

/// `GET /uploads`: a line for each session.
pub(super) fn list(app: &Arc<App>) -> Response<Body> {
    let operations = app.operations.clone();
    lines::answer(|lines| async move {
        let mut after = None;
        loop {
            let page = operations
                .open_uploads(after)
                .await
                .map_err(|error| chain(&error))?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.id);
            for upload in page {
                if let Err(Gone) = lines.send(&OpenUpload::from(upload)).await {
                    return Ok(());
                }
            }
        }
    })
}

/// Which session is to be dropped.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CancelUpload {
    /// The repository it is for.
    pub(crate) repository: RepositoryName,
    /// Its id.
    pub(crate) id: String,
}

/// `POST /uploads/cancel`: drops a session and its bytes.
pub(super) async fn cancel(app: &Arc<App>, wish: CancelUpload) -> Result<OpenUpload, Error> {
    let repository = wish.repository;
    let id: UploadId = parsed("id", &wish.id)?;
    let work = app.operations.clone();
    let upload = app.operations.upload(&repository, id).await?;
    let cancelled = OpenUpload {
        id: id.to_string(),
        repository: repository.to_string(),
        offset: upload.offset,
        created_at: time(upload.created_at),
        expires_at: time(upload.expires_at),
    };
    super::change(
        app,
        async move { work.cancel_upload(&repository, id).await },
    )
    .await?;
    tracing::info!(
        upload = cancelled.id,
        repository = cancelled.repository,
        "cancelled an upload session"
    );
    Ok(cancelled)
}
