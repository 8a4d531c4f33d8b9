//! Names of stored objects.
//!
//! Keys follow Distribution's paths, so that a tree written here is served by `registry:2` and the
//! other way round. A digest may be stored again while an earlier object of it waits to be deleted:
//! the new one then gets an *incarnation* beside `data`, a name that Distribution skips. What
//! Distribution keeps beside its blobs has keys too, tags with capitals among them, so that a tree of
//! its making can be listed and read.
//!
//! An object store is given bytes before anybody knows their digest. There an upload has keys of its own below
//! `holdfast/blobs`, named after its id, which no other upload ever has.
//!
//! Invariant: a key has no empty, `.` or `..` component and none of another driver's own files, so it
//! may be appended to a root directory or bucket prefix without a second look.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use holdfast_model::{Digest, UploadId};

/// Longest key. A repository's name of 255 bytes, a tag of 128 and a sha512 digest make 584; an object
/// store takes 1024.
pub const KEY_BYTES_MAX: usize = 1024;
/// Longest part between two slashes; what common file systems allow.
pub const COMPONENT_BYTES_MAX: usize = 255;
/// The first component under which drivers keep files of their own.
pub(crate) const RESERVED: &str = "holdfast";
/// Where snapshots of the metadata are; only the constructors below make keys of it.
pub(crate) const SNAPSHOTS: &str = "holdfast/snapshots";
/// Where blobs are that were stored before their digest was known.
pub(crate) const UPLOADED: &str = "holdfast/blobs";
/// Longest name of an object of an upload.
const UPLOADED_NAME_MAX: usize = 64;
/// Distribution's directory of blobs.
pub(crate) const BLOBS: &str = "docker/registry/v2/blobs";

/// Names a stored object, known to be a plain relative path. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StorageKey(Arc<str>);

/// Why a text is not a storage key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a storage key is 1 to {KEY_BYTES_MAX} bytes of letters, digits, '.', '_', '-' and single slashes between names"
)]
pub struct StorageKeyError;

impl StorageKey {
    /// Where Distribution keeps the bytes of a digest.
    pub fn canonical(digest: &Digest) -> StorageKey {
        StorageKey(data_path(digest).into())
    }

    /// A further place for the bytes of a digest, while the canonical one is taken.
    pub fn incarnation(digest: &Digest, random: [u8; 16]) -> StorageKey {
        StorageKey(format!("{}.{:032x}", data_path(digest), u128::from_be_bytes(random)).into())
    }

    /// An object of an upload, in a store that names objects after uploads. The `name` is of small letters and
    /// digits.
    pub(crate) fn uploaded(id: UploadId, name: &str) -> StorageKey {
        StorageKey(format!("{}{name}", StorageKey::uploaded_prefix(id)).into())
    }

    /// What the keys of all objects of an upload begin with. Uploads spread over 256 directories.
    pub(crate) fn uploaded_prefix(id: UploadId) -> String {
        let id = id.to_string();
        format!("{UPLOADED}/{}/{id}.", &id[..2])
    }

    /// Where a snapshot of the metadata is.
    pub fn snapshot(number: u64) -> StorageKey {
        StorageKey(format!("{SNAPSHOTS}/{number:010}.db.gz").into())
    }

    /// Where the list of snapshots is.
    pub fn snapshot_list() -> StorageKey {
        StorageKey(format!("{SNAPSHOTS}/list.json").into())
    }

    /// Where the id of a store is that a database belongs to.
    pub fn store_id() -> StorageKey {
        StorageKey(format!("{RESERVED}/id").into())
    }

    /// The key of something below this one, taken as a directory: its `name`, which may hold slashes.
    pub fn join(&self, name: &str) -> Result<StorageKey, StorageKeyError> {
        format!("{self}/{name}").parse()
    }

    /// What stands behind the last slash.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The directory of all objects named after uploads.
    pub fn uploads() -> StorageKey {
        StorageKey(UPLOADED.into())
    }

    /// The directory with the bytes of every digest.
    pub fn blobs() -> StorageKey {
        StorageKey(BLOBS.into())
    }

    /// The digest whose bytes belong here: the key is canonical, or an incarnation.
    pub fn digest(&self) -> Option<Digest> {
        let (directory, name) = self.0.rsplit_once('/')?;
        let (above, hex) = directory.rsplit_once('/')?;
        let algorithm = above.rsplit('/').nth(1)?;
        let digest: Digest = format!("{algorithm}:{hex}").parse().ok()?;
        let canonical = data_path(&digest);
        let incarnation = name
            .strip_prefix("data.")
            .is_some_and(|random| random.len() == 32 && u128::from_str_radix(random, 16).is_ok());
        let ours =
            canonical == *self.0 || canonical.strip_suffix("data") == self.0.strip_suffix(name);
        (ours && (name == "data" || incarnation)).then_some(digest)
    }

    /// The upload whose object this is, in a store that names objects after uploads.
    pub fn upload(&self) -> Option<UploadId> {
        upload_of(&self.0)
    }

    /// The key as text, for databases and logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn data_path(digest: &Digest) -> String {
    let hex = digest.hex();
    format!("{BLOBS}/{}/{}/{hex}/data", digest.algorithm(), &hex[..2])
}

impl FromStr for StorageKey {
    type Err = StorageKeyError;

    fn from_str(text: &str) -> Result<Self, StorageKeyError> {
        let letter = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let name = |part: &str| {
            !matches!(part, "" | "." | "..")
                && part.len() <= COMPONENT_BYTES_MAX
                && part.bytes().all(letter)
        };
        let reserved = text.split('/').next() == Some(RESERVED) && upload_of(text).is_none();
        if text.len() > KEY_BYTES_MAX || reserved || !text.split('/').all(name) {
            return Err(StorageKeyError);
        }
        Ok(StorageKey(text.into()))
    }
}

/// The upload whose object has this key.
fn upload_of(text: &str) -> Option<UploadId> {
    let (path, name) = text.rsplit_once('.')?;
    let id: UploadId = path.rsplit('/').next()?.parse().ok()?;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let named = (1..=UPLOADED_NAME_MAX).contains(&name.len()) && name.bytes().all(plain);
    (named && text.starts_with(&StorageKey::uploaded_prefix(id))).then_some(id)
}

/// A key orders and hashes as its text.
impl Borrow<str> for StorageKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StorageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StorageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_model::{Algorithm, Hasher};
    use proptest::prelude::*;

    #[test]
    fn keys_name_their_digest() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let digest = Hasher::digest(algorithm, b"abc");
            let canonical = StorageKey::canonical(&digest);
            assert_eq!(canonical.digest(), Some(digest));
            let incarnation = StorageKey::incarnation(&digest, [7; 16]);
            assert_eq!(incarnation.digest(), Some(digest));
            for other in [
                canonical.as_str().replace("/data", "/other"),
                canonical.as_str().replace("/data", "/data.7"),
                canonical.as_str().replace("/data", "/data/data"),
                canonical.as_str().replace("/blobs/", "/other/"),
                format!("{incarnation}0"),
                format!("a/{canonical}"),
                "data".to_owned(),
                "docker/registry/v2/blobs/holdfast-probe".to_owned(),
            ] {
                let key: StorageKey = other.parse().unwrap();
                assert_eq!(key.digest(), None, "{other}");
            }
        }
    }

    #[test]
    fn distributions_paths() {
        let digest = Hasher::digest(Algorithm::Sha256, b"abc");
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let canonical = format!("docker/registry/v2/blobs/sha256/ba/{hex}/data");
        assert_eq!(StorageKey::canonical(&digest).as_str(), canonical);
        let mut random = [0; 16];
        random[15] = 10;
        assert_eq!(
            StorageKey::incarnation(&digest, random).as_str(),
            format!("{canonical}.0000000000000000000000000000000a")
        );
        let long = Hasher::digest(Algorithm::Sha512, b"abc");
        assert!(
            StorageKey::canonical(&long)
                .as_str()
                .starts_with("docker/registry/v2/blobs/sha512/dd/ddaf35")
        );
    }

    #[test]
    fn snapshots_are_out_of_reach_of_parsed_keys() {
        for key in [StorageKey::snapshot(7), StorageKey::snapshot_list()] {
            assert!(key.as_str().starts_with("holdfast/snapshots/"));
            assert!(key.as_str().parse::<StorageKey>().is_err());
        }
    }

    #[test]
    fn objects_of_uploads_have_keys() {
        let id = UploadId::from_random([0xab; 16]);
        let key = StorageKey::uploaded(id, "m1");
        let text = "holdfast/blobs/ab/abababab-abab-4bab-abab-abababababab.m1";
        assert_eq!(key.as_str(), text);
        assert_eq!(text.parse(), Ok(key.clone()));
        assert_eq!(key.digest(), None);
        assert_eq!(key.upload(), Some(id));
        let digest = Hasher::digest(Algorithm::Sha256, b"abc");
        assert_eq!(StorageKey::canonical(&digest).upload(), None);
        for other in [
            "holdfast/blobs/ab/x.m1",
            &text.replace("/ab/", "/ac/"),
            &text.replace("/ab/", "/ab/ab/"),
            &text.replace(".m1", ""),
            &text.replace(".m1", "."),
            &text.replace(".m1", ".M1"),
            &text.replace(".m1", &".m1".repeat(2)),
            &text.replace(".m1", &format!(".{}", "a".repeat(65))),
            &text.replace("blobs", "lock"),
        ] {
            assert!(other.parse::<StorageKey>().is_err(), "{other}");
        }
    }

    #[test]
    fn what_is_a_key() {
        let long = "a/".repeat(KEY_BYTES_MAX / 2 - 1);
        let good = [
            "a",
            "a/b",
            "a.b/c_d-e",
            "..a",
            "...",
            &format!("{long}a"),
            "holdfasts/x",
            "a/holdfast",
            "Holdfast/A.Z",
            "tags/V1.0_RC-1/current/link",
        ];
        for text in good {
            assert_eq!(
                text.parse::<StorageKey>()
                    .map(|key| key.as_str().to_owned())
                    .as_deref(),
                Ok(text)
            );
        }
        let wide = "a".repeat(COMPONENT_BYTES_MAX + 1);
        let bad = [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "a/.",
            "a b",
            "a+b",
            "a:b",
            "a\0",
            "é",
            "holdfast/lock",
            &wide,
        ];
        for text in bad {
            assert!(text.parse::<StorageKey>().is_err(), "{text}");
        }
        assert!(format!("{long}aaa").parse::<StorageKey>().is_err());
    }

    #[test]
    fn keys_below_a_key() {
        let key: StorageKey = "a/b".parse().unwrap();
        let below = |name| {
            key.join(name)
                .map(|key| (key.to_string(), key.name().to_owned()))
        };
        assert_eq!(below("c"), Ok(("a/b/c".into(), "c".into())));
        assert_eq!(below("c/D"), Ok(("a/b/c/D".into(), "D".into())));
        for name in ["", "/c", "c/", "..", "c d"] {
            assert_eq!(below(name), Err(StorageKeyError), "{name}");
        }
        assert_eq!("a".parse::<StorageKey>().unwrap().name(), "a");
    }

    proptest! {
        #[test]
        fn what_is_built_parses(hash in any::<[u8; 64]>(), random in any::<[u8; 16]>(), long in any::<bool>()) {
            let digest =
                if long { Digest::sha512(hash) } else { Digest::from_hash(Algorithm::Sha256, &hash[..32]).unwrap() };
            for key in [StorageKey::canonical(&digest), StorageKey::incarnation(&digest, random)] {
                prop_assert_eq!(key.as_str().parse::<StorageKey>(), Ok(key.clone()));
            }
        }
    }
}
