//! The registry under test: a process with its own data, configuration file, port and log.
//!
//! `HOLDFAST_BIN` names the server's program; without it, it is the `holdfast` that cargo built beside the
//! running test. `HOLDFAST_TEST_STORAGE=s3` keeps its content in an S3 server of its own, and
//! `HOLDFAST_TEST_METADATA=postgres` its metadata in a PostgreSQL database; tests that look into the SQLite file do not
//! apply then. `HOLDFAST_TEST_PEER=docker-registry` starts another registry in its place, to check the tests
//! themselves against it. All are called as `<program> serve <config.yml>` with the same configuration.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;

use crate::{Certificates, Command, Daemon, ObjectServer, Workbench, find_program, http};
pub use builder::RegistryBuilder;
use process::Probe;

mod builder;
mod inspect;
mod port;
mod process;

pub use port::free_port;

/// The user that a registry with accounts knows.
pub const USER: &str = "alice";
/// That user's password.
pub const PASSWORD: &str = "correct horse: battery, staple?";

/// The name of a registry on `::1`, which only a [`crate::DockerEngine`] can resolve.
pub(crate) const IPV6_NAME: &str = "registry.test";

/// A running registry; dropping it ends the process and removes its data.
#[derive(Debug)]
pub struct Registry {
    daemon: Daemon,
    home: Workbench,
    certificates: Option<Certificates>,
    port: u16,
    config: PathBuf,
    setup: RegistryBuilder,
    /// Keeps the content, unless files do.
    store: Option<Arc<ObjectServer>>,
}

impl Registry {
    /// A plain registry: HTTP on a port of `localhost`, no accounts, deletion allowed.
    #[must_use]
    pub fn start() -> Self {
        Self::builder().start()
    }

    fn launch(
        setup: RegistryBuilder,
        home: Workbench,
        certificates: Option<Certificates>,
        port: u16,
        config: PathBuf,
        store: Option<Arc<ObjectServer>>,
    ) -> Self {
        let daemon = process::launch(&config, &home, &setup);
        let mut registry = Self {
            daemon,
            home,
            certificates,
            port,
            config,
            setup,
            store,
        };
        registry.wait_until_ready();
        registry
    }

    /// A registry to be described further.
    #[must_use]
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }

    /// Whether another registry runs in place of Holdfast, whose own features cannot be expected then.
    #[must_use]
    pub fn is_peer() -> bool {
        process::peer().is_some()
    }

    /// Whether the metadata is in PostgreSQL, and not in a file that a test can look into.
    #[must_use]
    pub fn is_on_postgres() -> bool {
        !Self::is_peer()
            && std::env::var("HOLDFAST_TEST_METADATA").is_ok_and(|kind| kind == "postgres")
    }

    /// `localhost:<port>`, as it stands in front of a repository's name.
    #[must_use]
    pub fn host(&self) -> String {
        let name = if self.setup.ipv6 {
            IPV6_NAME
        } else {
            "localhost"
        };
        format!("{name}:{}", self.port)
    }

    /// The URL of the registry, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.setup.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.host())
    }

    /// A full image name: host, repository, and tag or digest.
    #[must_use]
    pub fn image(&self, repository: &str, reference: &str) -> String {
        let separator = if reference.contains(':') { '@' } else { ':' };
        format!("{}/{repository}{separator}{reference}", self.host())
    }

    /// A client for raw requests, over TCP or the Unix socket; it does not speak TLS.
    ///
    /// # Panics
    /// When the registry speaks TLS: use `curl` there.
    #[must_use]
    pub fn http(&self) -> http::Client {
        assert!(!self.setup.tls, "raw requests are made without TLS");
        if self.setup.unix_socket {
            http::Client::unix(&self.socket())
        } else {
            http::Client::tcp(&self.host())
        }
    }

    /// `curl` for this registry: silent, failing on error answers, trusting its authority.
    ///
    /// The client certificate is not presented; see [`Certificates`].
    #[must_use]
    pub fn curl(&self) -> Command {
        let command = Command::new("curl").args(["--silent", "--show-error", "--fail-with-body"]);
        match &self.certificates {
            Some(files) => command.arg("--cacert").arg(&files.authority),
            None => command,
        }
    }

    /// The certificates in use.
    ///
    /// # Panics
    /// When the registry does not speak TLS.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("a registry with TLS")
    }

    /// The path of the Unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.home.path("registry.sock")
    }

    /// The directory with the registry's data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.home.path("data")
    }

    /// All the registry has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// The object store that keeps the content.
    ///
    /// # Panics
    /// When files keep it.
    #[must_use]
    pub fn store(&self) -> &ObjectServer {
        self.store.as_ref().expect("a registry on an object store")
    }

    /// The process id of the server.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// Kills the server as a crash would (SIGKILL); its data stay.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Asks the server to end (SIGTERM); nothing is returned when it had to be killed.
    pub fn terminate(&mut self) -> Option<ExitStatus> {
        self.daemon.terminate()
    }

    /// Starts the server again on the same data and port, ending it first if it still runs.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.daemon.terminate();
        self.daemon = process::launch(&self.config, &self.home, &self.setup);
        self.wait_until_ready();
    }

    /// Ends whatever runs and starts the registry under test on the same data and port.
    ///
    /// # Panics
    /// When it does not start.
    pub fn take_over(&mut self) {
        self.daemon.terminate();
        self.setup.program = None;
        self.restart();
    }

    /// Ends whatever runs and starts another registry on the same data and port.
    ///
    /// # Panics
    /// When it does not start.
    pub fn hand_over(&mut self, program: &str) {
        self.daemon.terminate();
        self.setup.program = Some(find_program(program));
        self.restart();
    }

    fn wait_until_ready(&mut self) {
        let (setup, address) = (&self.setup, self.setup.address(self.port));
        let probe = match &self.certificates {
            None if setup.unix_socket => {
                Probe::Plain(http::Client::unix(&self.home.path("registry.sock")))
            }
            None => Probe::Plain(http::Client::tcp(&address.to_string())),
            Some(files) => Probe::Tls(files, address),
        };
        self.daemon.wait_until(|| probe.answers());
    }
}
