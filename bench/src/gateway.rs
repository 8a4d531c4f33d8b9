//! Buckets as they are over a network: Versity's S3 gateway on this machine, and in front of it a relay that holds
//! each request up for 20 ms before it passes the first byte on.
//!
//! The time is added for each request, not for each connection or packet: what is measured is how many requests
//! wait for each other. A client that asks whether it may send a body (`Expect: 100-continue`) waits once.
//! The relay counts the requests.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::server::{LOOPBACK, Running, free_address};
use crate::software::installed;

/// How long each request is held up.
pub(crate) const DELAY: Duration = Duration::from_millis(20);
/// Key id and secret, which the gateway is told to know.
pub(crate) const KEYS: (&str, &str) = ("holdfast-bench", "no secret");

const PROGRAM: &str = "versitygw";
const START_MAX: Duration = Duration::from_secs(30);
const START_POLL: Duration = Duration::from_millis(5);
/// A bucket that had no request for so long has none to come of a start.
const QUIET: Duration = Duration::from_millis(100);
const QUIET_LOOKS_MAX: usize = 50;
const BUFFER_BYTES: usize = 256 * 1024;
/// An answer that others follow, to the same request.
const INTERIM: &[u8] = b"HTTP/1.1 1";

/// The gateway with its relay. Dropping it ends both.
pub(crate) struct Gateway {
    relay: Relay,
    child: Arc<Mutex<Child>>,
    running: Running,
    data: PathBuf,
}

impl Gateway {
    /// Starts the gateway in a directory of its own; an error says why it cannot be had here.
    pub(crate) fn start(directory: &Path, running: &Running) -> Result<Gateway> {
        let program = installed(PROGRAM)?;
        let (data, attributes) = (directory.join("data"), directory.join("attributes"));
        std::fs::create_dir_all(&data)?;
        std::fs::create_dir_all(&attributes)?;
        let address = free_address()?;
        let mut command = Command::new(program);
        command
            .args(["--access", KEYS.0, "--secret", KEYS.1])
            .args(["--port", &address.to_string(), "--keep-alive", "--quiet"])
            .args(["posix", "--sidecar"])
            .arg(attributes)
            .arg(&data)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = running.add(|| Ok(command.spawn()?))?;
        let gateway = Gateway {
            relay: Relay::start(address)?,
            child,
            running: running.clone(),
            data,
        };
        let deadline = Instant::now() + START_MAX;
        while TcpStream::connect(address).is_err() {
            if running.interrupted() || Instant::now() > deadline {
                return Err(format!("{PROGRAM} does not start").into());
            }
            thread::sleep(START_POLL);
        }
        Ok(gateway)
    }

    /// Makes a bucket of this name: a directory is one there.
    pub(crate) fn make_bucket(&self, name: &str) -> Result<()> {
        Ok(std::fs::create_dir_all(self.data.join(name))?)
    }

    /// Where registries and clients reach it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.relay.address
    }

    /// Waits until a server that was started has asked what it asks at its start.
    pub(crate) fn wait_until_quiet(&self) {
        let mut before = self.requests();
        for _ in 0..QUIET_LOOKS_MAX {
            thread::sleep(QUIET);
            let now = self.requests();
            if now == before {
                return;
            }
            before = now;
        }
    }

    /// How many requests it had so far.
    pub(crate) fn requests(&self) -> u64 {
        self.relay.shared.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.running.end(&self.child);
    }
}

struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: SocketAddr,
    requests: AtomicU64,
    closed: AtomicBool,
}

impl Relay {
    fn start(target: SocketAddr) -> Result<Relay> {
        let listener = TcpListener::bind((LOOPBACK, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target,
            requests: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.closed.load(Ordering::SeqCst) {
                    return;
                }
                let shared = accepting.clone();
                thread::spawn(move || shared.serve(client));
            }
        });
        Ok(Relay { address, shared })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        // Wakes the one that accepts.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    /// Passes a connection on until one side ends it.
    fn serve(&self, client: TcpStream) {
        let Ok(service) = TcpStream::connect(self.target) else {
            return;
        };
        let _ = (client.set_nodelay(true), service.set_nodelay(true));
        let (Ok(from), Ok(to)) = (client.try_clone(), service.try_clone()) else {
            return;
        };
        // Whether the last request has its answer, so that what the client sends next is another one.
        let answered = Arc::new(AtomicBool::new(true));
        let asked = answered.clone();
        let back = thread::spawn(move || {
            pass(service, client, |piece| {
                if !piece.starts_with(INTERIM) {
                    asked.store(true, Ordering::SeqCst);
                }
            });
        });
        pass(from, to, |_| {
            if answered.swap(false, Ordering::SeqCst) {
                self.requests.fetch_add(1, Ordering::SeqCst);
                thread::sleep(DELAY);
            }
        });
        let _ = back.join();
    }
}

/// Shows each piece to `before` and passes it on; at the end of either side ends both.
fn pass(mut from: TcpStream, mut to: TcpStream, mut before: impl FnMut(&[u8])) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        before(&buffer[..length]);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers every request of a connection, and says 100 first where that is asked for.
    fn serve(listener: &TcpListener) {
        let (mut client, _) = listener.accept().unwrap();
        let mut buffer = [0; 1024];
        while let Ok(length @ 1..) = client.read(&mut buffer) {
            if buffer[..length].starts_with(b"PUT") {
                client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
                assert_eq!(client.read(&mut buffer).unwrap(), 4);
            }
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        }
    }

    #[test]
    fn requests_wait_and_are_counted_one_by_one() {
        let listener = TcpListener::bind((LOOPBACK, 0)).unwrap();
        let relay = Relay::start(listener.local_addr().unwrap()).unwrap();
        let server = thread::spawn(move || serve(&listener));
        let mut client = TcpStream::connect(relay.address).unwrap();
        let mut buffer = [0; 1024];
        let mut exchange = |sent: &[u8]| {
            client.write_all(sent).unwrap();
            let length = client.read(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        let begun = Instant::now();
        for _ in 0..2 {
            assert!(exchange(b"GET / HTTP/1.1\r\n\r\n").contains(" 200 "));
        }
        assert!(begun.elapsed() >= DELAY * 2);
        // A body that waits for leave belongs to the request that asked for it.
        assert!(exchange(b"PUT / HTTP/1.1\r\n\r\n").contains(" 100 "));
        assert!(exchange(b"body").contains(" 200 "));
        assert_eq!(relay.shared.requests.load(Ordering::SeqCst), 3);
        drop(client);
        server.join().unwrap();
    }
}
