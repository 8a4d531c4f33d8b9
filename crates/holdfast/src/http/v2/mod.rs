//! The registry API: one file per resource of the specification.
//!
//! A handler translates in, asks the operations, and translates out. Writes run as tasks of their own, so
//! that a client who hangs up cannot stop one half-way.

mod blobs;
mod catalog;
mod manifests;
mod referrers;
mod tags;
mod uploads;

use std::sync::Arc;

use bytes::Bytes;
use holdfast_model::{Digest, RepositoryName};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LINK, LOCATION};
use http::request::Parts;
use http::{Response, StatusCode};
use hyper::body::Incoming;

use super::action::{Action, Page};
use super::body::Body;
use super::error::{Code, Error};
use crate::access::Caller;
use crate::app::App;
use crate::operations;

pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// One request under way.
pub struct Exchange {
    /// Everything a request may need.
    pub app: Arc<App>,
    /// Who asks.
    pub caller: Caller,
    /// What every URL in the answer begins with.
    pub origin: String,
}

/// Does what the action says.
pub(super) async fn serve(
    exchange: Exchange,
    action: Action,
    parts: &Parts,
    incoming: Incoming,
) -> Result<Response<Body>, Error> {
    match action {
        Action::Base => Ok(json(StatusCode::OK, "application/json", "{}".to_owned())),
        Action::Catalog(page) => catalog::list(&exchange, page).await,
        Action::ListTags(repository, page) => tags::list(&exchange, &repository, page).await,
        Action::ListReferrers {
            repository,
            subject,
            artifact_type,
            after,
        } => {
            referrers::list(
                &exchange,
                &repository,
                &subject,
                artifact_type.as_deref(),
                after.as_ref(),
            )
            .await
        }
        Action::PullManifest(repository, reference) => {
            manifests::pull(&exchange, &repository, &reference, parts).await
        }
        Action::PushManifest {
            repository,
            reference,
            tags,
        } => manifests::push(exchange, repository, reference, tags, parts, incoming).await,
        Action::DeleteManifest(repository, reference) => {
            manifests::delete(exchange, repository, reference).await
        }
        Action::PullBlob(repository, digest) => {
            blobs::pull(&exchange, &repository, &digest, parts).await
        }
        Action::DeleteBlob(repository, digest) => blobs::delete(exchange, repository, digest).await,
        Action::StartUpload(repository, algorithm) => {
            uploads::start(&exchange, &repository, algorithm).await
        }
        Action::PushBlob(repository, digest) => {
            uploads::push(exchange, repository, digest, parts, incoming).await
        }
        Action::MountBlob {
            repository,
            digest,
            from,
        } => uploads::mount(&exchange, &repository, digest, from).await,
        Action::UploadStatus(repository, id) => uploads::status(&exchange, &repository, id).await,
        Action::AppendChunk(repository, id) => {
            uploads::append(exchange, repository, id, parts, incoming).await
        }
        Action::FinishUpload(repository, id, digest) => {
            uploads::finish(exchange, repository, id, digest, parts, incoming).await
        }
        Action::CancelUpload(repository, id) => {
            uploads::cancel(exchange, repository, id, parts).await
        }
    }
}

/// Runs a write to its end, whether or not the client still waits for it.
async fn to_the_end<T: Send + 'static>(
    app: &App,
    work: impl Future<Output = operations::Result<T>> + Send + 'static,
) -> Result<T, Error> {
    match app.writes.spawn(work).await {
        Ok(done) => Ok(done?),
        Err(panicked) => {
            tracing::error!(error = %panicked, "a write ended in a panic");
            Err(Error::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                Code::Unknown,
                None,
            ))
        }
    }
}

/// `Range` of an upload session: both ends inclusive, and `0-0` for an empty one too, as clients expect.
pub(super) fn stored_range(offset: u64) -> String {
    format!("0-{}", offset.saturating_sub(1))
}

fn json(status: StatusCode, content_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::full(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An answer without body.
fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}

fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    let value =
        HeaderValue::from_str(value).expect("digests, ranges and our own URLs are printable ASCII");
    response.headers_mut().insert(name, value);
}

/// `201` for content that now has this digest.
fn created(
    exchange: &Exchange,
    repository: &RepositoryName,
    kind: &str,
    digest: &Digest,
) -> Response<Body> {
    let mut response = empty(StatusCode::CREATED);
    let digest = digest.to_string();
    set(
        &mut response,
        LOCATION,
        &format!("{}/v2/{repository}/{kind}/{digest}", exchange.origin),
    );
    set(&mut response, CONTENT_DIGEST, &digest);
    response
}

/// How many entries a page has, and whether the client asked for none.
struct PageSize {
    limit: usize,
    none: bool,
}

/// `n` clamped to the most a page may have; the default when absent.
fn page_size(page: &Page, default: u64, most: u64) -> PageSize {
    let limit = page.limit.unwrap_or(default).min(most);
    PageSize {
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
        none: limit == 0,
    }
}

/// `Link` to the next page: relative, with the prefix.
fn link_next(
    exchange: &Exchange,
    response: &mut Response<Body>,
    path: &str,
    query: &[(&str, &str)],
) {
    let mut encoded = form_urlencoded::Serializer::new(String::new());
    encoded.extend_pairs(query);
    let link = format!(
        "<{}{path}?{}>; rel=\"next\"",
        exchange.app.http.prefix,
        encoded.finish()
    );
    set(response, LINK, &link);
}
