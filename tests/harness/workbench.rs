//! A temporary home for client programs, so that they neither see nor change the user's own settings.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::Command;

const CREDENTIALS: &str = "auth.json";

/// A temporary directory, and commands that have it as their home.
#[derive(Debug)]
pub struct Workbench {
    directory: TempDir,
}

impl Default for Workbench {
    fn default() -> Self {
        Self::new()
    }
}

impl Workbench {
    /// A new and empty home.
    ///
    /// # Panics
    /// When no temporary directory can be made.
    #[must_use]
    pub fn new() -> Self {
        let directory = TempDir::with_prefix("holdfast-").expect("making a temporary directory");
        let bench = Self { directory };
        // podman and buildah refuse to start when the file named for credentials is missing.
        bench.file(CREDENTIALS, "{}");
        bench
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    /// A path in the directory; nothing is made there.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file and returns its path.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a path below the workbench"))
            .expect("making a directory");
        std::fs::write(&path, bytes).expect("writing a file");
        path
    }

    /// A command whose home, credentials and runtime files are in this directory, and which runs there.
    ///
    /// # Panics
    /// When the program is not installed.
    #[must_use]
    pub fn tool(&self, program: &str) -> Command {
        self.at_home(Command::new(program))
    }

    /// Gives a command its home here.
    #[must_use]
    pub fn at_home(&self, command: Command) -> Command {
        command
            .directory(self.root())
            .env("HOME", self.root())
            .env("XDG_RUNTIME_DIR", self.root())
            .env("DOCKER_CONFIG", self.path("docker"))
            .env("REGISTRY_AUTH_FILE", self.path(CREDENTIALS))
            .env("REGCTL_CONFIG", self.path("regctl.json"))
    }
}
