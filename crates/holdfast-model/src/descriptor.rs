//! Descriptors: a media type, a digest and a size that point at content.
//!
//! Source: OCI image-spec, descriptor.md.

use std::collections::BTreeMap;

use crate::Digest;

/// Points at content from inside a manifest or a list of referrers.
///
/// The media type stays free text: clients put parameters and private names there, and nothing in a
/// registry depends on it being well formed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    #[serde(default)]
    pub media_type: String,
    /// The address of the content.
    pub digest: Digest,
    /// Size of the content in bytes, as its author states it; not checked against the content.
    #[serde(default)]
    pub size: u64,
    /// Where else the content may be had (non-distributable layers).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urls: Option<Vec<String>>,
    /// Free text by key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// The platform a child of an index is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The kind of artifact the content is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// The URLs the content may be had from; none when the field is absent, null or empty.
    pub fn urls(&self) -> &[String] {
        self.urls.as_deref().unwrap_or_default()
    }
}

/// The machine an image runs on. Source: OCI image-spec, image-index.md.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Platform {
    /// GOARCH, such as `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// GOOS, such as `linux`.
    #[serde(default)]
    pub os: String,
    /// CPU variant, such as `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// `os/architecture` with `/variant` when there is one.
    pub fn spelled(&self) -> String {
        match &self.variant {
            Some(variant) => format!("{}/{}/{variant}", self.os, self.architecture),
            None => format!("{}/{}", self.os, self.architecture),
        }
    }
}
