//! Tags: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}` (distribution-spec, "Pulling manifests").

use std::fmt;
use std::str::FromStr;

/// Longest tag in characters.
pub const MAX_TAG_BYTES: usize = 128;

/// A tag such as `1.27-alpine`, known to be well formed.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(Box<str>);

/// A text that is not a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a tag is at most {MAX_TAG_BYTES} letters, digits, dots, dashes and underscores, and begins with a letter, a digit or an underscore"
)]
pub struct TagError;

impl Tag {
    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let (first, rest) = text.as_bytes().split_first().ok_or(TagError)?;
        if text.len() <= MAX_TAG_BYTES
            && word(*first)
            && rest.iter().all(|b| word(*b) || *b == b'.' || *b == b'-')
        {
            Ok(Tag(text.into()))
        } else {
            Err(TagError)
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Tag {
    type Error = TagError;

    fn try_from(text: String) -> Result<Self, TagError> {
        text.parse()
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> String {
        tag.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_tag() {
        let longest = "a".repeat(MAX_TAG_BYTES);
        for text in [
            "latest",
            "1.27",
            "_",
            "A-b.c_d",
            "sha256-abc.sig",
            longest.as_str(),
        ] {
            assert!(text.parse::<Tag>().is_ok(), "{text}");
        }
        let too_long = "a".repeat(MAX_TAG_BYTES + 1);
        for text in [
            "",
            ".a",
            "-a",
            "a/b",
            "a:b",
            "a b",
            "ü",
            "a\0",
            too_long.as_str(),
        ] {
            assert!(text.parse::<Tag>().is_err(), "{text}");
        }
    }
}
