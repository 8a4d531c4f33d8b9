//! Random content whose digests are known before the clock runs.
//!
//! Every blob is the same random MiB over and over, but for its first 8 bytes, which are never the same
//! twice. So any number of distinct blobs of any size is sent from one buffer that stays in the
//! processor's cache, and the client hardly costs anything.

use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};

/// One MiB in bytes.
pub(crate) const MIB: usize = 1 << 20;

/// Bytes in one chunk of a chunked body: what Go's HTTP client, and so Docker's, sends at once.
const CHUNK_BYTES: usize = 32 * 1024;
const CHUNK_HEAD: &[u8] = b"8000\r\n";
const CHUNK_TAIL: &[u8] = b"\r\n";
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// Bytes of a chunk with its head and tail.
const FRAMED_BYTES: usize = CHUNK_HEAD.len() + CHUNK_BYTES + CHUNK_TAIL.len();

const STAMP_BYTES: usize = 8;

/// The bytes all blobs are made of.
pub(crate) struct Content {
    piece: Vec<u8>,
    /// The same bytes, framed as chunks.
    chunks: Vec<u8>,
    stamps: AtomicU64,
}

/// A blob made of [`Content`], not yet stored anywhere.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    stamp: [u8; STAMP_BYTES],
    /// The head of the last chunk, which is not a whole one.
    rest_head: String,
    pub(crate) bytes: u64,
    pub(crate) digest: String,
}

impl Content {
    pub(crate) fn new() -> Content {
        let mut state = 0x9e37_79b9_7f4a_7c15;
        let mut piece = Vec::with_capacity(MIB);
        while piece.len() < MIB {
            piece.extend_from_slice(&next_random(&mut state).to_le_bytes());
        }
        let mut chunks = Vec::with_capacity(MIB + MIB / 1024);
        for chunk in piece.chunks(CHUNK_BYTES) {
            chunks.extend_from_slice(CHUNK_HEAD);
            chunks.extend_from_slice(chunk);
            chunks.extend_from_slice(CHUNK_TAIL);
        }
        Content {
            piece,
            chunks,
            stamps: AtomicU64::new(1),
        }
    }

    /// A blob that was not there before.
    pub(crate) fn blob(&self, bytes: u64) -> Blob {
        let stamp = self.stamps.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        let mut blob = Blob {
            stamp,
            rest_head: format!("{:x}\r\n", bytes % CHUNK_BYTES as u64),
            bytes,
            digest: String::new(),
        };
        let mut hash = Sha256::new();
        for part in self.body(&blob) {
            hash.update(part);
        }
        blob.digest = digest(hash);
        blob
    }

    /// The bytes of a blob.
    pub(crate) fn body<'a>(&'a self, blob: &'a Blob) -> Vec<&'a [u8]> {
        let bytes =
            usize::try_from(blob.bytes).expect("a blob of the bench is smaller than memory");
        assert!(bytes >= STAMP_BYTES, "a blob holds its stamp");
        let first = bytes.min(MIB);
        let mut parts = vec![blob.stamp.as_slice(), &self.piece[STAMP_BYTES..first]];
        let mut left = bytes - first;
        while left > 0 {
            let part = left.min(MIB);
            parts.push(&self.piece[..part]);
            left -= part;
        }
        parts
    }

    /// The bytes of a blob as a chunked body (RFC 9112, section 7.1).
    pub(crate) fn chunked_body<'a>(&'a self, blob: &'a Blob) -> Vec<&'a [u8]> {
        let whole = blob.bytes / CHUNK_BYTES as u64;
        let rest = (blob.bytes % CHUNK_BYTES as u64) as usize;
        let mut parts = Vec::new();
        let mut left = whole as usize * FRAMED_BYTES;
        if left > 0 {
            let start = CHUNK_HEAD.len() + STAMP_BYTES;
            let end = left.min(self.chunks.len());
            parts.extend([CHUNK_HEAD, &blob.stamp, &self.chunks[start..end]]);
            left -= end;
        }
        while left > 0 {
            let end = left.min(self.chunks.len());
            parts.push(&self.chunks[..end]);
            left -= end;
        }
        if rest > 0 {
            let start = (whole as usize * CHUNK_BYTES) % MIB;
            parts.push(blob.rest_head.as_bytes());
            match whole {
                0 => parts.extend([&blob.stamp, &self.piece[STAMP_BYTES..rest]]),
                _ => parts.push(&self.piece[start..start + rest]),
            }
            parts.push(CHUNK_TAIL);
        }
        parts.push(LAST_CHUNK);
        parts
    }
}

/// A finished hash as the registry spells it.
pub(crate) fn digest(hash: Sha256) -> String {
    let hex: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

/// SplitMix64. Good enough that no file system or network compresses it.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_have_their_length_and_differ() {
        let content = Content::new();
        for bytes in [8, 64 * 1024, MIB as u64, 3 * MIB as u64 + 5] {
            let blob = content.blob(bytes);
            let body = content.body(&blob).concat();
            assert_eq!(body.len() as u64, bytes);
            assert_eq!(digest(Sha256::new_with_prefix(&body)), blob.digest);
            assert_ne!(content.blob(bytes).digest, blob.digest);
        }
    }

    #[test]
    fn chunks_hold_the_same_bytes() {
        let content = Content::new();
        for bytes in [8, 100, 32 * 1024, 100_000, 2 << 20, (3 << 20) + 33_000] {
            let blob = content.blob(bytes);
            let framed = content.chunked_body(&blob).concat();
            let mut rest = framed.as_slice();
            let mut plain = Vec::new();
            loop {
                let parsed = httparse::parse_chunk_size(rest).unwrap();
                let httparse::Status::Complete((head, size)) = parsed else {
                    panic!("a chunk without a head");
                };
                let end = head + size as usize;
                plain.extend_from_slice(&rest[head..end]);
                rest = rest[end..].strip_prefix(CHUNK_TAIL).unwrap();
                if size == 0 {
                    break;
                }
            }
            assert!(rest.is_empty());
            assert!(plain == content.body(&blob).concat(), "{bytes}");
        }
    }
}
