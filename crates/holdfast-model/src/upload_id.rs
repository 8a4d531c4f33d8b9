//! Upload session ids: random UUIDs, so that one cannot be guessed from another.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// Names an upload session and its staging file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId(Uuid);

/// A text that is not an upload id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an upload id is a UUID in lower case with dashes")]
pub struct UploadIdError;

impl UploadId {
    /// The id with these 16 random bytes.
    pub fn from_random(bytes: [u8; 16]) -> UploadId {
        UploadId(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }
}

impl FromStr for UploadId {
    type Err = UploadIdError;

    fn from_str(text: &str) -> Result<Self, UploadIdError> {
        // Only the canonical spelling: the text may become a file name, and one id has one name.
        let id = Uuid::try_parse(text).map_err(|_| UploadIdError)?;
        if id.hyphenated().to_string() == text {
            Ok(UploadId(id))
        } else {
            Err(UploadIdError)
        }
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_only() {
        let id = UploadId::from_random([0xab; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in [
            "",
            "..",
            &id.to_string().to_uppercase(),
            &id.to_string().replace('-', ""),
            &format!("{{{id}}}"),
        ] {
            assert!(text.parse::<UploadId>().is_err(), "{text}");
        }
    }
}
