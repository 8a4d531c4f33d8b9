//! Reading a blob: on the calling thread while its pages are in memory, else on a blocking thread.
//!
//! `preadv2(RWF_NOWAIT)` copies what is cached and never waits for the disk; `openat2` with
//! `RESOLVE_CACHED` does the same for the path. Both save the way to another thread and back, which
//! costs more than the work itself for a small blob and a third of the throughput for a large one.
//!
//! Files stay open for the next pull (`open_files.rs`), and whoever can send a file without copying it
//! asks [`in_memory`](BlobReader::in_memory) first, so that no thread sleeps on the disk for it.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_model::Hasher;
use rustix::fs::{Advice, CWD, Mode, OFlags, ResolveFlags, fadvise, openat2};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::buffer_pool::PooledBuffer;
use super::open_files::OpenFile;
use super::{Shared, object, uncached};
use crate::{BlobReader, Error, FileRange, READ_CHUNK_BYTES, Result, StorageKey};

/// Reads up to this size get memory of their own, so that a small blob does not occupy a large buffer; as do
/// parts of this size while all large buffers are out.
const SMALL_READ_BYTES: usize = 32 * 1024;
/// Where in a large buffer a read begins. TLS copies what is read to where a record begins, a few bytes into a
/// page. Starting with a page too would make that copy three times slower on AMD's Zen 4: `rep movsb`, which
/// libc copies with, stumbles when the destination lies shortly after the source, whole pages aside.
const READ_BEGIN: usize = 1024;
/// A large buffer.
pub(super) const READ_BUFFER_BYTES: usize = READ_BEGIN + READ_CHUNK_BYTES;
/// What the kernel is asked to fetch beyond a chunk that was not cached.
const READ_AHEAD_BYTES: u64 = 1024 * 1024;
/// How far apart the bytes are that are looked at to tell whether a range is in memory. The kernel reads and
/// forgets in runs of this order; a hole between two looks costs one wait for the disk, and nothing else.
const PROBE_BYTES: u64 = 256 * 1024;

/// What this file system and kernel let us do without waiting; learnt once, by trying.
#[derive(Debug)]
pub(super) struct InlineReads {
    open: AtomicBool,
    read: AtomicBool,
}

impl InlineReads {
    pub(super) fn for_directory(directory: &Path) -> Result<InlineReads> {
        let found = rustix::fs::statfs(directory).map_err(io::Error::from);
        let found = found.map_err(Error::at("examine", directory))?;
        // The field's width and sign differ between architectures; the numbers are 32 bits wide.
        let local = is_local(found.f_type as u32);
        Ok(InlineReads {
            open: AtomicBool::new(local),
            read: AtomicBool::new(true),
        })
    }

    /// Whether files are opened on the calling thread, which only a file system of this machine allows.
    pub(super) fn may_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn forbid(&self) {
        self.open.store(false, Ordering::Relaxed);
        self.read.store(false, Ordering::Relaxed);
    }
}

/// Whether opening a cached path is known not to ask another machine or process.
fn is_local(file_system: u32) -> bool {
    const EXT: u32 = 0xef53;
    const XFS: u32 = 0x5846_5342;
    const BTRFS: u32 = 0x9123_683e;
    const ZFS: u32 = 0x2fc1_2fc1;
    const F2FS: u32 = 0xf2f5_2010;
    const TMPFS: u32 = 0x0102_1994;
    const OVERLAY: u32 = 0x794c_7630;
    matches!(
        file_system,
        EXT | XFS | BTRFS | ZFS | F2FS | TMPFS | OVERLAY
    )
}

pub(super) struct Reader {
    shared: Arc<Shared>,
    open: Arc<OpenFile>,
}

impl Reader {
    pub(super) async fn open(shared: &Arc<Shared>, key: &StorageKey) -> Result<Reader> {
        let open = match shared.open_files.get(key) {
            Some(open) => open,
            None => {
                let opened = match open_cached(shared, key)? {
                    Some(opened) => opened,
                    None => {
                        let (job_shared, key) = (Arc::clone(shared), key.clone());
                        shared
                            .reads
                            .run(move || object::open(&job_shared, &key))
                            .await?
                    }
                };
                shared.open_files.keep(key, opened)
            }
        };
        Ok(Reader {
            shared: Arc::clone(shared),
            open,
        })
    }

    fn truncated(&self, offset: u64) -> Error {
        Error::Truncated {
            key: self.open.key.clone(),
            size: self.open.size,
            end: offset,
        }
    }

    fn unreadable(&self, error: io::Error) -> Error {
        Error::at("read", &self.shared.paths.object(&self.open.key))(error)
    }

    /// Reads on a blocking thread, and has the kernel fetch what comes next.
    async fn read_from_disk(
        &self,
        offset: u64,
        mut buffer: ReadBuffer,
    ) -> Result<(ReadBuffer, usize)> {
        let file = Arc::clone(&self.open.file);
        let job = move || {
            let wanted = buffer.space().len() as u64;
            // Advice: its failure costs time only.
            let _ = fadvise(
                &*file,
                offset,
                NonZeroU64::new(wanted + READ_AHEAD_BYTES),
                Advice::WillNeed,
            );
            loop {
                match file.read_at(buffer.space(), offset) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    outcome => return Ok((buffer, outcome)),
                }
            }
        };
        let (buffer, outcome) = self.shared.reads.run(job).await?;
        Ok((buffer, outcome.map_err(|error| self.unreadable(error))?))
    }

    /// Reads what is in memory. `None` when that is nothing, or when it cannot be told.
    fn read_cached(&self, offset: u64, space: &mut [u8]) -> Option<Result<usize>> {
        let nowait = &self.shared.inline_reads.read;
        if !nowait.load(Ordering::Relaxed) {
            return None;
        }
        match preadv2(
            &*self.open.file,
            &mut [IoSliceMut::new(space)],
            offset,
            ReadWriteFlags::NOWAIT,
        ) {
            Ok(length) => Some(Ok(length)),
            Err(Errno::AGAIN | Errno::INTR) => None,
            // Old kernels, file systems without it, system call filters.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::PERM) => {
                nowait.store(false, Ordering::Relaxed);
                None
            }
            Err(error) => Some(Err(self.unreadable(error.into()))),
        }
    }

    fn byte_in_memory(&self, offset: u64) -> bool {
        matches!(self.read_cached(offset, &mut [0]), Some(Ok(1)))
    }
}

/// Opens an object if its whole path is in memory. What fails here is asked again on a blocking
/// thread, which decides.
fn open_cached(shared: &Shared, key: &StorageKey) -> Result<Option<(File, u64)>> {
    if !shared.inline_reads.may_open() {
        return Ok(None);
    }
    let path = shared.paths.object(key);
    match openat2(
        CWD,
        &path,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::CACHED,
    ) {
        Ok(file) => {
            let file = File::from(file);
            let size = object::file_size(&path, file.metadata())?;
            Ok(Some((file, size)))
        }
        Err(Errno::NOSYS | Errno::INVAL | Errno::PERM) => {
            shared.inline_reads.open.store(false, Ordering::Relaxed);
            Ok(None)
        }
        Err(_) => Ok(None),
    }
}

#[async_trait]
impl BlobReader for Reader {
    fn size(&self) -> u64 {
        self.open.size
    }

    fn in_memory(&self, offset: u64, max: u64) -> Option<FileRange> {
        let limit = self.open.size.min(offset.saturating_add(max));
        if offset >= limit || !self.byte_in_memory(offset) {
            return None;
        }
        let mut end = offset;
        while end < limit {
            let next = limit.min(end + PROBE_BYTES);
            if !self.byte_in_memory(next - 1) {
                break;
            }
            end = next;
        }
        (end > offset).then(|| FileRange {
            file: Arc::clone(&self.open.file),
            offset,
            length: end - offset,
        })
    }

    async fn hash_at(&self, offset: u64, max: u64, hasher: Hasher) -> Result<(Hasher, u64)> {
        let range = offset..self.open.size.min(offset.saturating_add(max));
        if range.is_empty() {
            return Ok((hasher, 0));
        }
        let was_cached = self.byte_in_memory(offset);
        let (shared, open) = (Arc::clone(&self.shared), Arc::clone(&self.open));
        let job = move || uncached::hash(&shared, &open, range, hasher, was_cached);
        self.shared.reads.run(job).await
    }

    async fn read_at(&self, offset: u64, max: usize) -> Result<Bytes> {
        let left = usize::try_from(self.open.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = max.clamp(1, READ_CHUNK_BYTES).min(left);
        if wanted == 0 {
            return Ok(Bytes::new());
        }
        let mut buffer = ReadBuffer::new(&self.shared, wanted);
        let (buffer, length) = match self.read_cached(offset, buffer.space()) {
            Some(outcome) => (buffer, outcome?),
            None => self.read_from_disk(offset, buffer).await?,
        };
        if length == 0 {
            self.shared.open_files.forget(&self.open.key);
            return Err(self.truncated(offset));
        }
        Ok(buffer.filled(length))
    }
}

/// Room for one read.
enum ReadBuffer {
    Small(Vec<u8>),
    Pooled { buffer: PooledBuffer, wanted: usize },
}

impl ReadBuffer {
    fn new(shared: &Shared, wanted: usize) -> ReadBuffer {
        let pooled = (wanted > SMALL_READ_BYTES).then(|| shared.read_buffers.take());
        match pooled.flatten() {
            Some(buffer) => ReadBuffer::Pooled { buffer, wanted },
            None => ReadBuffer::Small(vec![0; wanted.min(SMALL_READ_BYTES)]),
        }
    }

    fn space(&mut self) -> &mut [u8] {
        match self {
            ReadBuffer::Small(bytes) => bytes,
            ReadBuffer::Pooled { buffer, wanted } => &mut buffer[READ_BEGIN..][..*wanted],
        }
    }

    /// The first `length` bytes; a pooled buffer goes back when the last reference to them is dropped.
    fn filled(self, length: usize) -> Bytes {
        match self {
            ReadBuffer::Small(mut bytes) => {
                bytes.truncate(length);
                Bytes::from(bytes)
            }
            ReadBuffer::Pooled { buffer, .. } => Bytes::from_owner(Filled { buffer, length }),
        }
    }
}

struct Filled {
    buffer: PooledBuffer,
    length: usize,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[READ_BEGIN..][..self.length]
    }
}
