//! Media types of manifests and descriptors.
//!
//! Source: RFC 6838 section 4.2 for the grammar; OCI image-spec and the Docker distribution
//! specifications for the names.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// Longest media type in bytes (127 for each half and the slash).
pub const MAX_MEDIA_TYPE_BYTES: usize = 255;

/// A media type without parameters, such as `application/vnd.oci.image.index.v1+json`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MediaType(Cow<'static, str>);

/// A text that is not a media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a media type is <type>/<subtype>, at most {MAX_MEDIA_TYPE_BYTES} characters")]
pub struct MediaTypeError;

impl MediaType {
    /// Docker image manifest, schema 2.
    pub const DOCKER_MANIFEST: MediaType =
        known("application/vnd.docker.distribution.manifest.v2+json");
    /// Docker manifest list: several platforms.
    pub const DOCKER_LIST: MediaType =
        known("application/vnd.docker.distribution.manifest.list.v2+json");
    /// OCI image manifest, also the carrier of artifacts.
    pub const OCI_MANIFEST: MediaType = known("application/vnd.oci.image.manifest.v1+json");
    /// OCI image index: several manifests.
    pub const OCI_INDEX: MediaType = known("application/vnd.oci.image.index.v1+json");
    /// What every blob is served as.
    pub const OCTET_STREAM: MediaType = known("application/octet-stream");

    /// The media type as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads a `Content-Type` header: the type in lower case, parameters dropped.
    pub fn from_content_type(header: &str) -> Result<MediaType, MediaTypeError> {
        let essence = header.split(';').next().unwrap_or_default().trim();
        essence.to_ascii_lowercase().parse()
    }
}

const fn known(text: &'static str) -> MediaType {
    MediaType(Cow::Borrowed(text))
}

impl FromStr for MediaType {
    type Err = MediaTypeError;

    fn from_str(text: &str) -> Result<Self, MediaTypeError> {
        let restricted_name = |part: &str| {
            part.bytes()
                .next()
                .is_some_and(|b| b.is_ascii_alphanumeric())
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
        };
        let (kind, subtype) = text.split_once('/').ok_or(MediaTypeError)?;
        if text.len() > MAX_MEDIA_TYPE_BYTES || !restricted_name(kind) || !restricted_name(subtype)
        {
            return Err(MediaTypeError);
        }
        for known in [
            MediaType::OCI_MANIFEST,
            MediaType::OCI_INDEX,
            MediaType::DOCKER_MANIFEST,
            MediaType::DOCKER_LIST,
        ] {
            if known.as_str() == text {
                return Ok(known);
            }
        }
        Ok(MediaType(Cow::Owned(text.to_owned())))
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for MediaType {
    type Error = MediaTypeError;

    fn try_from(text: String) -> Result<Self, MediaTypeError> {
        text.parse()
    }
}

impl From<MediaType> for String {
    fn from(media_type: MediaType) -> String {
        media_type.0.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_lose_their_parameters() {
        let header = "Application/vnd.OCI.image.index.v1+json; charset=utf-8";
        assert_eq!(
            MediaType::from_content_type(header),
            Ok(MediaType::OCI_INDEX)
        );
        for text in ["", "a", "a/", "/a", "a/b c", "a/b/c", "*/*", "a/é"] {
            assert!(MediaType::from_content_type(text).is_err(), "{text}");
        }
    }
}
