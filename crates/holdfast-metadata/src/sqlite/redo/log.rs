//! The writer's side: frames go from the WAL to the log after each commit.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::position::Position;
use super::record::{At, Closed, HEADER_BYTES, Header, Identity, Record, begin, end};
use super::wal::{self, FRAME_HEADER_BYTES};
use super::{face, log_numbers, log_path, wal_path};

/// Frames copied at a time: bytes, rounded down to whole frames.
const COPY_BYTES: usize = 1 << 20;

/// What others may know of the log.
#[derive(Debug, Default)]
pub(crate) struct RedoTotals {
    /// The log in use; 0 when there is none.
    pub(crate) number: AtomicU64,
    /// Its length.
    pub(crate) bytes: AtomicU64,
    /// How often a commit brought frames. One that changed no row brings none.
    pub(crate) commits: AtomicU64,
    /// Only a new snapshot makes snapshots and logs whole again.
    pub(crate) incomplete: AtomicBool,
    /// The process before ended suddenly. What it wrote to the log is right as far as can be seen without reading
    /// all of it; a power loss may have left holes.
    pub(crate) unverified: AtomicBool,
}

/// The redo log of a database.
#[derive(Debug)]
pub(crate) struct Redo {
    database: PathBuf,
    directory: PathBuf,
    wal: Option<File>,
    open: Option<Open>,
    totals: Arc<RedoTotals>,
    buffer: Vec<u8>,
}

/// The log that is written.
#[derive(Debug)]
struct Open {
    number: u64,
    file: Arc<File>,
    bytes: u64,
    /// Behind the last frame in it; none when the WAL has no frame that is not in the database.
    position: Option<Position>,
}

/// How the log of the process before was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// There is none for this file, which has just been made or put together.
    New,
    /// It ends where the database was closed.
    Clean,
    /// It was brought up to what the WAL holds.
    Caught,
    /// It does not fit the database.
    Lost,
}

impl Redo {
    /// Goes on with the log in `directory`, or waits for a snapshot to begin one. Nothing may have been checkpointed
    /// since the database was opened.
    pub(crate) fn open(
        database: PathBuf,
        directory: PathBuf,
        totals: Arc<RedoTotals>,
    ) -> io::Result<(Redo, Start)> {
        let mut redo = Redo {
            database,
            directory,
            wal: None,
            open: None,
            totals,
            buffer: Vec::new(),
        };
        let start = match log_numbers(&redo.directory)?.last() {
            None => Start::New,
            Some(number) => redo.go_on(*number)?,
        };
        redo.note_face();
        let totals = &redo.totals;
        totals
            .incomplete
            .store(matches!(start, Start::New | Start::Lost), Ordering::Relaxed);
        totals
            .unverified
            .store(start == Start::Caught, Ordering::Relaxed);
        Ok((redo, start))
    }

    pub(crate) fn database(&self) -> &Path {
        &self.database
    }

    fn go_on(&mut self, number: u64) -> io::Result<Start> {
        let path = log_path(&self.directory, number);
        let file = OpenOptions::new().read(true).append(true).open(path)?;
        let header = Header::read(&file)?.filter(|header| header.number == number);
        let Some(header) = header else {
            return Ok(Start::Lost);
        };
        if header.database != Identity::of(&self.database)? {
            return Ok(Start::New);
        }
        let last = match Record::last(&file)? {
            Some(record) => record,
            None => match cut_to_whole_records(&file)? {
                Some(record) => record,
                None => return Ok(Start::Lost),
            },
        };
        let cycle = self
            .wal_file()?
            .map(wal::read_header)
            .transpose()?
            .flatten();
        let (start, position) = match (last, cycle) {
            (Record::Closed(closed), None) if closed == Closed::of(&self.database)? => {
                (Start::Clean, None)
            }
            // What is in the WAL came after the close: a new release's migrations.
            (Record::Closed(closed), Some(cycle)) if closed == Closed::of(&self.database)? => {
                (Start::Caught, Some(cycle))
            }
            (Record::Cycle(position), Some(cycle)) if position.salts == cycle.salts => {
                (Start::Caught, Some(position))
            }
            (Record::Frames { frames, bytes }, Some(cycle)) => {
                let Some(at) = bytes.len().checked_sub(cycle.frame_bytes()) else {
                    return Ok(Start::Lost);
                };
                let frame = &bytes[at..];
                if [wal::word(frame, 8), wal::word(frame, 12)] != cycle.salts {
                    return Ok(Start::Lost);
                }
                (Start::Caught, Some(cycle.behind(frame, frames)))
            }
            _ => return Ok(Start::Lost),
        };
        if let (Some(position), Some(cycle)) = (position, cycle)
            && !self.is_in_wal(&position, &cycle)?
        {
            return Ok(Start::Lost);
        }
        let bytes = file.metadata()?.size();
        self.totals.number.store(number, Ordering::Relaxed);
        self.open = Some(Open {
            number,
            file: Arc::new(file),
            bytes,
            position: position.filter(|position| position.frames > 0),
        });
        if start == Start::Caught {
            let end = self.wal_end()?;
            self.append_up_to(end)?;
        }
        Ok(start)
    }

    /// Whether the WAL has, before this place, what leads there.
    fn is_in_wal(&mut self, position: &Position, cycle: &Position) -> io::Result<bool> {
        if position.frames == 0 {
            return Ok(position.checksum == cycle.checksum);
        }
        Ok(self.position_at(position.frames)? == Some(*position))
    }

    /// The place behind so many frames of the WAL's cycle.
    fn position_at(&mut self, frames: u32) -> io::Result<Option<Position>> {
        let Some(wal) = self.wal_file()? else {
            return Ok(None);
        };
        let Some(cycle) = wal::read_header(wal)? else {
            return Ok(None);
        };
        if frames == 0 {
            return Ok(Some(cycle));
        }
        let mut frame = [0; FRAME_HEADER_BYTES];
        let before = Position {
            frames: frames - 1,
            ..cycle
        };
        match wal.read_exact_at(&mut frame, before.wal_offset()) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        Ok(Some(cycle.behind(&frame, frames)))
    }

    /// Frames of whole transactions in the WAL.
    fn wal_end(&mut self) -> io::Result<u32> {
        let from = self.open.as_ref().and_then(|open| open.position);
        let Some(wal) = self.wal_file()? else {
            return Ok(0);
        };
        let Some(cycle) = wal::read_header(wal)? else {
            return Ok(0);
        };
        let mut end = from.unwrap_or(cycle);
        wal::transactions(wal, end, |_, position, _| {
            end = *position;
            Ok(())
        })?;
        Ok(end.frames)
    }

    fn wal_file(&mut self) -> io::Result<Option<&File>> {
        if self.wal.is_none() {
            match File::open(wal_path(&self.database)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => self.wal = Some(other?),
            }
        }
        Ok(self.wal.as_ref())
    }

    /// Takes over what a commit wrote; the WAL has so many frames now (R1).
    pub(crate) fn committed(&mut self, wal_frames: usize) {
        if self.open.is_none() {
            return;
        }
        let frames = u32::try_from(wal_frames).unwrap_or(u32::MAX);
        if let Err(error) = self.append_up_to(frames) {
            self.give_up(&error);
        }
    }

    fn append_up_to(&mut self, frames: u32) -> io::Result<()> {
        let Some(cycle) = self
            .wal_file()?
            .map(wal::read_header)
            .transpose()?
            .flatten()
        else {
            return Ok(());
        };
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let wal = self.wal.as_ref().expect("its header was read");
        let mut position = match open.position {
            Some(position) if position.salts == cycle.salts => position,
            _ if frames == 0 => return Ok(()),
            _ => {
                self.buffer.clear();
                Record::Cycle(cycle).encode(&mut self.buffer);
                open.write(&self.buffer)?;
                open.file.sync_data()?; // R2
                cycle
            }
        };
        if position.frames < frames {
            self.totals.commits.fetch_add(1, Ordering::Relaxed);
        }
        let frame_bytes = position.frame_bytes();
        while position.frames < frames {
            let room = u32::try_from(COPY_BYTES / frame_bytes).unwrap_or(1).max(1);
            let count = room.min(frames - position.frames);
            self.buffer.clear();
            let start = begin(&mut self.buffer, 2);
            self.buffer
                .extend_from_slice(&(position.frames + count).to_be_bytes());
            let at = self.buffer.len();
            self.buffer.resize(at + count as usize * frame_bytes, 0);
            wal.read_exact_at(&mut self.buffer[at..], position.wal_offset())?;
            let last = self.buffer.len() - frame_bytes;
            position = position.behind(&self.buffer[last..], position.frames + count);
            end(&mut self.buffer, start);
            open.write(&self.buffer)?;
        }
        open.position = Some(position);
        self.totals.bytes.store(open.bytes, Ordering::Relaxed);
        Ok(())
    }

    /// To be called before a checkpoint, which may begin only if this returns `Ok`, and once the log in it is
    /// synced (R2, R5).
    pub(crate) fn before_checkpoint(&mut self) -> io::Result<Option<Arc<File>>> {
        face::forget(&self.directory)?;
        Ok(self.open.as_ref().map(|open| Arc::clone(&open.file)))
    }

    /// To be called after a checkpoint that the writer goes on from (R5), with what came of syncing the log.
    pub(crate) fn after_checkpoint(&mut self, synced: io::Result<()>) {
        match synced {
            Ok(()) => self.note_face(),
            Err(error) => self.give_up(&error),
        }
    }

    /// Without it, on a full disk, nothing speaks against the database.
    fn note_face(&self) {
        if self.open.is_none() {
            return;
        }
        if let Err(error) = face::note(&self.database, &self.directory) {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "the look of the metadata database is not noted"
            );
            let _ = face::forget(&self.directory);
        }
    }

    /// Begins log `number` at this moment (R3); the WAL has so many frames, as far as this process has written any.
    pub(crate) fn begin(&mut self, number: u64, wal_frames: usize) -> io::Result<()> {
        let frames = match u32::try_from(wal_frames).unwrap_or(u32::MAX) {
            0 => self.wal_end()?,
            frames => frames,
        };
        let position = self
            .position_at(frames)?
            .filter(|position| position.frames > 0);
        let previous_bytes = self.open.as_ref().and_then(|open| {
            let whole = open.file.sync_data().is_ok() && open.number + 1 == number;
            whole.then_some(open.bytes)
        });
        let mut content = Header {
            database: Identity::of(&self.database)?,
            previous_bytes,
            number,
        }
        .to_bytes()
        .to_vec();
        if let Some(position) = position {
            Record::Cycle(position).encode(&mut content);
        }
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(log_path(&self.directory, number))?;
        let mut open = Open {
            number,
            file: Arc::new(file),
            bytes: 0,
            position,
        };
        open.write(&content)?;
        open.file.sync_data()?;
        File::open(&self.directory)?.sync_all()?;
        self.totals.number.store(number, Ordering::Relaxed);
        self.totals.bytes.store(open.bytes, Ordering::Relaxed);
        self.open = Some(open);
        Ok(())
    }

    /// To be called when the WAL was copied back for good.
    pub(crate) fn close(&mut self) {
        let Some(open) = &mut self.open else { return };
        let closed = Closed::of(&self.database).and_then(|closed| {
            let mut record = Vec::new();
            Record::Closed(closed).encode(&mut record);
            open.write(&record)?;
            open.file.sync_data()
        });
        if let Err(error) = closed {
            self.give_up(&error);
        }
    }

    fn give_up(&mut self, error: &io::Error) {
        tracing::warn!(
            error = error as &dyn std::error::Error,
            "the redo log cannot be written: until the next snapshot, changes are in the database only"
        );
        self.open = None;
        // The face of a file says something only with a log that is whole.
        let _ = face::forget(&self.directory);
        self.totals.number.store(0, Ordering::Relaxed);
        self.totals.incomplete.store(true, Ordering::Relaxed);
    }
}

impl Open {
    fn write(&mut self, content: &[u8]) -> io::Result<()> {
        (&*self.file).write_all(content)?;
        self.bytes += content.len() as u64;
        Ok(())
    }
}

/// Cuts off a record that was not written to its end; the last whole one.
fn cut_to_whole_records(file: &File) -> io::Result<Option<Record>> {
    let mut reader = io::BufReader::new(At {
        file,
        offset: HEADER_BYTES as u64,
    });
    let (mut length, mut last) = (HEADER_BYTES as u64, None);
    while let Some((record, bytes)) = Record::read(&mut reader)? {
        length += bytes;
        last = Some(record);
    }
    file.set_len(length)?;
    Ok(last)
}
