//! The edge: sockets in, requests out, limits on both.
//!
//! One runtime, one task per connection. A connection that sends its headers too slowly, or takes its
//! answer too slowly, is closed; more connections than the limit wait in the kernel's queue.

mod debug;
mod listener;
mod tls;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

use crate::app::{App, positive};
use crate::config::Http;
use crate::http::{Peer, answer};

pub use debug::serve as serve_debug;
pub use listener::{Incoming, Listener};
pub use tls::Acceptor;

/// Longest time for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Most requests at the same time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;

/// Most bytes of headers in one HTTP/2 request; hyper's own limit for HTTP/1 is about 400 KiB and 100 lines.
const MAX_HEADER_LIST_BYTES: u32 = 64 * 1024;

/// Bytes in flight that one HTTP/2 upload may have, on its stream and on its connection.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;

/// Pause after an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a stop waits for writes whose clients are gone already.
const WRITES_WAIT: Duration = Duration::from_secs(10);

/// How connections are treated, from the `http` section.
#[derive(Clone)]
pub struct Edge {
    app: Arc<App>,
    tls: Option<Acceptor>,
    builder: auto::Builder<TokioExecutor>,
    idle_timeout: Duration,
    connections: Arc<Semaphore>,
}

impl Edge {
    /// Prepares TLS and limits.
    pub fn new(app: Arc<App>, http: &Http) -> Result<Edge, String> {
        let tls = http
            .tls
            .as_ref()
            .map(|tls| Acceptor::new(tls, http.http2))
            .transpose()?;
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(positive(http.header_timeout))
            // `Docker-Content-Digest`, as Go writes it: scripts grep for that spelling.
            .title_case_headers(true);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_LIST_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(STREAM_WINDOW_BYTES)
            .keep_alive_interval(Some(positive(http.idle_timeout)))
            .keep_alive_timeout(HANDSHAKE_TIMEOUT);
        let cleartext_http2 = tls.is_none() && http.h2c;
        if !cleartext_http2 && tls.is_none() {
            builder = builder.http1_only();
        }
        let most = http.max_connections.min(Semaphore::MAX_PERMITS);
        Ok(Edge {
            app,
            tls,
            builder,
            idle_timeout: positive(http.idle_timeout),
            connections: Arc::new(Semaphore::new(most)),
        })
    }

    /// Serves until `stop`, then lets requests under way end within `drain`; zero cuts them off.
    ///
    /// Upload sessions that are cut off keep what arrived.
    pub async fn serve(self, listener: Listener, stop: CancellationToken, drain: Duration) {
        let graceful = GracefulShutdown::new();
        let cut = CancellationToken::new();
        while let Some(permit) = until(&stop, Arc::clone(&self.connections).acquire_owned()).await {
            let Ok(permit) = permit else { break };
            match until(&stop, listener.accept()).await {
                None => break,
                Some(Ok(incoming)) => self.spawn(incoming, permit, &graceful, &cut),
                Some(Err(error)) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        self.app.start_draining();
        if drain.is_zero()
            || tokio::time::timeout(drain, graceful.shutdown())
                .await
                .is_err()
        {
            cut.cancel();
        }
        self.app.writes.close();
        if tokio::time::timeout(WRITES_WAIT, self.app.writes.wait())
            .await
            .is_err()
        {
            tracing::warn!("some writes did not end in time; their clients were not answered");
        }
    }

    fn spawn(
        &self,
        incoming: Incoming,
        permit: OwnedSemaphorePermit,
        graceful: &GracefulShutdown,
        cut: &CancellationToken,
    ) {
        let edge = self.clone();
        let watcher = graceful.watcher();
        let cut = cut.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let peer = Peer {
                address: incoming.address(),
                tls: edge.tls.is_some(),
            };
            let serving = async {
                match (incoming, &edge.tls) {
                    (Incoming::Tcp(stream, _), Some(tls)) => {
                        let stream = edge.bounded(stream);
                        match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                            Ok(Ok(stream)) => edge.connection(stream, peer, watcher).await,
                            Ok(Err(error)) => {
                                tracing::info!(peer = ?peer.address, %error, "TLS handshake failed")
                            }
                            Err(_) => {
                                tracing::info!(peer = ?peer.address, "TLS handshake took too long")
                            }
                        }
                    }
                    (Incoming::Tcp(stream, _), None) => {
                        edge.connection(edge.bounded(stream), peer, watcher).await
                    }
                    (Incoming::Unix(stream), _) => {
                        edge.connection(edge.bounded(stream), peer, watcher).await
                    }
                }
            };
            tokio::select! {
                () = serving => {}
                () = cut.cancelled() => {}
            }
        });
    }

    /// A stream whose writes may not stand still for longer than the idle timeout.
    fn bounded<S: AsyncRead + AsyncWrite>(
        &self,
        stream: S,
    ) -> std::pin::Pin<Box<TimeoutStream<S>>> {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.idle_timeout));
        Box::pin(stream)
    }

    async fn connection<S>(
        &self,
        stream: S,
        peer: Peer,
        watcher: hyper_util::server::graceful::Watcher,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let app = Arc::clone(&self.app);
        let service = service_fn(move |request| {
            let app = Arc::clone(&app);
            async move { Ok::<_, Infallible>(answer(app, peer, request).await) }
        });
        let connection = self.builder.serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(peer = ?peer.address, error, "the connection ended with an error");
        }
    }
}

/// What the future gives, or `None` when `stop` comes first.
async fn until<T>(stop: &CancellationToken, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        output = future => Some(output),
    }
}
