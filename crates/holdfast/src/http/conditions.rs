//! Conditional requests (RFC 9110 section 13) on content whose entity tag is its digest.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};

/// How long an answer by digest may be kept: it cannot change.
pub(super) const FOR_EVER: HeaderValue = HeaderValue::from_static("max-age=31536000, immutable");

/// Whether the client has this content already.
pub(super) fn not_modified(headers: &HeaderMap, digest: &str) -> bool {
    names(headers, &IF_NONE_MATCH, digest)
}

/// Whether the client wants other content or none.
pub(super) fn failed(headers: &HeaderMap, digest: &str) -> bool {
    headers.contains_key(IF_MATCH) && !names(headers, &IF_MATCH, digest)
}

/// Whether any line of the header names the digest: quoted, weak, bare, in a list, or `*`.
fn names(headers: &HeaderMap, header: &HeaderName, digest: &str) -> bool {
    let lines = headers
        .get_all(header)
        .iter()
        .filter_map(|line| line.to_str().ok());
    let mut tags = lines.flat_map(|line| line.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"') == digest)
}
