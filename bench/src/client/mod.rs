//! The client: HTTP/1.1 on one connection, and no more of it than a registry needs.
//!
//! A general client would be measured together with the server. This one sends requests that were written
//! beforehand, and receives every body by copying it into one buffer of the thread, which stays in the
//! processor's cache. All clients of a measurement run on one thread.

mod answer;
mod registry;
mod stream;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Result;
use answer::{Head, Reader};
use stream::Stream;

pub(crate) use registry::{Upload, store_and_verify};

pub(crate) use stream::{TLS_NAME, connector};

/// Bytes received at once. Larger ones fall out of the second-level cache of common processors.
const RECEIVE_BYTES: usize = 256 * 1024;
/// Reads of one connection before the others have their turn.
const READS_PER_TURN: usize = 16;
/// Parts of a body that are written with one call.
const PARTS_PER_WRITE: usize = 8;

thread_local! {
    static SENT: Cell<u64> = const { Cell::new(0) };
    static RECEIVED: RefCell<Vec<u8>> = RefCell::new(vec![0; RECEIVE_BYTES]);
}

/// Bytes that the clients of this thread have sent so far.
pub(crate) fn sent_bytes() -> u64 {
    SENT.get()
}

/// How clients reach a server.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<TlsConnector>,
    /// The value of `Authorization`.
    pub(crate) authorization: Option<String>,
    /// The document root of a server of files, which cannot be pushed to.
    pub(crate) files: Option<PathBuf>,
}

/// A request with everything but its body.
#[derive(Clone)]
pub(crate) struct Request {
    head: Vec<u8>,
    bodiless: bool,
    expected: [u16; 2],
}

/// A kept-alive connection to a server.
pub(crate) struct Connection {
    stream: Stream,
    target: Arc<Target>,
}

impl Target {
    /// A request without a body. `path` may be an absolute URL of this server, as it stood in a `Location`.
    pub(crate) fn request(&self, method: &str, path: &str, headers: &str, status: u16) -> Request {
        let mut request = self.request_with_body(method, path, headers, status);
        if method != "GET" && method != "HEAD" {
            request.head.truncate(request.head.len() - 2);
            request.head.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        }
        request
    }

    /// A request whose headers say how long its body is.
    pub(crate) fn request_with_body(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        status: u16,
    ) -> Request {
        let path = match path.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
            None => path,
        };
        let authorization = match &self.authorization {
            Some(value) => format!("Authorization: {value}\r\n"),
            None => String::new(),
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{authorization}{headers}\r\n",
            self.address
        );
        Request {
            head: head.into_bytes(),
            bodiless: method == "HEAD",
            expected: [status, status],
        }
    }
}

impl Request {
    /// Another status that is right, too.
    pub(crate) fn or(mut self, status: u16) -> Request {
        self.expected[1] = status;
        self
    }
}

impl Connection {
    pub(crate) async fn open(target: &Arc<Target>) -> Result<Connection> {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        let stream = match &target.tls {
            None => Stream::Plain(stream),
            Some(connector) => {
                let name = target.address.ip().into();
                Stream::Tls(Box::new(connector.connect(name, stream).await?))
            }
        };
        Ok(Connection {
            stream,
            target: target.clone(),
        })
    }

    /// As many connections as asked for, opened one after the other.
    pub(crate) async fn open_many(target: &Arc<Target>, count: usize) -> Result<Vec<Connection>> {
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            connections.push(Connection::open(target).await?);
        }
        Ok(connections)
    }

    pub(crate) fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// Sends a request and receives the answer, whose body goes to `sink` piece by piece.
    pub(crate) async fn exchange(
        &mut self,
        request: &Request,
        body: &[&[u8]],
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Head> {
        let sent = self.send(&request.head, body).await;
        // A server that refuses a body answers and stops reading: its answer says more than the write error.
        let answer = self.receive(request, sink).await;
        let failed = |error: &dyn std::fmt::Display| {
            let line = request.head.split(|&byte| byte == b'\r').next();
            let line = String::from_utf8_lossy(line.unwrap_or_default());
            format!("{}: {error}", line.trim_end_matches(" HTTP/1.1"))
        };
        let head = match (answer, sent) {
            (Ok(head), Ok(())) => head,
            (Err(error), _) => return Err(failed(&error).into()),
            (Ok(_), Err(error)) => return Err(failed(&error).into()),
        };
        if head.close {
            *self = Connection::open(&self.target.clone()).await?;
        }
        Ok(head)
    }

    async fn send(&mut self, head: &[u8], body: &[&[u8]]) -> io::Result<()> {
        let (first, rest) = body.split_at(body.len().min(PARTS_PER_WRITE - 1));
        let mut parts: Vec<IoSlice<'_>> = Vec::with_capacity(PARTS_PER_WRITE);
        parts.push(IoSlice::new(head));
        parts.extend(first.iter().map(|part| IoSlice::new(part)));
        self.write_parts(&mut parts).await?;
        for group in rest.chunks(PARTS_PER_WRITE) {
            parts.clear();
            parts.extend(group.iter().map(|part| IoSlice::new(part)));
            self.write_parts(&mut parts).await?;
        }
        poll_fn(|context| Pin::new(&mut self.stream).poll_flush(context)).await
    }

    async fn write_parts(&mut self, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            let written =
                poll_fn(|context| Pin::new(&mut self.stream).poll_write_vectored(context, parts));
            match written.await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => {
                    SENT.set(SENT.get() + written as u64);
                    IoSlice::advance_slices(&mut parts, written);
                }
            }
        }
        Ok(())
    }

    async fn receive(&mut self, request: &Request, sink: &mut dyn FnMut(&[u8])) -> Result<Head> {
        let mut reader = Reader::new(request.expected, request.bodiless);
        let stream = &mut self.stream;
        poll_fn(|context| receive_some(stream, &mut reader, sink, context)).await?;
        reader.finish()
    }
}

fn receive_some(
    stream: &mut Stream,
    reader: &mut Reader,
    sink: &mut dyn FnMut(&[u8]),
    context: &mut Context<'_>,
) -> Poll<Result<()>> {
    RECEIVED.with_borrow_mut(|received| {
        for _ in 0..READS_PER_TURN {
            let mut buffer = ReadBuf::new(received);
            match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Ready(Ok(())) => {}
            }
            if buffer.filled().is_empty() {
                return Poll::Ready(Err("the connection ended before the answer did".into()));
            }
            match reader.feed(buffer.filled(), sink) {
                Ok(false) => {}
                Ok(true) => return Poll::Ready(Ok(())),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
}
