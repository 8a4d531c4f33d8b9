//! The memory of uploads: large aligned buffers, used again and again, and only so many of them.
//!
//! Whoever finds none left writes what it has in hand instead of waiting, so memory is bounded by
//! `UPLOAD_BUFFERS` × `UPLOAD_BUFFER_BYTES`, however many uploads there are, and nobody queues behind
//! a slow client that holds a buffer.
//!
//! They begin on a block border, as writing past the page cache demands. Memory of this size comes fresh
//! from the system, and every page faults when it is first written to. So a few idle buffers are kept, and
//! none is filled with zeros: a small upload touches no more of its buffer than it needs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// What an upload gathers before it is hashed and written.
pub(super) const UPLOAD_BUFFER_BYTES: usize = 512 * 1024;
/// Buffers in the whole process (64 MiB).
pub(super) const UPLOAD_BUFFERS: usize = 128;
/// Idle buffers that are kept for the next upload (8 MiB).
const KEPT: usize = 16;
/// What memory, offset and length are aligned to when the page cache is passed by: the largest block
/// of the disks and the page size of the file systems in use.
pub(super) const BLOCK_BYTES: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct UploadBuffers {
    idle: Mutex<Vec<Vec<u8>>>,
    lent: AtomicUsize,
}

impl UploadBuffers {
    /// An empty buffer, unless all are lent. It takes bytes up to a block border of a file that it
    /// continues at `offset`.
    pub(super) fn take(self: &Arc<Self>, offset: u64) -> Option<UploadBuffer> {
        self.lent
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |lent| {
                (lent < UPLOAD_BUFFERS).then_some(lent + 1)
            })
            .ok()?;
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut memory =
            idle.unwrap_or_else(|| Vec::with_capacity(UPLOAD_BUFFER_BYTES + BLOCK_BYTES));
        let start = memory.as_ptr().align_offset(BLOCK_BYTES);
        memory.resize(start, 0);
        let past_border = (offset % BLOCK_BYTES as u64) as usize;
        Some(UploadBuffer {
            memory,
            start,
            full: start + UPLOAD_BUFFER_BYTES - past_border,
            pool: Arc::clone(self),
        })
    }
}

/// A buffer on loan.
#[derive(Debug)]
pub(super) struct UploadBuffer {
    memory: Vec<u8>,
    /// The first aligned byte of the memory.
    start: usize,
    /// The length of the memory with the last byte in it.
    full: usize,
    pool: Arc<UploadBuffers>,
}

impl UploadBuffer {
    /// Takes as much of the front of `bytes` as there is room for; how much that was.
    pub(super) fn fill(&mut self, bytes: &mut Bytes) -> usize {
        let part = bytes.split_to(bytes.len().min(self.full - self.memory.len()));
        self.memory.extend_from_slice(&part);
        part.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.memory.len() == self.full
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..]
    }
}

impl AsRef<[u8]> for UploadBuffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Drop for UploadBuffer {
    fn drop(&mut self) {
        let mut idle = self
            .pool
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(std::mem::take(&mut self.memory));
        }
        drop(idle);
        self.pool.lent.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_only_so_many_and_few_stay() {
        let pool = Arc::new(UploadBuffers::default());
        let mut lent: Vec<_> = (0..UPLOAD_BUFFERS).map(|_| pool.take(0)).collect();
        assert!(lent.iter().all(Option::is_some));
        assert!(pool.take(0).is_none());
        lent.pop();
        assert!(pool.take(0).is_some());
        drop(lent);
        assert_eq!(pool.idle.lock().unwrap().len(), KEPT);
        assert_eq!(pool.lent.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_buffer_is_aligned_and_ends_on_a_border_of_the_file() {
        let pool = Arc::new(UploadBuffers::default());
        for (offset, room) in [
            (0, UPLOAD_BUFFER_BYTES),
            (1, UPLOAD_BUFFER_BYTES - 1),
            (4095, UPLOAD_BUFFER_BYTES - 4095),
            (4096, UPLOAD_BUFFER_BYTES),
            (3 * 4096 + 7, UPLOAD_BUFFER_BYTES - 7),
        ] {
            let mut buffer = pool.take(offset).unwrap();
            assert!(buffer.bytes().is_empty());
            let mut bytes = Bytes::from(vec![7; UPLOAD_BUFFER_BYTES + 1]);
            assert_eq!(buffer.fill(&mut bytes), room);
            assert!(buffer.is_full() && bytes.len() == UPLOAD_BUFFER_BYTES + 1 - room);
            assert_eq!(buffer.bytes().len(), room);
            assert_eq!(buffer.bytes().as_ptr().align_offset(BLOCK_BYTES), 0);
            assert_eq!((offset + room as u64) % BLOCK_BYTES as u64, 0);
        }
    }
}
