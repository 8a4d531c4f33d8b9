//! `POST /api/v1/check`: a check of the whole store, as lines.

use std::sync::Arc;

use http::Response;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::lines;
use crate::app::App;
use crate::error_chain::chain;
use crate::http::body::Body;
use crate::operations::CheckOptions;

/// Events that may wait to become lines.
const WAITING_MAX: usize = 64;

/// What the check is to do.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Check {
    /// Repair what can be repaired.
    pub(crate) repair: bool,
    /// Read all bytes and compare their digests.
    pub(crate) read_data: bool,
    /// Most bytes read in a second; none is as fast as possible.
    pub(crate) bytes_per_second: Option<u64>,
}

/// `POST /check`: a line for each event.
pub(super) fn check(app: &Arc<App>, wish: &Check) -> Response<Body> {
    let operations = app.operations.clone();
    let options = CheckOptions {
        repair: wish.repair,
        read_data: wish.read_data,
        bytes_per_second: wish.bytes_per_second,
    };
    lines::answer(|lines| async move {
        let (sender, mut events) = mpsc::channel(WAITING_MAX);
        let forward = async move {
            while let Some(event) = events.recv().await {
                if lines.send(&event).await.is_err() {
                    break;
                }
            }
        };
        let (checked, ()) = tokio::join!(operations.check(options, sender), forward);
        checked.map_err(|error| chain(&error))
    })
}
