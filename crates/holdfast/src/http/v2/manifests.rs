//! `/v2/<name>/manifests/<reference>` (distribution-spec end-3, end-7, end-9).

use holdfast_model::accept::Accept;
use holdfast_model::{MediaType, Reference, RepositoryName, Tag};
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH,
};
use http::request::Parts;
use http::{Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json as value;

use super::{CONTENT_DIGEST, Exchange, created, empty, set, to_the_end};
use crate::http::body::Body;
use crate::http::error::{Code, Error};
use crate::http::{incoming, text};

const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");

/// How long an answer by digest may be kept: it cannot change.
pub(super) const FOR_EVER: &str = "max-age=31536000, immutable";

pub(super) async fn pull(
    exchange: &Exchange,
    repository: &RepositoryName,
    reference: &Reference,
    parts: &Parts,
) -> Result<Response<Body>, Error> {
    let accept = Accept::parse(
        parts
            .headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok()),
    );
    let served = exchange
        .app
        .operations
        .manifest(repository, reference, &accept)
        .await?;
    let digest = served.stored.digest.to_string();
    let mut response = Response::new(Body::Empty);
    set(&mut response, ETAG, &format!("\"{digest}\""));
    set(&mut response, CONTENT_DIGEST, &digest);
    if served.by_digest {
        response
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static(FOR_EVER));
    }
    if parts
        .headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .any(|value| names(value, &digest))
    {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    set(
        &mut response,
        CONTENT_TYPE,
        served.stored.media_type.as_str(),
    );
    *response.body_mut() = Body::full(served.stored.payload.clone());
    Ok(response)
}

/// Whether an `If-None-Match` or `If-Match` value names this digest: quoted, weak, bare, in a list, or `*`.
pub(super) fn names(header: &HeaderValue, digest: &str) -> bool {
    let list = header
        .to_str()
        .unwrap_or_default()
        .split(',')
        .map(str::trim);
    list.map(|tag| tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"'))
        .any(|tag| tag == "*" || tag == digest)
}

pub(super) async fn push(
    exchange: Exchange,
    repository: RepositoryName,
    reference: Reference,
    tags: Vec<Tag>,
    parts: &Parts,
    body: Incoming,
) -> Result<Response<Body>, Error> {
    let content_type = text(&parts.headers, CONTENT_TYPE).unwrap_or_default();
    let media_type = MediaType::from_content_type(content_type).map_err(|_| {
        let detail = value!(format!(
            "unsupported manifest media type and no default available: {content_type:?}"
        ));
        Error::new(StatusCode::BAD_REQUEST, Code::ManifestInvalid, detail)
    })?;
    let operations = exchange.app.operations.clone();
    let payload = incoming::collect(
        body,
        operations.rules().manifest_bytes,
        exchange.app.http.idle_timeout,
    )
    .await?;
    let (target, extra) = (repository.clone(), tags.clone());
    let pushed = to_the_end(&exchange.app, async move {
        operations
            .push_manifest(&target, &reference, extra, &media_type, payload)
            .await
    })
    .await?;
    let mut response = created(&exchange, &repository, "manifests", &pushed.digest);
    if let Some(subject) = pushed.subject {
        set(&mut response, OCI_SUBJECT, &subject.to_string());
    }
    for tag in &tags {
        let tag = HeaderValue::from_str(tag.as_str()).expect("a tag is printable ASCII");
        response.headers_mut().append(OCI_TAG, tag);
    }
    Ok(response)
}

pub(super) async fn delete(
    exchange: Exchange,
    repository: RepositoryName,
    reference: Reference,
) -> Result<Response<Body>, Error> {
    let operations = exchange.app.operations.clone();
    to_the_end(&exchange.app, async move {
        operations.delete_manifest(&repository, &reference).await
    })
    .await?;
    Ok(empty(StatusCode::ACCEPTED))
}
