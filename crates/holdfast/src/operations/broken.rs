//! Content whose stored bytes were found missing or cut short.
//!
//! Metadata says it is there, so a client that asks by HEAD would not send it again. Once a pull has found it
//! broken, HEAD and mounts say that it is absent, and the push that follows brings it back.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdfast_model::Digest;

/// Most digests remembered; a store with more of them is lost anyway.
const MAX_BROKEN: usize = 100_000;

/// The digests found broken since the start.
#[derive(Clone, Default)]
pub(super) struct Broken(Arc<Table>);

#[derive(Default)]
struct Table {
    /// Whether there are any: the usual answer costs one load.
    any: AtomicBool,
    digests: Mutex<HashSet<Digest>>,
}

impl Broken {
    pub(super) fn contains(&self, digest: &Digest) -> bool {
        self.0.any.load(Ordering::Relaxed) && self.digests().contains(digest)
    }

    pub(super) fn insert(&self, digest: Digest) {
        let mut digests = self.digests();
        if digests.len() < MAX_BROKEN && digests.insert(digest) {
            tracing::error!(%digest, "stored content is missing or cut short; the next push of it will bring it back");
        }
        self.0.any.store(true, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, digest: &Digest) {
        if self.0.any.load(Ordering::Relaxed) {
            let mut digests = self.digests();
            digests.remove(digest);
            self.0.any.store(!digests.is_empty(), Ordering::Relaxed);
        }
    }

    fn digests(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.0
            .digests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
