//! Whether anything moves on an HTTP/2 connection.
//!
//! Its streams share one socket, so a stream that its client does not read fails no write; and a client
//! that answers pings looks alive. What counts here is that requests come and answers move.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::http::body::Body;

/// What moves on one connection.
#[derive(Default)]
pub(super) struct Activity {
    /// Requests and pieces of answers so far.
    moves: AtomicU64,
    /// Requests that are being answered now; they have limits of their own.
    answering: AtomicUsize,
}

/// A request that is being answered, until dropped.
pub(super) struct Answering(Arc<Activity>);

impl Activity {
    /// Counts a request in.
    pub(super) fn answering(self: &Arc<Self>) -> Answering {
        self.moved();
        self.answering.fetch_add(1, Ordering::Relaxed);
        Answering(Arc::clone(self))
    }

    fn moved(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends when no request has come within `first`, and later once nothing has moved for `limit`, or for up
    /// to twice as long.
    pub(super) async fn idle(&self, first: Duration, limit: Duration) {
        tokio::time::sleep(first).await;
        if self.moves.load(Ordering::Relaxed) == 0 {
            return;
        }
        loop {
            let before = self.moves.load(Ordering::Relaxed);
            tokio::time::sleep(limit).await;
            if self.answering.load(Ordering::Relaxed) == 0
                && self.moves.load(Ordering::Relaxed) == before
            {
                return;
            }
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.moved();
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer whose pieces are counted.
pub(super) struct Tracked {
    body: Body,
    activity: Arc<Activity>,
}

impl Tracked {
    pub(super) fn new(body: Body, activity: Arc<Activity>) -> Tracked {
        Tracked { body, activity }
    }
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = holdfast_storage::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() {
            self.activity.moved();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(1);
    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn what_stands_still_ends_and_what_is_answered_does_not() {
        let activity = Arc::new(Activity::default());
        activity.idle(FIRST, LIMIT).await;
        let answering = activity.answering();
        assert!(
            tokio::time::timeout(LIMIT * 10, activity.idle(FIRST, LIMIT))
                .await
                .is_err()
        );
        drop(answering);
        activity.idle(FIRST, LIMIT).await;
    }
}
