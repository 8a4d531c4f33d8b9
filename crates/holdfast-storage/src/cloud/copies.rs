//! Copies of small objects that an upload may soon need again: what a request left too little for a part.
//!
//! The next request of the same upload often comes to the same node, and is spared a `GET` then. Nothing depends
//! on a copy being there.

use std::sync::Arc;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::StorageKey;

/// Most bytes of all copies.
const COPIES_BYTES: u64 = 64 * 1024 * 1024;
/// How many copies are expected; more find room as long as their bytes do.
const COPIES_EXPECTED: usize = 64;

#[derive(Clone)]
struct ByBytes;

impl Weighter<StorageKey, Arc<Vec<Bytes>>> for ByBytes {
    fn weight(&self, _key: &StorageKey, pieces: &Arc<Vec<Bytes>>) -> u64 {
        pieces.iter().map(|piece| piece.len() as u64).sum()
    }
}

/// The copies of this process.
pub(super) struct Copies(Cache<StorageKey, Arc<Vec<Bytes>>, ByBytes>);

impl Copies {
    pub(super) fn new() -> Copies {
        Copies(Cache::with_weighter(COPIES_EXPECTED, COPIES_BYTES, ByBytes))
    }

    pub(super) fn keep(&self, key: &StorageKey, pieces: Vec<Bytes>) {
        self.0.insert(key.clone(), Arc::new(pieces));
    }

    pub(super) fn find(&self, key: &StorageKey) -> Option<Arc<Vec<Bytes>>> {
        self.0.get(key)
    }

    pub(super) fn forget(&self, key: &StorageKey) {
        self.0.remove(key);
    }
}
