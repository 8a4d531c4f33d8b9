//! One writer at a time for each upload session of this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_model::UploadId;
use tokio::sync::OwnedMutexGuard;

/// How long a request waits for the one before it on the same session. A client that lost its
/// connection asks again at once, while the server may still be saving what arrived.
const WAIT_FOR_SESSION: Duration = Duration::from_secs(5);

type Locks = Mutex<HashMap<UploadId, Arc<tokio::sync::Mutex<()>>>>;

/// The sessions that some request holds.
#[derive(Clone, Default)]
pub(super) struct Sessions {
    locks: Arc<Locks>,
}

/// Exclusive use of one session, until dropped.
pub(super) struct SessionGuard {
    id: UploadId,
    locks: Arc<Locks>,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Sessions {
    /// Takes the session, or `None` when another request still has it after a while.
    pub(super) async fn take(&self, id: UploadId) -> Option<SessionGuard> {
        let lock = Arc::clone(self.table().entry(id).or_default());
        let guard = tokio::time::timeout(WAIT_FOR_SESSION, lock.lock_owned())
            .await
            .ok();
        let session = SessionGuard {
            id,
            locks: Arc::clone(&self.locks),
            guard,
        };
        // Built before the check, so that a wait in vain also tidies the table.
        session.guard.is_some().then_some(session)
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<UploadId, Arc<tokio::sync::Mutex<()>>>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.guard = None;
        let mut table = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        // Only the table holds the lock: nobody waits for it, and nobody can begin to while we look.
        if table
            .get(&self.id)
            .is_some_and(|lock| Arc::strong_count(lock) == 1)
        {
            table.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_session_is_taken_once_and_forgotten_after() {
        let sessions = Sessions::default();
        let id = UploadId::from_random([1; 16]);
        let first = sessions.take(id).await.unwrap();
        assert!(sessions.take(id).await.is_none());
        drop(first);
        let again = sessions.take(id).await;
        assert!(again.is_some());
        drop(again);
        assert!(sessions.table().is_empty());
    }
}
