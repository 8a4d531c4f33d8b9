//! Looking at a registry from outside: its files, its memory, and other runs of its program.

use std::path::{Path, PathBuf};

use super::Registry;
use super::process;
use crate::{Command, http};

impl Registry {
    /// The server's program, for runs that are not a server.
    #[must_use]
    pub fn program() -> PathBuf {
        process::program()
    }

    /// A command of the server's program.
    #[must_use]
    pub fn command() -> Command {
        Command::at(&process::program())
    }

    /// A command of the server's program on this registry's configuration, such as `["gc", "run"]`.
    #[must_use]
    pub fn manage(&self, arguments: &[&str]) -> Command {
        Self::command()
            .args(arguments)
            .arg("--config")
            .arg(&self.config)
    }

    /// The management API of the running server.
    #[must_use]
    pub fn control(&self) -> http::Client {
        http::Client::unix(&self.data().join("holdfast/control.sock"))
    }

    /// The configuration file in use.
    #[must_use]
    pub fn config_file(&self) -> &Path {
        &self.config
    }

    /// The password file of a registry with accounts.
    #[must_use]
    pub fn password_file(&self) -> PathBuf {
        self.home.path("htpasswd")
    }

    /// The directory that holds the data directory and everything else of this registry.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.root()
    }

    /// Memory that the server has in use now, in bytes.
    ///
    /// # Panics
    /// When the server does not run.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).expect("reading the state of the server");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|number| number.parse::<u64>().ok());
        kibibytes.expect("VmRSS in the state of a running process") * 1024
    }

    /// Bytes that the server has read from files and sockets since its start.
    ///
    /// # Panics
    /// When the server does not run.
    #[must_use]
    pub fn read_bytes(&self) -> u64 {
        let path = format!("/proc/{}/io", self.pid());
        let counters = std::fs::read_to_string(path).expect("reading the counters of the server");
        let line = counters
            .lines()
            .find_map(|line| line.strip_prefix("rchar: "));
        let bytes = line.and_then(|number| number.parse().ok());
        bytes.expect("rchar among the counters of a process")
    }

    /// Files and sockets that the server has open now.
    ///
    /// # Panics
    /// When the server does not run.
    #[must_use]
    pub fn open_files(&self) -> usize {
        let path = format!("/proc/{}/fd", self.pid());
        let entries = std::fs::read_dir(path).expect("reading the open files of the server");
        entries.count()
    }

    /// Asserts that nothing panicked in the server so far.
    ///
    /// # Panics
    /// When its log says otherwise.
    #[track_caller]
    pub fn assert_calm(&self) {
        let log = self.log();
        let panic = log
            .lines()
            .find(|line| line.contains("panicked") || line.contains("in a panic"));
        assert_eq!(panic, None, "the server panicked");
    }
}
