//! A socket that sends files without copying them.
//!
//! It passes everything through but for the markers of an [`Outlet`]: in their place it lets the kernel send
//! the file they stand for (`sendfile(2)`), which costs half the CPU of reading and writing.
//!
//! A connection sends a turn's worth and lets others have theirs, however fast its client is: then one client
//! takes its bytes while the next is sent to, instead of being woken for each segment.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use holdfast_storage::FileRange;
use rustix::fs::sendfile;
use rustix::io::retry_on_intr;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::http::outlet::{Outlet, is_marker};

/// Bytes of files that a connection sends before others have their turn.
const TURN_BYTES: usize = 256 * 1024;

/// A socket of the system, as the kernel sends files to it.
pub(super) trait Socket: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static {
    /// Whether it can be written to.
    fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Writes; when the socket is full, waits for it anew.
    fn try_write(&self, write: impl FnMut() -> io::Result<usize>) -> io::Result<usize>;
}

macro_rules! socket {
    ($stream:ty) => {
        impl Socket for $stream {
            fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.poll_write_ready(context)
            }

            fn try_write(&self, write: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
                self.try_io(Interest::WRITABLE, write)
            }
        }
    };
}

socket!(TcpStream);
socket!(UnixStream);

/// A socket and the files that are to go out on it.
pub(super) struct FileStream<S> {
    socket: S,
    outlet: Arc<Outlet>,
    /// Bytes that this turn still has.
    turn: usize,
}

impl<S: Socket> FileStream<S> {
    pub(super) fn new(socket: S) -> FileStream<S> {
        FileStream {
            socket,
            outlet: Arc::default(),
            turn: TURN_BYTES,
        }
    }

    /// Where bodies leave what is to be sent from files.
    pub(super) fn outlet(&self) -> Arc<Outlet> {
        Arc::clone(&self.outlet)
    }

    /// Sends what stands before the next marker, or a part of the file that it stands for.
    fn send(&self, slices: &[IoSlice<'_>], range: &mut FileRange) -> io::Result<usize> {
        let marker = slices.iter().position(|slice| is_marker(slice));
        let (before, marker) = slices.split_at(marker.ok_or_else(lost)?);
        if marker[0].len() as u64 != range.length {
            return Err(lost());
        }
        if before.iter().any(|slice| !slice.is_empty()) {
            let flags = SendFlags::MORE | SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            let mut nothing = SendAncillaryBuffer::default();
            return Ok(retry_on_intr(|| {
                sendmsg(&self.socket, before, &mut nothing, flags)
            })?);
        }
        let mut offset = range.offset;
        let most = marker[0].len().min(self.turn);
        let sent = retry_on_intr(|| sendfile(&self.socket, &range.file, Some(&mut offset), most))?;
        if sent == 0 {
            tracing::error!("a stored blob ended while it was sent; it is shorter than recorded");
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "a stored blob is shorter than recorded",
            ));
        }
        range.offset += sent as u64;
        range.length -= sent as u64;
        Ok(sent)
    }
}

fn lost() -> io::Error {
    io::Error::other("what is to be sent does not fit the file that waits to be sent")
}

impl<S: Socket> AsyncRead for FileStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: Socket> AsyncWrite for FileStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = &mut *self;
        let Some(mut range) = stream.outlet.with(|waiting| waiting.front().cloned()) else {
            if slices.iter().any(|slice| is_marker(slice)) {
                return Poll::Ready(Err(lost()));
            }
            return Pin::new(&mut stream.socket).poll_write_vectored(context, slices);
        };
        if stream.turn == 0 {
            stream.turn = TURN_BYTES;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            ready!(stream.socket.poll_writable(context))?;
            match stream.socket.try_write(|| stream.send(slices, &mut range)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    stream.turn = TURN_BYTES;
                }
                sent => {
                    let count = sent.as_ref().map_or(0, |sent| *sent);
                    stream.turn = stream.turn.saturating_sub(count);
                    stream.outlet.with(|waiting| match waiting.front_mut() {
                        Some(front) if range.length > 0 => *front = range,
                        _ => drop(waiting.pop_front()),
                    });
                    return Poll::Ready(sent);
                }
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::future::poll_fn;
    use std::io::Write as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// A stream, its other end, and a file of so many bytes with what is in it.
    fn stream(length: usize) -> (FileStream<UnixStream>, UnixStream, FileRange, Vec<u8>) {
        let (socket, other) = UnixStream::pair().unwrap();
        let content: Vec<u8> = (0..length).map(|at| (at / 7 % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        let range = FileRange {
            file: Arc::new(file),
            offset: 0,
            length: length as u64,
        };
        (FileStream::new(socket), other, range, content)
    }

    async fn write_all(stream: &mut FileStream<UnixStream>, parts: &[Bytes]) -> io::Result<()> {
        let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut slices = slices.as_mut_slice();
        while !slices.is_empty() {
            let written = poll_fn(|cx| Pin::new(&mut *stream).poll_write_vectored(cx, slices));
            let written = written.await?;
            IoSlice::advance_slices(&mut slices, written);
        }
        Ok(())
    }

    #[tokio::test]
    async fn files_go_out_between_bytes_in_their_order() {
        const LENGTH: usize = 3 * TURN_BYTES + 100;
        let (mut stream, mut other, range, content) = stream(LENGTH);
        let outlet = stream.outlet();
        let part = FileRange {
            offset: 50,
            length: 1000,
            ..range.clone()
        };
        let parts = [
            Bytes::from_static(b"head"),
            Bytes::from_static(b" and more"),
            outlet.send(range),
            Bytes::from_static(b"between"),
            outlet.send(part),
        ];
        let expected = [
            b"head and more",
            content.as_slice(),
            b"between",
            &content[50..1050],
        ]
        .concat();
        let reading = tokio::spawn(async move {
            let mut received = Vec::new();
            other.read_to_end(&mut received).await.unwrap();
            received
        });
        write_all(&mut stream, &parts).await.unwrap();
        stream.write_all(b"after").await.unwrap();
        drop(stream);
        assert!(reading.await.unwrap() == [expected.as_slice(), b"after"].concat());
    }

    #[tokio::test]
    async fn what_does_not_fit_is_not_sent() {
        let (mut stream, mut other, range, _) = stream(1000);
        let outlet = stream.outlet();
        let marker = outlet.send(range.clone());
        // A range waits, but what comes is something else, or not all of it.
        for parts in [vec![Bytes::from_static(b"bytes")], vec![marker.slice(1..)]] {
            assert!(write_all(&mut stream, &parts).await.is_err());
        }
        write_all(&mut stream, std::slice::from_ref(&marker))
            .await
            .unwrap();
        // A marker comes, and nothing waits.
        assert!(write_all(&mut stream, &[marker]).await.is_err());
        drop(stream);
        let mut received = Vec::new();
        other.read_to_end(&mut received).await.unwrap();
        assert_eq!(received.len(), 1000);
    }

    #[tokio::test]
    async fn a_file_that_lost_its_end_breaks_the_connection_off() {
        let (mut stream, _other, range, _) = stream(1000);
        range.file.set_len(600).unwrap();
        let marker = stream.outlet().send(range);
        let error = write_all(&mut stream, &[marker]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
