//! Upload sessions: `POST`, `PATCH`, `PUT`, `GET` and `DELETE` below `/v2/<name>/blobs/uploads/`.
//!
//! The `Location` of a session carries a `_state` that only this registry can have made, for this session
//! of this repository; a request that changes the session must bring it, as with Distribution. It does
//! not depend on how far the session is, so every `Location` of it stays good, on every node with the same
//! `http.secret`.
//!
//! Source: distribution-spec "Pushing Blobs"; docker sends `PATCH` without `Content-Range`.

use holdfast_model::byte_range::ContentRange;
use holdfast_model::{Algorithm, Digest, RepositoryName, UploadId};
use http::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RANGE,
};
use http::request::Parts;
use http::{Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json as value;

use super::{Exchange, created, empty, set, stored_range, to_the_end};
use crate::http::action::Permission;
use crate::http::body::Body;
use crate::http::error::{Code, Error};
use crate::http::{incoming, text};
use crate::operations::Chunk;

const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

pub(super) async fn start(
    exchange: &Exchange,
    repository: &RepositoryName,
    algorithm: Algorithm,
) -> Result<Response<Body>, Error> {
    let id = exchange
        .app
        .operations
        .start_upload(repository, algorithm)
        .await?;
    Ok(session(exchange, StatusCode::ACCEPTED, repository, id, 0))
}

pub(super) async fn push(
    exchange: Exchange,
    repository: RepositoryName,
    digest: Digest,
    parts: &Parts,
    body: Incoming,
) -> Result<Response<Body>, Error> {
    // A POST that announces a digest and brings no body at all is the start of a session: the bytes follow.
    if hyper::body::Body::is_end_stream(&body) && !is_empty_content(&digest) {
        return start(&exchange, &repository, digest.algorithm()).await;
    }
    check_content_type(parts)?;
    let operations = exchange.app.operations.clone();
    let body = incoming::stream(body, exchange.app.http.idle_timeout);
    let target = repository.clone();
    to_the_end(&exchange.app, async move {
        operations.push_blob(&target, digest, body).await
    })
    .await?;
    Ok(created(&exchange, &repository, "blobs", &digest))
}

/// Whether the digest is that of no bytes, so that an empty body is the whole blob.
fn is_empty_content(digest: &Digest) -> bool {
    holdfast_model::Hasher::digest(digest.algorithm(), b"") == *digest
}

pub(super) async fn mount(
    exchange: &Exchange,
    repository: &RepositoryName,
    digest: Digest,
    from: Option<RepositoryName>,
) -> Result<Response<Body>, Error> {
    let operations = &exchange.app.operations;
    let readable = |name: &RepositoryName| {
        exchange
            .app
            .access
            .authorize(&exchange.caller, Permission::Pull(name))
            .is_ok()
    };
    let mounted = match from {
        // A source that the caller may not read is as good as a source without the blob.
        Some(from) => readable(&from) && operations.mount_blob(&from, repository, &digest).await?,
        None => {
            operations
                .mount_from_anywhere(repository, &digest, readable)
                .await?
        }
    };
    if mounted {
        return Ok(created(exchange, repository, "blobs", &digest));
    }
    start(exchange, repository, digest.algorithm()).await
}

pub(super) async fn status(
    exchange: &Exchange,
    repository: &RepositoryName,
    id: UploadId,
) -> Result<Response<Body>, Error> {
    let offset = exchange
        .app
        .operations
        .upload_offset(repository, id)
        .await?;
    Ok(session(
        exchange,
        StatusCode::NO_CONTENT,
        repository,
        id,
        offset,
    ))
}

pub(super) async fn append(
    exchange: Exchange,
    repository: RepositoryName,
    id: UploadId,
    parts: &Parts,
    body: Incoming,
) -> Result<Response<Body>, Error> {
    let chunk = chunk(&exchange, &repository, id, parts, body)?;
    let operations = exchange.app.operations.clone();
    let target = repository.clone();
    let offset = to_the_end(&exchange.app, async move {
        operations.append_chunk(&target, id, chunk).await
    })
    .await?;
    Ok(session(
        &exchange,
        StatusCode::ACCEPTED,
        &repository,
        id,
        offset,
    ))
}

pub(super) async fn finish(
    exchange: Exchange,
    repository: RepositoryName,
    id: UploadId,
    digest: Digest,
    parts: &Parts,
    body: Incoming,
) -> Result<Response<Body>, Error> {
    let chunk = chunk(&exchange, &repository, id, parts, body)?;
    let operations = exchange.app.operations.clone();
    let target = repository.clone();
    to_the_end(&exchange.app, async move {
        operations.finish_upload(&target, id, digest, chunk).await
    })
    .await?;
    Ok(created(&exchange, &repository, "blobs", &digest))
}

pub(super) async fn cancel(
    exchange: Exchange,
    repository: RepositoryName,
    id: UploadId,
    parts: &Parts,
) -> Result<Response<Body>, Error> {
    check_state(&exchange, &repository, id, parts)?;
    let operations = exchange.app.operations.clone();
    to_the_end(&exchange.app, async move {
        operations.cancel_upload(&repository, id).await
    })
    .await?;
    let mut response = empty(StatusCode::NO_CONTENT);
    set(&mut response, UPLOAD_UUID, &id.to_string());
    Ok(response)
}

/// The answer that tells a client where to go on.
fn session(
    exchange: &Exchange,
    status: StatusCode,
    repository: &RepositoryName,
    id: UploadId,
    offset: u64,
) -> Response<Body> {
    let mut response = empty(status);
    let state = exchange.app.upload_states.sign(repository, id);
    let location = format!(
        "{}/v2/{repository}/blobs/uploads/{id}?_state={state}",
        exchange.origin
    );
    set(&mut response, LOCATION, &location);
    set(&mut response, RANGE, &stored_range(offset));
    set(&mut response, UPLOAD_UUID, &id.to_string());
    response
}

fn chunk(
    exchange: &Exchange,
    repository: &RepositoryName,
    id: UploadId,
    parts: &Parts,
    body: Incoming,
) -> Result<Chunk, Error> {
    check_state(exchange, repository, id, parts)?;
    check_content_type(parts)?;
    let range = match text(&parts.headers, CONTENT_RANGE) {
        None => None,
        Some(header) => Some(ContentRange::parse(header).map_err(|error| {
            Error::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                Code::RangeInvalid,
                value!(error.to_string()),
            )
        })?),
    };
    let length = parts.headers.get(CONTENT_LENGTH).map(HeaderValue::to_str);
    let length = length
        .and_then(Result::ok)
        .and_then(|text| text.parse().ok());
    Ok(Chunk {
        range,
        length,
        body: incoming::stream(body, exchange.app.http.idle_timeout),
    })
}

fn check_state(
    exchange: &Exchange,
    repository: &RepositoryName,
    id: UploadId,
    parts: &Parts,
) -> Result<(), Error> {
    let query = parts.uri.query().unwrap_or_default();
    let state = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "_state");
    if state.is_some_and(|(_, state)| exchange.app.upload_states.verify(repository, id, &state)) {
        return Ok(());
    }
    let detail = value!(
        "_state is missing or was not made for this upload; use the Location as it was given"
    );
    Err(Error::new(
        StatusCode::NOT_FOUND,
        Code::BlobUploadInvalid,
        detail,
    ))
}

/// Uploads are bytes; a form or a multipart body is a client's mistake that must not become a blob.
fn check_content_type(parts: &Parts) -> Result<(), Error> {
    let content_type = text(&parts.headers, CONTENT_TYPE).unwrap_or_default();
    let form = ["multipart/form-data", "application/x-www-form-urlencoded"];
    if form
        .iter()
        .any(|kind| content_type.to_ascii_lowercase().starts_with(kind))
    {
        let detail = value!(format!(
            "Content-Type {content_type:?} cannot be a blob; send application/octet-stream"
        ));
        return Err(Error::new(
            StatusCode::BAD_REQUEST,
            Code::BlobUploadInvalid,
            detail,
        ));
    }
    Ok(())
}
