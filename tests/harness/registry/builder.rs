//! What a registry under test is to be like, and the configuration file that says so.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use super::port::free_port;
use super::{PASSWORD, Registry, USER};
use crate::{Certificates, Network, ObjectServer, Postgres, Service, Workbench, find_program};

/// Cheapest cost that bcrypt allows: the tests are not about guessing.
const BCRYPT_COST: u32 = 4;

/// What a registry under test is to be like.
#[derive(Clone, Debug, Default)]
pub struct RegistryBuilder {
    accounts: bool,
    pub(super) tls: bool,
    client_certificates: bool,
    pub(super) unix_socket: bool,
    pub(super) ipv6: bool,
    sections: String,
    pub(super) environment: Vec<(String, String)>,
    pub(super) program: Option<PathBuf>,
    store: Option<Arc<ObjectServer>>,
    /// The driver's section, where it is not the store's own.
    driver: Option<String>,
    redirect: bool,
    /// The network namespace it runs in, where that is not ours.
    pub(super) namespace: Option<String>,
}

impl RegistryBuilder {
    /// Asks for the password of [`USER`] (basic authentication from an htpasswd file).
    #[must_use]
    pub fn accounts(mut self) -> Self {
        self.accounts = true;
        self
    }

    /// Speaks TLS, with a certificate of the test's own authority.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Speaks TLS and demands a client certificate.
    #[must_use]
    pub fn client_certificates(mut self) -> Self {
        self.tls = true;
        self.client_certificates = true;
        self
    }

    /// Listens on a Unix socket in place of a port.
    #[must_use]
    pub fn unix_socket(mut self) -> Self {
        self.unix_socket = true;
        self
    }

    /// Listens on `::1` and is called `registry.test`.
    ///
    /// Docker Engine takes every registry in `127.0.0.0/8` for insecure: it asks for no valid certificate
    /// there and shows none of its own. So its tests of TLS need another address on this machine.
    #[must_use]
    pub fn ipv6(mut self) -> Self {
        self.ipv6 = true;
        self
    }

    /// Adds a top-level section to the configuration, as YAML text.
    #[must_use]
    pub fn section(mut self, yaml: &str) -> Self {
        self.sections.push_str(yaml.trim_end());
        self.sections.push('\n');
        self
    }

    /// Sets a variable in the server's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts with another registry, by the name of its program: `docker-registry`, `distribution-v3`.
    ///
    /// # Panics
    /// When it is not installed.
    #[must_use]
    pub fn program(mut self, name: &str) -> Self {
        self.program = Some(find_program(name));
        self
    }

    /// Keeps the content in this object store; clients are not sent there.
    #[must_use]
    pub fn store(mut self, store: &Arc<ObjectServer>) -> Self {
        self.store = Some(Arc::clone(store));
        self
    }

    /// Reaches the object store at another address.
    ///
    /// # Panics
    /// Without an object store.
    #[must_use]
    pub fn store_at(mut self, address: &str) -> Self {
        let store = self.store.as_ref().expect("there is a store");
        self.driver = Some(store.section_at(address));
        self
    }

    /// Names the object store by this driver and its keys, as YAML on one line.
    #[must_use]
    pub fn driver(mut self, section: &str) -> Self {
        self.driver = Some(section.to_owned());
        self
    }

    /// Runs on a machine apart, where requests reach it by its Unix socket only.
    #[must_use]
    pub fn on(mut self, network: &Network) -> Self {
        self.namespace = Some(network.namespace());
        self.unix_socket()
    }

    /// Sends clients to the object store for blobs.
    #[must_use]
    pub fn redirect(mut self) -> Self {
        self.redirect = true;
        self
    }

    /// Starts the registry and waits until it answers.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(self) -> Registry {
        self.start_on(|_| {})
    }

    /// The same, on a data directory that `prepare` makes.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_on(mut self, prepare: impl FnOnce(&Path)) -> Registry {
        let home = Workbench::new();
        let chosen = std::env::var("HOLDFAST_TEST_STORAGE").unwrap_or_default();
        if self.store.is_none() && chosen == "s3" {
            self.store = Some(Arc::new(ObjectServer::start(Service::Versity)));
        }
        prepare(&home.path("data"));
        let certificates = self.tls.then(|| Certificates::generate(home.root()));
        let port = free_port();
        let config = home.file(
            "config.yml",
            self.configuration(&home, certificates.as_ref(), port),
        );
        let store = self.store.clone();
        Registry::launch(self, home, certificates, port, config, store)
    }

    /// The metadata in PostgreSQL when the environment asks for it and the test does not say where it is.
    fn metadata(&self) -> String {
        let says = |section: &str| self.sections.lines().any(|line| line.starts_with(section));
        let elsewhere = self.program.is_some() || self.driver.is_some() || says("metadata:");
        if !Registry::is_on_postgres() || elsewhere {
            return String::new();
        }
        let database = Postgres::shared().database();
        format!("metadata:\n  postgres:\n    url: {}\n", database.url())
    }

    pub(super) fn address(&self, port: u16) -> SocketAddr {
        let ip: IpAddr = if self.ipv6 {
            Ipv6Addr::LOCALHOST.into()
        } else {
            Ipv4Addr::LOCALHOST.into()
        };
        SocketAddr::new(ip, port)
    }

    fn configuration(
        &self,
        home: &Workbench,
        certificates: Option<&Certificates>,
        port: u16,
    ) -> String {
        let data = home.path("data");
        let driver = match (&self.driver, &self.store) {
            (Some(driver), _) => driver.clone(),
            (None, Some(store)) => store.section(),
            (None, None) => format!("filesystem: {{rootdirectory: {}}}", data.display()),
        };
        let mut text = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  {driver}\n  delete:\n    enabled: true\n"
        );
        if self.store.is_some() {
            let _ = writeln!(text, "  redirect: {{disable: {}}}", !self.redirect);
            let elsewhere = Registry::is_on_postgres() || self.sections.contains("metadata:");
            if self.program.is_none() && !Registry::is_peer() && !elsewhere {
                let database = data.join("holdfast/metadata.db");
                let _ = writeln!(text, "metadata: {{path: {}}}", database.display());
            }
        }
        text.push_str("http:\n  secret: the same for every start\n");
        let _ = if self.unix_socket {
            writeln!(
                text,
                "  net: unix\n  addr: {}",
                home.path("registry.sock").display()
            )
        } else {
            writeln!(text, "  addr: '{}'", self.address(port))
        };
        if let Some(files) = certificates {
            let (server, key) = (files.server.display(), files.server_key.display());
            let _ = writeln!(text, "  tls:\n    certificate: {server}\n    key: {key}");
            if self.client_certificates {
                let _ = writeln!(
                    text,
                    "    clientcas:\n      - {}",
                    files.authority.display()
                );
            }
        }
        if self.accounts {
            let hash = bcrypt::hash(PASSWORD, BCRYPT_COST).expect("hashing a password");
            let path = home.file("htpasswd", format!("{USER}:{hash}\n"));
            let _ = writeln!(
                text,
                "auth:\n  htpasswd:\n    realm: Holdfast tests\n    path: {}",
                path.display()
            );
        }
        text + &self.metadata() + &self.sections
    }
}
