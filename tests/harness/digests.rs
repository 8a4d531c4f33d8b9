//! SHA-512 names of content, beside the SHA-256 ones of [`crate::digest`].

use std::fmt::Write as _;

use sha2::{Digest as _, Sha512};

/// `sha512:<hex>` of some bytes.
#[must_use]
pub fn sha512_digest(bytes: &[u8]) -> String {
    Sha512::digest(bytes)
        .iter()
        .fold("sha512:".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
