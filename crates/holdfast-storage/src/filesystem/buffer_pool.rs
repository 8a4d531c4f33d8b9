//! Large buffers for reads, used again and again, and bounded in number.
//!
//! A client that takes its bytes slowly keeps a buffer for as long as it likes. So there are only so many,
//! whatever the number of clients; who finds none reads less at a time into memory of its own.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Buffers that may be out at one time (32 MiB of reads).
const MOST: usize = 256;
/// Buffers kept for later once they come back (8 MiB).
const KEPT: usize = 64;

#[derive(Debug)]
pub(super) struct BufferPool {
    bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Box<[u8]>>,
    out: usize,
}

impl BufferPool {
    /// A pool of buffers of so many bytes.
    pub(super) fn new(bytes: usize) -> Arc<BufferPool> {
        Arc::new(BufferPool {
            bytes,
            state: Mutex::default(),
        })
    }

    /// A buffer with what the last user left in it; `None` while too many are out.
    pub(super) fn take(self: &Arc<Self>) -> Option<PooledBuffer> {
        let idle = {
            let mut state = self.state();
            if state.out >= MOST {
                return None;
            }
            state.out += 1;
            state.idle.pop()
        };
        Some(PooledBuffer {
            bytes: idle.unwrap_or_else(|| vec![0; self.bytes].into()),
            pool: Arc::clone(self),
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer on loan from its pool.
#[derive(Debug)]
pub(super) struct PooledBuffer {
    bytes: Box<[u8]>,
    pool: Arc<BufferPool>,
}

impl Deref for PooledBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for PooledBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut state = self.pool.state();
        state.out -= 1;
        if state.idle.len() < KEPT {
            state.idle.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_out_and_so_many_are_kept() {
        let pool = BufferPool::new(8);
        let mut loans: Vec<_> = (0..MOST).map(|_| pool.take().unwrap()).collect();
        assert!(pool.take().is_none());
        loans.pop();
        assert_eq!(pool.take().unwrap().len(), 8);
        loans.clear();
        assert_eq!(pool.state().idle.len(), KEPT);
        assert_eq!(pool.state().out, 0);
    }
}
