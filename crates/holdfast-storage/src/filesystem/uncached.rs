//! Hashing what the disk holds, past the page cache.
//!
//! A check that asked the cache would see the bytes that were once written rather than those that are
//! there now, and would push out what pulls need. So the file is read directly (`O_DIRECT`). Where the
//! file system refuses that, it is read through the cache, and what was not in it before is dropped.

use std::fs::{File, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use holdfast_model::Hasher;
use rustix::fs::{Advice, OFlags, fadvise};

use super::Shared;
use super::direct_io::is_refusal;
use super::open_files::OpenFile;
use super::upload_buffers::BLOCK_BYTES;
use crate::{Error, Result};

/// Bytes read at a time.
const PIECE_BYTES: usize = 1024 * 1024;

/// Hashes a range of an object, which ends where the object does or before; how many bytes that was.
pub(super) fn hash(
    shared: &Shared,
    open: &OpenFile,
    range: Range<u64>,
    mut hasher: Hasher,
    was_cached: bool,
) -> Result<(Hasher, u64)> {
    let path = shared.paths.object(&open.key);
    let mut direct = open_directly(&path, &open.file);
    let mut memory = vec![0; PIECE_BYTES + BLOCK_BYTES];
    let start = memory.as_ptr().align_offset(BLOCK_BYTES);
    let buffer = &mut memory[start..][..PIECE_BYTES];
    let mut at = range.start;
    while at < range.end {
        let on_border = at.is_multiple_of(BLOCK_BYTES as u64);
        let read = match &direct {
            Some(file) if on_border => match file.read_at(buffer, at) {
                Err(error) if is_refusal(&error) => {
                    direct = None;
                    continue;
                }
                other => other,
            },
            _ => read_cached(&open.file, buffer, at, was_cached),
        };
        let length = match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::at("read", &path)(error)),
            Ok(0) => {
                return Err(Error::Truncated {
                    key: open.key.clone(),
                    size: open.size,
                    end: at,
                });
            }
            Ok(length) => (length as u64).min(range.end - at),
        };
        hasher.update(&buffer[..usize::try_from(length).expect("a part of the buffer")]);
        at += length;
    }
    Ok((hasher, at - range.start))
}

/// The same file once more, for direct reads. `None` where they are refused, and when another file has
/// taken its name.
fn open_directly(path: &Path, file: &File) -> Option<File> {
    let direct = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::DIRECT.bits().cast_signed())
        .open(path)
        .ok()?;
    let (one, other) = (direct.metadata().ok()?, file.metadata().ok()?);
    (one.dev() == other.dev() && one.ino() == other.ino()).then_some(direct)
}

fn read_cached(file: &File, buffer: &mut [u8], at: u64, was_cached: bool) -> io::Result<usize> {
    let length = file.read_at(buffer, at)?;
    if let Some(read) = NonZeroU64::new(length as u64).filter(|_| !was_cached) {
        // Advice: its failure costs memory only.
        let _ = fadvise(file, at, Some(read), Advice::DontNeed);
    }
    Ok(length)
}
