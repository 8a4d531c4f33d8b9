//! A request: what is sent, and how much of it.

use std::io::{self, BufReader, Read, Write};

use super::{Client, Response};

pub(super) trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

#[derive(Clone, Debug)]
enum Body {
    None,
    Whole(Vec<u8>),
    Chunked(Vec<Vec<u8>>),
}

/// A request being put together.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    client: &'a Client,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Body,
}

impl<'a> Request<'a> {
    pub(super) fn new(
        client: &'a Client,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Self {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            client,
            method: method.to_owned(),
            target: target.to_owned(),
            headers: headers.iter().map(owned).collect(),
            body: Body::None,
        }
    }

    /// Adds a header; `Host`, `Content-Length` and `Connection` given here replace the usual ones.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if ["host", "connection"]
            .iter()
            .any(|usual| name.eq_ignore_ascii_case(usual))
        {
            self.headers
                .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        }
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends these bytes with their `Content-Length`.
    #[must_use]
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = Body::Whole(bytes.into());
        self
    }

    /// Sends these pieces with `Transfer-Encoding: chunked`.
    #[must_use]
    pub fn chunks(mut self, pieces: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.body = Body::Chunked(pieces.into_iter().collect());
        self
    }

    /// Sends the request and reads the whole answer.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn send(self) -> Response {
        let line = format!("{} {}", self.method, self.target);
        self.try_send()
            .unwrap_or_else(|error| panic!("no answer to {line}: {error}"))
    }

    /// Sends the request and reads the whole answer; an error when the connection fails.
    ///
    /// # Errors
    /// When there is no connection, or the answer is cut off or not HTTP.
    pub fn try_send(self) -> io::Result<Response> {
        let mut stream = self.client.connect()?;
        stream.write_all(self.head().as_bytes())?;
        // A server may answer, and close, before it has read the body: then its answer counts.
        let sent = self.write_body(&mut stream);
        let line = format!("{} {}", self.method, self.target);
        let answer = Response::read(&mut BufReader::new(stream), line, self.method == "HEAD");
        match (answer, sent) {
            (Ok(response), _) => Ok(response),
            (Err(_), Err(error)) | (Err(error), Ok(())) => Err(error),
        }
    }

    /// Sends the head and only the first bytes of the body, then closes the connection.
    ///
    /// # Panics
    /// When it cannot be sent.
    pub fn send_part(self, bytes: usize) {
        let mut stream = self.client.connect().expect("connecting");
        stream
            .write_all(self.head().as_bytes())
            .expect("sending a request head");
        if let Body::Whole(body) = &self.body {
            stream
                .write_all(&body[..bytes])
                .expect("sending a part of a body");
        }
        stream.flush().expect("sending a part of a request");
    }

    fn head(&self) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let has_length = self
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        match &self.body {
            Body::Whole(bytes) if !has_length => {
                head.push_str(&format!("Content-Length: {}\r\n", bytes.len()))
            }
            Body::Chunked(_) => head.push_str("Transfer-Encoding: chunked\r\n"),
            Body::Whole(_) | Body::None => {}
        }
        head + "\r\n"
    }

    fn write_body(&self, stream: &mut dyn Stream) -> io::Result<()> {
        match &self.body {
            Body::None => {}
            Body::Whole(bytes) => stream.write_all(bytes)?,
            Body::Chunked(pieces) => {
                for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
                    stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes())?;
                    stream.write_all(piece)?;
                    stream.write_all(b"\r\n")?;
                }
                stream.write_all(b"0\r\n\r\n")?;
            }
        }
        stream.flush()
    }
}
