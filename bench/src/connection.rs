//! The client: HTTP/1.1 on one blocking socket, and no more of it than a registry needs.
//!
//! A general client would be measured together with the server. This one writes head and body with
//! vectored writes and reads answers into one buffer, which it never gives away.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Result;
use crate::content::MIB;

/// Longest wait for the server to take or give a byte; syncing a large blob falls into it.
const TIMEOUT: Duration = Duration::from_secs(300);
/// Longest head of an answer.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// As much of an error answer as is shown.
const MAX_SHOWN_BYTES: usize = 1024;
/// Parts of a body that are written with one call.
const PARTS_PER_WRITE: usize = 4;

/// A kept-alive connection to a registry.
pub(crate) struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    buffer: Vec<u8>,
}

/// The head of an answer.
#[derive(Debug, Default, PartialEq, Eq)]
struct Head {
    status: u16,
    length: Option<u64>,
    location: Option<String>,
    close: bool,
}

/// A request but for its body.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    /// Path and query, or an absolute URL of this server, as it stood in a `Location`.
    pub(crate) target: &'a str,
    /// Further header lines, each with its line end.
    pub(crate) headers: &'a str,
    /// The status that is expected; any other is an error.
    pub(crate) status: u16,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Connection {
            stream,
            address,
            buffer: vec![0; MIB],
        })
    }

    /// Sends a request with this body and returns the `Location` of the answer. The body of the answer
    /// goes to `sink` piece by piece.
    pub(crate) fn send(
        &mut self,
        request: Request<'_>,
        body: &[&[u8]],
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<String>> {
        let length: usize = body.iter().map(|part| part.len()).sum();
        self.transfer(
            request,
            &format!("Content-Length: {length}\r\n"),
            body,
            sink,
        )
    }

    /// Sends a request whose body is framed as chunks already.
    pub(crate) fn send_chunked(
        &mut self,
        request: Request<'_>,
        body: &[&[u8]],
    ) -> Result<Option<String>> {
        self.transfer(request, "Transfer-Encoding: chunked\r\n", body, &mut |_| {})
    }

    fn transfer(
        &mut self,
        request: Request<'_>,
        framing: &str,
        body: &[&[u8]],
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<String>> {
        let Request {
            method,
            target,
            headers,
            status,
        } = request;
        let origin = format!("http://{}", self.address);
        let path = target.strip_prefix(&origin).unwrap_or(target);
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{headers}{framing}\r\n",
            self.address
        );
        let sent = write_all(&mut self.stream, head.as_bytes(), body);
        // A server that refuses a body answers and stops reading: its answer says more than the write error.
        let answer = match (self.answer(sink, status), sent) {
            (Ok(answer), Ok(())) => answer,
            (Ok(_), Err(error)) => return Err(format!("{method} {path}: {error}").into()),
            (Err(error), _) => return Err(format!("{method} {path}: {error}").into()),
        };
        if answer.close {
            *self = Connection::open(self.address)?;
        }
        Ok(answer.location)
    }

    fn answer(&mut self, sink: &mut dyn FnMut(&[u8]), status: u16) -> Result<Head> {
        let (head, mut start, mut end) = self.head()?;
        let length = match head.length {
            Some(length) => length,
            None if head.status == 204 || head.status == 304 => 0,
            None => return Err("the answer has no Content-Length".into()),
        };
        let wanted = head.status == status;
        let mut shown = Vec::new();
        let mut left = length;
        loop {
            let piece = &self.buffer[start..end];
            left = left
                .checked_sub(piece.len() as u64)
                .ok_or("the answer is longer than its Content-Length")?;
            if wanted {
                sink(piece);
            } else if shown.len() < MAX_SHOWN_BYTES {
                shown.extend_from_slice(piece);
            }
            if left == 0 {
                break;
            }
            (start, end) = (0, self.stream.read(&mut self.buffer)?);
            if end == 0 {
                return Err("the connection ended within an answer".into());
            }
        }
        if !wanted {
            shown.truncate(MAX_SHOWN_BYTES);
            let shown = String::from_utf8_lossy(&shown);
            return Err(format!("{}, expected {status}: {}", head.status, shown.trim()).into());
        }
        Ok(head)
    }

    /// Reads a head; the body that came with it lies in the buffer between the two numbers.
    fn head(&mut self) -> Result<(Head, usize, usize)> {
        let mut end = 0;
        loop {
            let got = self.stream.read(&mut self.buffer[end..])?;
            if got == 0 {
                return Err("the connection ended before an answer".into());
            }
            end += got;
            while let Some(at) = find(&self.buffer[..end], b"\r\n\r\n") {
                let head = Head::parse(&self.buffer[..at])?;
                let start = at + 4;
                if head.status >= 200 {
                    return Ok((head, start, end));
                }
                self.buffer.copy_within(start..end, 0);
                end -= start;
            }
            if end > MAX_HEAD_BYTES {
                return Err("the head of the answer is too long".into());
            }
        }
    }
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Head> {
        let text = std::str::from_utf8(bytes)?;
        let mut lines = text.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1.1 "))
            .and_then(|rest| rest.get(..3))
            .ok_or("the answer is not HTTP/1.1")?;
        let mut head = Head {
            status: status.parse()?,
            ..Head::default()
        };
        for line in lines {
            let Some((name, value)) = line.split_once(':') else {
                return Err("a header line has no colon".into());
            };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => head.length = Some(value.parse()?),
                "location" => head.location = Some(value.to_owned()),
                "connection" => head.close = value.eq_ignore_ascii_case("close"),
                "transfer-encoding" => return Err("chunked answers are not read".into()),
                _ => {}
            }
        }
        Ok(head)
    }
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes
        .windows(pattern.len())
        .position(|window| window == pattern)
}

fn write_all(stream: &mut TcpStream, head: &[u8], body: &[&[u8]]) -> io::Result<()> {
    let (first, rest) = body.split_at(body.len().min(PARTS_PER_WRITE - 1));
    let mut parts: Vec<IoSlice<'_>> = std::iter::once(head)
        .chain(first.iter().copied())
        .map(IoSlice::new)
        .collect();
    write_parts(stream, &mut parts)?;
    for group in rest.chunks(PARTS_PER_WRITE) {
        parts.clear();
        parts.extend(group.iter().map(|part| IoSlice::new(part)));
        write_parts(stream, &mut parts)?;
    }
    Ok(())
}

fn write_parts(stream: &mut TcpStream, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut parts, 0);
    while !parts.is_empty() {
        match stream.write_vectored(parts) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut parts, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn heads() {
        let head =
            Head::parse(b"HTTP/1.1 202 Accepted\r\nlocation: /a?b\r\nContent-Length: 7").unwrap();
        assert_eq!((head.status, head.length), (202, Some(7)));
        assert_eq!(head.location.as_deref(), Some("/a?b"));
        for bad in [
            "",
            "HTTP/1.0 200 OK",
            "HTTP/1.1 2x0 OK",
            "HTTP/1.1 200 OK\r\nx",
        ] {
            assert!(Head::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn answers_in_pieces_and_of_other_statuses() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = Connection::open(listener.local_addr().unwrap()).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            for answer in [
                &[
                    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-",
                    "Length: 4\r\n\r\nab",
                    "cd",
                ][..],
                &["HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno!"],
            ] {
                assert!(stream.read(&mut request).unwrap() > 0);
                for piece in answer {
                    stream.write_all(piece.as_bytes()).unwrap();
                }
            }
        });
        let get = Request {
            method: "GET",
            target: "/",
            headers: "",
            status: 200,
        };
        let mut body = Vec::new();
        client
            .send(get, &[], &mut |piece| body.extend_from_slice(piece))
            .unwrap();
        assert_eq!(body, b"abcd");
        let error = client.send(get, &[], &mut |_| {}).unwrap_err().to_string();
        assert_eq!(error, "GET /: 404, expected 200: no!");
        server.join().unwrap();
    }
}
