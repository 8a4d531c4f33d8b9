//! `/api/v1/maintenance`: whether the registry takes changes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::time;
use crate::app::App;
use crate::http::error::Error;
use crate::operations;

/// Whether the registry takes changes, and why not.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Maintenance {
    /// Changes are refused.
    pub(crate) read_only: bool,
    /// Because the configuration says so.
    pub(crate) configured: bool,
    /// Because the switch was turned on at this time (RFC 3339).
    pub(crate) switched_at: Option<String>,
    /// Changes under way.
    pub(crate) changes: usize,
}

impl From<operations::Maintenance> for Maintenance {
    fn from(state: operations::Maintenance) -> Self {
        Maintenance {
            read_only: state.read_only(),
            configured: state.configured,
            switched_at: state.switched.map(time),
            changes: state.changes,
        }
    }
}

/// `GET /maintenance`
pub(super) fn get(app: &Arc<App>) -> Maintenance {
    app.operations.maintenance().into()
}

/// How the switch is to stand.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SetReadOnly {
    /// Whether changes are refused.
    pub(crate) read_only: bool,
}

/// `POST /maintenance`: turns the switch. Turned on, it waits a while for the changes under way.
pub(super) async fn set(app: &Arc<App>, wish: SetReadOnly) -> Result<Maintenance, Error> {
    let operations = app.operations.clone();
    let work = async move { operations.set_read_only(wish.read_only).await };
    super::change(app, work).await?;
    if !wish.read_only {
        return Ok(get(app));
    }
    Ok(app.operations.settle().await.into())
}
