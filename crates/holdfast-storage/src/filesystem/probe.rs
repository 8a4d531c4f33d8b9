//! The health check: a small file goes the way of a blob.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

use super::paths::Paths;
use crate::{Error, Result};

const CONTENT: &[u8] = b"holdfast wrote this to see whether it can\n";

/// Writes a file, syncs it, renames it from the uploads' side to the blobs' side, reads it back and
/// deletes it.
pub(super) fn probe(paths: &Paths) -> Result<()> {
    let (staged, visible) = (paths.probe_staged(), paths.probe_visible());
    let outcome = write_and_rename(paths).and_then(|file| {
        let mut content = [0; CONTENT.len()];
        file.read_exact_at(&mut content, 0)
            .map_err(Error::at("read", &visible))?;
        if content != CONTENT {
            return Err(Error::unavailable(
                "read",
                visible.display().to_string(),
                "other bytes came back",
            ));
        }
        Ok(())
    });
    let removed = match &outcome {
        Ok(()) => fs::remove_file(&visible).map_err(Error::at("delete", &visible)),
        Err(_) => {
            // Whichever of the two is there. What cannot be deleted is overwritten next time.
            let _ = (fs::remove_file(&staged), fs::remove_file(&visible));
            Ok(())
        }
    };
    outcome.and(removed)
}

fn write_and_rename(paths: &Paths) -> Result<File> {
    let (staged, visible) = (paths.probe_staged(), paths.probe_visible());
    let mut file = File::create(&staged).map_err(Error::at("create", &staged))?;
    file.write_all(CONTENT)
        .map_err(Error::at("write", &staged))?;
    file.sync_data().map_err(Error::at("sync", &staged))?;
    fs::rename(&staged, &visible).map_err(|error| match error.kind() {
        std::io::ErrorKind::CrossesDevices => Error::unavailable(
            "rename into",
            paths.blobs().display().to_string(),
            "uploads and blobs are on different file systems; put the whole root directory on one",
        ),
        _ => Error::at("rename into", &paths.blobs())(error),
    })?;
    File::open(&visible).map_err(Error::at("open", &visible))
}
