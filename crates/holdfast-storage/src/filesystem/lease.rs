//! Who works on an upload right now.
//!
//! A request that is cancelled leaves its last disk job running. The next request for the same upload
//! must not open the file while that job still appends to it, so the lease travels with the job and
//! the next one waits for it.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_model::UploadId;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::{Error, Result};

/// How long to wait for an upload that is in use.
const LEASE_WAIT: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Leases {
    held: Mutex<HashSet<UploadId>>,
    released: Notify,
}

impl Leases {
    /// The right to work on an upload, once nobody else has it.
    pub(super) async fn take(self: &Arc<Self>, id: UploadId) -> Result<Lease> {
        timeout(LEASE_WAIT, self.wait(id))
            .await
            .map_err(|_| Error::UploadBusy(id))
    }

    async fn wait(self: &Arc<Self>, id: UploadId) -> Lease {
        loop {
            let mut released = pin!(self.released.notified());
            // Listen before looking, so that a release in between is not missed.
            released.as_mut().enable();
            if self.held().insert(id) {
                return Lease {
                    leases: Arc::clone(self),
                    id,
                };
            }
            released.await;
        }
    }

    fn held(&self) -> MutexGuard<'_, HashSet<UploadId>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(super) struct Lease {
    leases: Arc<Leases>,
    id: UploadId,
}

impl Lease {
    /// Whose lease it is.
    pub(super) fn id(&self) -> UploadId {
        self.id
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.held().remove(&self.id);
        self.leases.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_and_no_endless_wait() {
        let leases = Arc::new(Leases::default());
        let (one, two) = (
            UploadId::from_random([1; 16]),
            UploadId::from_random([2; 16]),
        );
        let first = leases.take(one).await.unwrap();
        let _other = leases.take(two).await.unwrap();
        assert!(matches!(leases.take(one).await, Err(Error::UploadBusy(id)) if id == one));

        let waiting = tokio::spawn({
            let leases = Arc::clone(&leases);
            async move { leases.take(one).await }
        });
        tokio::task::yield_now().await;
        drop(first);
        waiting.await.unwrap().unwrap();
        assert_eq!(leases.held().len(), 1);
    }
}
