//! `GET /api/v1/version`.

use serde::{Deserialize, Serialize};

/// What answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Version {
    /// The release.
    pub(crate) version: String,
}

pub(super) fn get() -> Version {
    Version {
        version: crate::VERSION.to_owned(),
    }
}
