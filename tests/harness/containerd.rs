//! A containerd of the test's own, without containers: it imports, pushes and pulls. Needs root.

use std::process;

use crate::{Command, Daemon, Workbench, find_program};

/// A running containerd with a `ctr` command for it; dropping it ends the process.
#[derive(Debug)]
pub struct Containerd {
    daemon: Daemon,
    home: Workbench,
}

impl Containerd {
    /// Starts containerd and waits until it answers.
    ///
    /// # Panics
    /// When it does not start, for example without root.
    #[must_use]
    pub fn start() -> Self {
        let home = Workbench::new();
        let settings = r#"version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.devmapper"]
"#;
        let settings = home.file("containerd.toml", settings);
        let mut command = process::Command::new(find_program("setpriv"));
        command
            .args(["--pdeathsig", "TERM"])
            .arg(find_program("containerd"));
        command
            .arg("--config")
            .arg(settings)
            .arg("--root")
            .arg(home.path("root"));
        command
            .arg("--state")
            .arg(home.path("state"))
            .arg("--address")
            .arg(home.path("containerd.sock"));
        let daemon = Daemon::start("containerd", &mut command, &home.path("containerd.log"));
        let mut containerd = Self { daemon, home };
        let home = &containerd.home;
        containerd
            .daemon
            .wait_until(|| ctr(home).arg("version").finish().status.success());
        containerd
    }

    /// A `ctr` command for this containerd.
    #[must_use]
    pub fn ctr(&self) -> Command {
        ctr(&self.home)
    }

    /// The directory in which commands run.
    #[must_use]
    pub fn home(&self) -> &Workbench {
        &self.home
    }
}

fn ctr(home: &Workbench) -> Command {
    home.tool("ctr")
        .arg("--address")
        .arg(home.path("containerd.sock"))
}
