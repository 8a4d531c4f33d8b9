//! Manifests: what a registry must know of them, read from bytes that are kept as they came.
//!
//! A manifest is never written out again from this view, since its digest is over the original bytes.
//! Source: OCI image-spec manifest.md and image-index.md, Docker image manifest v2 schema 2, and the
//! checks of CNCF Distribution.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{Descriptor, MediaType};

/// Most descriptors one manifest may hold; real images stay under 200.
pub const MAX_DESCRIPTORS: usize = 4_000;

/// Deepest nesting of objects and arrays in a manifest, unknown members included.
pub const MAX_JSON_DEPTH: usize = 64;

/// Longest media type or artifact type inside a manifest, in bytes.
pub const MAX_TYPE_BYTES: usize = 1024;

/// Docker's foreign layer: fetched from its URLs, never pushed.
pub const DOCKER_FOREIGN_LAYER: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

/// How OCI's non-distributable layer types begin.
pub const OCI_NONDISTRIBUTABLE_PREFIX: &str =
    "application/vnd.oci.image.layer.nondistributable.v1.";

/// The references inside a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The type it was pushed as, without parameters.
    pub media_type: MediaType,
    /// What kind of artifact it is: its own field, else, for image manifests, the config's media type.
    pub artifact_type: Option<String>,
    /// The manifest this one is about.
    pub subject: Option<Descriptor>,
    /// The config blob; image manifests only.
    pub config: Option<Descriptor>,
    /// The layer blobs; image manifests only.
    pub layers: Vec<Descriptor>,
    /// The manifests of an index.
    pub children: Vec<Descriptor>,
    /// The annotations as JSON text.
    pub annotations: Option<String>,
}

/// Why bytes are not a manifest of the type they were sent as.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The content type is none of the four known ones.
    #[error("unsupported manifest media type {0:?}")]
    UnsupportedMediaType(String),
    /// Not JSON, or a member of the wrong shape.
    #[error("{0}")]
    Malformed(String),
    /// `mediaType` in the body is not the content type.
    #[error("mediaType in the manifest is {inside:?}, sent as {sent:?}")]
    MediaTypeMismatch {
        /// What the body says; empty when it says nothing.
        inside: String,
        /// What the request says.
        sent: String,
    },
    /// Over [`MAX_JSON_DEPTH`].
    #[error("the manifest is nested deeper than {MAX_JSON_DEPTH} objects and arrays")]
    TooDeep,
    /// `schemaVersion` is not 2.
    #[error("schemaVersion is not 2")]
    SchemaVersion,
    /// Members of both an image manifest and an index.
    #[error("a manifest has config and layers, an index has manifests; this has both")]
    Ambiguous,
    /// An image manifest without config.
    #[error("the manifest has no config")]
    NoConfig,
    /// Over [`MAX_DESCRIPTORS`].
    #[error("the manifest refers to more than {MAX_DESCRIPTORS} blobs or manifests")]
    TooManyDescriptors,
    /// Over [`MAX_TYPE_BYTES`], or with control characters.
    #[error(
        "a media type or artifact type in the manifest is longer than {MAX_TYPE_BYTES} characters or has control characters"
    )]
    BadType,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<i64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

impl Manifest {
    /// Reads a manifest that was sent with this content type.
    ///
    /// The caller limits the length of `bytes`.
    pub fn parse(content_type: &MediaType, bytes: &[u8]) -> Result<Manifest, ManifestError> {
        let docker =
            *content_type == MediaType::DOCKER_MANIFEST || *content_type == MediaType::DOCKER_LIST;
        let index =
            *content_type == MediaType::OCI_INDEX || *content_type == MediaType::DOCKER_LIST;
        if !docker && !index && *content_type != MediaType::OCI_MANIFEST {
            return Err(ManifestError::UnsupportedMediaType(
                content_type.to_string(),
            ));
        }
        // The parser skips members it does not know without counting, so the depth is counted first.
        if depth(bytes) > MAX_JSON_DEPTH {
            return Err(ManifestError::TooDeep);
        }
        let document: Document = serde_json::from_slice(bytes)
            .map_err(|error| ManifestError::Malformed(error.to_string()))?;
        if document.schema_version != Some(2) {
            return Err(ManifestError::SchemaVersion);
        }
        let inside = document.media_type.unwrap_or_default();
        if inside != content_type.as_str() && (docker || !inside.is_empty()) {
            return Err(ManifestError::MediaTypeMismatch {
                inside,
                sent: content_type.to_string(),
            });
        }
        let children = document.manifests;
        let (config, layers) = (document.config, document.layers);
        if if index {
            config.is_some() || layers.is_some()
        } else {
            children.is_some()
        } {
            return Err(ManifestError::Ambiguous);
        }
        if !index && config.is_none() {
            return Err(ManifestError::NoConfig);
        }
        let layers = layers.unwrap_or_default();
        let children = children.unwrap_or_default();
        if layers.len() + children.len() > MAX_DESCRIPTORS {
            return Err(ManifestError::TooManyDescriptors);
        }
        let types = layers
            .iter()
            .chain(&children)
            .chain(&config)
            .chain(&document.subject);
        let fine = |text: &str| text.len() <= MAX_TYPE_BYTES && !text.contains(char::is_control);
        if !types
            .map(|d| d.media_type.as_str())
            .chain(document.artifact_type.as_deref())
            .all(fine)
        {
            return Err(ManifestError::BadType);
        }
        let artifact_type = document
            .artifact_type
            .filter(|text| !text.is_empty())
            .or_else(|| {
                config
                    .as_ref()
                    .map(|config| config.media_type.clone())
                    .filter(|text| !text.is_empty())
            });
        Ok(Manifest {
            media_type: content_type.clone(),
            artifact_type,
            subject: document.subject,
            config,
            layers,
            children,
            annotations: document
                .annotations
                .map(|map| serde_json::to_string(&map).expect("a map of texts is JSON")),
        })
    }

    /// Config and layers: everything that is a blob.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.config.iter().chain(&self.layers)
    }
}

/// The deepest nesting of brackets outside texts. Of bytes that are not JSON it means nothing.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = bytes.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                // To the end of the text, past whatever is escaped.
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'\\' => drop(bytes.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    deepest
}

/// Whether a layer of this type is expected to live elsewhere, at its URLs.
///
/// Source: OCI image-spec layer.md, "Non-Distributable Layers"; Docker schema 2.
pub fn is_foreign(layer: &Descriptor) -> bool {
    layer.media_type == DOCKER_FOREIGN_LAYER
        || (layer.media_type.starts_with(OCI_NONDISTRIBUTABLE_PREFIX) && !layer.urls().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn descriptor(digit: char) -> String {
        let hex = digit.to_string().repeat(64);
        format!(r#"{{"mediaType":"application/x","digest":"sha256:{hex}","size":3}}"#)
    }

    #[test]
    fn what_is_refused() {
        let d = descriptor('a');
        let (manifest, index) = (&MediaType::OCI_MANIFEST, &MediaType::OCI_INDEX);
        let docker = &MediaType::DOCKER_MANIFEST;
        let cases: &[(&MediaType, String, bool)] = &[
            (
                manifest,
                format!(r#"{{"schemaVersion":2,"config":{d},"layers":[{d}]}}"#),
                true,
            ),
            (
                manifest,
                format!(r#"{{"schemaVersion":2,"config":{d}}}"#),
                true,
            ),
            (
                manifest,
                format!(r#"{{"schemaVersion":2,"config":{d},"layers":null,"x":[1]}}"#),
                true,
            ),
            (
                manifest,
                format!(r#"{{"schemaVersion":1,"config":{d}}}"#),
                false,
            ),
            (manifest, format!(r#"{{"config":{d}}}"#), false),
            (manifest, r#"{"schemaVersion":2,"layers":[]}"#.into(), false),
            (
                manifest,
                format!(r#"{{"schemaVersion":2,"config":{d},"manifests":[]}}"#),
                false,
            ),
            (
                manifest,
                format!(r#"{{"schemaVersion":2,"config":{d},"config":{d}}}"#),
                false,
            ),
            (
                manifest,
                format!(r#"{{"schemaVersion":2,"mediaType":"{index}","config":{d}}}"#),
                false,
            ),
            (index, r#"{"schemaVersion":2,"manifests":[]}"#.into(), true),
            (index, r#"{"schemaVersion":2}"#.into(), true),
            (
                index,
                format!(r#"{{"schemaVersion":2,"manifests":[],"config":{d}}}"#),
                false,
            ),
            (
                docker,
                format!(r#"{{"schemaVersion":2,"config":{d},"layers":[]}}"#),
                false,
            ),
            (
                docker,
                format!(r#"{{"schemaVersion":2,"mediaType":"{docker}","config":{d},"layers":[]}}"#),
                true,
            ),
            (manifest, d.replace("sha256:", "sha256:zz"), false),
            (manifest, "[".repeat(100_000), false),
            (
                manifest,
                format!(
                    r#"{{"schemaVersion":2,"config":{d},"x":{}1{}}}"#,
                    "[".repeat(100),
                    "]".repeat(100)
                ),
                false,
            ),
            (
                manifest,
                format!(
                    r#"{{"schemaVersion":2,"config":{d},"x":"{}\""}}"#,
                    "[".repeat(100)
                ),
                true,
            ),
            (
                manifest,
                format!(r#"{{"schemaVersion":2,"config":{d},"annotations":{{"a":5}}}}"#),
                false,
            ),
            (
                manifest,
                format!(r#"{{"schemaVersion":2,"config":{d},"annotations":["a"]}}"#),
                false,
            ),
            (
                manifest,
                format!(r#"{{"schemaVersion":2,"config":{d},"annotations":null}}"#),
                true,
            ),
            (manifest, String::new(), false),
            (
                &MediaType::OCTET_STREAM,
                format!(r#"{{"schemaVersion":2,"config":{d}}}"#),
                false,
            ),
        ];
        for (content_type, body, good) in cases {
            let parsed = Manifest::parse(content_type, body.as_bytes());
            assert_eq!(
                parsed.is_ok(),
                *good,
                "{content_type} {}: {parsed:?}",
                &body[..body.len().min(200)]
            );
        }
    }

    #[test]
    fn what_is_read() {
        let (a, b) = (descriptor('a'), descriptor('b'));
        let body = format!(
            r#"{{"schemaVersion":2,"artifactType":"x/y","config":{a},"layers":[{b}],"subject":{b},"annotations":{{"k":"v"}}}}"#
        );
        let manifest = Manifest::parse(&MediaType::OCI_MANIFEST, body.as_bytes()).unwrap();
        assert_eq!(manifest.artifact_type.as_deref(), Some("x/y"));
        assert_eq!(manifest.annotations.as_deref(), Some(r#"{"k":"v"}"#));
        assert_eq!(manifest.blobs().count(), 2);
        assert_eq!(manifest.subject.unwrap().digest, manifest.layers[0].digest);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Manifest::parse(&MediaType::OCI_MANIFEST, &bytes);
            let _ = Manifest::parse(&MediaType::OCI_INDEX, &bytes);
        }
    }
}
