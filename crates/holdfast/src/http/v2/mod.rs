//! The registry API: one file per resource of the specification.
//!
//! A handler translates in, asks the operations, and translates out. Whatever changes something runs as a
//! task of its own, so that a client who hangs up cannot stop it half-way.

mod blobs;
mod catalog;
mod manifests;
mod referrers;
mod tags;
mod uploads;

use std::sync::Arc;

use bytes::Bytes;
use holdfast_model::digest::MAX_TEXT_BYTES;
use holdfast_model::{Digest, RepositoryName};
use http::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LINK, LOCATION};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};
use hyper::body::Incoming;

use super::action::Action;
use super::body::Body;
use super::error::Error;
use super::{Peer, origin};
use crate::access::Caller;
use crate::app::App;
use crate::operations::{self, Operations};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// One request under way.
pub(super) struct Exchange<'a> {
    /// Everything a request may need.
    pub(super) app: &'a Arc<App>,
    /// Who asks.
    pub(super) caller: Caller,
    /// The other end.
    pub(super) peer: Peer,
    /// The head of the request.
    pub(super) parts: &'a Parts,
}

impl Exchange<'_> {
    /// What every URL in the answer begins with.
    fn origin(&self) -> String {
        origin::base(&self.app.http, self.peer, &self.parts.headers)
    }

    /// Does a change to its end, whether or not the client still waits for it.
    async fn change<T, F>(&self, work: impl FnOnce(Operations) -> F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = operations::Result<T>> + Send + 'static,
    {
        super::change(self.app, work(self.app.operations.clone())).await
    }
}

/// Does what the action says.
///
/// All but pulls stand on the heap: else every pull would carry, and move about, a state as large as that of
/// the largest push.
pub(super) async fn serve(
    exchange: &Exchange<'_>,
    action: Action,
    body: Incoming,
) -> Result<Response<Body>, Error> {
    match action {
        Action::PullManifest(repository, reference) => {
            manifests::pull(exchange, &repository, &reference).await
        }
        Action::PullBlob(repository, digest) => blobs::pull(exchange, &repository, &digest).await,
        Action::Base => Ok(json("application/json", "{}".to_owned())),
        Action::Catalog(page) => Box::pin(catalog::list(exchange, page)).await,
        Action::ListTags(repository, page) => {
            Box::pin(tags::list(exchange, &repository, page)).await
        }
        Action::ListReferrers {
            repository,
            subject,
            artifact_type,
            after,
        } => {
            let artifact_type = artifact_type.as_deref();
            let listed = referrers::list(
                exchange,
                &repository,
                &subject,
                artifact_type,
                after.as_ref(),
            );
            Box::pin(listed).await
        }
        Action::PushManifest {
            repository,
            reference,
            tags,
        } => Box::pin(manifests::push(exchange, repository, reference, tags, body)).await,
        Action::DeleteManifest(repository, reference) => {
            Box::pin(manifests::delete(exchange, repository, reference)).await
        }
        Action::DeleteBlob(repository, digest) => {
            Box::pin(blobs::delete(exchange, repository, digest)).await
        }
        Action::StartUpload(repository, algorithm) => {
            Box::pin(uploads::start(exchange, repository, algorithm)).await
        }
        Action::PushBlob(repository, digest) => {
            Box::pin(uploads::push(exchange, repository, digest, body)).await
        }
        Action::MountBlob {
            repository,
            digest,
            from,
        } => Box::pin(uploads::mount(exchange, repository, digest, from)).await,
        Action::UploadStatus(repository, id) => {
            Box::pin(uploads::status(exchange, repository, id)).await
        }
        Action::AppendChunk(repository, session) => {
            Box::pin(uploads::append(exchange, repository, &session, body)).await
        }
        Action::FinishUpload(repository, session, digest) => {
            Box::pin(uploads::finish(
                exchange, repository, &session, digest, body,
            ))
            .await
        }
        Action::CancelUpload(repository, session) => {
            Box::pin(uploads::cancel(exchange, repository, &session)).await
        }
    }
}

/// `Range` of an upload session: both ends inclusive, and `0-0` for an empty one too, as clients expect.
pub(super) fn stored_range(offset: u64) -> String {
    format!("0-{}", offset.saturating_sub(1))
}

fn json(content_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::full(Bytes::from(body)));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An answer without body.
fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// An answer about content: as many headers as [`pull`](manifests::pull) sets fit without growing.
fn about(digest: &str) -> Response<Body> {
    /// What the answer to a pull has, and a few that the configuration adds.
    const HEADERS: usize = 12;
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    *headers = HeaderMap::with_capacity(HEADERS);
    let mut tag = [b'"'; MAX_TEXT_BYTES + 2];
    let quoted = &mut tag[..digest.len() + 2];
    quoted[1..=digest.len()].copy_from_slice(digest.as_bytes());
    quoted[digest.len() + 1] = b'"';
    let value = |bytes| HeaderValue::from_bytes(bytes).expect("a digest is printable ASCII");
    headers.insert(CONTENT_DIGEST, value(digest.as_bytes()));
    headers.insert(ETAG, value(quoted));
    response
}

fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    let value =
        HeaderValue::from_str(value).expect("digests, ranges and our own URLs are printable ASCII");
    response.headers_mut().insert(name, value);
}

/// `201` for content that now has this digest.
fn created(
    exchange: &Exchange<'_>,
    repository: &RepositoryName,
    kind: &str,
    digest: &Digest,
) -> Response<Body> {
    let mut response = empty(StatusCode::CREATED);
    let digest = digest.to_string();
    set(
        &mut response,
        LOCATION,
        &format!("{}/v2/{repository}/{kind}/{digest}", exchange.origin()),
    );
    set(&mut response, CONTENT_DIGEST, &digest);
    response
}

/// A number of entries that a client asked for, at most `most`.
fn clamped(most: usize) -> impl FnOnce(u64) -> usize {
    move |asked| usize::try_from(asked).unwrap_or(usize::MAX).min(most)
}

/// Cuts a list to its page; the last entry when more follow.
///
/// The list was asked for with one entry more than the page has.
fn cut(entries: &mut Vec<String>, limit: usize) -> Option<String> {
    let more = entries.len() > limit;
    entries.truncate(limit);
    entries.last().filter(|_| more).cloned()
}

/// `Link` to the next page: relative, with the prefix.
fn link_next(
    exchange: &Exchange<'_>,
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
