//! A network between a node and its database that can be cut: then nothing passes and nobody is told.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// Passes connections on while it is whole; dropping it refuses new ones.
pub(super) struct Partition {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: String,
    cut: Mutex<bool>,
    healed: Condvar,
    closed: AtomicBool,
}

impl Partition {
    pub(super) fn start(target: String) -> Partition {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            target,
            cut: Mutex::new(false),
            healed: Condvar::new(),
            closed: AtomicBool::new(false),
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
        Partition { address, shared }
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Cuts the network, or mends it: what was sent meanwhile arrives then.
    pub(super) fn cut(&self, cut: bool) {
        *self.shared.cut.lock().expect("nobody panicked with it") = cut;
        self.shared.healed.notify_all();
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.cut(false);
        // Wakes the one that accepts.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn serve(self: Arc<Self>, client: TcpStream) {
        self.wait();
        let Ok(service) = TcpStream::connect(&self.target) else {
            return;
        };
        let (from, to) = (
            client.try_clone().expect("a socket is shared"),
            service.try_clone().expect("a socket is shared"),
        );
        let there = Arc::clone(&self);
        thread::spawn(move || there.pass(from, to));
        self.pass(service, client);
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            self.wait();
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    /// Waits until the network is whole.
    fn wait(&self) {
        let cut = self.cut.lock().expect("nobody panicked with it");
        let whole = self.healed.wait_while(cut, |cut| *cut);
        drop(whole.expect("nobody panicked with it"));
    }
}
