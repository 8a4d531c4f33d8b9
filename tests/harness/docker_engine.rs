//! A Docker Engine of the test's own, beside any that the machine may run.
//!
//! Most tests only load, tag, push and pull, on the machine's network. An isolated engine runs containers, too, in
//! a network namespace of its own: whatever it publishes, its ports are free and nobody else sees them.
//!
//! Its `/etc/docker` and `/etc/hosts` are the test's, mounted for this process alone, because the engine has no
//! other way to be told which certificates belong to which registry, and where `registry.test` is. Needs root.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::registry::IPV6_NAME;
use crate::{Certificates, Command, Daemon, Workbench, find_program};

/// Directory of the engine's registry certificates, fixed in its program.
const CONFIGURATION: &str = "/etc/docker";

/// What an engine without containers needs of the machine's network: nothing.
const NO_NETWORK: [&str; 5] = [
    "--bridge=none",
    "--ip6tables=false",
    "--ip-forward=false",
    "--ip-masq=false",
    "--userland-proxy=false",
];

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
    /// Starts an engine that moves images, and waits until it answers.
    ///
    /// # Panics
    /// When it does not start, for example without root.
    #[must_use]
    pub fn start() -> Self {
        Self::launch(&["--mount"], "", &NO_NETWORK)
    }

    /// Starts an engine that runs containers in a network of its own, which the calling thread enters: what it
    /// starts and connects to from now on is there.
    ///
    /// # Panics
    /// When it does not start, for example without root.
    #[must_use]
    pub fn isolated() -> Self {
        let engine = Self::launch(&["--mount", "--net"], "ip link set lo up && ", &[]);
        let network = format!("/proc/{}/ns/net", engine.daemon.pid());
        let network = File::open(network).expect("opening the engine's network");
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("entering the engine's network");
        engine
    }

    fn launch(namespaces: &[&str], prepare: &str, network: &[&str]) -> Self {
        let home = Workbench::new();
        home.file("etc/daemon.json", "{}");
        let hosts = home.file("hosts", format!("127.0.0.1 localhost\n::1 {IPV6_NAME}\n"));
        std::fs::create_dir_all(CONFIGURATION)
            .expect("making /etc/docker, to mount over it: root is needed");

        // The engine ends with the thread that started it, even if the whole test is killed.
        let mut command = process::Command::new(find_program("unshare"));
        command.args(namespaces).args(["sh", "-c"]);
        command.arg(format!("{prepare}{MOUNT_AND_RUN}")).arg("sh");
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
                "--iptables=false",
                "--log-level=warn",
            ])
            .args(network);
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

    /// A command that uses this engine: it finds its client in `DOCKER`, its address in `DOCKER_HOST`.
    #[must_use]
    pub fn used_by(&self, command: Command) -> Command {
        self.home
            .at_home(command)
            .env("DOCKER", client())
            .env("DOCKER_HOST", address(&self.home))
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

fn docker(home: &Workbench) -> Command {
    home.at_home(Command::at(&client()))
        .env("DOCKER_HOST", address(home))
}

/// The client that came with the engine, if there is another one in front of it in `PATH`.
fn client() -> PathBuf {
    let packaged = PathBuf::from("/usr/bin/docker");
    if packaged.is_file() {
        packaged
    } else {
        find_program("docker")
    }
}
