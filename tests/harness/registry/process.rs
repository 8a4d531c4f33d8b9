//! The server's program: which one it is, how it is started, and how to know that it answers.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process;

use super::RegistryBuilder;
use crate::{Certificates, Command, Daemon, Workbench, find_program, http};

pub(super) fn launch(config: &Path, home: &Workbench, setup: &RegistryBuilder) -> Daemon {
    let program = setup.program.clone().unwrap_or_else(program);
    let environment = &setup.environment;
    let mut command = match &setup.namespace {
        // It becomes the program: the process id stays the same.
        Some(namespace) => {
            let mut command = process::Command::new(find_program("nsenter"));
            command.arg(format!("--net={namespace}")).arg(&program);
            command
        }
        None => process::Command::new(&program),
    };
    command.arg("serve").arg(config).current_dir(home.root());
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    Daemon::start("the registry", &mut command, &home.path("registry.log"))
}

pub(super) fn peer() -> Option<String> {
    std::env::var("HOLDFAST_TEST_PEER")
        .ok()
        .filter(|name| !name.is_empty())
}

pub(super) fn program() -> PathBuf {
    if let Some(peer) = peer() {
        return find_program(&peer);
    }
    let path = std::env::var_os("HOLDFAST_BIN").map_or_else(built_program, PathBuf::from);
    assert!(
        path.is_file(),
        "{} is not there: run `cargo build` first",
        path.display()
    );
    path
}

/// `target/<profile>/holdfast`, seen from the test program `target/<profile>/deps/<test>`.
fn built_program() -> PathBuf {
    let test = std::env::current_exe().expect("the path of the running test");
    let profile = test
        .ancestors()
        .nth(2)
        .expect("a test program lies two directories deep");
    profile.join("holdfast")
}

/// How to ask for `GET /v2/`; any answer means the server is up.
pub(super) enum Probe<'a> {
    Plain(http::Client),
    Tls(&'a Certificates, SocketAddr),
}

impl Probe<'_> {
    pub(super) fn answers(&self) -> bool {
        match self {
            Self::Plain(client) => client.get("/v2/").try_send().is_ok(),
            Self::Tls(files, address) => {
                TcpStream::connect(address).is_ok()
                    && Command::new("curl")
                        .args(["--silent", "--output", "/dev/null"])
                        .arg("--connect-to")
                        .arg(format!("::{address}"))
                        .arg("--cacert")
                        .arg(&files.authority)
                        .arg("--cert")
                        .arg(&files.client)
                        .arg("--key")
                        .arg(&files.client_key)
                        .arg("https://localhost/v2/")
                        .finish()
                        .status
                        .success()
            }
        }
    }
}
