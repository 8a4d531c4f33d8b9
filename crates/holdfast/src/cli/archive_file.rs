//! Where an exported archive goes: a file, the standard output, or a directory that it is unpacked into.
//!
//! Invariant: a file or directory has its name only once the archive in it is whole.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use crate::operations::ArchiveFormat;

/// An archive ends with so many empty bytes.
const END_BYTES: usize = 1024;
/// Pieces that may wait to be unpacked.
const PIECES_WAITING: usize = 4;

/// A place for an archive.
pub(super) enum Target {
    Output,
    File {
        file: File,
        unfinished: PathBuf,
        path: PathBuf,
    },
    Directory {
        pieces: SyncSender<Vec<u8>>,
        unpacking: JoinHandle<io::Result<()>>,
        unfinished: PathBuf,
        path: PathBuf,
    },
}

impl Target {
    pub(super) fn open(path: &Path, format: ArchiveFormat) -> io::Result<Target> {
        if path == Path::new("-") {
            return Ok(Target::Output);
        }
        let mut unfinished = path.components().as_path().as_os_str().to_owned();
        unfinished.push(".unfinished");
        let unfinished = PathBuf::from(unfinished);
        if !path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return Ok(Target::File {
                file: File::create(&unfinished)?,
                unfinished,
                path: path.to_owned(),
            });
        }
        if format != ArchiveFormat::Oci {
            let why = "only the format oci can be a directory";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        if path.exists() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (pieces, receiver) = sync_channel(PIECES_WAITING);
        let into = unfinished.clone();
        fs::create_dir(&into)?;
        let unpacking = thread::spawn(move || {
            let mut archive = tar::Archive::new(Pieces {
                receiver,
                piece: io::Cursor::default(),
            });
            archive.unpack(into)?;
            // What is left is the end, which unpacking does not read.
            io::copy(&mut archive.into_inner(), &mut io::sink()).map(drop)
        });
        Ok(Target::Directory {
            pieces,
            unpacking,
            unfinished,
            path: path.to_owned(),
        })
    }
}

/// An archive on its way.
pub(super) struct Sink {
    target: Option<Target>,
    bytes: u64,
    empty_at_end: usize,
}

impl Sink {
    pub(super) fn new(target: Target) -> Sink {
        Sink {
            target: Some(target),
            bytes: 0,
            empty_at_end: 0,
        }
    }

    pub(super) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.bytes += piece.len() as u64;
        let empty = piece.iter().rev().take_while(|byte| **byte == 0).count();
        self.empty_at_end = match empty == piece.len() {
            true => self.empty_at_end + empty,
            false => empty,
        };
        match self.target.as_mut() {
            Some(Target::Output) => io::stdout().write_all(piece),
            Some(Target::File { file, .. }) => file.write_all(piece),
            Some(Target::Directory { pieces, .. }) => pieces
                .send(piece.to_vec())
                .map_err(|_| io::Error::other("it cannot be unpacked")),
            None => Ok(()),
        }
    }

    /// Gives the archive its name, if it is whole.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if self.empty_at_end < END_BYTES || !self.bytes.is_multiple_of(512) {
            let why = "the archive broke off; the registry's log says why";
            return Err(io::Error::other(why));
        }
        let target = self.target.take();
        match target {
            Some(Target::Output) => io::stdout().flush(),
            Some(Target::File {
                file,
                unfinished,
                path,
            }) => {
                file.sync_all()?;
                fs::rename(unfinished, path)
            }
            Some(Target::Directory {
                pieces,
                unpacking,
                unfinished,
                path,
            }) => {
                drop(pieces);
                let unpacked = unpacking.join();
                unpacked.map_err(|_| io::Error::other("unpacking panicked"))??;
                fs::rename(unfinished, path)
            }
            None => Ok(()),
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        match self.target.take() {
            Some(Target::File { unfinished, .. }) => {
                let _ = fs::remove_file(unfinished);
            }
            Some(Target::Directory {
                pieces,
                unpacking,
                unfinished,
                ..
            }) => {
                drop(pieces);
                let _ = unpacking.join();
                let _ = fs::remove_dir_all(unfinished);
            }
            Some(Target::Output) | None => {}
        }
    }
}

/// The pieces as one reader.
struct Pieces {
    receiver: Receiver<Vec<u8>>,
    piece: io::Cursor<Vec<u8>>,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = self.piece.read(buffer)?;
            if length > 0 || buffer.is_empty() {
                return Ok(length);
            }
            match self.receiver.recv() {
                Ok(piece) => self.piece = io::Cursor::new(piece),
                Err(_ended) => return Ok(0),
            }
        }
    }
}
