//! HTTP: a request comes in, an answer goes out, and one line is logged.
//!
//! The order of checks is: health, path, preflight, who is asking, what is asked, may he, do it.

pub mod action;
pub mod body;
pub mod error;
mod incoming;
mod origin;
pub mod router;
pub mod v2;

pub(crate) use origin::client_address;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue,
    WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use percent_encoding::{AsciiSet, CONTROLS};
use serde_json::json;

use crate::access::{Caller, Denial};
use crate::app::App;
use crate::{log, random};
use action::Permission;
use body::Body;
use error::{Code, Error};
use router::RouteError;

/// What a path may hold unescaped in a `Location` or `Link`.
pub(crate) const PATH: &AsciiSet = &CONTROLS
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

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its address; a Unix socket has none.
    pub address: Option<SocketAddr>,
    /// The connection is encrypted.
    pub tls: bool,
}

/// Answers one request.
pub async fn answer(app: Arc<App>, peer: Peer, request: Request<Incoming>) -> Response<Body> {
    let started = Instant::now();
    let (parts, incoming) = request.into_parts();
    let id = random::request_id();
    let mut outcome = Outcome::default();
    let path = parts.uri.path();
    let mut response = match respond(&app, peer, &parts, incoming, &mut outcome).await {
        Ok(response) => response,
        Err(error) => {
            outcome.error = Some(error.code().0);
            outcome.detail = error.code().1.map(ToString::to_string);
            error.into_response()
        }
    };
    let routed = app.http.api_path(path).is_some();
    let headers = response.headers_mut();
    if path != "/" {
        headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    }
    if routed {
        for (name, value) in &app.http.headers {
            if !headers.contains_key(name) {
                headers.append(name, value.clone());
            }
        }
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    let length = response.body().length();
    if !response.headers().contains_key(CONTENT_LENGTH) {
        response
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if parts.method == Method::HEAD || response.status() == StatusCode::NOT_MODIFIED {
        *response.body_mut() = Body::Empty;
    }
    if matches!(
        response.status(),
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
    ) {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    log::request(&log::RequestLine {
        id: &id,
        peer,
        parts: &parts,
        user: outcome.user.as_deref(),
        action: outcome.action,
        status: response.status(),
        written: length,
        content_type: response.headers().get(CONTENT_TYPE),
        error: outcome.error,
        detail: outcome.detail.as_deref(),
        elapsed: started.elapsed(),
        access_line: app.log.access_lines,
    });
    response
}

/// What the log says about a request beside its answer.
#[derive(Default)]
struct Outcome {
    user: Option<String>,
    action: Option<&'static str>,
    error: Option<&'static str>,
    detail: Option<String>,
}

async fn respond(
    app: &Arc<App>,
    peer: Peer,
    parts: &Parts,
    incoming: Incoming,
    outcome: &mut Outcome,
) -> Result<Response<Body>, Error> {
    let path = parts.uri.path();
    if let Some(answer) = probe(app, &parts.method, path) {
        return Ok(answer);
    }
    if let Some(failing) = app.health.failing() {
        tracing::debug!(
            check = failing,
            "refusing the request while a health check fails"
        );
        let detail = json!("health check failed: please see /debug/health");
        return Err(Error::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::Unavailable,
            detail,
        ));
    }
    if path == "/" {
        let mut response = Response::new(Body::Empty);
        response
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        return Ok(response);
    }
    let api = app.http.api_path(path).ok_or(RouteError::NotFound)?;
    if parts.method == Method::OPTIONS {
        return preflight(app, api);
    }
    // Who asks is settled before what he asks is judged, so that a stranger learns nothing from errors.
    let caller = match app.access.authenticate(&parts.headers).await {
        Ok(caller) => caller,
        Err(denial) => return Err(challenge(app, parts, &denial, None)),
    };
    outcome.user = caller.name().map(str::to_owned);
    let action = match router::parse(&parts.method, api, parts.uri.query()) {
        Ok(action) => action,
        Err(RouteError::NotFound) => return Err(RouteError::NotFound.into()),
        Err(RouteError::Redirect(to)) => {
            return Err(RouteError::Redirect(format!("{}{to}", app.http.prefix)).into());
        }
        Err(error) => {
            app.access
                .require_somebody(&caller)
                .map_err(|denial| challenge(app, parts, &denial, None))?;
            return Err(error.into());
        }
    };
    outcome.action = Some(action.name());
    let permission = action.permission();
    app.access
        .authorize(&caller, permission)
        .map_err(|denial| challenge(app, parts, &denial, Some(permission)))?;
    let exchange = v2::Exchange {
        app: Arc::clone(app),
        caller,
        origin: origin::base(&app.http, peer, &parts.headers),
    };
    let limit = app.http.timeout.filter(|_| !action.moves_blob());
    let served = v2::serve(exchange, action, parts, incoming);
    match limit {
        None => served.await,
        Some(limit) => tokio::time::timeout(limit, served)
            .await
            .unwrap_or_else(|_| {
                let detail = json!(format!("not answered within {limit:?} (http.timeout)"));
                Err(Error::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    Code::Unavailable,
                    detail,
                ))
            }),
    }
}

/// Liveness and readiness, for those who watch the process; no credentials, no log of their own.
fn probe(app: &App, method: &Method, path: &str) -> Option<Response<Body>> {
    if !matches!(path, "/healthz" | "/livez" | "/readyz")
        || !matches!(*method, Method::GET | Method::HEAD)
    {
        return None;
    }
    let failing = if path == "/livez" {
        None
    } else {
        app.health.failing()
    };
    let draining = path == "/readyz" && app.draining();
    let (status, text) = match failing {
        None if draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned()),
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(check) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("failing: {check}\n"),
        ),
    };
    let mut response = Response::new(Body::full(Bytes::from(text)));
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
    let mut response = Response::new(Body::Empty);
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

/// `401` with the challenge of the realm in use, or the failure of the realm itself.
fn challenge(
    app: &App,
    parts: &Parts,
    denial: &Denial,
    permission: Option<Permission<'_>>,
) -> Error {
    if *denial == Denial::Unavailable {
        return Error::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::Unavailable,
            json!("credentials cannot be checked now"),
        );
    }
    let scope = permission.as_ref().and_then(Permission::scope);
    let detail = scope.map(|(kind, name, actions)| {
        let wanted = actions
            .iter()
            .map(|action| json!({"Type": kind, "Class": "", "Name": name, "Action": action}));
        wanted.collect::<serde_json::Value>()
    });
    let sent = parts.headers.contains_key(AUTHORIZATION);
    let detail = Some(detail.unwrap_or(serde_json::Value::Null));
    Error::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, detail)
        .header(WWW_AUTHENTICATE, app.access.challenge(scope, sent))
}

/// A header as text; absent and unreadable are the same.
fn text(headers: &HeaderMap, name: impl http::header::AsHeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// What `v2` needs of a caller.
impl Caller {
    /// The name for logs.
    pub fn name(&self) -> Option<&str> {
        match self {
            Caller::Anonymous => None,
            Caller::User(name) => Some(name),
        }
    }
}
