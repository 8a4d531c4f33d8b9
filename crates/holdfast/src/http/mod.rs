//! HTTP: a request comes in, an answer goes out, and one line is logged.
//!
//! The order of checks is: health, path, preflight, who is asking, what is asked, may he, do it.

pub mod action;
pub(crate) mod api;
pub(crate) mod body;
mod conditions;
mod error;
mod incoming;
mod log;
mod origin;
pub(crate) mod outlet;
pub(crate) mod proxies;
pub mod router;
mod v2;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue,
};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use percent_encoding::{AsciiSet, CONTROLS};

use crate::access::{Denial, Permission, TOKEN_LIFETIME};
use crate::app::App;
use crate::metrics::requests::Watch;
use crate::{clock, operations, random};
use body::Body;
use error::Error;
use router::RouteError;

/// What a path may hold unescaped in a `Location`.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}');

/// Where tokens are given out, below the prefix.
const TOKEN_PATH: &str = "/auth/token";

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// Its address; a Unix socket has none.
    pub(crate) address: Option<SocketAddr>,
    /// The connection is encrypted.
    pub(crate) tls: bool,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => address.fmt(f),
            None => f.write_str("@"),
        }
    }
}

/// Answers one request.
pub(crate) async fn answer(
    app: Arc<App>,
    peer: Peer,
    request: Request<Incoming>,
) -> Response<Body> {
    let started = Instant::now();
    let (parts, incoming) = request.into_parts();
    // Whoever watches the process asks often; that is neither counted nor logged.
    if let Some(answer) = probe(&app, &parts) {
        return answer;
    }
    let id = RequestId::new();
    let mut outcome = log::Outcome {
        watch: app.metrics.then(|| Watch::new(started, &parts.method)),
        ..log::Outcome::default()
    };
    let mut response = match respond(&app, peer, &parts, incoming, &mut outcome).await {
        Ok(response) => response,
        Err(error) => {
            let (code, detail) = error.first();
            outcome.error = Some(code);
            outcome.detail = detail.map(ToString::to_string);
            error.into_response()
        }
    };
    if let Some(mut watch) = outcome.watch.take() {
        count(&app, &parts, &mut watch, response.status());
        response.body_mut().watched(Some(watch));
    }
    let length = response.body().length();
    finish(&app, &parts, &id, &mut response);
    log::request(&log::Line {
        id: id.as_str(),
        http: &app.http,
        peer,
        parts: &parts,
        outcome: &outcome,
        response: &response,
        written: length.unwrap_or_default(),
        started,
        access_line: app.access_lines,
    });
    response
}

/// Notes the answer. What a request is about that was refused early is read from its path.
fn count(app: &App, parts: &Parts, watch: &mut Watch, status: StatusCode) {
    if !watch.has_begun()
        && let Some(api) = app.http.api_path(parts.uri.path())
        && let Some(handler) = router::handler(api)
    {
        watch.begin(handler);
    }
    watch.answer(status);
}

/// What every answer has, whatever it says.
fn finish(app: &App, parts: &Parts, id: &RequestId, response: &mut Response<Body>) {
    let length = response.body().length();
    let status = response.status();
    let headers = response.headers_mut();
    let path = parts.uri.path();
    if path != "/" {
        headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    }
    if app.http.api_path(path).is_some() {
        for (name, value) in &app.http.headers {
            headers.append(name, value.clone());
        }
    }
    headers.insert(
        REQUEST_ID,
        HeaderValue::from_str(id.as_str()).expect("a number in hex is a header value"),
    );
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        *response.body_mut() = Body::empty();
        return;
    }
    if let Some(length) = length
        && !headers.contains_key(CONTENT_LENGTH)
    {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if parts.method == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
}

async fn respond(
    app: &Arc<App>,
    peer: Peer,
    parts: &Parts,
    incoming: Incoming,
    outcome: &mut log::Outcome,
) -> Result<Response<Body>, Error> {
    if let Some(check) = app.health.failing() {
        tracing::debug!(check, "refusing the request while a health check fails");
        return Err(error::unavailable(
            "health check failed: please see /debug/health",
        ));
    }
    let path = parts.uri.path();
    if path == "/" {
        let mut response = Response::new(Body::empty());
        response
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        return Ok(response);
    }
    if path.strip_prefix(app.http.prefix.as_str()) == Some(TOKEN_PATH) {
        return token(app, parts).await;
    }
    if let Some(managed) = app.http.managed_path(path) {
        return Box::pin(manage(app, peer, parts, managed, incoming, outcome)).await;
    }
    let api = app.http.api_path(path).ok_or(RouteError::NotFound)?;
    if parts.method == Method::OPTIONS {
        return preflight(app, api);
    }
    // Who asks is settled before what he asks is judged, so that a stranger learns nothing from errors.
    let refuse =
        |denial, permission: Option<Permission<'_>>| refusal(app, peer, parts, denial, permission);
    let caller = app
        .access
        .authenticate(&parts.headers)
        .await
        .map_err(|denial| refuse(denial, None))?;
    outcome.user = caller.name().map(str::to_owned);
    let action = match router::parse(&parts.method, api, parts.uri.query()) {
        Ok(action) => action,
        Err(RouteError::NotFound) => return Err(RouteError::NotFound.into()),
        Err(RouteError::Redirect(to)) => {
            return Err(error::redirect(&app.http.prefix, &to, parts.uri.query()));
        }
        Err(error) => {
            app.access
                .require_somebody(&caller)
                .map_err(|denial| refuse(denial, None))?;
            return Err(error.into());
        }
    };
    outcome.action = Some(action.name());
    if let Some(watch) = &mut outcome.watch {
        watch.begin(action.handler());
    }
    let permission = action.permission();
    app.access
        .authorize(&caller, permission)
        .map_err(|denial| refuse(denial, Some(permission)))?;
    let limit = app.http.timeout.filter(|_| !action.moves_blob());
    let exchange = v2::Exchange {
        app,
        caller,
        peer,
        parts,
    };
    let served = v2::serve(&exchange, action, incoming);
    match limit {
        None => served.await,
        Some(limit) => Box::pin(tokio::time::timeout(limit, served))
            .await
            .unwrap_or_else(|_| {
                Err(error::unavailable(format!(
                    "not answered within {limit:?} (http.timeout)"
                )))
            }),
    }
}

/// A request to the management API on the main address: for administrators.
async fn manage(
    app: &Arc<App>,
    peer: Peer,
    parts: &Parts,
    path: &str,
    incoming: Incoming,
    outcome: &mut log::Outcome,
) -> Result<Response<Body>, Error> {
    outcome.action = Some("manage");
    let refuse = |denial| refusal(app, peer, parts, denial, None);
    let caller = app
        .access
        .authenticate(&parts.headers)
        .await
        .map_err(refuse)?;
    outcome.user = caller.name().map(str::to_owned);
    app.access.require_somebody(&caller).map_err(refuse)?;
    if !app.access.administers(&caller) {
        return Err(error::not_administrator());
    }
    // A browser that remembers an administrator's password sends it along with any site's form, but a form
    // cannot send JSON.
    let json = text(&parts.headers, CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case("application/json")
    });
    if !json && !matches!(parts.method, Method::GET | Method::HEAD) {
        return Err(error::request_invalid(
            "what changes something needs Content-Type: application/json",
        ));
    }
    Ok(administer(app, parts, path, incoming, false).await)
}

/// A request of an administrator; `path` is below [`api::PATH`].
async fn administer(
    app: &Arc<App>,
    parts: &Parts,
    path: &str,
    incoming: Incoming,
    local: bool,
) -> Response<Body> {
    let patience = app.http.idle_timeout;
    match incoming::collect(incoming, api::BODY_BYTES_MAX, patience).await {
        Ok(body) => {
            let request = api::Request {
                method: &parts.method,
                path,
                query: parts.uri.query().unwrap_or_default(),
                body: &body,
                local,
            };
            api::serve(app, &request).await
        }
        Err(operations::Error::ManifestTooLarge { limit }) => {
            error::request_invalid(&format!("the body is over the limit of {limit} bytes"))
                .into_response()
        }
        Err(error) => Error::from(error).into_response(),
    }
}

/// Answers a request on the control socket.
pub(crate) async fn answer_control(app: Arc<App>, request: Request<Incoming>) -> Response<Body> {
    let (parts, incoming) = request.into_parts();
    if let Some(answer) = probe(&app, &parts) {
        return answer;
    }
    match parts.uri.path().strip_prefix(api::PATH) {
        Some(path) => administer(&app, &parts, path, incoming, true).await,
        None => error::no_such_path().into_response(),
    }
}

/// Does a change to its end, whether or not the client still waits for it.
async fn change<T: Send + 'static>(
    app: &Arc<App>,
    work: impl Future<Output = operations::Result<T>> + Send + 'static,
) -> Result<T, Error> {
    match app.writes.spawn(work).await {
        Ok(done) => Ok(done?),
        Err(panicked) => {
            tracing::error!(error = %panicked, "a change ended in a panic");
            Err(error::inside())
        }
    }
}

/// What stands for a request in its answer and in the log: 16 hex digits.
struct RequestId([u8; 16]);

impl RequestId {
    fn new() -> RequestId {
        let number = random::request_number();
        let mut digits = [0; 16];
        for (place, digit) in digits.iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(number >> (60 - 4 * place)) as usize & 15];
        }
        RequestId(digits)
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hex digits are ASCII")
    }
}

/// Liveness and readiness, for those who watch the process; no credentials asked.
fn probe(app: &App, parts: &Parts) -> Option<Response<Body>> {
    let path = parts.uri.path();
    let reading = matches!(parts.method, Method::GET | Method::HEAD);
    if !reading || !matches!(path, "/healthz" | "/livez" | "/readyz") {
        return None;
    }
    let failing = if path == "/livez" {
        None
    } else {
        app.health.failing()
    };
    let (status, text) = match failing {
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "failing\n"),
        None if path == "/readyz" && app.draining() => {
            (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        }
        None => (StatusCode::OK, "ok\n"),
    };
    let body = if parts.method == Method::HEAD {
        Bytes::new()
    } else {
        Bytes::from_static(text.as_bytes())
    };
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(response)
}

/// `OPTIONS`: the methods of the path, and what a browser asks before a request from another origin.
///
/// No credentials are asked, since browsers send none with a preflight.
fn preflight(app: &App, api: &str) -> Result<Response<Body>, Error> {
    let methods = router::methods(api).ok_or(RouteError::NotFound)?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(methods));
    if app.http.headers.contains_key("access-control-allow-origin") {
        headers.insert(
            "access-control-allow-methods",
            HeaderValue::from_static(methods),
        );
        let asked =
            HeaderValue::from_static("Authorization, Accept, Content-Type, Content-Range, Range");
        headers.insert("access-control-allow-headers", asked);
        headers.insert("access-control-max-age", HeaderValue::from_static("600"));
    }
    Ok(response)
}

/// `GET <prefix>/auth/token`: a token that says who asks, for clients that want one before they try.
///
/// Only GET: to any other method the answer is 404, which makes clients of OAuth ask by GET. What the client
/// says it will do (`scope`) does not matter, since each request is judged by itself.
async fn token(app: &App, parts: &Parts) -> Result<Response<Body>, Error> {
    if parts.method != Method::GET {
        return Err(RouteError::NotFound.into());
    }
    let caller = match app.access.authenticate(&parts.headers).await {
        Ok(caller) => caller,
        Err(Denial::Unauthorized) => {
            return Err(error::unauthorized("Basic realm=\"token\"", None));
        }
        Err(Denial::Unavailable) => return Err(error::busy()),
        Err(Denial::RepositoryClosed) => return Err(error::repository_closed()),
    };
    let now = clock::now();
    let token = app.access.token(&caller, now).ok_or(RouteError::NotFound)?;
    let issued = clock::date(now);
    let answer = serde_json::json!({
        "token": token,
        "access_token": token,
        "expires_in": TOKEN_LIFETIME.as_secs(),
        "issued_at": issued.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
    });
    let mut response = Response::new(Body::full(Bytes::from(answer.to_string())));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `401` with the challenge of the realm in use, or `503` when the realm itself fails.
fn refusal(
    app: &App,
    peer: Peer,
    parts: &Parts,
    denial: Denial,
    permission: Option<Permission<'_>>,
) -> Error {
    match denial {
        Denial::Unavailable => error::busy(),
        Denial::RepositoryClosed => error::repository_closed(),
        Denial::Unauthorized => {
            let scope = permission.as_ref().and_then(Permission::scope);
            let sent = parts.headers.contains_key(AUTHORIZATION);
            let token_url = format!(
                "{}{TOKEN_PATH}",
                origin::absolute(&app.http, peer, &parts.headers)
            );
            error::unauthorized(&app.access.challenge(scope, sent, &token_url), scope)
        }
    }
}

/// A header as text; absent and unreadable are the same.
fn text(headers: &HeaderMap, name: impl http::header::AsHeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
