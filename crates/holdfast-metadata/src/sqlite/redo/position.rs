//! A place in the sequence of frames.

/// Behind some frame of some cycle of the WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// How checksums read their words.
    pub(super) big_endian: bool,
    pub(super) page_bytes: u32,
    /// What tells one cycle from another.
    pub(super) salts: [u32; 2],
    /// Frames of the cycle before this place.
    pub(super) frames: u32,
    /// The checksum so far.
    pub(super) checksum: [u32; 2],
}

/// Encoded length.
pub(super) const POSITION_BYTES: usize = 28;

impl Position {
    pub(super) fn to_bytes(self) -> [u8; POSITION_BYTES] {
        let words = [
            u32::from(self.big_endian),
            self.page_bytes,
            self.salts[0],
            self.salts[1],
            self.frames,
            self.checksum[0],
            self.checksum[1],
        ];
        let mut bytes = [0; POSITION_BYTES];
        for (chunk, word) in bytes.chunks_exact_mut(4).zip(words) {
            chunk.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; POSITION_BYTES]) -> Option<Position> {
        let word = |index: usize| super::wal::word(bytes, index * 4);
        let page_bytes = word(1);
        if word(0) > 1 || !page_bytes.is_power_of_two() || !(512..=65_536).contains(&page_bytes) {
            return None;
        }
        Some(Position {
            big_endian: word(0) == 1,
            page_bytes,
            salts: [word(2), word(3)],
            frames: word(4),
            checksum: [word(5), word(6)],
        })
    }
}
