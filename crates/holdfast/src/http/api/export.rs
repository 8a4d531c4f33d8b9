//! `/api/v1/export/…`: the way out.

use std::sync::Arc;

use holdfast_model::RepositoryName;
use http::Response;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::lines;
use crate::app::App;
use crate::error_chain::chain;
use crate::http::body::Body;
use crate::operations::LinksWish;

/// Repositories that may be done before the client hears of them.
const WAITING_MAX: usize = 64;

/// What links to write.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ExportLinks {
    /// These repositories only; all without any.
    pub(crate) repositories: Vec<RepositoryName>,
    /// Only count what would be done.
    pub(crate) dry_run: bool,
}

/// `POST /export/links`: a line for each repository, then one for all.
pub(super) fn links(app: &Arc<App>, wish: ExportLinks) -> Response<Body> {
    let operations = app.operations.clone();
    let wish = LinksWish {
        repositories: wish.repositories,
        dry_run: wish.dry_run,
    };
    lines::answer(|lines| async move {
        let (sender, mut events) = mpsc::channel(WAITING_MAX);
        let forward = async move {
            while let Some(event) = events.recv().await {
                if lines.send(&event).await.is_err() {
                    break;
                }
            }
        };
        let (exported, ()) = tokio::join!(operations.export_links(&wish, sender), forward);
        exported.map_err(|error| chain(&error))
    })
}
