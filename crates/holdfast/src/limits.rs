//! Limits that the system sets to this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// One descriptor in so many is kept for files, the database and the process itself.
const KEPT_PART: u64 = 4;

/// Raises the limit of open files as far as the system allows, as Go does for `registry:2`, and lowers the
/// number of connections to what then fits.
pub(crate) fn raise_open_files(max_connections: &mut usize) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files cannot be raised");
        }
    }
    let Some(open) = getrlimit(Resource::Nofile).current else {
        return;
    };
    let fit = usize::try_from(open - open / KEPT_PART).unwrap_or(usize::MAX);
    if fit < *max_connections {
        tracing::info!(
            open_files = open,
            connections = fit,
            "http.maxconnections is lowered to what the limit of open files allows"
        );
        *max_connections = fit;
    }
}
