//! `/v2/<name>/blobs/<digest>` (distribution-spec end-2, end-10): pull with ranges and conditions, delete.

use std::ops::Range;

use bytes::Bytes;
use holdfast_model::byte_range::{Requested, requested};
use holdfast_model::{Digest, MediaType, RepositoryName};
use holdfast_storage::READ_CHUNK_BYTES;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue,
    IF_RANGE, LOCATION, RANGE,
};
use http::{HeaderMap, Method, Response, StatusCode, Version};

use super::{Exchange, about, empty, set};
use crate::http::body::{Body, Segment};
use crate::http::error::{self, Error};
use crate::http::{conditions, origin, text};
use crate::operations::Operations;
use crate::random;

/// What a blob is served as, whatever a manifest says of it.
const OCTET_STREAM: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Bytes read at a time for one stream of an HTTP/2 connection.
const HTTP2_CHUNK_BYTES: usize = 64 * 1024;

pub(super) async fn pull(
    exchange: &Exchange<'_>,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Response<Body>, Error> {
    let operations = &exchange.app.operations;
    let headers = &exchange.parts.headers;
    // From metadata alone: a HEAD touches no file, and neither does a refusal.
    let blob = if exchange.parts.method == Method::HEAD {
        operations.pushed_blob(repository, digest).await?
    } else {
        operations.blob(repository, digest).await?
    };
    let text = digest.text();
    let name: &str = &text;
    if conditions::failed(headers, name) {
        return Err(error::precondition_failed(digest));
    }
    let mut response = about(name);
    response
        .headers_mut()
        .insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, conditions::FOR_EVER);
    if conditions::not_modified(headers, name) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    // From metadata alone, like the answer to a HEAD. What the client asks for beside the blob, a range say, it asks
    // for there.
    let client = || origin::client(&exchange.app.http, exchange.peer, headers);
    if exchange.parts.method != Method::HEAD
        && let Some(url) = operations.blob_url(&blob, client().ip()).await?
    {
        *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
        // The URL is good for a while only.
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.remove(ETAG);
        headers.remove(ACCEPT_RANGES);
        set(&mut response, LOCATION, &url);
        return Ok(response);
    }
    response.headers_mut().insert(CONTENT_TYPE, OCTET_STREAM);
    let segments = match wanted(headers, name, blob.size) {
        Requested::Whole => vec![Segment::Range(0..blob.size)],
        Requested::Unsatisfiable => return Err(error::blob_range(blob.size)),
        Requested::Parts(ranges) => partial(&mut response, ranges, blob.size),
    };
    if exchange.parts.method == Method::HEAD {
        let length: u64 = segments.iter().map(Segment::length).sum();
        response
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(length));
    } else {
        let reader = operations.open_blob(digest, &blob).await?;
        // The many streams of one HTTP/2 connection share its memory.
        let chunk = if exchange.parts.version == Version::HTTP_2 {
            HTTP2_CHUNK_BYTES
        } else {
            READ_CHUNK_BYTES
        };
        *response.body_mut() = Body::blob(reader, segments, chunk);
    }
    Ok(response)
}

fn wanted(headers: &HeaderMap, name: &str, size: u64) -> Requested {
    let condition = headers.get(IF_RANGE);
    let same = condition.is_none_or(|condition| {
        condition
            .to_str()
            .is_ok_and(|text| text.trim_matches('"') == name)
    });
    match text(headers, RANGE) {
        Some(range) if same => requested(range, size),
        _ => Requested::Whole,
    }
}

/// `206` with one range, or several as `multipart/byteranges` (RFC 9110 section 14.6).
fn partial(response: &mut Response<Body>, ranges: Vec<Range<u64>>, size: u64) -> Vec<Segment> {
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let content_range =
        |range: &Range<u64>| format!("bytes {}-{}/{size}", range.start, range.end - 1);
    if let [range] = ranges.as_slice() {
        set(response, CONTENT_RANGE, &content_range(range));
        return vec![Segment::Range(range.clone())];
    }
    let boundary = random::hex::<15>();
    let part_type = MediaType::OCTET_STREAM;
    let mut segments = Vec::with_capacity(ranges.len() * 2 + 1);
    for range in ranges {
        let place = content_range(&range);
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: {part_type}\r\nContent-Range: {place}\r\n\r\n"
        );
        segments.push(Segment::Bytes(Bytes::from(head)));
        segments.push(Segment::Range(range));
    }
    segments.push(Segment::Bytes(Bytes::from(format!(
        "\r\n--{boundary}--\r\n"
    ))));
    set(
        response,
        CONTENT_TYPE,
        &format!("multipart/byteranges; boundary={boundary}"),
    );
    segments
}

pub(super) async fn delete(
    exchange: &Exchange<'_>,
    repository: RepositoryName,
    digest: Digest,
) -> Result<Response<Body>, Error> {
    let deleted =
        |operations: Operations| async move { operations.delete_blob(&repository, &digest).await };
    exchange.change(deleted).await?;
    Ok(empty(StatusCode::ACCEPTED))
}
