//! One at a time, in this process: each upload session has one request, each digest one publisher, each
//! password one check.

use std::collections::HashSet;
use std::hash::Hash;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// How long a request waits for the one before it. A client that lost its connection asks again at once,
/// while the server may still be saving what arrived.
const WAIT: Duration = Duration::from_secs(5);

struct Table<K> {
    held: Mutex<HashSet<K>>,
    released: Notify,
}

impl<K> Table<K> {
    fn held(&self) -> MutexGuard<'_, HashSet<K>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The things that somebody holds.
pub(crate) struct Held<K>(Arc<Table<K>>);

/// Exclusive use of one thing, until dropped.
pub(crate) struct Hold<K: Copy + Eq + Hash> {
    key: K,
    table: Arc<Table<K>>,
}

impl<K> Default for Held<K> {
    fn default() -> Self {
        Held(Arc::new(Table {
            held: Mutex::default(),
            released: Notify::new(),
        }))
    }
}

impl<K> Clone for Held<K> {
    fn clone(&self) -> Self {
        Held(Arc::clone(&self.0))
    }
}

impl<K: Copy + Eq + Hash> Held<K> {
    /// Takes it, or `None` when somebody still has it after a while.
    pub(crate) async fn take(&self, key: K) -> Option<Hold<K>> {
        self.take_within(key, WAIT).await
    }

    /// Takes it, or `None` when somebody still has it after so long.
    pub(crate) async fn take_within(&self, key: K, limit: Duration) -> Option<Hold<K>> {
        tokio::time::timeout(limit, self.wait(key)).await.ok()
    }

    /// Takes it, however long that may last.
    pub(crate) async fn wait(&self, key: K) -> Hold<K> {
        loop {
            let mut released = pin!(self.0.released.notified());
            // Listen before looking, so that a release in between is not missed.
            released.as_mut().enable();
            if self.0.held().insert(key) {
                return Hold {
                    key,
                    table: Arc::clone(&self.0),
                };
            }
            released.await;
        }
    }
}

impl<K: Copy + Eq + Hash> Drop for Hold<K> {
    fn drop(&mut self) {
        self.table.held().remove(&self.key);
        self.table.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use holdfast_model::UploadId;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_session_is_taken_once_and_forgotten_after() {
        let sessions = Held::default();
        let id = UploadId::from_random([1; 16]);
        let first = sessions.take(id).await.unwrap();
        assert!(sessions.take(id).await.is_none());
        let (again, ()) = tokio::join!(sessions.take(id), async { drop(first) });
        assert!(again.is_some());
        drop(again);
        assert!(sessions.0.held().is_empty());
    }
}
