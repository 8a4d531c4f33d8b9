//! The control socket: the management API for whoever may open a file of the registry's user.
//!
//! It lies in the registry's own directory, so that a command which knows the configuration finds the server.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::fs::{Mode, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::until;
use crate::app::App;
use crate::http::answer_control;

/// Longest time for the headers of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;
/// Connections at once; more wait.
const CONNECTIONS: usize = 32;
/// Longest path that the kernel takes for a socket, the NUL at its end not counted.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Listens at `path`. One that was left there is replaced: the caller holds the lock of the store.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    let fresh = path.with_extension("new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Before it has a name, so that there is no moment in which others may connect: the file gets the
    // permissions of the socket.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(
        &socket,
        &SocketAddrUnix::new(SocketPath::new(&fresh)?.path())?,
    )?;
    rustix::net::listen(&socket, BACKLOG)?;
    fs::rename(&fresh, path)?;
    UnixListener::from_std(socket.into())
}

/// A path short enough for a socket, of the same file. It works while this lives.
pub(crate) struct SocketPath {
    path: PathBuf,
    /// A long path goes through its directory, held open.
    _directory: Option<fs::File>,
}

impl SocketPath {
    pub(crate) fn new(path: &Path) -> io::Result<SocketPath> {
        if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return Ok(SocketPath {
                path: path.to_owned(),
                _directory: None,
            });
        }
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let directory = fs::File::open(directory)?;
        Ok(SocketPath {
            path: PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name),
            _directory: Some(directory),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Serves until `stop`.
pub(crate) async fn serve(listener: UnixListener, app: Arc<App>, stop: CancellationToken) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    while let Some(Ok(permit)) = until(&stop, Arc::clone(&connections).acquire_owned()).await {
        let stream = match until(&stop, listener.accept()).await {
            None => return,
            Some(Ok((stream, _))) => stream,
            Some(Err(error)) => {
                tracing::warn!(%error, "a control connection could not be accepted");
                tokio::time::sleep(super::ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (app, stop) = (Arc::clone(&app), stop.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let service = service_fn(move |request| {
                let answer = answer_control(Arc::clone(&app), request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT);
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            // Errors of a control connection concern its client, who sees them too.
            let _ = until(&stop, connection).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn a_long_path_and_a_socket_left_behind() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("d".repeat(150));
        fs::create_dir(&deep).unwrap();
        for directory in [root.path(), &deep] {
            let path = directory.join("control.sock");
            for _ in 0..2 {
                let _listener = listen(&path).unwrap();
                let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600);
                let short = SocketPath::new(&path).unwrap();
                std::os::unix::net::UnixStream::connect(short.path()).unwrap();
            }
        }
    }
}
