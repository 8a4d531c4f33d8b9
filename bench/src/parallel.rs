//! Many requests on several connections at once, bounded in count and in time.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::connection::Connection;

/// Clients that work at once.
pub(crate) const CLIENTS: usize = 8;

/// Open connections, one per client. Opening them is not measured.
pub(crate) fn connect(address: SocketAddr) -> Result<Vec<Connection>> {
    (0..CLIENTS).map(|_| Connection::open(address)).collect()
}

/// Does the jobs from 0 to `count` in order, each on the next free connection, until all are done or the
/// time is over. Returns how many were done.
pub(crate) fn run(
    connections: Vec<Connection>,
    count: usize,
    time: Duration,
    job: impl Fn(&mut Connection, usize) -> Result<()> + Sync,
) -> Result<u64> {
    let next = AtomicUsize::new(0);
    let deadline = Instant::now() + time;
    let client = |mut connection: Connection| -> Result<u64> {
        let mut done = 0;
        while Instant::now() < deadline {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                break;
            }
            job(&mut connection, index)?;
            done += 1;
        }
        Ok(done)
    };
    thread::scope(|scope| {
        let clients: Vec<_> = connections
            .into_iter()
            .map(|connection| scope.spawn(|| client(connection)))
            .collect();
        let done = clients.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err("a client panicked".into()))
        });
        done.sum()
    })
}
