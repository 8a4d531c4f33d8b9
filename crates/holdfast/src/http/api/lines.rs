//! Answers that grow: a line of JSON for each event of long work.
//!
//! The status goes out before the work is done, so a failure is the last line: `{"error": "…"}`. The end of
//! the body without one means success.

use std::future::Future;

use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::http::body::Body;

/// Lines that may wait for a client before the work waits too.
const WAITING_MAX: usize = 256;

/// The last line of work that failed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failed {
    /// What went wrong.
    pub(crate) error: String,
}

/// Where work writes its lines.
pub(crate) struct Lines(mpsc::Sender<Bytes>);

/// Nobody reads the lines any more.
#[derive(Debug)]
pub(crate) struct Gone;

impl Lines {
    /// Writes a line, when there is room.
    pub(crate) async fn send(&self, event: &impl Serialize) -> Result<(), Gone> {
        let mut line = serde_json::to_vec(event).expect("events are plain structs");
        line.push(b'\n');
        self.0.send(Bytes::from(line)).await.map_err(|_| Gone)
    }
}

/// Starts work that outlives the request, and answers with its lines. The error of the work is one line of
/// text for people.
pub(super) fn answer<F>(work: impl FnOnce(Lines) -> F) -> Response<Body>
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let work = work(Lines(sender.clone()));
    tokio::spawn(async move {
        if let Err(error) = work.await {
            // Whoever is gone does not miss it.
            let _ = Lines(sender).send(&Failed { error }).await;
        }
    });
    let mut response = Response::new(Body::lines(receiver));
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-ndjson"),
    );
    response
}
