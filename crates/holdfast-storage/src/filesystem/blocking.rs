//! Disk work off the async threads, with a bound on how much of it runs at once.

use std::panic;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};

use crate::{Error, Result};

/// Runs jobs on the runtime's blocking threads, so many at a time.
///
/// Reads and writes have one each, so that a stalled sync does not keep pulls waiting.
#[derive(Debug)]
pub(super) struct Blocking {
    permits: Arc<Semaphore>,
}

impl Blocking {
    pub(super) fn new(jobs: usize) -> Blocking {
        Blocking {
            permits: Arc::new(Semaphore::new(jobs)),
        }
    }

    /// Waits until there is room for a job.
    pub(super) async fn admit(&self) -> Admission {
        Admission(
            Arc::clone(&self.permits)
                .acquire_owned()
                .await
                .expect("the semaphore is never closed"),
        )
    }

    /// Runs a job to its end.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let running = self.admit().await.start(job);
        joined(running.await)?
    }
}

/// Room for one job.
pub(super) struct Admission(#[expect(dead_code, reason = "held, not used")] OwnedSemaphorePermit);

impl Admission {
    /// Starts a job. It runs to its end even if the handle is dropped.
    pub(super) fn start<T: Send + 'static>(
        self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        spawn_blocking(move || {
            let _room = self;
            job()
        })
    }
}

/// The outcome of a started job. Its panic goes on here; that it never ran is an error.
pub(super) fn joined<T>(outcome: std::result::Result<T, JoinError>) -> Result<T> {
    outcome.map_err(|error| match error.try_into_panic() {
        Ok(payload) => panic::resume_unwind(payload),
        Err(_) => Error::unavailable("reach", "the disk", "the server is shutting down"),
    })
}
