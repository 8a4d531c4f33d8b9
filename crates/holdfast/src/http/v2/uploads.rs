//! Upload sessions: `POST`, `PATCH`, `PUT`, `GET` and `DELETE` below `/v2/<name>/blobs/uploads/`.
//!
//! The `Location` of a session carries a `_state` that only this registry can have made, for this session
//! of this repository; a request that changes the session must bring it, as with Distribution. It does
//! not depend on how far the session is, so every `Location` of it stays good, on every node with the same
//! `http.secret`.
//!
//! Source: distribution-spec "Pushing Blobs"; docker sends `PATCH` without `Content-Range`.

use holdfast_model::byte_range::ContentRange;
use holdfast_model::{Algorithm, Digest, Hasher, RepositoryName, UploadId};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, LOCATION, RANGE};
use http::{Response, StatusCode};
use hyper::body::Incoming;

use super::{Exchange, created, empty, set, stored_range};
use crate::access::Permission;
use crate::http::action::Session;
use crate::http::body::Body;
use crate::http::error::{self, Error};
use crate::http::{incoming, text};
use crate::operations::{Chunk, Operations};

const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// What a client sends that took a registry for a web form.
const FORMS: [&str; 2] = ["multipart/form-data", "application/x-www-form-urlencoded"];

pub(super) async fn start(
    exchange: &Exchange<'_>,
    repository: RepositoryName,
    algorithm: Algorithm,
) -> Result<Response<Body>, Error> {
    let target = repository.clone();
    let started =
        |operations: Operations| async move { operations.start_upload(&target, algorithm).await };
    let id = exchange.change(started).await?;
    Ok(place(exchange, StatusCode::ACCEPTED, &repository, id, 0))
}

pub(super) async fn push(
    exchange: &Exchange<'_>,
    repository: RepositoryName,
    digest: Digest,
    body: Incoming,
) -> Result<Response<Body>, Error> {
    // A POST that announces a digest and brings no body at all is the start of a session: the bytes follow.
    let nothing = || Hasher::digest(digest.algorithm(), b"");
    if hyper::body::Body::is_end_stream(&body) && digest != nothing() {
        return start(exchange, repository, digest.algorithm()).await;
    }
    check_content_type(exchange)?;
    let body = incoming::stream(body, exchange.app.http.idle_timeout);
    let target = repository.clone();
    let pushed =
        |operations: Operations| async move { operations.push_blob(&target, digest, body).await };
    exchange.change(pushed).await?;
    Ok(created(exchange, &repository, "blobs", &digest))
}

pub(super) async fn mount(
    exchange: &Exchange<'_>,
    repository: RepositoryName,
    digest: Digest,
    from: Option<RepositoryName>,
) -> Result<Response<Body>, Error> {
    let candidates = match from {
        Some(from) => vec![from],
        None => {
            exchange
                .app
                .operations
                .repositories_with_blob(&digest)
                .await?
        }
    };
    // A source that the caller may not read is as good as a source without the blob.
    let access = &exchange.app.access;
    for from in candidates {
        if access
            .authorize(&exchange.caller, Permission::Pull(&from))
            .is_err()
        {
            continue;
        }
        let target = repository.clone();
        let mounted = |operations: Operations| async move {
            operations.mount_blob(&from, &target, &digest).await
        };
        if exchange.change(mounted).await? {
            return Ok(created(exchange, &repository, "blobs", &digest));
        }
    }
    start(exchange, repository, digest.algorithm()).await
}

pub(super) async fn status(
    exchange: &Exchange<'_>,
    repository: RepositoryName,
    id: UploadId,
) -> Result<Response<Body>, Error> {
    let target = repository.clone();
    let asked = |operations: Operations| async move { operations.upload_offset(&target, id).await };
    let offset = exchange.change(asked).await?;
    Ok(place(
        exchange,
        StatusCode::NO_CONTENT,
        &repository,
        id,
        offset,
    ))
}

pub(super) async fn append(
    exchange: &Exchange<'_>,
    repository: RepositoryName,
    session: &Session,
    body: Incoming,
) -> Result<Response<Body>, Error> {
    let chunk = chunk(exchange, &repository, session, body)?;
    let (target, id) = (repository.clone(), session.id);
    let appended =
        |operations: Operations| async move { operations.append_chunk(&target, id, chunk).await };
    let offset = exchange.change(appended).await?;
    Ok(place(
        exchange,
        StatusCode::ACCEPTED,
        &repository,
        id,
        offset,
    ))
}

pub(super) async fn finish(
    exchange: &Exchange<'_>,
    repository: RepositoryName,
    session: &Session,
    digest: Digest,
    body: Incoming,
) -> Result<Response<Body>, Error> {
    let chunk = chunk(exchange, &repository, session, body)?;
    let (target, id) = (repository.clone(), session.id);
    let finished = |operations: Operations| async move {
        operations.finish_upload(&target, id, digest, chunk).await
    };
    exchange.change(finished).await?;
    Ok(created(exchange, &repository, "blobs", &digest))
}

pub(super) async fn cancel(
    exchange: &Exchange<'_>,
    repository: RepositoryName,
    session: &Session,
) -> Result<Response<Body>, Error> {
    check_state(exchange, &repository, session)?;
    let id = session.id;
    let cancelled =
        |operations: Operations| async move { operations.cancel_upload(&repository, id).await };
    exchange.change(cancelled).await?;
    let mut response = empty(StatusCode::NO_CONTENT);
    set(&mut response, UPLOAD_UUID, &id.to_string());
    Ok(response)
}

/// The answer that tells a client where to go on.
fn place(
    exchange: &Exchange<'_>,
    status: StatusCode,
    repository: &RepositoryName,
    id: UploadId,
    offset: u64,
) -> Response<Body> {
    let mut response = empty(status);
    let state = exchange.app.upload_states.sign(repository, id);
    let origin = exchange.origin();
    set(
        &mut response,
        LOCATION,
        &format!("{origin}/v2/{repository}/blobs/uploads/{id}?_state={state}"),
    );
    set(&mut response, RANGE, &stored_range(offset));
    set(&mut response, UPLOAD_UUID, &id.to_string());
    response
}

fn chunk(
    exchange: &Exchange<'_>,
    repository: &RepositoryName,
    session: &Session,
    body: Incoming,
) -> Result<Chunk, Error> {
    check_state(exchange, repository, session)?;
    check_content_type(exchange)?;
    let headers = &exchange.parts.headers;
    let range = text(headers, CONTENT_RANGE)
        .map(ContentRange::parse)
        .transpose()
        .map_err(error::content_range)?;
    let length = text(headers, CONTENT_LENGTH).and_then(|length| length.parse().ok());
    Ok(Chunk {
        range,
        length,
        body: incoming::stream(body, exchange.app.http.idle_timeout),
    })
}

fn check_state(
    exchange: &Exchange<'_>,
    repository: &RepositoryName,
    session: &Session,
) -> Result<(), Error> {
    if exchange
        .app
        .upload_states
        .verify(repository, session.id, &session.state)
    {
        Ok(())
    } else {
        Err(error::upload_state())
    }
}

/// A form must not become a blob.
fn check_content_type(exchange: &Exchange<'_>) -> Result<(), Error> {
    let sent = text(&exchange.parts.headers, CONTENT_TYPE).unwrap_or_default();
    if FORMS
        .iter()
        .any(|form| sent.to_ascii_lowercase().starts_with(form))
    {
        return Err(error::form_as_blob(sent));
    }
    Ok(())
}
