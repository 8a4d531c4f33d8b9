//! The management API, `/api/v1/…`: what the command line does, over HTTP. One file per feature.
//!
//! A server listens for it on its control socket, whose callers are administrators, and on its main address
//! for the users in `access.administrators`. Where no server runs, a command calls [`serve`] in its own
//! process; so each feature has one code path.
//!
//! Answers are JSON objects. Long work answers with a line of JSON for each event ([`lines`]), and ends early
//! when nobody reads them any more.

mod backup;
mod check;
mod export;
mod gc;
mod import;
mod lines;
mod maintenance;
mod manifests;
mod router;
mod tags;
mod uploads;
mod version;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use chrono::SecondsFormat;
use holdfast_model::Timestamp;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Response};
use serde::Serialize;

use super::body::Body;
use super::change;
use super::error::{self, Error};
use crate::app::App;
use crate::clock;

pub(crate) use backup::{Backup, RestoreRepository};
pub(crate) use check::Check;
pub(crate) use export::{ExportImages, ExportLinks, default_platform};
pub(crate) use gc::{GcEvent, GcStatus, RunGc, Why};
pub(crate) use import::{ImportFiles, ImportProblem, ImportRegistry, ImportStatus, ImportTree};
pub(crate) use lines::Failed;
pub(crate) use maintenance::{Maintenance, SetReadOnly};
pub(crate) use manifests::{RestoreManifest, Trash};
pub(crate) use tags::{History, RestoreTag, Restored};
pub(crate) use uploads::{CancelUpload, OpenUpload};

/// Where the API is, below the prefix.
pub(crate) const PATH: &str = "/api/v1";

/// Most bytes of the body of a request.
pub(super) const BODY_BYTES_MAX: u64 = 64 * 1024;

/// A request to the API.
pub(crate) struct Request<'a> {
    /// Its method.
    pub(crate) method: &'a Method,
    /// Its path below [`PATH`], percent-encoded.
    pub(crate) path: &'a str,
    /// Its query, percent-encoded.
    pub(crate) query: &'a str,
    /// Its body: JSON, or nothing.
    pub(crate) body: &'a [u8],
    /// It comes from this machine, from somebody who may use the registry's files anyway.
    pub(crate) local: bool,
}

/// Answers a request of an administrator.
pub(crate) async fn serve(app: &Arc<App>, request: &Request<'_>) -> Response<Body> {
    let answer = match router::parse(request) {
        Ok(action) => action.serve(app).await,
        Err(error) => Err(error),
    };
    let mut response = answer.unwrap_or_else(Error::into_response);
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A time as answers show it.
fn time(time: Timestamp) -> String {
    clock::date(time).to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A text of a request as what it stands for; the error names it.
fn parsed<T: FromStr<Err: fmt::Display>>(name: &str, text: &str) -> Result<T, Error> {
    text.parse()
        .map_err(|why| error::request_invalid(&format!("{name} {text:?}: {why}")))
}

/// Entries of a page: what the query says in `limit`, within bounds.
fn page_size(request: &Request<'_>) -> Result<usize, Error> {
    const DEFAULT: usize = 100;
    const MAX: usize = 1000;
    let limit = request.maybe("limit")?.unwrap_or(DEFAULT);
    if (1..=MAX).contains(&limit) {
        Ok(limit)
    } else {
        let text = format!("limit {limit}: expected a number from 1 to {MAX}");
        Err(error::request_invalid(&text))
    }
}

/// An answer of one JSON value.
fn json(value: &impl Serialize) -> Result<Response<Body>, Error> {
    let mut text = serde_json::to_vec(value).map_err(|error| {
        tracing::error!(%error, "an answer of the management API could not be written");
        error::inside()
    })?;
    text.push(b'\n');
    let mut response = Response::new(Body::full(Bytes::from(text)));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
