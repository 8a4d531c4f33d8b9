//! Where connections come from: TCP, a Unix socket, or a socket that systemd opened.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

use crate::config::{Address, Listen};

/// Looks at what has arrived on a stream of either kind without taking it.
macro_rules! peek {
    ($stream:expr, $buffer:expr) => {{
        let stream = $stream;
        match stream.readable().await {
            Ok(()) => stream.try_io(Interest::READABLE, || {
                Ok(recv(stream, $buffer, RecvFlags::PEEK | RecvFlags::DONTWAIT)?.0)
            }),
            Err(error) => Err(error),
        }
    }};
}

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

/// An open listening socket.
pub(crate) enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

/// A new connection.
pub(crate) enum Incoming {
    /// From this address.
    Tcp(TcpStream, SocketAddr),
    /// From this machine.
    Unix(UnixStream),
}

impl Incoming {
    /// The other end; a Unix socket has none.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Incoming::Tcp(_, address) => Some(*address),
            Incoming::Unix(_) => None,
        }
    }
}

/// How an HTTP/2 connection begins (RFC 9113 section 3.4); no HTTP/1 method does.
const PREFACE: &[u8; 3] = b"PRI";

/// Pause before the next look when only a part of the preface has come.
const PREFACE_PAUSE: Duration = Duration::from_millis(10);

impl Incoming {
    /// Whether the client speaks HTTP/2 without having been asked; what it said stays to be read.
    pub(crate) async fn begins_http2(&self) -> bool {
        let mut start = [0; PREFACE.len()];
        loop {
            let peeked = match self {
                Incoming::Tcp(stream, _) => peek!(stream, &mut start),
                Incoming::Unix(stream) => peek!(stream, &mut start),
            };
            match peeked {
                Ok(count) if count > 0 && start[..count] == PREFACE[..count] => {
                    if count == PREFACE.len() {
                        return true;
                    }
                    tokio::time::sleep(PREFACE_PAUSE).await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => return false,
            }
        }
    }
}

impl Listener {
    /// The socket that systemd passed, else a new one as configured.
    ///
    /// More than one passed socket is an error: which would be meant?
    pub(crate) async fn open(listen: &Listen) -> Result<Listener, String> {
        let mut passed = listenfd::ListenFd::from_env();
        match passed.len() {
            0 => {}
            1 => {
                return Listener::passed(&mut passed)
                    .map_err(|error| format!("cannot use the passed socket: {error}"));
            }
            count => return Err(format!("systemd passed {count} sockets, expected one")),
        }
        match listen {
            Listen::Tcp(address) => Listener::tcp(address).await,
            Listen::Unix(path) => Listener::unix(path)
                .map_err(|error| format!("cannot listen on {}: {error}", path.display())),
        }
    }

    fn passed(passed: &mut listenfd::ListenFd) -> io::Result<Listener> {
        if let Ok(Some(listener)) = passed.take_unix_listener(0) {
            listener.set_nonblocking(true)?;
            return UnixListener::from_std(listener).map(Listener::Unix);
        }
        let listener = passed
            .take_tcp_listener(0)?
            .ok_or(io::ErrorKind::NotFound)?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Listener::Tcp)
    }

    /// Opens a TCP socket; an empty host means all interfaces, IPv6 and IPv4.
    pub(crate) async fn tcp(address: &Address) -> Result<Listener, String> {
        let failed = |error: io::Error| format!("cannot listen on {address}: {error}");
        if address.host.is_empty() {
            let all = [
                (std::net::Ipv6Addr::UNSPECIFIED, address.port).into(),
                (std::net::Ipv4Addr::UNSPECIFIED, address.port).into(),
            ];
            // A machine without IPv6 refuses the first.
            return bind(all[0])
                .or_else(|_| bind(all[1]))
                .map(Listener::Tcp)
                .map_err(failed);
        }
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for candidate in tokio::net::lookup_host((address.host.as_str(), address.port))
            .await
            .map_err(failed)?
        {
            match bind(candidate) {
                Ok(listener) => return Ok(Listener::Tcp(listener)),
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }

    /// Opens a Unix socket; one left behind at the path is replaced, any other file is an error.
    fn unix(path: &Path) -> io::Result<Listener> {
        match std::fs::symlink_metadata(path) {
            Ok(metadata) if metadata.file_type().is_socket() => std::fs::remove_file(path)?,
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "a file that is no socket is there",
                ));
            }
            Err(_) => {}
        }
        UnixListener::bind(path).map(Listener::Unix)
    }

    /// Where it listens, as the banner says it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Listener::Tcp(listener) => listener
                .local_addr()
                .map_or_else(|_| "a TCP socket".into(), |a| a.to_string()),
            Listener::Unix(listener) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                path.map_or_else(|| "a Unix socket".into(), |path| path.display().to_string())
            }
        }
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> io::Result<Incoming> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Incoming::Tcp(stream, address))
            }
            Listener::Unix(listener) => listener
                .accept()
                .await
                .map(|(stream, _)| Incoming::Unix(stream)),
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() {
        TcpSocket::new_v6()?
    } else {
        TcpSocket::new_v4()?
    };
    socket.set_reuseaddr(true)?;
    socket.set_keepalive(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
