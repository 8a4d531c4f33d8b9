//! Large buffers, used again and again.
//!
//! Buffers of this size come fresh from the system with glibc's allocator, and every page of them
//! faults again; reusing them avoids that whatever the allocator. The pool bounds what lies idle; how
//! many are out at once follows from the connections and uploads that hold them.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug)]
pub(super) struct BufferPool {
    capacity: usize,
    kept_max: usize,
    idle: Mutex<Vec<Vec<u8>>>,
}

impl BufferPool {
    /// A pool of buffers of `capacity` bytes that keeps up to `kept_max` of them.
    pub(super) fn new(capacity: usize, kept_max: usize) -> Arc<BufferPool> {
        Arc::new(BufferPool {
            capacity,
            kept_max,
            idle: Mutex::default(),
        })
    }

    /// A buffer with what the last user left in it.
    pub(super) fn take(self: &Arc<Self>) -> PooledBuffer {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let bytes = idle.unwrap_or_else(|| Vec::with_capacity(self.capacity));
        PooledBuffer {
            bytes,
            pool: Arc::clone(self),
        }
    }
}

/// A buffer on loan from its pool.
#[derive(Debug)]
pub(super) struct PooledBuffer {
    bytes: Vec<u8>,
    pool: Arc<BufferPool>,
}

impl Deref for PooledBuffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for PooledBuffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        let mut idle = self
            .pool
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.pool.kept_max {
            idle.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_up_to_the_limit() {
        let pool = BufferPool::new(8, 2);
        let loans: Vec<_> = (0..3).map(|_| pool.take()).collect();
        drop(loans);
        assert_eq!(pool.idle.lock().unwrap().len(), 2);
        let mut again = pool.take();
        again.extend_from_slice(b"12345678");
        assert_eq!((again.capacity(), pool.idle.lock().unwrap().len()), (8, 1));
    }
}
