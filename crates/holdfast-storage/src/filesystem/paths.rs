//! The on-disk layout, all of it.
//!
//! ```text
//! <root>/                                         the configured rootdirectory
//! ├── docker/registry/v2/blobs/                   as Distribution has it
//! │   ├── <algorithm>/                            sha256, sha512
//! │   │   └── <first 2 hex>/
//! │   │       └── <hex>/                          one directory per digest, gone with its last file
//! │   │           ├── data                        the bytes: StorageKey::canonical
//! │   │           └── data.<32 hex>               the bytes, stored again: StorageKey::incarnation
//! │   └── holdfast-probe                          exists only while the health check runs
//! └── holdfast/                                   this driver's own
//!     ├── lock                                    locked by the process in charge; its pid, the boot id
//!     ├── probe                                   exists only while the health check runs
//!     ├── snapshots/                              0700: it holds the metadata, secrets included
//!     │   ├── list.json                           what snapshots there are
//!     │   ├── <number>.db.gz                      a snapshot of the metadata
//!     │   └── <number>.log                        what was committed after it (written by the metadata)
//!     ├── committing/
//!     │   └── <upload id>+<key, + for />          a commit under way, an empty file
//!     ├── uploads/
//!     │   └── <upload id>                         the bytes of an upload so far
//!     └── unverified/
//!         └── <upload id>                         the same, from before the machine restarted
//! ```
//!
//! An object that is put whole is written as `holdfast-put.<number>.tmp` in its own directory and renamed; such
//! a file that a crash left is overwritten by and by, and skipped by Distribution.
//!
//! Distribution skips what it does not know beside `docker/` and every file below `blobs/` that is not
//! called `data`, so both can work on one tree, one after the other. Directories are made 0777 and
//! files 0666, less the umask, as it does.
//!
//! Paths are put together from [`StorageKey`] and [`UploadId`] only, which cannot hold `..`, an
//! absolute path or a NUL; that, not `openat2(RESOLVE_BENEATH)`, keeps access below the root, because
//! operators link directories of the tree to other places and that must go on working.

use std::path::{Path, PathBuf};

use holdfast_model::UploadId;

use crate::StorageKey;
use crate::storage_key::{BLOBS, RESERVED, SNAPSHOTS};

/// Distribution's directory of links.
const REPOSITORIES: &str = "docker/registry/v2/repositories";

#[derive(Debug)]
pub(super) struct Paths {
    root: PathBuf,
    own: PathBuf,
}

impl Paths {
    /// The layout below `root`, which must be absolute.
    pub(super) fn new(root: PathBuf) -> Paths {
        Paths {
            own: root.join(RESERVED),
            root,
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn object(&self, key: &StorageKey) -> PathBuf {
        self.root.join(key.as_str())
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.root.join(BLOBS)
    }

    /// The `<hex>` directory of an object at one of Distribution's paths, `None` for any other object.
    pub(super) fn digest_directory<'a>(&self, object: &'a Path) -> Option<&'a Path> {
        let directory = object.parent()?;
        let below_blobs = directory.strip_prefix(self.blobs()).ok()?;
        (below_blobs.components().count() == 3).then_some(directory)
    }

    /// The directories that are there for an object alone, from its own upwards: the `<hex>` of a blob; of a link
    /// what is below `_layers`, `revisions` or `tags`, where an empty directory would count as a tag.
    pub(super) fn own_directories<'a>(&self, object: &'a Path) -> Vec<&'a Path> {
        if let Some(directory) = self.digest_directory(object) {
            return vec![directory];
        }
        if !object.starts_with(self.root.join(REPOSITORIES)) {
            return Vec::new();
        }
        // No repository has a component that begins with an underscore.
        let kind = |path: &Path| {
            let name = path.file_name().unwrap_or_default();
            let above = path.parent().and_then(Path::file_name).unwrap_or_default();
            name == "_layers" || above == "_manifests"
        };
        let directories: Vec<_> = object.ancestors().skip(1).collect();
        let end = directories.iter().rposition(|path| kind(path)).unwrap_or(0);
        directories[..end].to_vec()
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.own.join("lock")
    }

    pub(super) fn snapshots(&self) -> PathBuf {
        self.root.join(SNAPSHOTS)
    }

    pub(super) fn committing(&self) -> PathBuf {
        self.own.join("committing")
    }

    pub(super) fn uploads(&self) -> PathBuf {
        self.own.join("uploads")
    }

    pub(super) fn unverified_uploads(&self) -> PathBuf {
        self.own.join("unverified")
    }

    pub(super) fn upload(&self, id: UploadId) -> PathBuf {
        self.uploads().join(id.to_string())
    }

    pub(super) fn unverified_upload(&self, id: UploadId) -> PathBuf {
        self.unverified_uploads().join(id.to_string())
    }

    pub(super) fn probe_staged(&self) -> PathBuf {
        self.own.join("probe")
    }

    pub(super) fn probe_visible(&self) -> PathBuf {
        self.blobs().join("holdfast-probe")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_model::{Algorithm, Hasher};
    use proptest::prelude::*;
    use std::path::Component;

    #[test]
    fn as_drawn() {
        let paths = Paths::new("/r".into());
        let id = UploadId::from_random([1; 16]);
        let digest = Hasher::digest(Algorithm::Sha256, b"abc");
        let hex = digest.hex();
        for (path, expected) in [
            (
                paths.object(&StorageKey::canonical(&digest)),
                format!("/r/docker/registry/v2/blobs/sha256/ba/{hex}/data"),
            ),
            (paths.upload(id), format!("/r/holdfast/uploads/{id}")),
            (
                paths.unverified_upload(id),
                format!("/r/holdfast/unverified/{id}"),
            ),
            (
                paths.object(&StorageKey::snapshot(7)),
                format!("{}/0000000007.db.gz", paths.snapshots().display()),
            ),
            (paths.lock(), "/r/holdfast/lock".to_owned()),
            (paths.probe_staged(), "/r/holdfast/probe".to_owned()),
            (
                paths.probe_visible(),
                "/r/docker/registry/v2/blobs/holdfast-probe".to_owned(),
            ),
        ] {
            assert_eq!(path, Path::new(&expected));
        }
    }

    #[test]
    fn directories_of_their_own() {
        let paths = Paths::new("/r".into());
        let repository = "/r/docker/registry/v2/repositories/a/tags";
        for (object, own) in [
            (
                "_manifests/tags/v1/current/link",
                &["tags/v1/current", "tags/v1"][..],
            ),
            (
                "_manifests/tags/tags/index/sha256/ab/link",
                &[
                    "tags/tags/index/sha256/ab",
                    "tags/tags/index/sha256",
                    "tags/tags/index",
                    "tags/tags",
                ],
            ),
            (
                "_manifests/revisions/sha256/ab/link",
                &["revisions/sha256/ab", "revisions/sha256"],
            ),
        ] {
            let object = PathBuf::from(format!("{repository}/{object}"));
            let own: Vec<_> = own
                .iter()
                .map(|own| PathBuf::from(format!("{repository}/_manifests/{own}")))
                .collect();
            assert_eq!(paths.own_directories(&object), own);
        }
        let layer = PathBuf::from(format!("{repository}/_layers/sha256/ab/link"));
        assert_eq!(paths.own_directories(&layer).len(), 2);
        assert!(
            paths
                .own_directories(Path::new("/r/x/_layers/y/link"))
                .is_empty()
        );
    }

    proptest! {
        #[test]
        fn no_key_leaves_the_root(text in "[a-z./_-]{0,24}|[ -~]{0,40}|(\\.{0,2}[a-z]{0,2}/){0,6}\\.{0,2}") {
            if let Ok(key) = text.parse::<StorageKey>() {
                let path = Paths::new("/r/s".into()).object(&key);
                prop_assert!(path.starts_with("/r/s") && path != Path::new("/r/s"));
                prop_assert!(!path.starts_with("/r/s/holdfast"));
                let parts = path.components().filter(|part| matches!(part, Component::Normal(_))).count();
                prop_assert_eq!(parts, 2 + text.split('/').count());
            }
        }
    }
}
