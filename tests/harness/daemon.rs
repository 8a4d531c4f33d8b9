//! A server process that the tests start, watch, kill and restart.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take to become ready, or to end when asked.
const DEADLINE: Duration = Duration::from_secs(30);
/// Pause between two looks at a process.
const POLL: Duration = Duration::from_millis(10);
/// How much of the end of a log a failing test prints.
const LOG_TAIL_LINES: usize = 60;
/// How much of each of those lines it prints.
const LOG_LINE_CHARS: usize = 300;

/// A running server; dropping it ends the process, and prints its log when the test is failing.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts a server whose output is appended to the file `log`.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[must_use]
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        Self::start_with_input(name, command.stdin(Stdio::null()), log)
    }

    /// The same with the standard input that the command was given.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[must_use]
    pub fn start_with_input(name: &str, command: &mut Command, log: &Path) -> Self {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .expect("opening a server log");
        let errors: File = file.try_clone().expect("duplicating a server log");
        let child = command
            .stdout(file)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} by {command:?}: {error}"));
        Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        }
    }

    /// Waits until the server answers, as told by `ready`.
    ///
    /// # Panics
    /// When it ends before, or is not ready in time.
    pub fn wait_until(&mut self, mut ready: impl FnMut() -> bool) {
        let started = Instant::now();
        while !ready() {
            if let Some(status) = self.child.try_wait().expect("looking at a server process") {
                panic!("{} ended before it was ready: {status}", self.name);
            }
            assert!(
                started.elapsed() < DEADLINE,
                "{} is not ready after {DEADLINE:?}",
                self.name
            );
            thread::sleep(POLL);
        }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the process at once, as `kill -9` does.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn kill(&mut self) {
        self.child.kill().expect("killing a server process");
        self.child
            .wait()
            .expect("waiting for a killed server process");
    }

    /// Asks the process to end (SIGTERM) and waits for it; one that does not listen is killed.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn terminate(&mut self) -> Option<ExitStatus> {
        if let Some(status) = self.child.try_wait().expect("looking at a server process") {
            return Some(status);
        }
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let started = Instant::now();
        while started.elapsed() < DEADLINE {
            if let Some(status) = self.child.try_wait().expect("looking at a server process") {
                return Some(status);
            }
            thread::sleep(POLL);
        }
        self.kill();
        None
    }

    /// All the server has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.terminate();
        if thread::panicking() {
            eprintln!("--- log of {} (its end)", self.name);
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            for line in &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..] {
                eprintln!("{}", line.chars().take(LOG_LINE_CHARS).collect::<String>());
            }
            eprintln!("---");
        }
    }
}
