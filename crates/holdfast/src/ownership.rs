//! What to do when the data belong to somebody else.
//!
//! A volume that `registry:2` filled belongs to root, and our image and unit run as another user: of all that can
//! go wrong on the first start this is the likeliest, and "permission denied" alone does not say whose fault it is.

use std::error::Error;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::{getegid, geteuid};

/// Text to put behind an error about this directory: empty unless permission was denied to another than the owner.
pub(crate) fn advice(directory: &Path, error: &(dyn Error + 'static)) -> String {
    if !is_denied(error) {
        return String::new();
    }
    // The directory may be what could not be made; then the nearest one that is there decides.
    let found = directory
        .ancestors()
        .find_map(|place| Some((place, fs::metadata(place).ok()?.uid())));
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    match found {
        Some((place, owner)) if owner != user => explain(place, owner, user, group),
        _ => String::new(),
    }
}

fn explain(place: &Path, owner: u32, user: u32, group: u32) -> String {
    format!(
        "; {place} belongs to user {owner}, and this process runs as user {user}: \
         run `chown -R {user}:{group} {place}`, or run this process as user {owner}",
        place = place.display()
    )
}

fn is_denied(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && error.kind() == io::ErrorKind::PermissionDenied
        {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot make it")]
    struct Failed(#[source] io::Error);

    #[test]
    fn only_a_denied_permission_is_explained() {
        assert!(is_denied(&Failed(io::ErrorKind::PermissionDenied.into())));
        assert!(!is_denied(&Failed(io::ErrorKind::StorageFull.into())));
        // The owner himself is not told to take what he has.
        let own = tempfile::tempdir().unwrap();
        let denied = Failed(io::ErrorKind::PermissionDenied.into());
        assert_eq!(advice(&own.path().join("a/b"), &denied), "");
        assert_eq!(
            explain(Path::new("/data"), 0, 65532, 65532),
            "; /data belongs to user 0, and this process runs as user 65532: \
             run `chown -R 65532:65532 /data`, or run this process as user 0"
        );
    }
}
