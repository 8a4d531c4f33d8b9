//! Writing past the page cache (`O_DIRECT`).
//!
//! Copying into the page cache, and taking the pages for it, is more than half of what a durable
//! upload costs; the disk takes the bytes from the upload's own buffer as well. In exchange the first
//! pull of the blob comes from the disk.
//!
//! Memory file systems, some network ones and some in user space refuse it, some when it is asked
//! for, some at the first write. That is learnt once, and what is written then and later goes through
//! the page cache.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;

use super::upload_buffers::BLOCK_BYTES;

/// Whether uploads pass the page cache by: the setting, and what the file system says to it.
#[derive(Debug)]
pub(super) struct DirectIo {
    possible: AtomicBool,
}

impl DirectIo {
    pub(super) fn new(wanted: bool) -> DirectIo {
        DirectIo {
            possible: AtomicBool::new(wanted),
        }
    }

    fn refused(&self) {
        if self.possible.swap(false, Ordering::Relaxed) {
            tracing::debug!(
                "the file system takes no direct writes; uploads go through the page cache"
            );
        }
    }
}

/// A file that is written at aligned places directly, at others through the page cache.
///
/// The kernel keeps the two in step: a direct write first writes back and drops what is cached of its
/// range.
#[derive(Debug)]
pub(super) struct StagingFile {
    file: File,
    direct: bool,
}

impl StagingFile {
    /// `file` must not be open in append mode.
    pub(super) fn new(file: File) -> StagingFile {
        StagingFile {
            file,
            direct: false,
        }
    }

    pub(super) fn cached(&self) -> &File {
        &self.file
    }

    /// One write, which may be short. Whether it was direct.
    pub(super) fn write_at(
        &mut self,
        bytes: &[u8],
        offset: u64,
        direct_io: &DirectIo,
    ) -> io::Result<(usize, bool)> {
        let blocks = aligned_bytes(bytes, offset);
        if blocks > 0 && direct_io.possible.load(Ordering::Relaxed) {
            let written = self
                .set_direct(true)
                .and_then(|()| self.file.write_at(&bytes[..blocks], offset));
            match written {
                Err(error) if is_refusal(&error) => direct_io.refused(),
                other => return other.map(|length| (length, true)),
            }
        }
        self.set_direct(false)?;
        self.file
            .write_at(bytes, offset)
            .map(|length| (length, false))
    }

    fn set_direct(&mut self, direct: bool) -> io::Result<()> {
        if self.direct != direct {
            let flags = if direct {
                OFlags::DIRECT
            } else {
                OFlags::empty()
            };
            fcntl_setfl(&self.file, flags)?;
            self.direct = direct;
        }
        Ok(())
    }
}

/// How many bytes from the front may be written directly.
fn aligned_bytes(bytes: &[u8], offset: u64) -> usize {
    let aligned =
        offset.is_multiple_of(BLOCK_BYTES as u64) && bytes.as_ptr().align_offset(BLOCK_BYTES) == 0;
    if aligned {
        bytes.len() - bytes.len() % BLOCK_BYTES
    } else {
        0
    }
}

/// Whether the system says that it does not read or write this file directly.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM)
    )
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;
    use crate::filesystem::upload_buffers::UploadBuffers;
    use bytes::Bytes;
    use std::sync::Arc;

    #[test]
    fn only_whole_blocks_at_borders_are_direct() {
        let pool = Arc::new(UploadBuffers::default());
        let mut buffer = pool.take(0).unwrap();
        buffer.fill(&mut Bytes::from(vec![0; 3 * BLOCK_BYTES]));
        let bytes = buffer.bytes();
        for (from, length, offset, expected) in [
            (0, 3 * BLOCK_BYTES, 0, 3 * BLOCK_BYTES),
            (0, 3 * BLOCK_BYTES, 8192, 3 * BLOCK_BYTES),
            (0, BLOCK_BYTES + 1, 0, BLOCK_BYTES),
            (0, BLOCK_BYTES - 1, 0, 0),
            (BLOCK_BYTES, BLOCK_BYTES, 4096, BLOCK_BYTES),
            (1, BLOCK_BYTES, 4096, 0),
            (0, BLOCK_BYTES, 1, 0),
            (0, 0, 0, 0),
        ] {
            let found = aligned_bytes(&bytes[from..from + length], offset);
            assert_eq!(found, expected, "{from} {length} {offset}");
        }
    }

    /// A device takes no direct writes, like some file systems.
    fn device(name: &str) -> StagingFile {
        StagingFile::new(OpenOptions::new().write(true).open(name).unwrap())
    }

    #[test]
    fn a_refusal_is_met_with_a_cached_write_and_remembered() {
        let pool = Arc::new(UploadBuffers::default());
        let mut buffer = pool.take(0).unwrap();
        buffer.fill(&mut Bytes::from(vec![0; BLOCK_BYTES + 1]));
        let direct_io = DirectIo::new(true);
        let mut file = device("/dev/null");
        for _ in 0..2 {
            let written = file.write_at(buffer.bytes(), 0, &direct_io).unwrap();
            assert_eq!(written, (BLOCK_BYTES + 1, false));
            assert!(!direct_io.possible.load(Ordering::Relaxed));
        }
    }

    #[test]
    fn a_full_disk_is_no_refusal() {
        for (errno, refusal) in [
            (Errno::INVAL, true),
            (Errno::OPNOTSUPP, true),
            (Errno::NOSPC, false),
            (Errno::IO, false),
            (Errno::DQUOT, false),
        ] {
            assert_eq!(is_refusal(&errno.into()), refusal, "{errno:?}");
        }
    }
}
