//! An answer, read as it came.

use std::io::{self, BufRead, Read};

use serde_json::Value;

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers, in their order.
    pub headers: Vec<(String, String)>,
    /// The body, without its transfer coding.
    pub body: Vec<u8>,
    request: String,
}

impl Response {
    /// The value of a header, the first if there are several.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// All values of a header.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let matching = self
            .headers
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name));
        matching.map(|(_, value)| value.as_str())
    }

    /// The `Location` header.
    ///
    /// # Panics
    /// When it is missing.
    #[must_use]
    #[track_caller]
    pub fn location(&self) -> &str {
        self.header("Location")
            .unwrap_or_else(|| panic!("no Location in {self}"))
    }

    /// The body as text, whatever is not UTF-8 replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body read as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }

    /// Asserts the status.
    ///
    /// # Panics
    /// When it is another one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    pub(super) fn read(
        reader: &mut impl BufRead,
        request: String,
        to_head: bool,
    ) -> io::Result<Self> {
        let (status, headers) = loop {
            let status = read_status(reader)?;
            let headers = read_headers(reader)?;
            if !(100..200).contains(&status) {
                break (status, headers);
            }
        };
        let mut response = Self {
            status,
            headers,
            body: Vec::new(),
            request,
        };
        if to_head || status == 204 || status == 304 {
            return Ok(response);
        }
        let length = response.header("Content-Length").map(str::parse::<u64>);
        if response
            .all("Transfer-Encoding")
            .any(|coding| coding.eq_ignore_ascii_case("chunked"))
        {
            read_chunks(reader, &mut response.body)?;
        } else if let Some(length) = length {
            let length = length.map_err(invalid)?;
            let read = reader.take(length).read_to_end(&mut response.body)?;
            if read as u64 != length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        } else {
            reader.read_to_end(&mut response.body)?;
        }
        Ok(response)
    }
}

impl std::fmt::Display for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} -> {}", self.request, self.status)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {value}")?;
        }
        write!(f, "{}", self.text())
    }
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn read_status(reader: &mut impl BufRead) -> io::Result<u16> {
    let line = read_line(reader)?;
    let status = line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1));
    status
        .ok_or_else(|| invalid(&*line))?
        .parse()
        .map_err(invalid)
}

fn read_headers(reader: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            return Ok(headers);
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid(&*line))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let line = read_line(reader)?;
        let length = line.split(';').next().unwrap_or_default().trim();
        let length = u64::from_str_radix(length, 16).map_err(invalid)?;
        if length == 0 {
            read_headers(reader)?;
            return Ok(());
        }
        if reader.take(length).read_to_end(body)? as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        read_line(reader)?;
    }
}

fn invalid(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, cause)
}
