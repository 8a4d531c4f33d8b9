//! Object stores that run on this machine: two servers of the S3 protocol, Azurite, and OpenStack Swift.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::registry::free_port;
use crate::{Daemon, Workbench, find_program, http, tools};

/// The account that Azurite knows, and the key that everybody knows; neither is a secret.
const AZURE_ACCOUNT: &str = "devstoreaccount1";
const AZURE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// What the S3 servers are told to know.
const S3_KEY: &str = "holdfast-tests";
const S3_SECRET: &str = "a secret of the tests";
/// The account and user that Swift is told to know, and the password.
const SWIFT_USER: &str = "registry:tests";
const SWIFT_KEY: &str = "a-secret-of-the-tests";
/// The bucket or container that is there from the start.
const BUCKET: &str = "registry";

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Versity's gateway: S3 on files, which checks signatures.
    Versity,
    /// moto: S3 in memory, which does not.
    Moto,
    /// Azurite: Azure Blob Storage.
    Azurite,
    /// OpenStack Swift, of one node, with its own authentication. The container is not there from the start.
    Swift,
}

/// A running server with an empty bucket; dropping it ends the process and removes what it stored.
#[derive(Debug)]
pub struct ObjectServer {
    service: Service,
    daemon: Mutex<Daemon>,
    home: Workbench,
    port: u16,
}

impl ObjectServer {
    /// Starts a server.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn start(service: Service) -> Self {
        let (home, port) = (Workbench::new(), free_port());
        let server = Self {
            service,
            daemon: Mutex::new(launch(service, &home, port)),
            home,
            port,
        };
        server.make_bucket();
        server
    }

    /// Kills the server and starts it again on what it has on disk.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&self) {
        let mut daemon = self.daemon.lock().expect("nobody panicked with it");
        daemon.kill();
        *daemon = launch(self.service, &self.home, self.port);
    }

    fn make_bucket(&self) {
        let client = http::Client::tcp(&self.address());
        match self.service {
            // A directory is a bucket of the one, and registries make their container in the other.
            Service::Versity | Service::Swift => {}
            Service::Moto => {
                let made = client.put(&format!("/{BUCKET}")).body([]).send();
                made.expect(200);
            }
            Service::Azurite => {
                let path = format!("/{AZURE_ACCOUNT}/{BUCKET}");
                let date = "Thu, 26 Nov 2026 00:00:00 GMT";
                let headers = format!("x-ms-date:{date}\nx-ms-version:2021-08-06\n");
                let text = format!(
                    "PUT\n\n\n\n\n\n\n\n\n\n\n\n{headers}/{AZURE_ACCOUNT}{path}\nrestype:container"
                );
                let key = BASE64.decode(AZURE_KEY).expect("the key is base64");
                let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any key will do");
                mac.update(text.as_bytes());
                let signature = BASE64.encode(mac.finalize().into_bytes());
                let made = client
                    .put(&format!("{path}?restype=container"))
                    .header("x-ms-date", date)
                    .header("x-ms-version", "2021-08-06")
                    .header(
                        "Authorization",
                        &format!("SharedKey {AZURE_ACCOUNT}:{signature}"),
                    )
                    .body([])
                    .send();
                made.expect(201);
            }
        }
    }

    /// `127.0.0.1:<port>`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The name of the bucket or container.
    #[must_use]
    pub fn bucket(&self) -> &'static str {
        BUCKET
    }

    /// Key id and secret, account and key, or user and password.
    #[must_use]
    pub fn keys(&self) -> (&'static str, &'static str) {
        match self.service {
            Service::Versity | Service::Moto => (S3_KEY, S3_SECRET),
            Service::Azurite => (AZURE_ACCOUNT, AZURE_KEY),
            Service::Swift => (SWIFT_USER, SWIFT_KEY),
        }
    }

    /// The driver's section of a configuration, in YAML on one line, with the server at `address`.
    #[must_use]
    pub fn section_at(&self, address: &str) -> String {
        let (id, secret) = self.keys();
        match self.service {
            Service::Versity | Service::Moto => format!(
                "s3: {{bucket: {BUCKET}, region: us-east-1, regionendpoint: 'http://{address}', forcepathstyle: true, \
                 accesskey: {id}, secretkey: '{secret}', secure: false, chunksize: 5242880}}"
            ),
            Service::Azurite => format!(
                "azure: {{container: {BUCKET}, accountname: {id}, accountkey: '{secret}', \
                 serviceurl: 'http://{address}/{id}', credentials: {{type: shared_key}}}}"
            ),
            Service::Swift => format!(
                "swift: {{container: {BUCKET}, username: '{id}', password: {secret}, \
                 authurl: 'http://{address}/auth/v1.0', chunksize: 5242880, secretkey: tests}}"
            ),
        }
    }

    /// The same with the server where it is.
    #[must_use]
    pub fn section(&self) -> String {
        self.section_at(&self.address())
    }

    /// Where Versity's gateway keeps its objects as files.
    ///
    /// # Panics
    /// When this is another server.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        assert_eq!(self.service, Service::Versity, "it keeps objects as files");
        self.home.path("data").join(BUCKET)
    }

    /// What the server has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.daemon.lock().expect("nobody panicked with it").log()
    }
}

fn launch(service: Service, home: &Workbench, port: u16) -> Daemon {
    let data = home.path("data");
    fs::create_dir_all(data.join(BUCKET)).expect("making a directory");
    let address = format!("127.0.0.1:{port}");
    let mut command = match service {
        Service::Versity => {
            let mut command = Command::new(find_program("versitygw"));
            command.args([
                "--access", S3_KEY, "--secret", S3_SECRET, "--port", &address,
            ]);
            command.args(["--keep-alive", "posix", "--sidecar"]);
            fs::create_dir_all(home.path("attributes")).expect("making a directory");
            command.arg(home.path("attributes")).arg(&data);
            command
        }
        Service::Moto => {
            let mut command = Command::new("python3");
            command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p"]);
            command.arg(port.to_string());
            command.env("PYTHONPATH", tools().join("moto"));
            command
        }
        Service::Azurite => {
            let program = "azurite/node_modules/azurite/dist/src/blob/main.js";
            let mut command = Command::new("node");
            command.arg(tools().join(program));
            command.args(["--blobHost", "127.0.0.1", "--skipApiVersionCheck"]);
            command.args(["--disableTelemetry", "--blobPort"]);
            command.arg(port.to_string()).arg("--location").arg(&data);
            command
        }
        Service::Swift => {
            // Debian's packages belong to Debian's Python.
            let mut command = Command::new("/usr/bin/python3");
            let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("harness/swift_server.py");
            command.arg(program).arg(&data).arg(port.to_string());
            command.args([SWIFT_USER, SWIFT_KEY]);
            command
        }
    };
    let log = home.path("server.log");
    let mut daemon = Daemon::start(
        &format!("{service:?}"),
        command.current_dir(home.root()),
        &log,
    );
    daemon.wait_until(|| TcpStream::connect(&address).is_ok());
    daemon
}
