//! Every error a client can see: code, status and message, in one place.
//!
//! Body: `{"errors":[{"code":…,"message":…,"detail":…}]}`. Codes come from the distribution-spec, then from
//! Distribution; `NOT_FOUND` alone is ours, for paths that no route looks like. Details name the digest,
//! tag or range that is meant; causes inside the server are logged and never sent.

#![warn(clippy::wildcard_enum_match_arm)]

use std::borrow::Cow;

use bytes::Bytes;
use holdfast_model::byte_range::ContentRangeError;
use holdfast_model::{Digest, DigestError};
use http::header::{
    ALLOW, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RANGE, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};

use super::body::Body;
use super::router::{MAX_TARGET_BYTES, RouteError};
use crate::access::Scope;
use crate::error_chain::chain;
use crate::operations;

/// An error code on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// The blob is not in the repository.
    BlobUnknown,
    /// The upload cannot go on.
    BlobUploadInvalid,
    /// The upload session does not exist.
    BlobUploadUnknown,
    /// The caller may not, whoever he is.
    Denied,
    /// A digest is malformed or does not match.
    DigestInvalid,
    /// Content that a manifest refers to is missing.
    ManifestBlobUnknown,
    /// The manifest is not acceptable.
    ManifestInvalid,
    /// The manifest is not in the repository.
    ManifestUnknown,
    /// The repository name breaks the grammar.
    NameInvalid,
    /// The repository does not exist.
    NameUnknown,
    /// No such path.
    NotFound,
    /// A page size is not acceptable.
    PaginationNumberInvalid,
    /// A range is not acceptable.
    RangeInvalid,
    /// A request to the management API is not acceptable.
    RequestInvalid,
    /// A length is not acceptable.
    SizeInvalid,
    /// A tag breaks the grammar.
    TagInvalid,
    /// Slow down.
    TooManyRequests,
    /// Who are you?
    Unauthorized,
    /// Not now.
    Unavailable,
    /// Something failed inside.
    Unknown,
    /// Not here.
    Unsupported,
}

impl Code {
    /// The code and its standard message.
    pub(super) const fn text(self) -> (&'static str, &'static str) {
        match self {
            Code::BlobUnknown => ("BLOB_UNKNOWN", "blob unknown to registry"),
            Code::BlobUploadInvalid => ("BLOB_UPLOAD_INVALID", "blob upload invalid"),
            Code::BlobUploadUnknown => ("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"),
            Code::Denied => ("DENIED", "requested access to the resource is denied"),
            Code::DigestInvalid => (
                "DIGEST_INVALID",
                "provided digest did not match uploaded content",
            ),
            Code::ManifestBlobUnknown => ("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry"),
            Code::ManifestInvalid => ("MANIFEST_INVALID", "manifest invalid"),
            Code::ManifestUnknown => ("MANIFEST_UNKNOWN", "manifest unknown"),
            Code::NameInvalid => ("NAME_INVALID", "invalid repository name"),
            Code::NameUnknown => ("NAME_UNKNOWN", "repository name not known to registry"),
            Code::NotFound => ("NOT_FOUND", "no such path in this API"),
            Code::PaginationNumberInvalid => (
                "PAGINATION_NUMBER_INVALID",
                "invalid number of results requested",
            ),
            Code::RangeInvalid => ("RANGE_INVALID", "invalid content range"),
            Code::RequestInvalid => ("REQUEST_INVALID", "the request is not acceptable"),
            Code::SizeInvalid => (
                "SIZE_INVALID",
                "provided length did not match content length",
            ),
            Code::TagInvalid => ("TAG_INVALID", "manifest tag did not match URI"),
            Code::TooManyRequests => ("TOOMANYREQUESTS", "too many requests"),
            Code::Unauthorized => ("UNAUTHORIZED", "authentication required"),
            Code::Unavailable => ("UNAVAILABLE", "service unavailable"),
            Code::Unknown => ("UNKNOWN", "unknown error"),
            Code::Unsupported => ("UNSUPPORTED", "The operation is unsupported."),
        }
    }
}

/// An error as a client sees it.
#[derive(Debug)]
pub(super) struct Error {
    status: StatusCode,
    entries: Vec<(Code, Option<Cow<'static, str>>, Option<Value>)>,
    headers: HeaderMap,
}

impl Error {
    /// An error with one entry.
    fn new(status: StatusCode, code: Code, detail: impl Into<Option<Value>>) -> Error {
        Error {
            status,
            entries: vec![(code, None, detail.into())],
            headers: HeaderMap::new(),
        }
    }

    /// The same with a message of its own.
    fn message(mut self, message: impl Into<Cow<'static, str>>) -> Error {
        if let Some(entry) = self.entries.first_mut() {
            entry.1 = Some(message.into());
        }
        self
    }

    /// The same with a header.
    pub(super) fn header(mut self, name: HeaderName, value: impl AsRef<str>) -> Error {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.headers.append(name, value);
        }
        self
    }

    /// The code and detail of its first entry, for the log.
    pub(super) fn first(&self) -> (&'static str, Option<&Value>) {
        self.entries
            .first()
            .map_or(("", None), |(code, _, detail)| {
                (code.text().0, detail.as_ref())
            })
    }

    /// Renders it.
    pub(super) fn into_response(self) -> Response<Body> {
        let errors: Vec<Value> = self
            .entries
            .into_iter()
            .map(|(code, message, detail)| {
                let (code, standard) = code.text();
                let message = message.unwrap_or(Cow::Borrowed(standard));
                match detail {
                    Some(detail) => json!({"code": code, "message": message, "detail": detail}),
                    None => json!({"code": code, "message": message}),
                }
            })
            .collect();
        let mut body = json!({ "errors": errors }).to_string();
        body.push('\n');
        let mut response = Response::new(Body::full(Bytes::from(body)));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

impl From<RouteError> for Error {
    fn from(error: RouteError) -> Error {
        use StatusCode as S;
        match error {
            RouteError::NotFound => Error::new(S::NOT_FOUND, Code::NotFound, None),
            RouteError::TooLong => {
                let detail = json!(format!(
                    "path and query have at most {MAX_TARGET_BYTES} bytes each"
                ));
                Error::new(S::URI_TOO_LONG, Code::Unsupported, detail)
                    .message("the request target is too long")
            }
            RouteError::Redirect(to) => redirect("", &to, None),
            RouteError::MethodNotAllowed(allowed) => Error::new(
                S::METHOD_NOT_ALLOWED,
                Code::Unsupported,
                json!(format!("methods here: {allowed}")),
            )
            .header(ALLOW, allowed),
            RouteError::Name(name, why) => {
                let detail = json!({"name": shortened(&name), "reason": why.to_string()});
                Error::new(S::BAD_REQUEST, Code::NameInvalid, detail)
            }
            RouteError::Digest(
                text,
                why @ (DigestError::Malformed | DigestError::UnsupportedAlgorithm),
            ) => {
                let detail = json!({"digest": shortened(&text), "reason": why.to_string()});
                Error::new(S::BAD_REQUEST, Code::DigestInvalid, detail)
            }
            RouteError::DigestMissing => Error::new(
                S::BAD_REQUEST,
                Code::DigestInvalid,
                json!("digest missing: the query has no digest"),
            ),
            RouteError::Tag { text, error, pull } => {
                let detail = json!({"tag": shortened(&text), "reason": error.to_string()});
                if pull {
                    Error::new(S::NOT_FOUND, Code::ManifestUnknown, detail)
                } else {
                    Error::new(S::BAD_REQUEST, Code::TagInvalid, detail).message("invalid tag")
                }
            }
            RouteError::UploadId(text) => Error::new(
                S::NOT_FOUND,
                Code::BlobUploadUnknown,
                json!({"id": shortened(&text)}),
            ),
            RouteError::PageSize(text) => Error::new(
                S::BAD_REQUEST,
                Code::PaginationNumberInvalid,
                json!({"n": shortened(&text)}),
            ),
        }
    }
}

/// What a client sent, short enough to send back.
fn shortened(text: &str) -> String {
    /// Characters of untrusted text that an error repeats.
    const ECHO_CHARACTERS: usize = 200;
    text.chars().take(ECHO_CHARACTERS).collect()
}

impl From<operations::Error> for Error {
    fn from(error: operations::Error) -> Error {
        use StatusCode as S;
        use operations::Error as E;
        // Parts of it may come from the client, and it may have sent megabytes.
        let text = shortened(&error.to_string());
        match error {
            E::BlobUnknown(digest) => Error::new(S::NOT_FOUND, Code::BlobUnknown, json!(digest)),
            E::ManifestUnknown {
                repository,
                reference,
            } => {
                let detail = match reference {
                    holdfast_model::Reference::Tag(tag) => format!("unknown tag={tag}"),
                    holdfast_model::Reference::Digest(digest) => {
                        format!("unknown manifest name={repository} revision={digest}")
                    }
                };
                Error::new(S::NOT_FOUND, Code::ManifestUnknown, json!(detail))
            }
            E::NotAcceptable(message) => {
                Error::new(S::NOT_FOUND, Code::ManifestUnknown, None).message(message)
            }
            E::RepositoryUnknown(name) => {
                Error::new(S::NOT_FOUND, Code::NameUnknown, json!({"name": name}))
            }
            E::UploadUnknown(id) => Error::new(
                S::NOT_FOUND,
                Code::BlobUploadUnknown,
                json!({"id": id.to_string()}),
            ),
            E::UploadBusy { offset } | E::OutOfOrder { offset, .. } => {
                Error::new(S::RANGE_NOT_SATISFIABLE, Code::RangeInvalid, json!(text))
                    .header(RANGE, super::v2::stored_range(offset))
            }
            E::TooManyUploads { .. } => {
                Error::new(S::TOO_MANY_REQUESTS, Code::TooManyRequests, json!(text))
                    .header(RETRY_AFTER, "60")
            }
            E::DigestMismatch { expected, actual } => {
                let detail = json!({"expected": expected, "actual": actual});
                Error::new(S::BAD_REQUEST, Code::DigestInvalid, detail)
            }
            E::ChunkLength { .. } => Error::new(S::BAD_REQUEST, Code::SizeInvalid, json!(text)),
            E::ManifestInvalid(_) | E::LayerUrl(_) => {
                Error::new(S::BAD_REQUEST, Code::ManifestInvalid, json!(text))
            }
            E::TooManyTags { .. } => {
                Error::new(S::URI_TOO_LONG, Code::TagInvalid, json!(text)).message("too many tags")
            }
            E::ManifestTooLarge { .. } => {
                Error::new(S::PAYLOAD_TOO_LARGE, Code::ManifestInvalid, json!(text))
            }
            E::ReferencesUnknown { blobs, manifests } => {
                let missing = blobs.into_iter().chain(manifests);
                Error {
                    status: S::BAD_REQUEST,
                    entries: missing
                        .map(|digest| (Code::ManifestBlobUnknown, None, Some(json!(digest))))
                        .collect(),
                    headers: HeaderMap::new(),
                }
            }
            E::NothingBefore(_) => {
                Error::new(S::NOT_FOUND, Code::ManifestUnknown, None).message(text)
            }
            E::ContentGone { blobs, manifests } => {
                let detail = json!({"blobs": blobs, "manifests": manifests});
                Error::new(S::CONFLICT, Code::ManifestBlobUnknown, detail).message(text)
            }
            E::TooManyToRestore { .. } => {
                Error::new(S::PAYLOAD_TOO_LARGE, Code::Unsupported, json!(text))
            }
            E::BlobInUse { digest, manifests } => {
                let detail = json!({"digest": digest, "manifests": manifests});
                Error::new(S::CONFLICT, Code::Denied, detail).message(text)
            }
            E::DeletesOff => Error::new(S::METHOD_NOT_ALLOWED, Code::Unsupported, json!(text)),
            E::ReadOnly => Error::new(S::METHOD_NOT_ALLOWED, Code::Unsupported, json!(text))
                .header(ALLOW, "GET, HEAD"),
            // 499 as in nginx and Distribution: only the log will see it.
            E::ClientGone(_) => Error::new(
                S::from_u16(499).unwrap_or(S::BAD_REQUEST),
                Code::BlobUploadInvalid,
                json!("the request body ended early"),
            ),
            E::BodyStalled { .. } => {
                Error::new(S::REQUEST_TIMEOUT, Code::BlobUploadInvalid, json!(text))
            }
            E::ExportShared => Error::new(S::CONFLICT, Code::Unsupported, json!(text)),
            E::StillAdopting => Error::new(S::CONFLICT, Code::Unavailable, json!(text)),
            E::NotExportable(_) => request_invalid(&text),
            E::NameTooLong(_) | E::File(_) => inside(),
            E::CollectionHeld(_) => Error::new(S::CONFLICT, Code::Unavailable, json!(text)),
            E::BlobBusy(_) | E::Adopting(_) => unavailable(text).header(RETRY_AFTER, "5"),
            E::Conflict => Error::new(S::SERVICE_UNAVAILABLE, Code::Unavailable, json!(text))
                .header(RETRY_AFTER, "1"),
            E::CheckUnderWay => Error::new(S::CONFLICT, Code::Denied, None).message(text),
            E::BlobDamaged(_) => damaged(),
            E::Storage(ref cause) => {
                log_failure(&error);
                storage_error(cause)
            }
            E::Metadata(ref cause) => {
                log_failure(&error);
                metadata_error(cause)
            }
        }
    }
}

/// The answer when there is no room; nothing is lost, and a later try may work.
fn full() -> Error {
    Error::new(
        StatusCode::INSUFFICIENT_STORAGE,
        Code::Unavailable,
        json!("the registry's storage is full"),
    )
    .message("no space left for this push")
}

/// The answer when there is too much to do just now.
fn overloaded() -> Error {
    unavailable("the registry is overloaded").header(RETRY_AFTER, "1")
}

/// The answer for content that the registry has and cannot give: what found it has logged it.
fn damaged() -> Error {
    let detail = json!("the stored content is missing or damaged");
    Error::new(StatusCode::BAD_GATEWAY, Code::Unknown, detail)
}

fn storage_error(cause: &holdfast_storage::Error) -> Error {
    use holdfast_storage::Error as E;
    match cause {
        E::Full { .. } => full(),
        E::NotFound(_) | E::Truncated { .. } => damaged(),
        E::UploadUnknown(id) => Error::new(
            StatusCode::NOT_FOUND,
            Code::BlobUploadUnknown,
            json!({"id": id.to_string()}),
        ),
        E::UploadBusy(_) => unavailable(cause.to_string()).header(RETRY_AFTER, "1"),
        E::Overloaded { .. } => overloaded(),
        E::TooLarge { .. } | E::Locked { .. } | E::Unavailable { .. } => inside(),
    }
}

fn metadata_error(cause: &holdfast_metadata::Error) -> Error {
    use holdfast_metadata::Error as E;
    match cause {
        E::Full(_) => full(),
        E::Busy(_) | E::Overloaded | E::Closed => overloaded(),
        E::Unavailable(_) => {
            unavailable("the metadata database is not available").header(RETRY_AFTER, "1")
        }
        E::Corrupt(_) | E::NewerSchema { .. } | E::ChangedSchema { .. } | E::Internal(_) => {
            inside()
        }
    }
}

fn log_failure(error: &operations::Error) {
    tracing::error!(
        error = chain(error),
        "the request failed inside the registry"
    );
}

/// `301` to the path as it should be.
pub(super) fn redirect(prefix: &str, to: &str, query: Option<&str>) -> Error {
    let path = percent_encoding::utf8_percent_encode(to, super::PATH);
    let to = match query {
        Some(query) => format!("{prefix}{path}?{query}"),
        None => format!("{prefix}{path}"),
    };
    Error::new(StatusCode::MOVED_PERMANENTLY, Code::NotFound, json!(to)).header(LOCATION, to)
}

/// `416` for a `Range` outside a blob.
pub(super) fn blob_range(size: u64) -> Error {
    let detail = json!("invalid range: failed to overlap");
    Error::new(
        StatusCode::RANGE_NOT_SATISFIABLE,
        Code::RangeInvalid,
        detail,
    )
    .header(CONTENT_RANGE, format!("bytes */{size}"))
}

/// `416` for a `Content-Range` that is none.
pub(super) fn content_range(why: ContentRangeError) -> Error {
    Error::new(
        StatusCode::RANGE_NOT_SATISFIABLE,
        Code::RangeInvalid,
        json!(why.to_string()),
    )
}

/// `412` for an `If-Match` that names other content.
pub(super) fn precondition_failed(digest: &Digest) -> Error {
    Error::new(
        StatusCode::PRECONDITION_FAILED,
        Code::BlobUnknown,
        json!(digest),
    )
}

/// `400` for a page of the catalog that is larger than allowed.
pub(super) fn page_too_large(asked: u64, most: u64) -> Error {
    let detail = json!({"n": asked, "max": most});
    Error::new(
        StatusCode::BAD_REQUEST,
        Code::PaginationNumberInvalid,
        detail,
    )
}

/// `400` for a manifest whose `Content-Type` is none.
pub(super) fn manifest_type(sent: &str) -> Error {
    let sent = shortened(sent);
    let detail = format!("unsupported manifest media type and no default available: {sent:?}");
    Error::new(
        StatusCode::BAD_REQUEST,
        Code::ManifestInvalid,
        json!(detail),
    )
}

/// `400` for a form that was sent as a blob.
pub(super) fn form_as_blob(content_type: &str) -> Error {
    let sent = shortened(content_type);
    let detail = format!("Content-Type {sent:?} cannot be a blob; send application/octet-stream");
    Error::new(
        StatusCode::BAD_REQUEST,
        Code::BlobUploadInvalid,
        json!(detail),
    )
}

/// `404` for an upload session without proof.
pub(super) fn upload_state() -> Error {
    let detail =
        "_state is missing or was not made for this upload; use the Location as it was given";
    Error::new(
        StatusCode::NOT_FOUND,
        Code::BlobUploadInvalid,
        json!(detail),
    )
}

/// `503` with the reason.
pub(super) fn unavailable(why: impl Into<String>) -> Error {
    Error::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Code::Unavailable,
        json!(why.into()),
    )
}

/// `503` while too many passwords are being checked.
pub(super) fn busy() -> Error {
    unavailable("too many passwords are being checked").header(RETRY_AFTER, "1")
}

/// `404` for a path that no route looks like.
pub(super) fn no_such_path() -> Error {
    Error::from(RouteError::NotFound)
}

/// `405` with the methods that the path has.
pub(super) fn method_not_allowed(methods: &'static str) -> Error {
    Error::from(RouteError::MethodNotAllowed(methods))
}

/// `400` for a request to the management API.
pub(super) fn request_invalid(why: &str) -> Error {
    Error::new(
        StatusCode::BAD_REQUEST,
        Code::RequestInvalid,
        json!(shortened(why)),
    )
}

/// `403` for a user who is no administrator.
pub(super) fn not_administrator() -> Error {
    let detail = json!("only users in access.administrators may use the management API");
    Error::new(StatusCode::FORBIDDEN, Code::Denied, detail)
}

/// `403` for a repository that the configuration closes to everybody.
pub(super) fn repository_closed() -> Error {
    let detail = json!("this repository is not among those that middleware.registry permits");
    Error::new(StatusCode::FORBIDDEN, Code::Denied, detail)
}

/// `403` for what names files of the server's machine.
pub(super) fn control_socket_only() -> Error {
    let detail =
        json!("this names files of the registry's machine, so only its control socket takes it");
    Error::new(StatusCode::FORBIDDEN, Code::Denied, detail)
}

/// `500` for what the log alone explains.
pub(super) fn inside() -> Error {
    Error::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown, None)
}

/// `401` with a challenge, and the access that was wanted.
pub(super) fn unauthorized(challenge: &str, wanted: Option<Scope<'_>>) -> Error {
    let wanted = wanted.map(|(kind, name, actions)| {
        let one =
            |action: &&str| json!({"Type": kind, "Class": "", "Name": name, "Action": action});
        actions.iter().map(one).collect::<Value>()
    });
    let detail = Some(wanted.unwrap_or(Value::Null));
    Error::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, detail)
        .header(WWW_AUTHENTICATE, challenge)
}
