//! A file system that is full soon: a tmpfs of a few megabytes, gone when dropped.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{Command, random_bytes};

/// Bytes written at a time while filling.
const PIECE_BYTES: usize = 64 * 1024;

/// A mounted file system of a fixed size.
#[derive(Debug)]
pub struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    /// Mounts an empty one.
    ///
    /// # Panics
    /// When the tests do not run as root, or may not mount.
    #[must_use]
    pub fn mount(mebibytes: u32) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "tests of a full disk mount a tmpfs: run them as root"
        );
        let directory =
            TempDir::with_prefix("holdfast-disk-").expect("making a temporary directory");
        Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={mebibytes}m"),
                "holdfast-tests",
            ])
            .arg(directory.path())
            .run();
        Self { directory }
    }

    /// A path on it; nothing is made there.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Fills it to the last byte with a file of this name.
    ///
    /// # Panics
    /// When something else than the lack of space ends the filling.
    pub fn fill(&self, name: &str) {
        let mut file = File::create(self.path(name)).expect("making a ballast file");
        let piece = random_bytes(1, PIECE_BYTES);
        for length in [PIECE_BYTES, 4096, 1] {
            loop {
                match file.write_all(&piece[..length]) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                    Err(error) => panic!("filling a disk: {error}"),
                }
            }
        }
    }

    /// Removes a file.
    ///
    /// # Panics
    /// When it is not there.
    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).expect("removing a ballast file");
    }

    /// Where it is mounted.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is still ending must not keep the mount.
        let ended = Command::new("umount")
            .arg("-l")
            .arg(self.directory.path())
            .finish();
        if !ended.status.success() {
            eprintln!("a test's tmpfs stays mounted: {ended}");
        }
    }
}
