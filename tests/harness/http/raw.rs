//! A connection under the test's own hand: any bytes, at any pace, and what comes back.

use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::{Address, Client, Response, TIMEOUT};

/// A TCP connection on which nothing is sent that the test did not write.
#[derive(Debug)]
pub struct Raw {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Opens a connection for hand-written bytes.
    ///
    /// # Errors
    /// When the registry does not take it.
    ///
    /// # Panics
    /// When the registry listens on a Unix socket.
    pub fn open(&self) -> io::Result<Raw> {
        let Address::Tcp(address) = &self.address else {
            panic!("raw connections are made over TCP")
        };
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Raw {
            stream: BufReader::new(stream),
        })
    }

    /// What stands in the `Host` header.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl Raw {
    /// Sends bytes.
    ///
    /// # Errors
    /// When the other end has closed.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes.as_ref())?;
        stream.flush()
    }

    /// Reads one answer; `to_head` when it has no body whatever its headers say.
    ///
    /// # Errors
    /// When the connection ends first, or what comes is not HTTP.
    pub fn answer(&mut self, to_head: bool) -> io::Result<Response> {
        Response::read(
            &mut self.stream,
            "a hand-written request".to_owned(),
            to_head,
        )
    }

    /// Reads to the end of the connection, however it ends.
    ///
    /// # Panics
    /// When the other end leaves the connection open for too long.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Err(error) = self.stream.read_to_end(&mut bytes) {
            let waited = matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            );
            assert!(!waited, "the connection is still open after {TIMEOUT:?}");
        }
        bytes
    }

    /// Whether bytes arrive within this time; what arrived stays to be read.
    ///
    /// # Panics
    /// When no timeout can be set.
    pub fn has_answer_within(&mut self, patience: Duration) -> bool {
        let stream = self.stream.get_ref();
        stream
            .set_read_timeout(Some(patience))
            .expect("setting a timeout");
        let arrived = matches!(stream.peek(&mut [0]), Ok(1));
        stream
            .set_read_timeout(Some(TIMEOUT))
            .expect("setting a timeout");
        arrived
    }

    /// Whether the other end has closed the connection.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let stream = self.stream.get_ref();
        if stream.set_nonblocking(true).is_err() {
            return true;
        }
        let closed = match stream.peek(&mut [0]) {
            Ok(bytes) => bytes == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        };
        let _ = stream.set_nonblocking(false);
        closed
    }

    /// Says that no more bytes will be sent; answers can still be read.
    pub fn finish_sending(&self) {
        // The other end may have closed already.
        let _ = self.stream.get_ref().shutdown(Shutdown::Write);
    }
}
