//! The debug server of `http.debug.addr`: `GET /debug/health`, and metrics where the configuration wants them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Incoming, Listener, until};
use crate::app::App;
use crate::http::body::Body;
use crate::metrics;

/// Connections at once; more wait.
const CONNECTIONS: usize = 64;
/// Longest time for the headers of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until `stop`; metrics under the given path.
pub(crate) async fn serve(
    listener: Listener,
    app: Arc<App>,
    metrics_path: Option<String>,
    stop: CancellationToken,
) {
    let metrics_path: Option<Arc<str>> = metrics_path.map(Arc::from);
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    while let Some(Ok(permit)) = until(&stop, Arc::clone(&connections).acquire_owned()).await {
        let Some(accepted) = until(&stop, listener.accept()).await else {
            return;
        };
        let Ok(Incoming::Tcp(stream, _)) = accepted else {
            continue;
        };
        let (app, metrics_path) = (Arc::clone(&app), metrics_path.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let service = service_fn(move |request| {
                let (app, metrics_path) = (Arc::clone(&app), metrics_path.clone());
                async move { Ok::<_, Infallible>(answer(&app, metrics_path.as_deref(), &request).await) }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT);
            // Errors of a debug connection concern nobody.
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer<B>(app: &App, metrics_path: Option<&str>, request: &Request<B>) -> Response<Body> {
    let path = request.uri().path();
    if request.method() == Method::GET && path == "/debug/health" {
        return health(app);
    }
    if request.method() == Method::GET && metrics_path == Some(path) {
        let text = metrics::render(app).await;
        return typed(metrics::CONTENT_TYPE, text);
    }
    let mut response = Response::new(Body::full(Bytes::from_static(b"404 page not found\n")));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

fn health(app: &App) -> Response<Body> {
    let failures = app.health.failures();
    let body = serde_json::to_string(&failures).unwrap_or_default();
    let mut response = typed("application/json", body);
    if !failures.is_empty() {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

fn typed(content_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::full(Bytes::from(body)));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
