//! One HTTP/1.1 answer, read from pieces as they come from the socket.
//!
//! Heads and chunk sizes are httparse's business; a body of known length is only counted and handed on, so
//! that a large one costs nothing here. Source: RFC 9112, sections 6 and 7.1.

use crate::Result;

/// Longest head, and longest line of a chunk's size.
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_HEADERS: usize = 48;
/// As much of an error's body as is shown.
const MAX_SHOWN_BYTES: usize = 1024;

/// What the head said that a caller may need.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    /// The server closes the connection after this answer.
    pub(crate) close: bool,
}

/// Where in the answer we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Head,
    /// So many bytes of the body are to come.
    Body(u64),
    ChunkSize,
    /// So many bytes of this chunk and its line end are to come.
    Chunk(u64),
    /// The empty chunk was there; its line end is to come.
    Trailer,
    Done,
}

/// Reads one answer.
pub(crate) struct Reader {
    part: Part,
    head: Head,
    /// The beginning of a head or of a chunk's size that came in pieces.
    kept: Vec<u8>,
    /// Answers to HEAD have a length but no body.
    bodiless: bool,
    expected: [u16; 2],
    shown: Vec<u8>,
}

impl Reader {
    /// Expects one of two statuses; the body of another one is kept for the error.
    pub(crate) fn new(expected: [u16; 2], bodiless: bool) -> Reader {
        Reader {
            part: Part::Head,
            head: Head::default(),
            kept: Vec::new(),
            bodiless,
            expected,
            shown: Vec::new(),
        }
    }

    /// Takes what the socket gave; true when the answer is complete.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<bool> {
        while !bytes.is_empty() && self.part != Part::Done {
            bytes = match self.part {
                Part::Head => self.take_head(bytes)?,
                Part::Body(left) => {
                    let taken = left.min(bytes.len() as u64);
                    let (piece, rest) = bytes.split_at(taken as usize);
                    self.deliver(piece, sink);
                    self.part = match left - taken {
                        0 => Part::Done,
                        left => Part::Body(left),
                    };
                    rest
                }
                Part::ChunkSize => self.take_chunk_size(bytes)?,
                Part::Chunk(left) => {
                    let taken = left.min(bytes.len() as u64);
                    let (piece, rest) = bytes.split_at(taken as usize);
                    // The last two bytes of `left` are the chunk's line end.
                    let data = left.saturating_sub(2).min(taken);
                    self.deliver(&piece[..data as usize], sink);
                    self.part = match left - taken {
                        0 => Part::ChunkSize,
                        left => Part::Chunk(left),
                    };
                    rest
                }
                Part::Trailer => self.take_trailer(bytes)?,
                Part::Done => break,
            };
        }
        if self.part == Part::Done && !bytes.is_empty() {
            return Err("the answer is longer than it says".into());
        }
        Ok(self.part == Part::Done)
    }

    /// The head, when the status is one of those expected.
    pub(crate) fn finish(self) -> Result<Head> {
        let [first, second] = self.expected;
        if self.head.status == first || self.head.status == second {
            return Ok(self.head);
        }
        let shown = String::from_utf8_lossy(&self.shown);
        Err(format!("{}, expected {first}: {}", self.head.status, shown.trim()).into())
    }

    fn deliver(&mut self, piece: &[u8], sink: &mut dyn FnMut(&[u8])) {
        if self.expected.contains(&self.head.status) {
            sink(piece);
        } else {
            let room = MAX_SHOWN_BYTES.saturating_sub(self.shown.len());
            self.shown
                .extend_from_slice(&piece[..piece.len().min(room)]);
        }
    }

    fn take_head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let whole = keep(&mut self.kept, bytes)?;
        let text = whole.unwrap_or(&self.kept);
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = response.parse(text)? else {
            if whole.is_some() {
                self.kept.extend_from_slice(bytes);
            }
            return Ok(&[]);
        };
        let used = length - (text.len() - bytes.len());
        self.head.status = response.code.unwrap_or_default();
        let mut framing = None;
        for header in response.headers.iter() {
            if header.name.eq_ignore_ascii_case("content-length") {
                framing = Some(Part::Body(std::str::from_utf8(header.value)?.parse()?));
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                framing = Some(Part::ChunkSize);
            } else if header.name.eq_ignore_ascii_case("location") {
                self.head.location = Some(std::str::from_utf8(header.value)?.to_owned());
            } else if header.name.eq_ignore_ascii_case("connection") {
                self.head.close = header.value.eq_ignore_ascii_case(b"close");
            }
        }
        self.kept.clear();
        self.part = match framing {
            _ if (100..200).contains(&self.head.status) => Part::Head,
            _ if self.bodiless || matches!(self.head.status, 204 | 304) => Part::Done,
            Some(Part::Body(0)) => Part::Done,
            Some(part) => part,
            None => return Err("the answer says neither its length nor that it is chunked".into()),
        };
        Ok(&bytes[used..])
    }

    fn take_chunk_size<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let whole = keep(&mut self.kept, bytes)?;
        let text = whole.unwrap_or(&self.kept);
        match httparse::parse_chunk_size(text) {
            Ok(httparse::Status::Complete((length, size))) => {
                let used = length - (text.len() - bytes.len());
                self.kept.clear();
                self.part = match size {
                    0 => Part::Trailer,
                    size => Part::Chunk(size.checked_add(2).ok_or("a chunk is too long")?),
                };
                Ok(&bytes[used..])
            }
            Ok(httparse::Status::Partial) => {
                if whole.is_some() {
                    self.kept.extend_from_slice(bytes);
                }
                Ok(&[])
            }
            Err(_) => Err("a chunk's size is no number".into()),
        }
    }

    /// No server here sends trailers, so the empty line is all there may be.
    fn take_trailer<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let missing = 2 - self.kept.len().min(2);
        let (piece, rest) = bytes.split_at(missing.min(bytes.len()));
        self.kept.extend_from_slice(piece);
        match self.kept.as_slice() {
            b"\r" => {}
            b"\r\n" => self.part = Part::Done,
            _ => return Err("the answer has trailers, which are not read".into()),
        }
        Ok(rest)
    }
}

/// The bytes themselves where nothing was kept before; else they are added to what was kept.
fn keep<'a>(kept: &mut Vec<u8>, bytes: &'a [u8]) -> Result<Option<&'a [u8]>> {
    if kept.len() + bytes.len().min(MAX_HEAD_BYTES) > MAX_HEAD_BYTES {
        return Err("the head of the answer is too long".into());
    }
    if kept.is_empty() {
        return Ok(Some(bytes));
    }
    kept.extend_from_slice(bytes);
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the answer cut into pieces of every size; its head and body.
    fn read(answer: &[u8], bodiless: bool) -> Result<(Head, Vec<u8>)> {
        let mut results = (1..=answer.len()).map(|size| -> Result<(Head, Vec<u8>)> {
            let mut reader = Reader::new([200, 206], bodiless);
            let mut body = Vec::new();
            let mut done = false;
            for piece in answer.chunks(size) {
                assert!(!done, "complete before its end, in pieces of {size}");
                done = reader.feed(piece, &mut |piece| body.extend_from_slice(piece))?;
            }
            if !done {
                return Err("not complete".into());
            }
            Ok((reader.finish()?, body))
        });
        let first = results.next().ok_or("an empty answer")??;
        for other in results {
            assert_eq!(other?, first);
        }
        Ok(first)
    }

    #[test]
    fn bodies_of_known_length() {
        let (head, body) = read(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nlocation: /a?b\r\nContent-Length: 4\r\n\r\nabcd",
            false,
        )
        .unwrap();
        assert_eq!((head.status, body.as_slice()), (200, b"abcd".as_slice()));
        assert_eq!(head.location.as_deref(), Some("/a?b"));
        assert!(!head.close);
    }

    #[test]
    fn bodies_in_chunks() {
        let (head, body) = read(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n",
            false,
        )
        .unwrap();
        assert_eq!(body, b"abc0123456789abcdef");
        assert!(head.close);
    }

    #[test]
    fn answers_without_a_body() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
        assert_eq!(read(answer, true).unwrap().1, b"");
        assert!(read(answer, false).is_err());
    }

    #[test]
    fn other_statuses_are_errors_with_their_text() {
        let error = read(b"HTTP/1.1 404 No\r\nContent-Length: 3\r\n\r\nno!", false).unwrap_err();
        assert_eq!(error.to_string(), "404, expected 200: no!");
    }

    #[test]
    fn answers_that_cannot_be_read() {
        for bad in [
            "HTTP/1.1 2x0 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\na: b\r\n\r\n",
        ] {
            let mut reader = Reader::new([200, 200], false);
            let fed = reader.feed(bad.as_bytes(), &mut |_| {});
            assert!(fed.is_err(), "{bad}");
        }
    }
}
