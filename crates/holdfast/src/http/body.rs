//! Bodies: bytes at hand, or parts of a stored blob read as the client takes them.
//!
//! A blob body holds one chunk at a time, so memory per download is one read whatever the blob's size. On a
//! connection with an [`Outlet`] it does not even hold that: the kernel sends the file.

use std::collections::VecDeque;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use holdfast_storage::{BlobReader, Error};
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;

use super::outlet::{MARKER_BYTES_MAX, Outlet};
use crate::metrics::requests::Watch;

/// Least bytes that are worth a call to send them; fewer are read and written with the head.
const SENT_BYTES_MIN: u64 = 64 * 1024;

/// The body of a response.
pub(crate) enum Body {
    /// Bytes at hand; none when there are no more.
    Bytes(Bytes),
    /// Parts of a blob, and what stands between them.
    Blob(BlobBody),
    /// Lines that come while their work goes on.
    Lines(mpsc::Receiver<Bytes>),
}

/// A piece of a blob body.
pub(super) enum Segment {
    /// Bytes at hand.
    Bytes(Bytes),
    /// A range of the blob.
    Range(Range<u64>),
}

impl Segment {
    /// Bytes it stands for.
    pub(super) fn length(&self) -> u64 {
        match self {
            Segment::Bytes(bytes) => bytes.len() as u64,
            Segment::Range(range) => range.end - range.start,
        }
    }
}

type Read = Pin<Box<dyn Future<Output = Result<Bytes, Error>> + Send>>;

/// Parts of a blob.
pub(crate) struct BlobBody {
    reader: Arc<dyn BlobReader>,
    segments: VecDeque<Segment>,
    left: u64,
    chunk: usize,
    reading: Option<Read>,
    /// The reader knows of the range that is being read.
    expected: bool,
    outlet: Option<Arc<Outlet>>,
    /// The request, which ends with this body.
    watch: Option<Watch>,
}

impl Body {
    /// A body without bytes.
    pub(crate) fn empty() -> Body {
        Body::Bytes(Bytes::new())
    }

    /// A body of these bytes.
    pub(crate) fn full(bytes: Bytes) -> Body {
        Body::Bytes(bytes)
    }

    /// A body of parts of a blob, read in chunks of so many bytes.
    pub(super) fn blob(reader: Box<dyn BlobReader>, segments: Vec<Segment>, chunk: usize) -> Body {
        let left = segments.iter().map(Segment::length).sum();
        Body::Blob(BlobBody {
            reader: reader.into(),
            segments: segments.into(),
            left,
            chunk,
            reading: None,
            expected: false,
            outlet: None,
            watch: None,
        })
    }

    /// A body of lines still to come.
    pub(super) fn lines(lines: mpsc::Receiver<Bytes>) -> Body {
        Body::Lines(lines)
    }

    /// The same body for a connection that sends files by itself.
    pub(crate) fn through(mut self, outlet: &Arc<Outlet>) -> Body {
        if let Body::Blob(body) = &mut self {
            body.outlet = Some(Arc::clone(outlet));
        }
        self
    }

    /// Ends the request when the last of the body went, or its client.
    pub(super) fn watched(&mut self, watch: Option<Watch>) {
        if let Body::Blob(body) = self {
            body.watch = watch;
        }
    }

    /// Bytes still to come, where that is known.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Body::Bytes(bytes) => Some(bytes.len() as u64),
            Body::Blob(body) => Some(body.left),
            Body::Lines(_) => None,
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.get_mut() {
            Body::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Body::Blob(body) => body
                .poll(context)
                .map(|next| next.map(|chunk| chunk.map(Frame::data))),
            Body::Lines(lines) => lines
                .poll_recv(context)
                .map(|line| line.map(|line| Ok(Frame::data(line)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.length() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.length()
            .map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

impl BlobBody {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        loop {
            if let Some(reading) = &mut self.reading {
                let chunk = match ready!(reading.as_mut().poll(context)) {
                    Ok(chunk) => chunk,
                    Err(error) => {
                        // The head is out: all that is left is to break the connection off.
                        tracing::error!(%error, "a stored blob could not be read to its end");
                        self.segments.clear();
                        self.reading = None;
                        return Poll::Ready(Some(Err(error)));
                    }
                };
                self.reading = None;
                self.left -= chunk.len() as u64;
                if let Some(Segment::Range(range)) = self.segments.front_mut() {
                    range.start += chunk.len() as u64;
                }
                return Poll::Ready(Some(Ok(chunk)));
            }
            match self.segments.pop_front() {
                None => return Poll::Ready(None),
                Some(Segment::Bytes(bytes)) => {
                    self.expected = false;
                    self.left -= bytes.len() as u64;
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Some(Segment::Range(range)) if range.is_empty() => {}
                Some(Segment::Range(mut range)) => {
                    if let Some(marker) = self.send(&range) {
                        range.start += marker.len() as u64;
                        self.left -= marker.len() as u64;
                        self.segments.push_front(Segment::Range(range));
                        return Poll::Ready(Some(Ok(marker)));
                    }
                    let reader = Arc::clone(&self.reader);
                    if !self.expected {
                        reader.expect(range.clone());
                        self.expected = true;
                    }
                    let (offset, left) = (range.start, range.end - range.start);
                    let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.chunk);
                    self.reading =
                        Some(Box::pin(async move { reader.read_at(offset, most).await }));
                    self.segments.push_front(Segment::Range(range));
                }
            }
        }
    }

    /// Hands the beginning of the range to the kernel, if that can be done and is worth it.
    fn send(&self, range: &Range<u64>) -> Option<Bytes> {
        let outlet = self.outlet.as_ref()?;
        let left = range.end - range.start;
        if left < SENT_BYTES_MIN {
            return None;
        }
        let most = left.min(MARKER_BYTES_MAX as u64);
        Some(outlet.send(self.reader.in_memory(range.start, most)?))
    }
}
