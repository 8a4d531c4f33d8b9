//! Files in and out of the page cache. Source: posix_fadvise(2).

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use rustix::fs::{Advice, fadvise};

use crate::Result;

const READ_BYTES: usize = 1 << 20;

/// Reads every file below a directory, so that the cache holds it.
pub(crate) fn load(directory: &Path) -> Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    each_file(directory, &mut |path| {
        let mut file = File::open(path)?;
        while file.read(&mut buffer)? > 0 {}
        Ok(())
    })
}

/// Writes out every file below a directory and drops it from the cache.
pub(crate) fn evict(directory: &Path) -> Result<()> {
    each_file(directory, &mut |path| {
        let file = File::open(path)?;
        file.sync_all()?;
        Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
    })
}

fn each_file(directory: &Path, act: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            each_file(&entry.path(), act)?;
        } else if kind.is_file() {
            act(&entry.path())?;
        }
    }
    Ok(())
}
