//! A database put together from a snapshot and the redo logs after it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use super::position::Position;
use super::record::{At, HEADER_BYTES, Header, Identity, Record};
use super::{face, log_numbers, log_path, wal, wal_path};

/// What a database file is to the logs beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// It is not there, or empty.
    Absent,
    /// Nothing speaks against it.
    Usable,
    /// It is not the file that the logs were written for (R4).
    Copied,
    /// It is that file, and somebody has written over it (R5).
    Overwritten,
    /// An earlier process found it damaged.
    Damaged,
}

/// What was put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Logs that were applied.
    pub logs: u64,
    /// Transactions in them and in the write-ahead log.
    pub transactions: u64,
    /// Bytes at the end of the last log that make no whole record: what a copy caught half written, or damage.
    pub ignored_bytes: u64,
    /// Nothing is known that was committed after what was put together.
    pub whole: bool,
}

/// Looks at a database and its logs without opening it.
pub(crate) fn inspect(database: &Path, directory: &Path) -> io::Result<Database> {
    match std::fs::metadata(database) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Database::Absent),
        Ok(found) if found.size() == 0 => return Ok(Database::Absent),
        other => other?,
    };
    let identity = Identity::of(database)?;
    for number in log_numbers(directory)?.into_iter().rev() {
        // A copy may have caught a log before its header was written.
        if let Some(header) = Header::read(&File::open(log_path(directory, number))?)? {
            return Ok(if header.database != identity {
                Database::Copied
            } else if face::is_another(database, directory)? {
                Database::Overwritten
            } else {
                Database::Usable
            });
        }
    }
    Ok(Database::Usable)
}

/// Applies to the copy of snapshot `number` in `file` what was committed after it: log `number` in `directory`,
/// the logs that begin where it ends, and what the write-ahead log of `database` adds to the last of them.
pub(crate) fn rebuild(
    file: &Path,
    number: u64,
    directory: &Path,
    database: &Path,
) -> io::Result<Rebuilt> {
    let target = OpenOptions::new().read(true).write(true).open(file)?;
    let mut pages = Pages {
        target,
        open: Vec::new(),
        behind: None,
        committed: None,
        size: None,
        transactions: 0,
    };
    let newest = log_numbers(directory)?.last().copied();
    let (mut logs, mut ignored_bytes) = (0, 0);
    let mut previous_bytes = None;
    let mut whole = true;
    for number in number.. {
        let log = match File::open(log_path(directory, number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            other => other?,
        };
        let follows = |header: Header| {
            header.number == number && (logs == 0 || header.previous_bytes == previous_bytes)
        };
        if !Header::read(&log)?.is_some_and(follows) {
            whole = false;
            break;
        }
        logs += 1;
        let sound = pages.apply_log(&log)?;
        ignored_bytes = log.metadata()?.size() - sound;
        // A write that was cut short was answered to nobody; a record behind a hole was.
        whole &= ignored_bytes == 0 || Record::last(&log)?.is_none();
        previous_bytes = Some(sound);
    }
    whole &= newest.is_some_and(|newest| newest < number + logs);
    whole &= pages.apply_wal(database)?;
    let Pages {
        target,
        size,
        transactions,
        ..
    } = pages;
    if let Some(size) = size {
        target.set_len(size)?;
    }
    target.sync_all()?;
    Ok(Rebuilt {
        logs,
        transactions,
        ignored_bytes,
        whole,
    })
}

struct Pages {
    target: File,
    /// Pages of the transaction whose end has not come.
    open: Vec<(u64, Vec<u8>)>,
    /// Behind the last frame seen.
    behind: Option<Position>,
    /// Behind the last whole transaction.
    committed: Option<Position>,
    /// Bytes of the database after that one.
    size: Option<u64>,
    transactions: u64,
}

impl Pages {
    /// Applies a log as far as it is sound; how far that is.
    fn apply_log(&mut self, log: &File) -> io::Result<u64> {
        let mut reader = io::BufReader::new(At {
            file: log,
            offset: HEADER_BYTES as u64,
        });
        let mut sound = HEADER_BYTES as u64;
        while let Some((record, bytes)) = Record::read(&mut reader)? {
            let fits = match record {
                Record::Cycle(position) => self.begin_cycle(position),
                Record::Frames { frames, bytes } => self.take_frames(frames, &bytes)?,
                Record::Closed(_) => true,
            };
            if !fits {
                break;
            }
            sound += bytes;
        }
        Ok(sound)
    }

    /// A cycle begins at its beginning, or where the log before left it.
    fn begin_cycle(&mut self, position: Position) -> bool {
        let fits = self.committed.is_none_or(|before| before == position) || position.frames == 0;
        if fits {
            self.open.clear();
            self.behind = Some(position);
            self.committed = Some(position);
        }
        fits
    }

    fn take_frames(&mut self, frames: u32, bytes: &[u8]) -> io::Result<bool> {
        let Some(frame_bytes) = self.behind.as_ref().map(Position::frame_bytes) else {
            return Ok(false);
        };
        for frame in bytes.chunks(frame_bytes) {
            if !self.take_frame(frame)? {
                return Ok(false);
            }
        }
        Ok(self
            .behind
            .is_some_and(|position| position.frames == frames))
    }

    fn take_frame(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let Some(position) = &mut self.behind else {
            return Ok(false);
        };
        let Some(frame) = position.advance(bytes) else {
            return Ok(false);
        };
        let page_bytes = u64::from(position.page_bytes);
        let offset = u64::from(frame.page_number - 1) * page_bytes;
        self.open.push((offset, frame.page.to_vec()));
        if frame.commit_pages != 0 {
            for (offset, page) in self.open.drain(..) {
                self.target.write_all_at(&page, offset)?;
            }
            self.committed = self.behind;
            self.size = Some(u64::from(frame.commit_pages) * page_bytes);
            self.transactions += 1;
        }
        Ok(true)
    }

    /// A WAL that has what the log ends with may have more. Whether it goes on from there, or is empty.
    fn apply_wal(&mut self, database: &Path) -> io::Result<bool> {
        let wal = match File::open(wal_path(database)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            other => other?,
        };
        let Some(cycle) = wal::read_header(&wal)? else {
            return Ok(true);
        };
        let Some(committed) = self.committed.filter(|end| end.salts == cycle.salts) else {
            return Ok(false);
        };
        self.open.clear();
        self.behind = Some(committed);
        // From the beginning, since the chain of checksums is what shows that it is the same.
        let mut reached = committed.frames == 0;
        wal::transactions(&wal, cycle, |frames, position, _| {
            if !reached {
                reached = *position == committed;
                return Ok(());
            }
            for frame in frames {
                self.take_frame(frame)?;
            }
            Ok(())
        })?;
        Ok(reached)
    }
}
