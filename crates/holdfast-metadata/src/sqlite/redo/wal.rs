//! The format of SQLite's write-ahead log.
//!
//! Source: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>. A header of 32 bytes, then frames: a header
//! of 24 bytes and a page. The checksum of a frame covers everything before it in its cycle.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::position::Position;

pub(super) const HEADER_BYTES: usize = 32;
pub(super) const FRAME_HEADER_BYTES: usize = 24;
/// Without its last bit, which says in which order checksums read their words.
const MAGIC: u32 = 0x377f_0682;
const PAGE_BYTES: std::ops::RangeInclusive<u32> = 512..=65_536;

pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// What begins a cycle: the position before its first frame.
pub(super) fn read_header(wal: &File) -> io::Result<Option<Position>> {
    let mut header = [0; HEADER_BYTES];
    match wal.read_exact_at(&mut header, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    Ok(parse_header(&header))
}

fn parse_header(header: &[u8; HEADER_BYTES]) -> Option<Position> {
    let magic = word(header, 0);
    let page_bytes = word(header, 8);
    if magic & !1 != MAGIC || !PAGE_BYTES.contains(&page_bytes) || !page_bytes.is_power_of_two() {
        return None;
    }
    let mut position = Position {
        big_endian: magic & 1 == 1,
        page_bytes,
        salts: [word(header, 16), word(header, 20)],
        frames: 0,
        checksum: [0, 0],
    };
    position.checksum = position.extended(&header[..24]);
    (position.checksum == [word(header, 24), word(header, 28)]).then_some(position)
}

/// A frame of the WAL.
pub(super) struct Frame<'a> {
    pub(super) page_number: u32,
    /// Pages of the database after the commit that this frame ends; 0 when it ends none.
    pub(super) commit_pages: u32,
    pub(super) page: &'a [u8],
}

impl Position {
    pub(super) fn frame_bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.page_bytes as usize
    }

    /// Where the next frame is in the WAL.
    pub(super) fn wal_offset(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.frames) * self.frame_bytes() as u64
    }

    fn extended(&self, bytes: &[u8]) -> [u32; 2] {
        let [mut first, mut second] = self.checksum;
        for pair in bytes.chunks_exact(8) {
            let read = |at: usize| {
                let word: [u8; 4] = pair[at..at + 4].try_into().expect("four bytes");
                if self.big_endian {
                    u32::from_be_bytes(word)
                } else {
                    u32::from_le_bytes(word)
                }
            };
            first = first.wrapping_add(read(0)).wrapping_add(second);
            second = second.wrapping_add(read(4)).wrapping_add(first);
        }
        [first, second]
    }

    /// Takes the next frame, and moves behind it; `None` when it is not the next.
    pub(super) fn advance<'a>(&mut self, frame: &'a [u8]) -> Option<Frame<'a>> {
        let (header, page) = frame.split_at_checked(FRAME_HEADER_BYTES)?;
        if page.len() != self.page_bytes as usize
            || [word(header, 8), word(header, 12)] != self.salts
        {
            return None;
        }
        let mut next = *self;
        next.checksum = self.extended(&header[..8]);
        next.checksum = next.extended(page);
        let page_number = word(header, 0);
        if next.checksum != [word(header, 16), word(header, 20)] || page_number == 0 {
            return None;
        }
        next.frames += 1;
        *self = next;
        Some(Frame {
            page_number,
            commit_pages: word(header, 4),
            page,
        })
    }

    /// The position behind a frame whose bytes are known to be sound.
    pub(super) fn behind(&self, frame: &[u8], frames: u32) -> Position {
        Position {
            frames,
            checksum: [word(frame, 16), word(frame, 20)],
            ..*self
        }
    }
}

/// Goes through the frames from `position` on and hands over each transaction that is whole: its frames,
/// the position behind it, and the size of the database in pages.
pub(super) fn transactions(
    wal: &File,
    mut position: Position,
    mut take: impl FnMut(&[Vec<u8>], &Position, u32) -> io::Result<()>,
) -> io::Result<()> {
    let mut open = Vec::new();
    loop {
        let mut frame = vec![0; position.frame_bytes()];
        match wal.read_exact_at(&mut frame, position.wal_offset()) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        let Some(Frame { commit_pages, .. }) = position.advance(&frame) else {
            return Ok(());
        };
        open.push(frame);
        if commit_pages != 0 {
            take(&open, &position, commit_pages)?;
            open.clear();
        }
    }
}
