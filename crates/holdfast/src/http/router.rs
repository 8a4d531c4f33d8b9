//! All routes of the `/v2/` API, and how a request becomes an [`Action`].
//!
//! ```text
//! /v2/                                    any
//! /v2/_catalog                            GET
//! /v2/<name>/tags/list                    GET
//! /v2/<name>/referrers/<digest>           GET
//! /v2/<name>/manifests/<tag or digest>    GET HEAD PUT DELETE
//! /v2/<name>/blobs/<digest>               GET HEAD DELETE
//! /v2/<name>/blobs/uploads/               POST
//! /v2/<name>/blobs/uploads/<id>           GET HEAD PATCH PUT DELETE
//! ```
//!
//! A repository name may itself hold components such as `blobs` or `manifests`, so a path is read from
//! its right end: the last components name the route, all before them is the name. `http.prefix` is taken
//! off before a path comes here.

use std::borrow::Cow;

use holdfast_model::digest::DigestError;
use holdfast_model::reference::ReferenceError;
use holdfast_model::repository_name::RepositoryNameError;
use holdfast_model::tag::TagError;
use holdfast_model::{Algorithm, Digest, RepositoryName, UploadId};
use hyper::Method;
use percent_encoding::percent_decode_str;

use super::action::{Action, Page, Session};
use crate::metrics::requests::Handler;

/// Longest path, and longest query, in bytes, before decoding. A hundred tags fit into a query.
pub const MAX_TARGET_BYTES: usize = 32 * 1024;

/// Why a request is no action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteError {
    /// No route looks like this path.
    NotFound,
    /// Path or query is over [`MAX_TARGET_BYTES`].
    TooLong,
    /// The path is right but for its slashes.
    Redirect(String),
    /// The route has no such method; these it has.
    MethodNotAllowed(&'static str),
    /// The part before the route is no repository name.
    Name(String, RepositoryNameError),
    /// A digest in path or query is none. The text is what stood there.
    Digest(String, DigestError),
    /// A closing `PUT` without `digest`.
    DigestMissing,
    /// A tag in path or query is none; `pull` when it was only asked for.
    Tag {
        /// What stood there.
        text: String,
        /// Why it is no tag.
        error: TagError,
        /// It came with a GET or HEAD.
        pull: bool,
    },
    /// No upload session can have this id.
    UploadId(String),
    /// `n` is not a number of at least 0.
    PageSize(String),
}

/// The shape of a path, before its parts are parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route<'a> {
    Base,
    Catalog,
    Tags(&'a str),
    Referrers(&'a str, &'a str),
    Manifest(&'a str, &'a str),
    Uploads(&'a str),
    Upload(&'a str, &'a str),
    Blob(&'a str, &'a str),
}

impl Route<'_> {
    fn methods(self) -> &'static str {
        match self {
            Route::Base => "GET, HEAD, OPTIONS",
            Route::Catalog | Route::Tags(_) | Route::Referrers(..) => "GET, OPTIONS",
            Route::Manifest(..) => "GET, HEAD, PUT, DELETE, OPTIONS",
            Route::Uploads(_) => "POST, OPTIONS",
            Route::Upload(..) => "GET, HEAD, PATCH, PUT, DELETE, OPTIONS",
            Route::Blob(..) => "GET, HEAD, DELETE, OPTIONS",
        }
    }
}

/// The methods of a path, for `OPTIONS` and `Allow`; `None` when no route looks like it.
pub fn methods(path: &str) -> Option<&'static str> {
    let path = decode(path).ok()?;
    Some(route(&path).ok()?.methods())
}

/// What a path is about, for metrics; `None` when no route looks like it.
pub(crate) fn handler(path: &str) -> Option<Handler> {
    let path = decode(path).ok()?;
    Some(match route(&path).ok()? {
        Route::Base => Handler::Base,
        Route::Catalog => Handler::Catalog,
        Route::Tags(_) => Handler::Tags,
        Route::Referrers(..) => Handler::Referrers,
        Route::Manifest(..) => Handler::Manifest,
        Route::Uploads(_) => Handler::BlobUpload,
        Route::Upload(..) => Handler::BlobUploadChunk,
        Route::Blob(..) => Handler::Blob,
    })
}

/// Reads a request. `path` begins with `/v2`; both texts are as they came, percent-encoded.
pub fn parse(method: &Method, path: &str, query: Option<&str>) -> Result<Action, RouteError> {
    let decoded = decode(path)?;
    let route = route(&decoded)?;
    let query = query.unwrap_or_default();
    if query.len() > MAX_TARGET_BYTES {
        return Err(RouteError::TooLong);
    }
    let query = Query::parse(query);
    action(method, route, &query)
}

fn decode(path: &str) -> Result<Cow<'_, str>, RouteError> {
    if path.len() > MAX_TARGET_BYTES {
        return Err(RouteError::TooLong);
    }
    percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| RouteError::NotFound)
}

fn route(path: &str) -> Result<Route<'_>, RouteError> {
    let rest = path
        .strip_prefix("/v2")
        .filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let rest = rest.ok_or(RouteError::NotFound)?;
    if path.as_bytes().windows(2).any(|pair| pair == b"//") || rest.is_empty() {
        let mut clean = String::with_capacity(path.len() + 1);
        for part in path.split('/').filter(|part| !part.is_empty()) {
            clean.push('/');
            clean.push_str(part);
        }
        if rest.is_empty() || path.ends_with('/') {
            clean.push('/');
        }
        return Err(RouteError::Redirect(clean));
    }
    let rest = rest.trim_start_matches('/');
    if rest.is_empty() {
        return Ok(Route::Base);
    }
    // Clients differ about the slash after `uploads`, so both spellings are the same route.
    if let Some(name) = rest
        .strip_suffix("/blobs/uploads/")
        .or_else(|| rest.strip_suffix("/blobs/uploads"))
    {
        return Ok(Route::Uploads(name));
    }
    if let Some(without) = path.strip_suffix('/') {
        return match route(without) {
            Ok(_) => Err(RouteError::Redirect(without.to_owned())),
            Err(_) => Err(RouteError::NotFound),
        };
    }
    if rest == "_catalog" {
        return Ok(Route::Catalog);
    }
    if let Some(name) = rest.strip_suffix("/tags/list") {
        return Ok(Route::Tags(name));
    }
    let (before, last) = rest.rsplit_once('/').ok_or(RouteError::NotFound)?;
    let (name, kind) = before.rsplit_once('/').ok_or(RouteError::NotFound)?;
    match kind {
        "manifests" => Ok(Route::Manifest(name, last)),
        "referrers" => Ok(Route::Referrers(name, last)),
        "blobs" => Ok(Route::Blob(name, last)),
        "uploads" => match name.strip_suffix("/blobs") {
            Some(name) => Ok(Route::Upload(name, last)),
            None => Err(RouteError::NotFound),
        },
        _ => Err(RouteError::NotFound),
    }
}

fn action(method: &Method, route: Route<'_>, query: &Query) -> Result<Action, RouteError> {
    let get = *method == Method::GET;
    let pull = get || *method == Method::HEAD;
    let refused = Err(RouteError::MethodNotAllowed(route.methods()));
    match route {
        Route::Base => Ok(Action::Base),
        Route::Catalog if get => Ok(Action::Catalog(query.page()?)),
        Route::Tags(name) if get => Ok(Action::ListTags(repository(name)?, query.page()?)),
        Route::Referrers(name, subject) if get => Ok(Action::ListReferrers {
            repository: repository(name)?,
            subject: digest(subject)?,
            artifact_type: query
                .first("artifactType")
                .map(str::to_owned)
                .filter(|text| !text.is_empty()),
            after: query.first("last").map(digest).transpose()?,
        }),
        Route::Manifest(name, text) => {
            let repository = repository(name)?;
            let reference = text.parse().map_err(|error| match error {
                ReferenceError::Digest(error) => RouteError::Digest(text.to_owned(), error),
                ReferenceError::Tag(error) => RouteError::Tag {
                    text: text.to_owned(),
                    error,
                    pull,
                },
            })?;
            match *method {
                Method::GET | Method::HEAD => Ok(Action::PullManifest(repository, reference)),
                Method::PUT => Ok(Action::PushManifest {
                    repository,
                    reference,
                    tags: query.tags()?,
                }),
                Method::DELETE => Ok(Action::DeleteManifest(repository, reference)),
                _ => refused,
            }
        }
        Route::Blob(name, text) => {
            let repository = repository(name)?;
            match *method {
                Method::GET | Method::HEAD => Ok(Action::PullBlob(repository, digest(text)?)),
                Method::DELETE => Ok(Action::DeleteBlob(repository, digest(text)?)),
                _ => refused,
            }
        }
        Route::Uploads(name) if *method == Method::POST => start(repository(name)?, query),
        Route::Upload(name, text) => {
            let repository = repository(name)?;
            let id: UploadId = text
                .parse()
                .map_err(|_| RouteError::UploadId(text.to_owned()))?;
            match *method {
                Method::GET | Method::HEAD => Ok(Action::UploadStatus(repository, id)),
                Method::PATCH => Ok(Action::AppendChunk(repository, query.session(id))),
                Method::PUT => {
                    let text = query.first("digest").ok_or(RouteError::DigestMissing)?;
                    Ok(Action::FinishUpload(
                        repository,
                        query.session(id),
                        digest(text)?,
                    ))
                }
                Method::DELETE => Ok(Action::CancelUpload(repository, query.session(id))),
                _ => refused,
            }
        }
        Route::Catalog | Route::Tags(_) | Route::Referrers(..) | Route::Uploads(_) => refused,
    }
}

/// `POST …/blobs/uploads/`: a mount, a whole push, or a new session.
///
/// A mount that names nothing usable becomes a plain session, as in Distribution; a `digest` that is
/// none is refused, since the client means to push bytes under it.
fn start(repository: RepositoryName, query: &Query) -> Result<Action, RouteError> {
    if let Some(Ok(digest)) = query.first("mount").map(digest) {
        let from = query.first("from").filter(|from| !from.is_empty());
        if let Ok(from) = from.map(str::parse).transpose() {
            return Ok(Action::MountBlob {
                repository,
                digest,
                from,
            });
        }
    } else if let Some(text) = query.first("digest") {
        return Ok(Action::PushBlob(repository, digest(text)?));
    }
    let algorithm = match query.first("digest-algorithm") {
        None => Algorithm::Sha256,
        Some(text) => text
            .parse()
            .map_err(|error| RouteError::Digest(text.to_owned(), error))?,
    };
    Ok(Action::StartUpload(repository, algorithm))
}

fn repository(text: &str) -> Result<RepositoryName, RouteError> {
    text.parse()
        .map_err(|error| RouteError::Name(text.to_owned(), error))
}

fn digest(text: &str) -> Result<Digest, RouteError> {
    text.parse()
        .map_err(|error| RouteError::Digest(text.to_owned(), error))
}

/// Decoded query parameters in the order they came.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(query: &str) -> Query {
        let pairs = form_urlencoded::parse(query.as_bytes());
        Query(
            pairs
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    fn first(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    fn session(&self, id: UploadId) -> Session {
        Session {
            id,
            state: self.first("_state").unwrap_or_default().to_owned(),
        }
    }

    fn page(&self) -> Result<Page, RouteError> {
        let limit = match self.first("n") {
            None | Some("") => None,
            Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
                Some(text.parse().unwrap_or(u64::MAX))
            }
            Some(text) => return Err(RouteError::PageSize(text.to_owned())),
        };
        Ok(Page {
            limit,
            after: self
                .first("last")
                .filter(|last| !last.is_empty())
                .map(str::to_owned),
        })
    }

    fn tags(&self) -> Result<Vec<holdfast_model::Tag>, RouteError> {
        let texts = self
            .0
            .iter()
            .filter(|(key, _)| key == "tag")
            .map(|(_, value)| value);
        let mut tags = Vec::new();
        for text in texts {
            let tag = text.parse().map_err(|error| RouteError::Tag {
                text: text.clone(),
                error,
                pull: false,
            })?;
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        Ok(tags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn get(path: &str) -> Result<Action, RouteError> {
        parse(&Method::GET, path, None)
    }

    #[test]
    fn names_may_hold_the_words_of_routes() {
        let name_of =
            |path: &str| get(path).map(|action| action.repository().map(ToString::to_string));
        let cases = [
            ("/v2/a/tags/list", "a"),
            ("/v2/tags/list/tags/list", "tags/list"),
            ("/v2/a/manifests/tags/list", "a/manifests"),
            ("/v2/a/blobs/uploads/manifests/latest", "a/blobs/uploads"),
            ("/v2/manifests/manifests/manifests", "manifests"),
            ("/v2/a%2Fb/manifests/latest", "a/b"),
        ];
        for (path, name) in cases {
            assert_eq!(name_of(path), Ok(Some(name.to_owned())), "{path}");
        }
        let blob = format!("/v2/a/manifests/blobs/sha256:{HEX}");
        assert!(
            matches!(get(&blob), Ok(Action::PullBlob(name, _)) if name.as_str() == "a/manifests")
        );
    }

    #[test]
    fn slashes() {
        assert_eq!(get("/v2"), Err(RouteError::Redirect("/v2/".into())));
        assert_eq!(get("//v2/"), Err(RouteError::NotFound));
        assert_eq!(
            get("/v2//a/tags//list"),
            Err(RouteError::Redirect("/v2/a/tags/list".into()))
        );
        assert_eq!(
            get("/v2/a/tags/list/"),
            Err(RouteError::Redirect("/v2/a/tags/list".into()))
        );
        assert_eq!(get("/v2/a/b/"), Err(RouteError::NotFound));
        assert_eq!(get("/v3/"), Err(RouteError::NotFound));
        assert_eq!(get("/v2x/"), Err(RouteError::NotFound));
        assert_eq!(get("/v2/tags/list"), Err(RouteError::NotFound));
        assert!(matches!(
            get("/v2//tags/list"),
            Err(RouteError::Redirect(_))
        ));
    }

    #[test]
    fn methods_by_route() {
        let head = parse(&Method::HEAD, "/v2/a/tags/list", None);
        assert_eq!(head, Err(RouteError::MethodNotAllowed("GET, OPTIONS")));
        assert!(matches!(
            parse(&Method::HEAD, "/v2/a/manifests/b", None),
            Ok(Action::PullManifest(..))
        ));
        assert!(matches!(
            parse(&Method::POST, "/v2/a/manifests/b", None),
            Err(RouteError::MethodNotAllowed(_))
        ));
        for path in ["/v2/a/blobs/uploads/", "/v2/a/blobs/uploads"] {
            assert!(matches!(
                parse(&Method::POST, path, None),
                Ok(Action::StartUpload(..))
            ));
            assert!(matches!(
                parse(&Method::GET, path, None),
                Err(RouteError::MethodNotAllowed("POST, OPTIONS"))
            ));
        }
        assert_eq!(methods("/v2/_catalog"), Some("GET, OPTIONS"));
        assert_eq!(methods("/v2/x"), None);
    }

    #[test]
    fn uploads() {
        let post = |query: &str| parse(&Method::POST, "/v2/a/blobs/uploads/", Some(query)).unwrap();
        let digest = format!("sha256%3A{HEX}");
        assert!(matches!(
            post(""),
            Action::StartUpload(_, Algorithm::Sha256)
        ));
        assert!(matches!(
            post("digest-algorithm=sha512"),
            Action::StartUpload(_, Algorithm::Sha512)
        ));
        assert!(matches!(
            post(&format!("digest={digest}")),
            Action::PushBlob(..)
        ));
        assert!(matches!(
            post(&format!("mount={digest}")),
            Action::MountBlob { from: None, .. }
        ));
        assert!(matches!(
            post(&format!("mount={digest}&from=b/c")),
            Action::MountBlob { from: Some(_), .. }
        ));
        assert!(matches!(
            post(&format!("mount={digest}&from=B!")),
            Action::StartUpload(..)
        ));
        assert!(matches!(
            post("mount=rubbish&from=b"),
            Action::StartUpload(..)
        ));
        let put = parse(
            &Method::PUT,
            "/v2/a/blobs/uploads/5f0c1f2e-0000-4000-8000-000000000000",
            Some("x=1"),
        );
        assert_eq!(put, Err(RouteError::DigestMissing));
        assert_eq!(
            get("/v2/a/blobs/uploads/zz"),
            Err(RouteError::UploadId("zz".into()))
        );
    }

    #[test]
    fn pages() {
        let page = |query: &str| parse(&Method::GET, "/v2/_catalog", Some(query));
        let wanted = Page {
            limit: Some(3),
            after: Some("a/b".into()),
        };
        assert_eq!(page("n=3&last=a%2Fb"), Ok(Action::Catalog(wanted)));
        assert_eq!(
            page("n=100000000000000000000000"),
            Ok(Action::Catalog(Page {
                limit: Some(u64::MAX),
                after: None
            }))
        );
        for bad in ["n=-1", "n=abc", "n=1.5", "n=+1"] {
            assert!(matches!(page(bad), Err(RouteError::PageSize(_))), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_target_panics(path in "/v2/[a-z0-9/._%:A-Z-]{0,60}", query in "[ -~]{0,40}") {
            for method in [Method::GET, Method::PUT, Method::POST, Method::PATCH, Method::DELETE] {
                let _ = parse(&method, &path, Some(&query));
            }
        }

        #[test]
        fn every_name_is_found_again(name in "[a-z0-9]{1,4}(/(blobs|uploads|manifests|tags|list|referrers|[a-z]{1,3})){0,4}") {
            for path in [
                format!("/v2/{name}/tags/list"),
                format!("/v2/{name}/manifests/latest"),
                format!("/v2/{name}/blobs/sha256:{HEX}"),
                format!("/v2/{name}/referrers/sha256:{HEX}"),
            ] {
                let action = get(&path);
                let action = action.unwrap();
                prop_assert_eq!(action.repository().unwrap().as_str(), name.as_str());
            }
        }
    }
}
