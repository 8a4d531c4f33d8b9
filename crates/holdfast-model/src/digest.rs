//! Content addresses: `sha256:<64 hex>` and `sha512:<128 hex>`.
//!
//! Source: OCI image-spec, descriptor.md, "Digests" and "Registered Algorithms". sha384, which
//! Go's digest library also knows, is registered nowhere and is refused.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

/// A registered digest algorithm that this registry computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, the default everywhere.
    Sha256,
    /// SHA-512, computed only when a client asks for it.
    Sha512,
}

impl Algorithm {
    /// The name as it stands before the colon.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }

    /// Length of the hash in bytes.
    pub const fn hash_bytes(self) -> usize {
        match self {
            Algorithm::Sha256 => 32,
            Algorithm::Sha512 => 64,
        }
    }

    /// The number that stands for the algorithm in databases and saved hash states.
    pub const fn code(self) -> u8 {
        match self {
            Algorithm::Sha256 => 1,
            Algorithm::Sha512 => 2,
        }
    }

    /// The algorithm of a [`code`](Self::code).
    pub const fn from_code(code: u8) -> Option<Algorithm> {
        match code {
            1 => Some(Algorithm::Sha256),
            2 => Some(Algorithm::Sha512),
            _ => None,
        }
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        match text {
            "sha256" => Ok(Algorithm::Sha256),
            "sha512" => Ok(Algorithm::Sha512),
            _ => Err(DigestError::UnsupportedAlgorithm),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a text or byte string is not a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Not `<algorithm>:<lower-case hex of the right length>`.
    #[error("a digest is <algorithm>:<hex>, for example sha256: and 64 lower-case hex digits")]
    Malformed,
    /// Well formed, but neither sha256 nor sha512.
    #[error("the digest algorithm is not supported; sha256 and sha512 are")]
    UnsupportedAlgorithm,
}

/// A content address such as `sha256:9f86…`, known to be well formed.
///
/// Every entrance (path, query, JSON, database) goes through a parser of this file, so a digest may
/// become part of a file name without a second look. It is a plain value: copying it is cheap.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(Hash);

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Hash {
    Sha256([u8; 32]),
    Sha512([u8; 64]),
}

impl Digest {
    /// The digest with this SHA-256 hash.
    pub const fn sha256(hash: [u8; 32]) -> Digest {
        Digest(Hash::Sha256(hash))
    }

    /// The digest with this SHA-512 hash.
    pub const fn sha512(hash: [u8; 64]) -> Digest {
        Digest(Hash::Sha512(hash))
    }

    /// The algorithm before the colon.
    pub const fn algorithm(&self) -> Algorithm {
        match self.0 {
            Hash::Sha256(_) => Algorithm::Sha256,
            Hash::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The hash itself, 32 or 64 bytes.
    pub const fn hash(&self) -> &[u8] {
        match &self.0 {
            Hash::Sha256(hash) => hash,
            Hash::Sha512(hash) => hash,
        }
    }

    /// The hash as lower-case hex, without the algorithm.
    pub fn hex(&self) -> String {
        hex(self.hash())
    }

    /// The compact form kept in databases: algorithm code, then the hash (33 or 65 bytes).
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + self.hash().len());
        bytes.push(self.algorithm().code());
        bytes.extend_from_slice(self.hash());
        bytes
    }

    /// Reads the form of [`to_bytes`](Self::to_bytes).
    pub fn from_bytes(bytes: &[u8]) -> Result<Digest, DigestError> {
        let (code, hash) = bytes.split_first().ok_or(DigestError::Malformed)?;
        let algorithm = Algorithm::from_code(*code).ok_or(DigestError::UnsupportedAlgorithm)?;
        Digest::from_hash(algorithm, hash)
    }

    /// The digest with a hash of the algorithm's length.
    pub fn from_hash(algorithm: Algorithm, hash: &[u8]) -> Result<Digest, DigestError> {
        let malformed = |_| DigestError::Malformed;
        Ok(Digest(match algorithm {
            Algorithm::Sha256 => Hash::Sha256(hash.try_into().map_err(malformed)?),
            Algorithm::Sha512 => Hash::Sha512(hash.try_into().map_err(malformed)?),
        }))
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, hex) = text.split_once(':').ok_or(DigestError::Malformed)?;
        // The grammar of the algorithm part decides between "malformed" and "unsupported".
        let known_letters =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+._-".contains(&b);
        if algorithm.is_empty() || !algorithm.bytes().all(known_letters) || hex.is_empty() {
            return Err(DigestError::Malformed);
        }
        let algorithm: Algorithm = algorithm.parse()?;
        let mut hash = [0_u8; 64];
        let hash = &mut hash[..algorithm.hash_bytes()];
        if hex.len() != hash.len() * 2 {
            return Err(DigestError::Malformed);
        }
        for (byte, pair) in hash.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Digest::from_hash(algorithm, hash)
    }
}

fn nibble(digit: u8) -> Result<u8, DigestError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(DigestError::Malformed),
    }
}

/// Bytes as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
    text
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Longest text of a digest: `sha512:` and 128 digits.
pub const MAX_TEXT_BYTES: usize = 7 + 128;

/// A digest as text, made without an allocation.
#[derive(Clone, Copy)]
pub struct DigestText {
    bytes: [u8; MAX_TEXT_BYTES],
    length: usize,
}

impl Deref for DigestText {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).expect("a digest is ASCII")
    }
}

impl Digest {
    /// The digest as text: what `Display` shows, for those who need it once per request.
    pub fn text(&self) -> DigestText {
        let mut bytes = [0; MAX_TEXT_BYTES];
        let name = self.algorithm().name().as_bytes();
        bytes[..name.len()].copy_from_slice(name);
        bytes[name.len()] = b':';
        let start = name.len() + 1;
        let length = start + 2 * self.hash().len();
        for (pair, byte) in bytes[start..length].chunks_exact_mut(2).zip(self.hash()) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        DigestText { bytes, length }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_a_digest() {
        let hex64 = "0123456789abcdef".repeat(4);
        let hex128 = hex64.repeat(2);
        let cases: &[(String, Option<DigestError>)] = &[
            (format!("sha256:{hex64}"), None),
            (format!("sha512:{hex128}"), None),
            (
                format!("sha256:{}", hex64.to_uppercase()),
                Some(DigestError::Malformed),
            ),
            (format!("sha256:{hex128}"), Some(DigestError::Malformed)),
            (
                format!("sha256:{}", &hex64[1..]),
                Some(DigestError::Malformed),
            ),
            (
                format!("sha384:{}", &hex128[..96]),
                Some(DigestError::UnsupportedAlgorithm),
            ),
            (
                "md5:d41d8cd98f00b204e9800998ecf8427e".into(),
                Some(DigestError::UnsupportedAlgorithm),
            ),
            ("sha256:".into(), Some(DigestError::Malformed)),
            (
                "sha256:baddigeststring".into(),
                Some(DigestError::Malformed),
            ),
            (":abcd".into(), Some(DigestError::Malformed)),
            (hex64.clone(), Some(DigestError::Malformed)),
            (String::new(), Some(DigestError::Malformed)),
            (format!("../sha256:{hex64}"), Some(DigestError::Malformed)),
            (
                format!("sha256:{}é", &hex64[2..]),
                Some(DigestError::Malformed),
            ),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Digest>().err(), *error, "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_and_bytes_round_trip(hash in any::<[u8; 64]>(), long in any::<bool>()) {
            let digest = if long {
                Digest::sha512(hash)
            } else {
                Digest::from_hash(Algorithm::Sha256, &hash[..32]).unwrap()
            };
            prop_assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
            prop_assert_eq!(Digest::from_bytes(&digest.to_bytes()), Ok(digest));
        }

        #[test]
        fn no_text_panics_and_what_parses_prints_itself(text in ".{0,160}") {
            if let Ok(digest) = text.parse::<Digest>() {
                prop_assert_eq!(digest.to_string(), text);
            }
        }
    }
}
