//! A network between a registry and its bucket that can be told to misbehave.

use std::io::{Read, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// What happens to connections.
#[derive(Clone, Copy, Debug)]
pub(super) enum Weather {
    /// The service asks for patience.
    SlowDown,
    /// The connection breaks off after so many bytes to the service.
    CutSending(usize),
    /// The connection breaks off after so many bytes from the service.
    CutReceiving(usize),
}

/// Passes connections on; dropping it refuses new ones.
pub(super) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: String,
    weather: Weather,
    /// One connection in so many is hit; none at zero.
    one_in: AtomicUsize,
    accepted: AtomicUsize,
    hit: AtomicUsize,
    closed: AtomicBool,
    /// Connections to the service.
    open: Mutex<Vec<TcpStream>>,
}

impl Relay {
    pub(super) fn start(target: String, weather: Weather, one_in: usize) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            target,
            weather,
            one_in: one_in.into(),
            accepted: 0.into(),
            hit: 0.into(),
            closed: false.into(),
            open: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.closed.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                thread::spawn(move || shared.serve(client));
            }
        });
        Relay { address, shared }
    }

    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// How many connections were hit.
    pub(super) fn hit(&self) -> usize {
        self.shared.hit.load(Ordering::SeqCst)
    }

    /// From now on every connection is hit; those that are open end.
    pub(super) fn hit_all(&self) {
        self.shared.one_in.store(1, Ordering::SeqCst);
        let open = &self.shared.open;
        for service in open.lock().expect("nobody panicked with it").drain(..) {
            let _ = service.shutdown(Shutdown::Both);
        }
    }

    /// From now on none is hit.
    pub(super) fn hit_none(&self) {
        self.shared.one_in.store(0, Ordering::SeqCst);
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
    /// Whether the next connection is hit.
    fn strikes(&self) -> bool {
        let number = self.accepted.fetch_add(1, Ordering::SeqCst) + 1;
        let one_in = self.one_in.load(Ordering::SeqCst);
        let strikes = one_in > 0 && number.is_multiple_of(one_in);
        if strikes {
            self.hit.fetch_add(1, Ordering::SeqCst);
        }
        strikes
    }

    fn serve(&self, client: TcpStream) {
        let Ok(service) = TcpStream::connect(&self.target) else {
            return;
        };
        let kept = service.try_clone().expect("a socket is shared");
        self.open
            .lock()
            .expect("nobody panicked with it")
            .push(kept);
        let struck = self.strikes();
        let (mut sent, mut received) = (usize::MAX, usize::MAX);
        match self.weather {
            _ if !struck => {}
            Weather::SlowDown => return slow_down(client),
            Weather::CutSending(bytes) => sent = bytes,
            Weather::CutReceiving(bytes) => received = bytes,
        }
        let (from, to) = (
            client.try_clone().expect("a socket is shared"),
            service.try_clone().expect("a socket is shared"),
        );
        let back = thread::spawn(move || pass(service, client, received));
        pass(from, to, sent);
        let _ = back.join();
    }
}

/// Passes bytes on, so many at most, then breaks both connections off.
fn pass(mut from: TcpStream, mut to: TcpStream, most: usize) {
    let mut left = most;
    let mut buffer = vec![0; 64 * 1024];
    while left > 0 {
        let room = left.min(buffer.len());
        let Ok(length @ 1..) = from.read(&mut buffer[..room]) else {
            break;
        };
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
        left -= length;
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

fn slow_down(mut client: TcpStream) {
    let mut head = [0; 4096];
    let _ = client.read(&mut head);
    let body = "<Error><Code>SlowDown</Code></Error>";
    let answer = format!(
        "HTTP/1.1 503 Slow Down\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = client.write_all(answer.as_bytes());
    let _ = client.shutdown(Shutdown::Write);
    // What the client still sends is taken, or it would not read the answer.
    while matches!(client.read(&mut head), Ok(1..)) {}
}
