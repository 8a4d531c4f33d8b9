//! The format of a redo log: a header, then records. Numbers are big-endian.
//!
//! A record is its kind (one byte), the length of its body (four bytes), the body, and the length once more, so
//! that the last one is found from the end. What follows the last whole record is a write that was cut short.

use std::fs::File;
use std::io::{self, Read};
use std::os::linux::fs::MetadataExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::position::{POSITION_BYTES, Position};

const MAGIC: [u8; 16] = *b"holdfast redo 1\n";
pub(super) const HEADER_BYTES: usize = 48;
const RECORD_EXTRA_BYTES: usize = 9;
/// Largest body that is believed: more than one commit writes.
const BODY_BYTES_MAX: u32 = 1 << 30;

/// Which file a database is, so that a copy is told from the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    inode: u64,
    /// Nanoseconds since 1970; 0 where the file system does not say.
    born: u64,
}

impl Identity {
    pub(super) fn of(database: &Path) -> io::Result<Identity> {
        let found = std::fs::metadata(database)?;
        // An inode's number is given to another file once this one is deleted; its time of birth is not.
        let born = found
            .created()
            .ok()
            .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
            .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(0));
        Ok(Identity {
            inode: found.st_ino(),
            born,
        })
    }
}

/// How the database's file looked when it was closed with all of the WAL copied back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    modified: i64,
    modified_nanos: i64,
    size: u64,
}

impl Closed {
    pub(super) fn of(database: &Path) -> io::Result<Closed> {
        let found = std::fs::metadata(database)?;
        Ok(Closed {
            modified: found.st_mtime(),
            modified_nanos: found.st_mtime_nsec(),
            size: found.st_size(),
        })
    }
}

/// The beginning of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) database: Identity,
    /// Bytes of the log before this one; `None` when that one does not end where this begins.
    pub(super) previous_bytes: Option<u64>,
    /// The log's number.
    pub(super) number: u64,
}

impl Header {
    pub(super) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..16].copy_from_slice(&MAGIC);
        let numbers = [
            self.database.inode,
            self.database.born,
            self.previous_bytes.unwrap_or(u64::MAX),
            self.number,
        ];
        for (chunk, number) in bytes[16..].chunks_exact_mut(8).zip(numbers) {
            chunk.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    pub(super) fn read(log: &File) -> io::Result<Option<Header>> {
        let mut bytes = [0; HEADER_BYTES];
        match log.read_exact_at(&mut bytes, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let number = |index: usize| {
            let at = 16 + index * 8;
            u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
        };
        Ok((bytes[..16] == MAGIC).then(|| Header {
            database: Identity {
                inode: number(0),
                born: number(1),
            },
            previous_bytes: Some(number(2)).filter(|length| *length != u64::MAX),
            number: number(3),
        }))
    }
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// The frames that follow begin here.
    Cycle(Position),
    /// Whole transactions: the frames of one or more commits, and the number of frames of the cycle behind them.
    Frames { frames: u32, bytes: Vec<u8> },
    /// The database was closed in order.
    Closed(Closed),
}

impl Record {
    pub(super) fn encode(&self, into: &mut Vec<u8>) {
        let start = begin(
            into,
            match self {
                Record::Cycle(_) => 1,
                Record::Frames { .. } => 2,
                Record::Closed(_) => 3,
            },
        );
        match self {
            Record::Cycle(position) => into.extend_from_slice(&position.to_bytes()),
            Record::Frames { frames, bytes } => {
                into.extend_from_slice(&frames.to_be_bytes());
                into.extend_from_slice(bytes);
            }
            Record::Closed(closed) => {
                into.extend_from_slice(&closed.modified.to_be_bytes());
                into.extend_from_slice(&closed.modified_nanos.to_be_bytes());
                into.extend_from_slice(&closed.size.to_be_bytes());
            }
        }
        end(into, start);
    }

    fn decode(kind: u8, body: Vec<u8>) -> Option<Record> {
        match kind {
            1 => {
                let bytes: &[u8; POSITION_BYTES] = body.as_slice().try_into().ok()?;
                Some(Record::Cycle(Position::from_bytes(bytes)?))
            }
            2 if body.len() > 4 => Some(Record::Frames {
                frames: super::wal::word(&body, 0),
                bytes: body[4..].to_vec(),
            }),
            3 if body.len() == 24 => {
                let number = |at: usize| body[at..at + 8].try_into().expect("eight bytes");
                Some(Record::Closed(Closed {
                    modified: i64::from_be_bytes(number(0)),
                    modified_nanos: i64::from_be_bytes(number(8)),
                    size: u64::from_be_bytes(number(16)),
                }))
            }
            _ => None,
        }
    }

    /// The next record; `None` at the end and where a write was cut short.
    pub(super) fn read(log: &mut impl Read) -> io::Result<Option<(Record, u64)>> {
        let mut head = [0; 5];
        if !filled(log, &mut head)? {
            return Ok(None);
        }
        let length = super::wal::word(&head, 1);
        if length > BODY_BYTES_MAX {
            return Ok(None);
        }
        // Read as far as it goes rather than made at once: the length may be nonsense.
        let mut body = Vec::new();
        log.take(u64::from(length)).read_to_end(&mut body)?;
        let mut tail = [0; 4];
        if body.len() != length as usize || !filled(log, &mut tail)? || tail != head[1..] {
            return Ok(None);
        }
        Ok(Record::decode(head[0], body)
            .map(|record| (record, u64::from(length) + RECORD_EXTRA_BYTES as u64)))
    }

    /// The last record of a log, and where it begins; `None` when there is none or it was cut short.
    pub(super) fn last(log: &File) -> io::Result<Option<Record>> {
        let size = log.metadata()?.st_size();
        let Some(tail_at) = size
            .checked_sub(4)
            .filter(|_| size >= (HEADER_BYTES + RECORD_EXTRA_BYTES) as u64)
        else {
            return Ok(None);
        };
        let mut tail = [0; 4];
        log.read_exact_at(&mut tail, tail_at)?;
        let whole = u64::from(u32::from_be_bytes(tail)) + RECORD_EXTRA_BYTES as u64;
        let Some(start) = size
            .checked_sub(whole)
            .filter(|start| *start >= HEADER_BYTES as u64)
        else {
            return Ok(None);
        };
        let record = Record::read(&mut At {
            file: log,
            offset: start,
        })?;
        Ok(record
            .filter(|(_, length)| *length == whole)
            .map(|(record, _)| record))
    }
}

/// Begins a record in place; [`end`] closes it.
pub(super) fn begin(into: &mut Vec<u8>, kind: u8) -> usize {
    let start = into.len();
    into.push(kind);
    into.extend_from_slice(&[0; 4]);
    start
}

pub(super) fn end(into: &mut Vec<u8>, start: usize) {
    let length = u32::try_from(into.len() - start - 5).unwrap_or(u32::MAX);
    into[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
    into.extend_from_slice(&length.to_be_bytes());
}

/// A file read from a place on, without moving anybody else's.
pub(super) struct At<'a> {
    pub(super) file: &'a File,
    pub(super) offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read_at(buffer, self.offset)?;
        self.offset += length as u64;
        Ok(length)
    }
}

fn filled(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(buffer) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        other => other.map(|()| true),
    }
}
