//! A server's process, from its start until it is killed.
//!
//! Invariant: no server outlives the bench. Dropping one ends it by its process id, which covers success,
//! errors and panics; a signal kills all of them first, whereupon the clients fail and everything is
//! dropped in the ordinary way, the data directory last.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::Result;
use crate::bench::Bench;
use crate::client::{Connection, Target, connector};
use crate::delay_line::DelayLine;
use crate::process::Processes;
use crate::software::{Found, Kind, Setting, Software, Variant};

/// Longest wait for a server to answer after its start. Holdfast begins with a snapshot of a database that others
/// wrote, which takes a while when it is large.
const START_SECONDS: u64 = 300;
const START_POLL: Duration = Duration::from_millis(1);
/// Longest wait for a server to end by itself.
const END_SECONDS: u64 = 5;
const END_POLL: Duration = Duration::from_millis(5);
/// As much of a server's log as an error shows.
const MAX_LOG_LINES: usize = 20;

/// The address of servers that are near.
pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The processes that a signal kills.
#[derive(Clone)]
pub(crate) struct Running {
    children: Arc<Mutex<Vec<Arc<Mutex<Child>>>>>,
    interrupted: Arc<AtomicBool>,
}

/// A running server.
pub(crate) struct Server {
    found: Found,
    home: PathBuf,
    target: Arc<Target>,
    variant: Variant,
    /// The network namespace it runs in, where that is not ours.
    namespace: Option<String>,
    child: Arc<Mutex<Child>>,
    running: Running,
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
                    end(&mut lock(child));
                }
            }
        });
        Ok(running)
    }

    /// Starts a process that a signal kills.
    pub(crate) fn add(&self, start: impl FnOnce() -> Result<Child>) -> Result<Arc<Mutex<Child>>> {
        // Held meanwhile, so that a signal finds the process.
        let mut children = lock(&self.children);
        let child = Arc::new(Mutex::new(start()?));
        children.push(child.clone());
        Ok(child)
    }

    /// Ends such a process.
    pub(crate) fn end(&self, child: &Arc<Mutex<Child>>) {
        end(&mut lock(child));
        lock(&self.children).retain(|other| !Arc::ptr_eq(other, child));
    }

    /// Whether a signal asked for the end.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

impl Server {
    /// Starts a server on a free port, at the far end of a link where there is one, at home in a directory of this name below the data, and
    /// waits until it answers. What the directory holds already is kept.
    pub(crate) fn start(
        found: &Found,
        variant: Variant,
        link: Option<&DelayLine>,
        home: &str,
        bench: &Bench,
    ) -> Result<Server> {
        let home = bench.data().join(home);
        std::fs::create_dir_all(&home)?;
        let address = match link {
            Some(link) => SocketAddr::new(link.address(), link.port()),
            None => free_address()?,
        };
        let namespace = link.map(|link| link.namespace().to_owned());
        let tls = match variant {
            Variant::Tls => Some(connector(&bench.certificate.certificate)?),
            Variant::Plain | Variant::Htpasswd | Variant::Bucket => None,
        };
        let target = Target {
            address,
            tls,
            authorization: (variant == Variant::Htpasswd).then(|| bench.authorization.clone()),
            files: (found.software.kind == Kind::Files).then(|| home.join("data")),
        };
        let child = bench
            .running
            .add(|| spawn(found, variant, address, namespace.as_deref(), &home, bench))?;
        let server = Server {
            found: found.clone(),
            home,
            target: Arc::new(target),
            variant,
            namespace,
            child,
            running: bench.running.clone(),
        };
        server.wait_until_ready(bench)?;
        Ok(server)
    }

    /// Ends the server and starts it again where it was. Returns the seconds from the start of the program
    /// to its first answer.
    pub(crate) fn restart(&self, bench: &Bench) -> Result<f64> {
        self.restart_after(bench, || Ok(()))
    }

    /// As [`Server::restart`], with some work between the end and the start.
    pub(crate) fn restart_after(
        &self,
        bench: &Bench,
        work: impl FnOnce() -> Result<()>,
    ) -> Result<f64> {
        let started = {
            let mut child = lock(&self.child);
            end(&mut child);
            work()?;
            let started = Instant::now();
            let address = self.target.address;
            let namespace = self.namespace.as_deref();
            *child = spawn(
                &self.found,
                self.variant,
                address,
                namespace,
                &self.home,
                bench,
            )?;
            started
        };
        self.wait_until_ready(bench)?;
        Ok(started.elapsed().as_secs_f64())
    }

    fn wait_until_ready(&self, bench: &Bench) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(START_SECONDS);
        let request = self.target.request("GET", "/v2/", "", 200);
        let base = async || -> Result<()> {
            let mut connection = Connection::open(&self.target).await?;
            connection.exchange(&request, &[], &mut |_| {}).await?;
            Ok(())
        };
        loop {
            let Err(error) = bench.block_on(base()) else {
                return Ok(());
            };
            let ended = lock(&self.child).try_wait()?.is_some();
            if self.running.interrupted() {
                return Err("interrupted".into());
            }
            if ended || Instant::now() > deadline {
                let name = self.found.software.name;
                return Err(format!("{name} does not start: {error}\n{}", self.log()).into());
            }
            thread::sleep(START_POLL);
        }
    }

    pub(crate) fn software(&self) -> &'static Software {
        self.found.software
    }

    pub(crate) fn target(&self) -> &Arc<Target> {
        &self.target
    }

    pub(crate) fn processes(&self) -> Processes {
        Processes::of(lock(&self.child).id())
    }

    /// Another command of the same program, which is given the server's configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.found.other_command(arguments);
        command.current_dir(&self.home).stdin(Stdio::null());
        command
    }

    /// The directory it keeps everything in.
    pub(crate) fn home(&self) -> &Path {
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
        self.running.end(&self.child);
    }
}

fn spawn(
    found: &Found,
    variant: Variant,
    address: SocketAddr,
    namespace: Option<&str>,
    home: &Path,
    bench: &Bench,
) -> Result<Child> {
    let setting = Setting {
        home,
        address,
        variant,
        certificate: &bench.certificate,
        htpasswd: &bench.htpasswd,
        gateway: bench.gateway.get(),
    };
    let log = File::create(home.join("log"))?;
    let mut command = found.command(&setting, namespace)?;
    command.stdout(log.try_clone()?).stderr(log);
    let child = command.spawn();
    child.map_err(|error| format!("{} cannot be started: {error}", found.software.name).into())
}

/// Asks a process to end, so that nginx ends its workers too, and kills it when it does not.
fn end(child: &mut Child) {
    let asked = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .is_some_and(|pid| {
            matches!(child.try_wait(), Ok(None)) && kill_process(pid, Signal::TERM).is_ok()
        });
    let deadline = Instant::now() + Duration::from_secs(END_SECONDS);
    while asked && Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(END_POLL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// A poisoned lock is taken all the same: a process must be killed after a panic too.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A port that was free a moment ago; the server says so if somebody else was quicker.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((LOOPBACK, 0))?.local_addr()?)
}
