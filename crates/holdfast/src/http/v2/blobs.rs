//! `/v2/<name>/blobs/<digest>` (distribution-spec end-2, end-10): pull with ranges and conditions, delete.

use std::ops::Range;

use bytes::Bytes;
use holdfast_model::byte_range::{Requested, requested};
use holdfast_model::{Digest, RepositoryName};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue,
    IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};

use super::manifests::{FOR_EVER, names};
use super::{CONTENT_DIGEST, Exchange, empty, set, to_the_end};
use crate::http::body::{Body, Segment};
use crate::http::error::{self, Code, Error};
use crate::http::text;
use crate::random;

pub(super) async fn pull(
    exchange: &Exchange,
    repository: &RepositoryName,
    digest: &Digest,
    parts: &Parts,
) -> Result<Response<Body>, Error> {
    let operations = &exchange.app.operations;
    let head = parts.method == Method::HEAD;
    // A HEAD is answered from metadata alone: no file is touched.
    let (size, reader) = if head {
        (operations.blob_size(repository, digest).await?, None)
    } else {
        let blob = operations.open_blob(repository, digest).await?;
        (blob.size, Some(blob.reader))
    };
    let name = digest.to_string();
    let mut response = Response::new(Body::Empty);
    set(&mut response, CONTENT_DIGEST, &name);
    set(&mut response, ETAG, &format!("\"{name}\""));
    let headers = response.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(FOR_EVER));
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    if parts.headers.contains_key(IF_MATCH)
        && !parts
            .headers
            .get_all(IF_MATCH)
            .iter()
            .any(|v| names(v, &name))
    {
        return Err(Error::new(
            StatusCode::PRECONDITION_FAILED,
            Code::BlobUnknown,
            serde_json::json!(digest),
        ));
    }
    if parts
        .headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .any(|value| names(value, &name))
    {
        headers.remove(CONTENT_TYPE);
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    let segments = match wanted(&parts.headers, &name, size) {
        Requested::Whole => vec![Segment::Range(0..size)],
        Requested::Unsatisfiable => return Err(error::blob_range(size)),
        Requested::Parts(ranges) => partial(&mut response, ranges, size),
    };
    match reader {
        Some(reader) => *response.body_mut() = Body::blob(reader, segments),
        None => {
            let length: u64 = segments.iter().map(Segment::length).sum();
            response
                .headers_mut()
                .insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
    }
    Ok(response)
}

fn wanted(headers: &HeaderMap, name: &str, size: u64) -> Requested {
    let same = headers.get(IF_RANGE).is_none_or(|condition| {
        condition
            .to_str()
            .is_ok_and(|c| c.trim_matches('"') == name)
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
    let mut segments = Vec::with_capacity(ranges.len() * 2 + 1);
    for range in ranges {
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: {}\r\n\r\n",
            content_range(&range)
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
    exchange: Exchange,
    repository: RepositoryName,
    digest: Digest,
) -> Result<Response<Body>, Error> {
    let operations = exchange.app.operations.clone();
    to_the_end(&exchange.app, async move {
        operations.delete_blob(&repository, &digest).await
    })
    .await?;
    Ok(empty(StatusCode::ACCEPTED))
}
