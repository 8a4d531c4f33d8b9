//! The edge: sockets in, requests out, limits on both.
//!
//! One runtime, one task per connection. A connection that sends its headers too slowly, or takes its
//! answer too slowly, is closed; more connections than the limit wait in the kernel's queue.

mod activity;
mod control;
mod debug;
mod file_stream;
mod listener;
mod notify;
mod send_buffer;
mod tls;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming as RequestBody;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

use crate::app::{App, positive};
use crate::config::Http;
use crate::http::outlet::Outlet;
use crate::http::{Peer, answer};
use activity::{Activity, Tracked};
use file_stream::{FileStream, Socket};

pub(crate) use control::{SocketPath, listen as listen_control, serve as serve_control};
pub(crate) use debug::serve as serve_debug;
pub(crate) use listener::{Incoming, Listener};
pub(crate) use notify::{ready as notify_ready, stopping as notify_stopping};
pub(crate) use tls::Acceptor;

/// Longest time for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time for the answer to a ping on an idle HTTP/2 connection.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Most requests at the same time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 64;

/// Bytes that one HTTP/2 answer may have waiting for its client.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Bytes that one HTTP/1 connection may have read and not yet taken, and of an answer waiting for its client
/// before the next piece is asked for. Longer heads are refused with 431. hyper's own 400 KiB make a large push
/// a few percent faster, and a client that reads nothing three times as dear.
const HTTP1_BUFFER_BYTES: usize = 64 * 1024;

/// Most bytes of headers in one HTTP/2 request.
const MAX_HEADER_LIST_BYTES: u32 = 64 * 1024;

/// Bytes in flight that one HTTP/2 upload may have, on its stream and on its connection.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;

/// Pause after an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a stop waits for writes whose clients are gone already.
const WRITES_WAIT: Duration = Duration::from_secs(10);

/// How connections are treated, from the `http` section.
#[derive(Clone)]
pub(crate) struct Edge {
    app: Arc<App>,
    tls: Option<Acceptor>,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    cleartext_http2: bool,
    header_timeout: Duration,
    idle_timeout: Duration,
    send_buffer: usize,
    connections: Arc<Semaphore>,
}

impl Edge {
    /// Prepares TLS and limits.
    pub(crate) fn new(app: Arc<App>, http: &Http) -> Result<Edge, String> {
        let tls = http
            .tls
            .as_ref()
            .map(|tls| Acceptor::new(tls, http.http2))
            .transpose()?;
        let (header_timeout, idle_timeout) =
            (positive(http.header_timeout), positive(http.idle_timeout));
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .max_buf_size(HTTP1_BUFFER_BYTES)
            // Some clients close their side once the request is out, and wait for the answer.
            .half_close(true)
            // `Docker-Content-Digest`, as Go writes it: scripts grep for that spelling.
            .title_case_headers(true);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_LIST_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(STREAM_WINDOW_BYTES)
            .keep_alive_interval(Some(idle_timeout))
            .keep_alive_timeout(PING_TIMEOUT);
        let most = http.max_connections.min(Semaphore::MAX_PERMITS);
        Ok(Edge {
            app,
            tls,
            http1,
            http2,
            cleartext_http2: http.h2c,
            header_timeout,
            idle_timeout,
            send_buffer: http.send_buffer,
            connections: Arc::new(Semaphore::new(most)),
        })
    }

    /// Serves until `stop`, then lets requests under way end within `drain`; zero cuts them off.
    ///
    /// Upload sessions that are cut off keep what arrived. `cut` ends the draining early.
    pub(crate) async fn serve(
        self,
        listener: Listener,
        stop: CancellationToken,
        cut: CancellationToken,
        drain: Duration,
    ) {
        let graceful = GracefulShutdown::new();
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
        let drained = tokio::time::timeout(drain, graceful.shutdown());
        if drain.is_zero()
            || until(&cut, drained)
                .await
                .is_none_or(|drained| drained.is_err())
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
            tokio::select! {
                () = edge.serve_connection(incoming, peer, watcher) => {}
                () = cut.cancelled() => {}
            }
        });
    }

    async fn serve_connection(&self, incoming: Incoming, peer: Peer, watcher: Watcher) {
        if let Incoming::Tcp(stream, _) = &incoming {
            send_buffer::fit(stream, self.send_buffer);
        }
        let Some(tls) = &self.tls else {
            let http2 = if self.cleartext_http2 {
                match tokio::time::timeout(self.header_timeout, incoming.begins_http2()).await {
                    Ok(http2) => http2,
                    // It has said nothing in all that time.
                    Err(_) => return,
                }
            } else {
                false
            };
            return match incoming {
                Incoming::Tcp(stream, _) => self.speak_plain(stream, http2, peer, watcher).await,
                Incoming::Unix(stream) => self.speak_plain(stream, http2, peer, watcher).await,
            };
        };
        match incoming {
            Incoming::Tcp(stream, _) => {
                self.speak_tls(tls, self.bounded(stream), peer, watcher)
                    .await
            }
            Incoming::Unix(stream) => {
                self.speak_tls(tls, self.bounded(stream), peer, watcher)
                    .await
            }
        }
    }

    async fn speak_plain(&self, socket: impl Socket, http2: bool, peer: Peer, watcher: Watcher) {
        let stream = FileStream::new(socket);
        let outlet = stream.outlet();
        self.speak(self.bounded(stream), http2, peer, watcher, Some(outlet))
            .await;
    }

    async fn speak_tls<S>(&self, tls: &Acceptor, stream: S, peer: Peer, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.speak(stream, http2, peer, watcher, None).await;
            }
            Ok(Err(error)) => tracing::info!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::info!(%peer, "TLS handshake took too long"),
        }
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

    /// Speaks HTTP. With an outlet, `stream` sends the files that bodies leave there.
    async fn speak<S>(
        &self,
        stream: S,
        http2: bool,
        peer: Peer,
        watcher: Watcher,
        outlet: Option<Arc<Outlet>>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let app = Arc::clone(&self.app);
        let answer = move |request: Request<RequestBody>| answer(Arc::clone(&app), peer, request);
        let ended = if http2 {
            let activity = Arc::new(Activity::default());
            let seen = Arc::clone(&activity);
            let service = service_fn(move |request| {
                let answering = activity.answering();
                let (answer, activity) = (answer(request), Arc::clone(&activity));
                async move {
                    let response = answer.await;
                    drop(answering);
                    Ok::<_, Infallible>(response.map(|body| Tracked::new(body, activity)))
                }
            });
            let connection = self.http2.serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                ended = watcher.watch(connection) => ended,
                // Streams that nobody reads hold memory and files, and no write to the socket fails for them.
                () = seen.idle(self.header_timeout, self.idle_timeout) => Ok(()),
            }
        } else {
            let service = service_fn(move |request| {
                let (answer, outlet) = (answer(request), outlet.clone());
                async move {
                    let response = answer.await;
                    Ok::<_, Infallible>(match &outlet {
                        Some(outlet) => response.map(|body| body.through(outlet)),
                        None => response,
                    })
                }
            });
            watcher
                .watch(self.http1.serve_connection(TokioIo::new(stream), service))
                .await
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "the connection ended with an error");
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
