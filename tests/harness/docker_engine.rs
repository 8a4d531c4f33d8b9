//! A Docker Engine of the test's own, beside any that the machine may run.
//!
//! It has no network and runs no containers: it only loads, tags, pushes and pulls. Its `/etc/docker` and
//! `/etc/hosts` are the test's, mounted for this process alone, because the engine has no other way to be
//! told which certificates belong to which registry, and where `registry.test` is. Needs root.

use std::path::{Path, PathBuf};
use std::process;

use crate::registry::IPV6_NAME;
use crate::{Certificates, Command, Daemon, Workbench, find_program};

/// Directory of the engine's registry certificates, fixed in its program.
const CONFIGURATION: &str = "/etc/docker";

/// Mounts `$1` on `$2` and `$3` on `/etc/hosts`, then becomes the rest of its arguments.
const MOUNT_AND_RUN: &str =
    r#"mount --bind "$1" "$2" && mount --bind "$3" /etc/hosts && shift 3 && exec "$@""#;

/// A running engine with a `docker` command for it; dropping it ends the engine.
#[derive(Debug)]
pub struct DockerEngine {
    daemon: Daemon,
    home: Workbench,
}

impl DockerEngine {
    /// Starts an engine and waits until it answers.
    ///
    /// # Panics
    /// When it does not start, for example without root.
    #[must_use]
    pub fn start() -> Self {
        let home = Workbench::new();
        home.file("etc/daemon.json", "{}");
        let hosts = home.file("hosts", format!("127.0.0.1 localhost\n::1 {IPV6_NAME}\n"));
        std::fs::create_dir_all(CONFIGURATION)
            .expect("making /etc/docker, to mount over it: root is needed");

        // The engine ends with the thread that started it, even if the whole test is killed.
        let mut command = process::Command::new(find_program("unshare"));
        command.args(["--mount", "sh", "-c", MOUNT_AND_RUN, "sh"]);
        command.arg(home.path("etc")).arg(CONFIGURATION).arg(hosts);
        command
            .arg(find_program("setpriv"))
            .args(["--pdeathsig", "TERM"])
            .arg(find_program("dockerd"));
        let option = |name: &str, value: PathBuf| format!("--{name}={}", value.display());
        command
            .arg(option("data-root", home.path("data")))
            .arg(option("exec-root", home.path("run")))
            .arg(option("pidfile", home.path("docker.pid")))
            .arg(format!("--host={}", address(&home)))
            .args([
                "--storage-driver=vfs",
                "--bridge=none",
                "--iptables=false",
                "--ip6tables=false",
            ])
            .args([
                "--ip-forward=false",
                "--ip-masq=false",
                "--userland-proxy=false",
                "--log-level=warn",
            ]);
        let daemon = Daemon::start("the Docker Engine", &mut command, &home.path("docker.log"));

        let mut engine = Self { daemon, home };
        let home = &engine.home;
        engine
            .daemon
            .wait_until(|| docker(home).arg("version").finish().status.success());
        engine
    }

    /// A `docker` command for this engine.
    #[must_use]
    pub fn docker(&self) -> Command {
        docker(&self.home)
    }

    /// The directory in which commands run.
    #[must_use]
    pub fn home(&self) -> &Workbench {
        &self.home
    }

    /// Has the engine trust a registry's authority, and show it the client certificate if asked to.
    pub fn trust(&self, host: &str, certificates: &Certificates, with_client: bool) {
        certificates.fill_directory(&self.home.path(&format!("etc/certs.d/{host}")), with_client);
    }

    /// The id of an image that the engine has: the digest of its config.
    #[must_use]
    #[track_caller]
    pub fn image_id(&self, name: &str) -> String {
        self.docker()
            .args(["image", "inspect", "--format", "{{.Id}}", name])
            .run()
            .text()
            .to_owned()
    }

    /// Removes all images.
    #[track_caller]
    pub fn remove_all_images(&self) {
        let ids = self
            .docker()
            .args(["images", "--all", "--quiet", "--no-trunc"])
            .run();
        let mut ids = ids.sorted_lines();
        ids.dedup();
        if !ids.is_empty() {
            self.docker().args(["rmi", "--force"]).args(ids).run();
        }
    }
}

fn address(home: &Workbench) -> String {
    format!("unix://{}", home.path("docker.sock").display())
}

/// The client that came with the engine, if there is another one in front of it in `PATH`.
fn docker(home: &Workbench) -> Command {
    let packaged = Path::new("/usr/bin/docker");
    let command = if packaged.is_file() {
        Command::at(packaged)
    } else {
        Command::new("docker")
    };
    home.at_home(command).env("DOCKER_HOST", address(home))
}
