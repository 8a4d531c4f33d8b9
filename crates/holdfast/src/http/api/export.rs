//! `/api/v1/export/…`: the way out.

use std::sync::Arc;

use holdfast_model::RepositoryName;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{lines, parsed};
use crate::app::App;
use crate::error_chain::chain;
use crate::http::body::Body;
use crate::http::error::{self, Error};
use crate::operations::{ArchiveFormat, ImageName, LinksWish};

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

/// Which images to put into an archive.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportImages {
    /// Their names: `repository:tag` or `repository@digest`.
    pub(crate) images: Vec<String>,
    /// How the archive is laid out.
    #[serde(default)]
    pub(crate) format: ArchiveFormat,
    /// What a docker-archive takes of an index.
    #[serde(default = "default_platform")]
    pub(crate) platform: String,
}

/// The platform that is meant when none is named.
pub(crate) fn default_platform() -> String {
    "linux/amd64".to_owned()
}

/// `POST /export/images`: a tar.
pub(super) async fn images(app: &Arc<App>, wish: ExportImages) -> Result<Response<Body>, Error> {
    /// Chunks that may wait for the client.
    const CHUNKS_WAITING: usize = 4;
    let names = wish.images.iter().map(|name| image_name(name));
    let names: Vec<_> = names.collect::<Result<_, Error>>()?;
    if names.is_empty() {
        return Err(error::request_invalid("images: name at least one"));
    }
    let operations = app.operations.clone();
    let archive = operations
        .archive(&names, wish.format, &wish.platform)
        .await?;
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
    tokio::spawn(async move {
        if let Err(error) = operations.write_archive(archive, &sender).await {
            tracing::error!(error = chain(&error), "an archive of images broke off");
        }
    });
    let mut response = Response::new(Body::lines(receiver));
    let tar = HeaderValue::from_static("application/x-tar");
    response.headers_mut().insert(CONTENT_TYPE, tar);
    Ok(response)
}

fn image_name(text: &str) -> Result<ImageName, Error> {
    let (repository, reference) = match text.split_once('@') {
        Some(parts) => parts,
        None => text.split_once(':').unwrap_or((text, "latest")),
    };
    Ok(ImageName {
        repository: parsed("image", repository)?,
        reference: parsed("image", reference)?,
    })
}
