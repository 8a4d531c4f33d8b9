//! The debug server of `http.debug.addr`: `GET /debug/health` and nothing else yet.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;

use super::{Incoming, Listener, until};
use crate::health::Health;
use crate::http::body::Body;

/// Longest time for the headers of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until `stop`.
pub(crate) async fn serve(listener: Listener, health: Arc<Health>, stop: CancellationToken) {
    while let Some(accepted) = until(&stop, listener.accept()).await {
        let Ok(Incoming::Tcp(stream, _)) = accepted else {
            continue;
        };
        let health = Arc::clone(&health);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&health, &request);
                async move { Ok::<_, Infallible>(answer) }
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

fn answer<B>(health: &Health, request: &Request<B>) -> Response<Body> {
    if request.method() != Method::GET || request.uri().path() != "/debug/health" {
        let mut response = Response::new(Body::full(Bytes::from_static(b"404 page not found\n")));
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    }
    let failures = health.failures();
    let body = serde_json::to_string(&failures).unwrap_or_default();
    let mut response = Response::new(Body::full(Bytes::from(body)));
    if !failures.is_empty() {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
