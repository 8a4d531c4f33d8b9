//! All routes of the management API, and how a request becomes an [`Action`].
//!
//! ```text
//! /api/v1/version           GET     what answers
//! /api/v1/check             POST    compares database and store, as lines
//! /api/v1/gc                GET     what the collector does
//! /api/v1/gc/run            POST    collects now, as lines
//! /api/v1/gc/why            GET     why something is kept: ?repository=…&digest=…
//! /api/v1/uploads           GET     open upload sessions, as lines
//! /api/v1/uploads/cancel    POST    drops one
//! ```
//!
//! Repositories stand in bodies and queries, never in paths, since their names hold slashes.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use holdfast_model::{Digest, RepositoryName};
use http::{Method, Response};
use serde::de::DeserializeOwned;

use super::check::Check;
use super::gc::{self, RunGc};
use super::uploads::CancelUpload;
use super::{Request, check, json, parsed, uploads, version};
use crate::app::App;
use crate::http::body::Body;
use crate::http::error::{self, Error};
use crate::http::router::MAX_TARGET_BYTES;

/// One thing an administrator may ask.
#[derive(Debug)]
pub(super) enum Action {
    /// `GET /version`
    Version,
    /// `POST /check`
    Check(Check),
    /// `GET /gc`
    GcStatus,
    /// `POST /gc/run`
    RunGc(RunGc),
    /// `GET /gc/why`
    GcWhy(RepositoryName, Digest),
    /// `GET /uploads`
    ListUploads,
    /// `POST /uploads/cancel`
    CancelUpload(CancelUpload),
}

/// Reads a request.
pub(super) fn parse(request: &Request<'_>) -> Result<Action, Error> {
    if request.path.len() > MAX_TARGET_BYTES || request.query.len() > MAX_TARGET_BYTES {
        return Err(error::request_invalid("path and query are too long"));
    }
    let get = *request.method == Method::GET;
    let post = *request.method == Method::POST;
    match request.path {
        "/version" if get => Ok(Action::Version),
        "/version" => Err(error::method_not_allowed("GET")),
        "/check" if post => request.json().map(Action::Check),
        "/check" => Err(error::method_not_allowed("POST")),
        "/gc" if get => Ok(Action::GcStatus),
        "/gc" => Err(error::method_not_allowed("GET")),
        "/gc/run" if post => request.json().map(Action::RunGc),
        "/gc/run" => Err(error::method_not_allowed("POST")),
        "/gc/why" if get => Ok(Action::GcWhy(
            request.parameter("repository")?,
            request.parameter("digest")?,
        )),
        "/gc/why" => Err(error::method_not_allowed("GET")),
        "/uploads" if get => Ok(Action::ListUploads),
        "/uploads" => Err(error::method_not_allowed("GET")),
        "/uploads/cancel" if post => request.json().map(Action::CancelUpload),
        "/uploads/cancel" => Err(error::method_not_allowed("POST")),
        _ => Err(error::no_such_path()),
    }
}

impl Action {
    /// Does what it says.
    pub(super) async fn serve(self, app: &Arc<App>) -> Result<Response<Body>, Error> {
        match self {
            Action::Version => json(&version::get()),
            Action::Check(wish) => Ok(check::check(app, &wish)),
            Action::GcStatus => json(&gc::status(app).await?),
            Action::RunGc(wish) => Ok(gc::run(app, wish)),
            Action::GcWhy(repository, digest) => json(&gc::why(app, &repository, &digest).await?),
            Action::ListUploads => Ok(uploads::list(app)),
            Action::CancelUpload(wish) => json(&uploads::cancel(app, wish).await?),
        }
    }
}

impl Request<'_> {
    /// A parameter of the query, which must be there.
    fn parameter<T: FromStr<Err: Display>>(&self, name: &str) -> Result<T, Error> {
        let mut pairs = form_urlencoded::parse(self.query.as_bytes());
        let (_, value) = pairs
            .find(|(key, _)| key == name)
            .ok_or_else(|| error::request_invalid(&format!("the query has no {name}")))?;
        parsed(name, &value)
    }

    /// The body as JSON; no body counts as an object without members.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let text = if self.body.is_empty() {
            b"{}"
        } else {
            self.body
        };
        serde_json::from_slice(text).map_err(|why| error::request_invalid(&format!("body: {why}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes() {
        let ask = |method, path| {
            parse(&Request {
                method: &method,
                path,
                query: "",
                body: b"",
            })
        };
        assert!(matches!(ask(Method::GET, "/version"), Ok(Action::Version)));
        for (method, path, status) in [
            (Method::POST, "/version", 405),
            (Method::GET, "/", 404),
            (Method::GET, "/version/", 404),
            (Method::GET, "", 404),
        ] {
            let error = ask(method, path).unwrap_err();
            assert_eq!(error.into_response().status(), status, "{path}");
        }
    }

    #[test]
    fn bodies() {
        let ask = |body| {
            parse(&Request {
                method: &Method::POST,
                path: "/uploads/cancel",
                query: "",
                body,
            })
        };
        assert!(ask(br#"{"repository": "a", "id": "b"}"#).is_ok());
        for body in [&b""[..], b"{", b"[]", b"{\"repository\": 1}"] {
            let error = ask(body).unwrap_err();
            assert_eq!(error.into_response().status(), 400);
        }
    }
}
