//! Ports for servers under test.

use std::net::{Ipv4Addr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

/// Ports are taken from here on, below the range from which systems give ports to outgoing connections.
const FIRST_PORT: u16 = 20_000;
const PORT_COUNT: u16 = 10_000;

/// A port nobody listens on, and which this process has not given out before.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that run side by side have numbers near each other, and begin far from each other.
    let start = u16::try_from(process::id().wrapping_mul(1009) % u32::from(PORT_COUNT))
        .expect("a remainder below the port count");
    for _ in 0..PORT_COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST_PORT + start.wrapping_add(step) % PORT_COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port on the loopback interface");
}
