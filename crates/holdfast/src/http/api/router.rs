//! All routes of the management API, and how a request becomes an [`Action`].
//!
//! ```text
//! /api/v1/version           GET     what answers
//! /api/v1/check             POST    compares database and store, as lines
//! /api/v1/gc                GET     what the collector does
//! /api/v1/gc/run            POST    collects now, as lines
//! /api/v1/gc/why            GET     why something is kept: ?repository=…&digest=…
//! /api/v1/maintenance       GET     whether changes are taken
//! /api/v1/maintenance       POST    turns the switch to read-only
//! /api/v1/manifests/trash   GET     deleted manifests of a repository
//! /api/v1/manifests/restore POST    brings one back
//! /api/v1/tags/history      GET     what a tag pointed at
//! /api/v1/tags/restore      POST    points it there again
//! /api/v1/import            GET     how far the import of another registry's tree is
//! /api/v1/import/problems   GET     what was found broken in it, as lines
//! /api/v1/import/tree       POST    sees it to its end, as lines
//! /api/v1/backup            POST    writes a backup, as lines; control socket only
//! /api/v1/restore/repository POST   brings one back from a backup, as lines; control socket only
//! /api/v1/export/images     POST    images as a tar
//! /api/v1/export/links      POST    writes Distribution's links, as lines
//! /api/v1/import/registry   POST    imports from another registry, as lines
//! /api/v1/import/files      POST    imports from an image layout or archive, as lines
//! /api/v1/uploads           GET     open upload sessions, as lines
//! /api/v1/uploads/cancel    POST    drops one
//! ```
//!
//! Repositories stand in bodies and queries, never in paths, since their names hold slashes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use holdfast_model::{Digest, RepositoryName};
use http::{Method, Response};
use serde::de::DeserializeOwned;

use super::backup::{Backup, RestoreRepository};
use super::check::Check;
use super::export::{ExportImages, ExportLinks};
use super::gc::{self, RunGc};
use super::import::{ImportFiles, ImportRegistry, ImportTree};
use super::maintenance::SetReadOnly;
use super::manifests::{RestoreManifest, TrashPage};
use super::tags::{HistoryPage, RestoreTag};
use super::uploads::CancelUpload;
use super::{
    Request, backup, check, export, import, json, maintenance, manifests, parsed, tags, uploads,
    version,
};
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
    /// `GET /maintenance`
    Maintenance,
    /// `POST /maintenance`
    SetReadOnly(SetReadOnly),
    /// `GET /manifests/trash`
    Trash(TrashPage),
    /// `POST /manifests/restore`
    RestoreManifest(RestoreManifest),
    /// `GET /tags/history`
    TagHistory(HistoryPage),
    /// `POST /tags/restore`
    RestoreTag(RestoreTag),
    /// `GET /import`
    ImportStatus,
    /// `GET /import/problems`
    ImportProblems,
    /// `POST /import/tree`
    ImportTree(ImportTree),
    /// `POST /backup`
    Backup(Backup),
    /// `POST /restore/repository`
    RestoreRepository(RestoreRepository),
    /// `POST /export/images`
    ExportImages(ExportImages),
    /// `POST /export/links`
    ExportLinks(ExportLinks),
    /// `POST /import/registry`
    ImportRegistry(Box<ImportRegistry>),
    /// `POST /import/files`
    ImportFiles(Box<ImportFiles>),
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
            request.wanted("repository")?,
            request.wanted("digest")?,
        )),
        "/gc/why" => Err(error::method_not_allowed("GET")),
        "/maintenance" if get => Ok(Action::Maintenance),
        "/maintenance" if post => request.json().map(Action::SetReadOnly),
        "/maintenance" => Err(error::method_not_allowed("GET, POST")),
        "/manifests/trash" if get => TrashPage::parse(request).map(Action::Trash),
        "/manifests/trash" => Err(error::method_not_allowed("GET")),
        "/manifests/restore" if post => request.json().map(Action::RestoreManifest),
        "/manifests/restore" => Err(error::method_not_allowed("POST")),
        "/tags/history" if get => HistoryPage::parse(request).map(Action::TagHistory),
        "/tags/history" => Err(error::method_not_allowed("GET")),
        "/tags/restore" if post => request.json().map(Action::RestoreTag),
        "/tags/restore" => Err(error::method_not_allowed("POST")),
        "/import" if get => Ok(Action::ImportStatus),
        "/import" => Err(error::method_not_allowed("GET")),
        "/import/problems" if get => Ok(Action::ImportProblems),
        "/import/problems" => Err(error::method_not_allowed("GET")),
        "/import/tree" if post => request.json().map(Action::ImportTree),
        "/import/tree" => Err(error::method_not_allowed("POST")),
        "/backup" | "/restore/repository" | "/import/files" if !request.local => {
            Err(error::control_socket_only())
        }
        "/backup" if post => request.json().map(Action::Backup),
        "/backup" => Err(error::method_not_allowed("POST")),
        "/restore/repository" if post => request.json().map(Action::RestoreRepository),
        "/restore/repository" => Err(error::method_not_allowed("POST")),
        "/export/images" if post => request.json().map(Action::ExportImages),
        "/export/images" => Err(error::method_not_allowed("POST")),
        "/export/links" if post => request.json().map(Action::ExportLinks),
        "/export/links" => Err(error::method_not_allowed("POST")),
        "/import/registry" if post => request.json().map(Action::ImportRegistry),
        "/import/registry" => Err(error::method_not_allowed("POST")),
        "/import/files" if post => request.json().map(Action::ImportFiles),
        "/import/files" => Err(error::method_not_allowed("POST")),
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
            Action::Maintenance => json(&maintenance::get(app)),
            Action::SetReadOnly(wish) => json(&maintenance::set(app, wish).await?),
            Action::Trash(page) => json(&manifests::trash(app, page).await?),
            Action::RestoreManifest(wish) => json(&manifests::restore(app, wish).await?),
            Action::TagHistory(page) => json(&tags::history(app, page).await?),
            Action::RestoreTag(wish) => json(&tags::restore(app, wish).await?),
            Action::ImportStatus => json(&import::status(app).await?),
            Action::ImportProblems => Ok(import::problems(app)),
            Action::ImportTree(wish) => Ok(import::walk(app, wish)),
            Action::Backup(wish) => Ok(backup::backup(app, wish)),
            Action::RestoreRepository(wish) => Ok(backup::restore_repository(app, wish)),
            Action::ExportImages(wish) => export::images(app, wish).await,
            Action::ExportLinks(wish) => Ok(export::links(app, wish)),
            Action::ImportRegistry(wish) => Ok(import::registry(app, *wish)),
            Action::ImportFiles(wish) => Ok(import::files(app, *wish)),
            Action::ListUploads => Ok(uploads::list(app)),
            Action::CancelUpload(wish) => json(&uploads::cancel(app, wish).await?),
        }
    }
}

impl Request<'_> {
    /// A parameter of the query, if it is there.
    pub(super) fn maybe<T: FromStr<Err: fmt::Display>>(
        &self,
        name: &str,
    ) -> Result<Option<T>, Error> {
        form_urlencoded::parse(self.query.as_bytes())
            .find(|(found, _)| found == name)
            .map(|(_, text)| parsed(name, &text))
            .transpose()
    }

    /// A parameter that the query must have.
    pub(super) fn wanted<T: FromStr<Err: fmt::Display>>(&self, name: &str) -> Result<T, Error> {
        self.maybe(name)?
            .ok_or_else(|| error::request_invalid(&format!("the query has no {name}")))
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
                local: true,
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
                local: true,
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
