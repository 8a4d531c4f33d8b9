//! What a path in another registry's tree means, and what its small files say. Pure functions.
//!
//! Source: the layout of CNCF Distribution, 2.x and 3.x.
//!
//! ```text
//! docker/registry/v2/
//! ├── blobs/<algorithm>/<first 2 hex>/<hex>/data               a blob, or the bytes of a manifest
//! └── repositories/<name>/
//!     ├── _layers/<algorithm>/<hex>/link                       the repository has this blob
//!     ├── _manifests/revisions/<algorithm>/<hex>/link          the repository has this manifest
//!     ├── _manifests/revisions/<algorithm>/<hex>/signatures/…  of schema 1; nothing needs them
//!     ├── _manifests/tags/<tag>/current/link                   what the tag points at
//!     ├── _manifests/tags/<tag>/index/<algorithm>/<hex>/link   what it ever pointed at
//!     └── _uploads/<id>/                                       data, startedat, hashstates/…
//! ```

use holdfast_model::{Algorithm, Digest, DigestError, MediaType};
use serde::Deserialize;

/// Where the repositories are.
pub(super) const REPOSITORIES: &str = "docker/registry/v2/repositories";
/// Where the blobs are.
pub(super) const BLOBS: &str = "docker/registry/v2/blobs";
/// The parts of a repository.
pub(super) const LAYERS: &str = "_layers";
pub(super) const MANIFESTS: &str = "_manifests";
pub(super) const REVISIONS: &str = "_manifests/revisions";
pub(super) const TAGS: &str = "_manifests/tags";
pub(super) const UPLOADS: &str = "_uploads";

/// A path below a directory of links, such as `_layers`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LinkPath {
    /// The link of this digest.
    Link(Digest),
    /// A signature of a schema 1 manifest, which nothing needs.
    Signature,
    /// The place of a digest, with an algorithm or hash that no digest has.
    Invalid(DigestError),
    /// Something else: a temporary file that a crash left behind, say.
    Other,
}

/// Reads a path below `_layers`, `_manifests/revisions` or a tag's `index`.
pub(super) fn link_path(below: &str) -> LinkPath {
    let parts: Vec<&str> = below.split('/').collect();
    match parts.as_slice() {
        [algorithm, hex, "link"] => match format!("{algorithm}:{hex}").parse() {
            Ok(digest) => LinkPath::Link(digest),
            Err(error) => LinkPath::Invalid(error),
        },
        [_, _, "signatures", ..] => LinkPath::Signature,
        _ => LinkPath::Other,
    }
}

/// A path below the directory of a tag.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TagPath {
    /// What it points at.
    Current,
    /// Something it has pointed at.
    Past(Digest),
    /// Something else.
    Other,
}

/// Reads a path below the directory of a tag.
pub(super) fn tag_path(below: &str) -> TagPath {
    if below == "current/link" {
        return TagPath::Current;
    }
    match below.strip_prefix("index/").map(link_path) {
        Some(LinkPath::Link(digest)) => TagPath::Past(digest),
        _ => TagPath::Other,
    }
}

/// A path below `blobs`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BlobPath {
    /// Where another registry looks for this digest.
    Canonical(Digest),
    /// Where this one has stored it again.
    Incarnation(Digest),
    /// Of no consequence: the file of a health check under way.
    Ours,
    /// The place of a digest, with an algorithm or hash that no digest has.
    Invalid(DigestError),
    /// Something else.
    Other,
}

/// Reads a path below `blobs`.
pub(super) fn blob_path(below: &str) -> BlobPath {
    let parts: Vec<&str> = below.split('/').collect();
    let &[algorithm, first, hex, file] = parts.as_slice() else {
        return if below == "holdfast-probe" {
            BlobPath::Ours
        } else {
            BlobPath::Other
        };
    };
    let again = file.strip_prefix("data.");
    let again = again
        .is_some_and(|mark| mark.len() == 32 && mark.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if (file != "data" && !again) || hex.get(..2) != Some(first) {
        return BlobPath::Other;
    }
    match format!("{algorithm}:{hex}").parse() {
        Ok(digest) if again => BlobPath::Incarnation(digest),
        Ok(digest) => BlobPath::Canonical(digest),
        Err(error) => BlobPath::Invalid(error),
    }
}

/// The path of a digest below a directory of links, up to where the link is.
pub(super) fn digest_path(digest: &Digest) -> String {
    format!("{}/{}", digest.algorithm(), digest.hex())
}

/// How long a link to this digest is when nothing is wrong with it.
pub(super) fn link_bytes(digest: &Digest) -> u64 {
    let name = digest.algorithm().name().len() + 1;
    (name + 2 * digest.algorithm().hash_bytes()) as u64
}

/// What a link says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LinkContent {
    /// The digest that its place means too.
    Same,
    /// The sha256 that stands for a sha512, as Distribution stores what is pushed under one.
    Alias(Digest),
    /// Nothing: what a loss of power leaves of a file that was not synced.
    Empty,
    /// Something that does not belong there.
    Invalid,
}

/// Reads a link that stands in the place of `digest`. White space around the digest is of no account.
pub(super) fn link_content(digest: &Digest, content: &[u8]) -> LinkContent {
    let content = content.trim_ascii();
    if content.is_empty() {
        return LinkContent::Empty;
    }
    match read_link(content) {
        Some(named) if named == *digest => LinkContent::Same,
        Some(named)
            if digest.algorithm() == Algorithm::Sha512
                && named.algorithm() == Algorithm::Sha256 =>
        {
            LinkContent::Alias(named)
        }
        _ => LinkContent::Invalid,
    }
}

/// The digest in a link.
pub(super) fn read_link(content: &[u8]) -> Option<Digest> {
    std::str::from_utf8(content.trim_ascii()).ok()?.parse().ok()
}

/// What bytes in the place of a manifest are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ManifestKind {
    /// A manifest that says it is of this type, or that is of it by its content.
    Typed(MediaType),
    /// Docker's schema 1.
    Schema1,
    /// Nothing with the shape of a manifest.
    Unknown,
}

/// The type of a manifest, which the tree does not tell: what the manifest says; without that, an index if
/// it names manifests.
pub(crate) fn manifest_kind(content: &[u8]) -> ManifestKind {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Outline {
        schema_version: Option<i64>,
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let Ok(outline) = serde_json::from_slice::<Outline>(content) else {
        return ManifestKind::Unknown;
    };
    if outline.schema_version == Some(1) {
        return ManifestKind::Schema1;
    }
    match (outline.media_type, outline.manifests) {
        (Some(stated), _) if !stated.is_empty() => stated
            .parse()
            .map_or(ManifestKind::Unknown, ManifestKind::Typed),
        (_, Some(_)) => ManifestKind::Typed(MediaType::OCI_INDEX),
        (_, None) => ManifestKind::Typed(MediaType::OCI_MANIFEST),
    }
}

/// Whether a descriptor of this type points at a manifest.
pub(super) fn is_manifest_type(media_type: &str) -> bool {
    [
        MediaType::OCI_MANIFEST,
        MediaType::OCI_INDEX,
        MediaType::DOCKER_MANIFEST,
        MediaType::DOCKER_LIST,
    ]
    .iter()
    .any(|known| known.as_str() == media_type)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn sha256() -> Digest {
        format!("sha256:{HEX}").parse().unwrap()
    }

    fn sha512() -> Digest {
        format!("sha512:{HEX}{HEX}").parse().unwrap()
    }

    #[test]
    fn links() {
        let malformed = || LinkPath::Invalid(DigestError::Malformed);
        for (below, expected) in [
            (format!("sha256/{HEX}/link"), LinkPath::Link(sha256())),
            (format!("sha512/{HEX}{HEX}/link"), LinkPath::Link(sha512())),
            (
                format!("sha384/{HEX}/link"),
                LinkPath::Invalid(DigestError::UnsupportedAlgorithm),
            ),
            (format!("sha256/{}/link", &HEX[1..]), malformed()),
            (format!("sha256/{}/link", HEX.to_uppercase()), malformed()),
            (
                format!("sha256/{HEX}/signatures/sha256/{HEX}/link"),
                LinkPath::Signature,
            ),
            (format!("sha256/{HEX}/link.1f3a.tmp"), LinkPath::Other),
            (format!("sha256/{HEX}"), LinkPath::Other),
            (format!("sha256/{HEX}/x/link"), LinkPath::Other),
            (String::new(), LinkPath::Other),
        ] {
            assert_eq!(link_path(&below), expected, "{below}");
        }
        assert_eq!(
            link_path(&format!("{}/link", digest_path(&sha512()))),
            LinkPath::Link(sha512())
        );
    }

    #[test]
    fn tags() {
        for (below, expected) in [
            ("current/link".to_owned(), TagPath::Current),
            (format!("index/sha256/{HEX}/link"), TagPath::Past(sha256())),
            ("current/link.77.tmp".to_owned(), TagPath::Other),
            (format!("index/sha256/{}/link", &HEX[1..]), TagPath::Other),
            ("index".to_owned(), TagPath::Other),
        ] {
            assert_eq!(tag_path(&below), expected, "{below}");
        }
    }

    #[test]
    fn blobs() {
        let mark = "0123456789abcdef".repeat(2);
        for (below, expected) in [
            (
                format!("sha256/ba/{HEX}/data"),
                BlobPath::Canonical(sha256()),
            ),
            (
                format!("sha256/ba/{HEX}/data.{mark}"),
                BlobPath::Incarnation(sha256()),
            ),
            (
                format!("sha512/ba/{HEX}{HEX}/data"),
                BlobPath::Canonical(sha512()),
            ),
            (
                format!("sha384/ba/{HEX}/data"),
                BlobPath::Invalid(DigestError::UnsupportedAlgorithm),
            ),
            (
                format!("sha256/ba/{}/data", &HEX[..63]),
                BlobPath::Invalid(DigestError::Malformed),
            ),
            (format!("sha256/bb/{HEX}/data"), BlobPath::Other),
            (format!("sha256/ba/{HEX}/data.77.tmp"), BlobPath::Other),
            (format!("sha256/ba/{HEX}/other"), BlobPath::Other),
            ("sha256/ba/b/data".to_owned(), BlobPath::Other),
            ("holdfast-probe".to_owned(), BlobPath::Ours),
            ("stray".to_owned(), BlobPath::Other),
        ] {
            assert_eq!(blob_path(&below), expected, "{below}");
        }
    }

    #[test]
    fn what_links_say() {
        let (short, long) = (sha256(), sha512());
        for (place, content, expected) in [
            (short, short.to_string(), LinkContent::Same),
            (short, format!(" {short}\r\n"), LinkContent::Same),
            (long, long.to_string(), LinkContent::Same),
            (long, format!("{short}\n"), LinkContent::Alias(short)),
            (short, long.to_string(), LinkContent::Invalid),
            (short, String::new(), LinkContent::Empty),
            (short, "\n \0".into(), LinkContent::Invalid),
            (short, " \n".into(), LinkContent::Empty),
            (short, "rubbish".into(), LinkContent::Invalid),
        ] {
            let read = link_content(&place, content.as_bytes());
            assert_eq!(read, expected, "{place} {content:?}");
        }
        assert_eq!(link_bytes(&short), short.to_string().len() as u64);
        assert_eq!(link_bytes(&long), long.to_string().len() as u64);
    }

    #[test]
    fn kinds_of_manifests() {
        let typed = |media_type: MediaType| ManifestKind::Typed(media_type);
        for (content, expected) in [
            (r#"{"schemaVersion":2}"#, typed(MediaType::OCI_MANIFEST)),
            (
                r#"{"schemaVersion":2,"manifests":[]}"#,
                typed(MediaType::OCI_INDEX),
            ),
            (
                r#"{"schemaVersion":2,"mediaType":"","manifests":[]}"#,
                typed(MediaType::OCI_INDEX),
            ),
            (
                r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","manifests":[]}"#,
                typed(MediaType::DOCKER_LIST),
            ),
            (
                r#"{"schemaVersion":2,"mediaType":"application/x"}"#,
                typed("application/x".parse().unwrap()),
            ),
            (
                r#"{"schemaVersion":1,"name":"a","signatures":[]}"#,
                ManifestKind::Schema1,
            ),
            (r#"{"mediaType":"no type"}"#, ManifestKind::Unknown),
            ("[]", ManifestKind::Unknown),
            ("\u{1f}\u{8b}", ManifestKind::Unknown),
            ("", ManifestKind::Unknown),
        ] {
            assert_eq!(manifest_kind(content.as_bytes()), expected, "{content}");
        }
    }

    proptest! {
        #[test]
        fn what_is_a_link_is_found_again(path in "[a-z0-9./_]{0,90}|sha256/[0-9a-f]{64}/(link|data|link.tmp)") {
            if let LinkPath::Link(digest) = link_path(&path) {
                prop_assert_eq!(format!("{}/link", digest_path(&digest)), path);
            }
        }

        #[test]
        fn no_content_panics(content in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (read_link(&content), manifest_kind(&content), link_content(&sha256(), &content));
        }
    }
}
