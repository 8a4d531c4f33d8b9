//! A registry's process, from its start until it is killed.
//!
//! Invariant: no server outlives the bench. Dropping one kills it by its process id, which covers success,
//! errors and panics; a signal kills all of them first, whereupon the clients fail and everything is
//! dropped in the ordinary way, the data directory last.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::Result;
use crate::connection::{Connection, Request};
use crate::software::Found;

/// Longest wait for a server to answer after its start.
const START_SECONDS: u64 = 30;
const START_POLL: Duration = Duration::from_millis(20);
/// As much of a server's log as an error shows.
const MAX_LOG_LINES: usize = 20;

/// The processes that a signal kills.
#[derive(Clone)]
pub(crate) struct Running {
    children: Arc<Mutex<Vec<Arc<Mutex<Child>>>>>,
    interrupted: Arc<AtomicBool>,
}

/// A running registry.
pub(crate) struct Server {
    software: Found,
    address: SocketAddr,
    home: PathBuf,
    child: Arc<Mutex<Child>>,
    pid: u32,
}

impl Running {
    /// No processes yet. From here on SIGINT, SIGTERM and SIGHUP kill what is added.
    pub(crate) fn kill_on_signals() -> Result<Running> {
        let running = Running {
            children: Arc::default(),
            interrupted: Arc::default(),
        };
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
        let watched = running.clone();
        thread::spawn(move || {
            for _ in signals.forever() {
                watched.interrupted.store(true, Ordering::Relaxed);
                for child in lock(&watched.children).iter() {
                    let _ = lock(child).kill();
                }
            }
        });
        Ok(running)
    }

    /// Whether a signal asked for the end.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

impl Server {
    /// Starts a registry on a free port, with its own directory below `data`, and waits until it answers.
    pub(crate) fn start(software: Found, data: &Path, running: &Running) -> Result<Server> {
        let home = data.join(software.software.name);
        std::fs::create_dir(&home)?;
        let address = free_address()?;
        let log = File::create(home.join("log"))?;
        let mut command = software.command(&home, address)?;
        command.stdout(log.try_clone()?).stderr(log);
        let child = {
            let mut children = lock(&running.children);
            let name = software.software.name;
            let child = command
                .spawn()
                .map_err(|error| format!("{name} cannot be started: {error}"))?;
            let child = Arc::new(Mutex::new(child));
            children.push(child.clone());
            child
        };
        let pid = lock(&child).id();
        let server = Server {
            software,
            address,
            home,
            child,
            pid,
        };
        server.wait_until_ready(running)?;
        Ok(server)
    }

    fn wait_until_ready(&self, running: &Running) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(START_SECONDS);
        let request = Request {
            method: "GET",
            target: "/v2/",
            headers: "",
            status: 200,
        };
        let base = |mut connection: Connection| connection.send(request, &[], &mut |_| {});
        loop {
            let error = match Connection::open(self.address).and_then(base) {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let ended = lock(&self.child).try_wait()?.is_some();
            if running.interrupted() {
                return Err("interrupted".into());
            }
            if ended || Instant::now() > deadline {
                return Err(
                    format!("{} does not start: {error}\n{}", self.name(), self.log()).into(),
                );
            }
            thread::sleep(START_POLL);
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.software.software.name
    }

    pub(crate) fn version(&self) -> String {
        self.software.version()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// A directory on the disk that the server writes to.
    pub(crate) fn data(&self) -> &Path {
        &self.home
    }

    /// The end of what it has logged.
    pub(crate) fn log(&self) -> String {
        let bytes = std::fs::read(self.home.join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(MAX_LOG_LINES)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut child = lock(&self.child);
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// A poisoned lock is taken all the same: a process must be killed after a panic too.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A port that was free a moment ago; the server says so if somebody else was quicker.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
