//! `/v2/<name>/manifests/<reference>` (distribution-spec end-3, end-7, end-9).

use holdfast_model::accept::Accept;
use holdfast_model::{MediaType, Reference, RepositoryName, Tag};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use hyper::body::Incoming;

use super::{Exchange, about, created, empty, set};
use crate::http::body::Body;
use crate::http::error::{self, Error};
use crate::http::{conditions, incoming, text};
use crate::operations;

const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");

pub(super) async fn pull(
    exchange: &Exchange<'_>,
    repository: &RepositoryName,
    reference: &Reference,
) -> Result<Response<Body>, Error> {
    let headers = &exchange.parts.headers;
    let operations = &exchange.app.operations;
    let mut manifest = operations.manifest(repository, reference).await?;
    let mut digest = manifest.digest.text();
    // The condition comes before Accept, as in Distribution: who has it can evidently read it.
    let known = conditions::not_modified(headers, &digest);
    if !known {
        let accept = headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok());
        if let Some(child) =
            operations::instead(repository, reference, &manifest, &Accept::parse(accept))?
        {
            manifest = operations.manifest(repository, &child).await?;
            digest = manifest.digest.text();
        }
    }
    let mut response = about(&digest);
    if matches!(reference, Reference::Digest(_)) {
        response
            .headers_mut()
            .insert(CACHE_CONTROL, conditions::FOR_EVER);
    }
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    if exchange.parts.method == Method::GET {
        operations.note_pull(repository, &manifest.digest);
    }
    set(&mut response, CONTENT_TYPE, manifest.media_type.as_str());
    *response.body_mut() = Body::full(manifest.payload.clone());
    Ok(response)
}

pub(super) async fn push(
    exchange: &Exchange<'_>,
    repository: RepositoryName,
    reference: Reference,
    tags: Vec<Tag>,
    body: Incoming,
) -> Result<Response<Body>, Error> {
    let sent = text(&exchange.parts.headers, CONTENT_TYPE).unwrap_or_default();
    let media_type = MediaType::from_content_type(sent).map_err(|_| error::manifest_type(sent))?;
    let most = exchange.app.operations.rules().manifest_bytes;
    let payload = incoming::collect(body, most, exchange.app.http.idle_timeout).await?;
    let (target, extra) = (repository.clone(), tags.clone());
    let pushed = exchange
        .change(|operations| async move {
            operations
                .push_manifest(&target, &reference, extra, &media_type, payload)
                .await
        })
        .await?;
    let mut response = created(exchange, &repository, "manifests", &pushed.digest);
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
    exchange: &Exchange<'_>,
    repository: RepositoryName,
    reference: Reference,
) -> Result<Response<Body>, Error> {
    let deleted = |operations: crate::operations::Operations| async move {
        operations.delete_manifest(&repository, &reference).await
    };
    exchange.change(deleted).await?;
    Ok(empty(StatusCode::ACCEPTED))
}
