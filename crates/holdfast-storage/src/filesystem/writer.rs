//! Appending to an upload.
//!
//! The async side copies what arrives into a buffer; a full buffer goes with the file and the hash to
//! a blocking thread, which writes and hashes it, while the next buffer fills. With both in hand the
//! writer waits, so an upload never holds more than two buffers, and between buffers no thread. A
//! small upload is one job in all: write, hash, sync.
//!
//! Invariant: the hash and the offset in a [`Lane`] are those of the bytes in its file, after every
//! error too, since a part of a buffer that was written is the right next part of the upload.

use std::fs::{self, File};
use std::io;
use std::mem;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::JoinHandle;

use super::blocking::joined;
use super::buffer_pool::PooledBuffer;
use super::lease::Lease;
use super::{Shared, WRITE_BUFFER_BYTES, writeback};
use crate::{Error, Progress, Result, UploadWriter};

/// How many bytes are gathered before the kernel is asked to start writing them to the disk.
const WRITEBACK_BYTES: u64 = 8 * 1024 * 1024;

/// The one place from which a staging file is written. It moves into a job and back.
pub(super) struct Lane {
    file: File,
    path: PathBuf,
    progress: Progress,
    /// Up to here write-back was started.
    written_back: u64,
    _lease: Lease,
}

impl Lane {
    pub(super) fn new(lease: Lease, file: File, path: PathBuf, progress: Progress) -> Lane {
        Lane {
            file,
            path,
            written_back: progress.offset,
            progress,
            _lease: lease,
        }
    }

    fn append(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match self.file.write_at(bytes, self.progress.offset) {
                Ok(0) => {
                    return Err(Error::at("write", &self.path)(
                        io::ErrorKind::WriteZero.into(),
                    ));
                }
                Ok(length) => {
                    let (written, rest) = bytes.split_at(length);
                    self.progress.hasher.update(written);
                    self.progress.offset += length as u64;
                    bytes = rest;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::at("write", &self.path)(error)),
            }
        }
        let waiting = self.progress.offset - self.written_back;
        if waiting >= WRITEBACK_BYTES {
            writeback::start(&self.file, self.written_back, waiting);
            self.written_back = self.progress.offset;
        }
        Ok(())
    }

    /// Makes every byte durable.
    ///
    /// After a failed sync the kernel may count the lost pages as clean, and a second sync would
    /// succeed without them. So the upload ends here, rather than being committed with holes. It is
    /// not cut short instead: a record of the bytes that were there would outlive them.
    fn sync(&mut self) -> Result<()> {
        self.file.sync_data().map_err(|error| {
            // A file system that refuses this refuses the rename of a commit as well.
            if let Err(error) = fs::remove_file(&self.path) {
                tracing::error!(path = %self.path.display(), %error, "cannot delete an upload whose sync failed");
            }
            Error::at("sync", &self.path)(error)
        })
    }
}

/// What a job gives back.
struct Burst {
    lane: Box<Lane>,
    buffer: PooledBuffer,
    outcome: Result<()>,
}

enum Work {
    Idle(Box<Lane>),
    Running(JoinHandle<Burst>),
    /// The job was lost in a shutdown; its bytes are found again when the upload is resumed.
    Lost,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    work: Work,
    filling: Option<PooledBuffer>,
    accepted: u64,
    failed: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, lane: Box<Lane>) -> Writer {
        let accepted = lane.progress.offset;
        Writer {
            shared,
            work: Work::Idle(lane),
            filling: None,
            accepted,
            failed: false,
        }
    }

    /// Waits for the running job, if there is one.
    async fn settle(&mut self) -> Result<()> {
        let Work::Running(running) = &mut self.work else {
            return Ok(());
        };
        let outcome = running.await;
        self.work = Work::Lost;
        let Burst {
            lane,
            buffer,
            outcome,
        } = joined(outcome).inspect_err(|_| self.failed = true)?;
        if outcome.is_err() {
            self.failed = true;
            self.filling = None;
            self.accepted = lane.progress.offset;
        }
        self.work = Work::Idle(lane);
        drop(buffer);
        outcome
    }

    /// Hands the filled buffer to a job, once the one before is done.
    async fn start_burst(&mut self) -> Result<()> {
        self.settle().await?;
        // Nothing is taken out of the writer before the last wait, so that it may be cancelled there.
        let room = self.shared.writes.admit().await;
        let Some(buffer) = self.filling.take() else {
            return Ok(());
        };
        let Work::Idle(mut lane) = mem::replace(&mut self.work, Work::Lost) else {
            return Err(self.unusable());
        };
        self.work = Work::Running(room.start(move || {
            let outcome = lane.append(&buffer);
            Burst {
                lane,
                buffer,
                outcome,
            }
        }));
        Ok(())
    }

    fn unusable(&self) -> Error {
        Error::unavailable("continue", "the upload", "an earlier write to it failed")
    }

    /// Runs the last job: what is left in the buffer, and a sync if asked for.
    async fn close(mut self, sync: bool) -> Result<Progress> {
        self.settle().await?;
        let Work::Idle(mut lane) = self.work else {
            return Err(Error::unavailable(
                "continue",
                "the upload",
                "its last job was lost in a shutdown",
            ));
        };
        if self.filling.is_none() && !sync {
            return Ok(lane.progress);
        }
        let filling = self.filling;
        let job = move || {
            if let Some(buffer) = filling {
                lane.append(&buffer)?;
            }
            if sync {
                lane.sync()?;
            }
            Ok(lane.progress)
        };
        self.shared.writes.run(job).await
    }
}

#[async_trait]
impl UploadWriter for Writer {
    fn offset(&self) -> u64 {
        self.accepted
    }

    async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        if self.failed {
            return Err(self.unusable());
        }
        loop {
            // A full buffer may also be left from a call that was cancelled while it waited.
            if self
                .filling
                .as_ref()
                .is_some_and(|buffer| buffer.len() == WRITE_BUFFER_BYTES)
            {
                self.start_burst().await?;
            }
            if bytes.is_empty() {
                return Ok(());
            }
            let buffer = self.filling.get_or_insert_with(|| {
                let mut buffer = self.shared.write_buffers.take();
                buffer.clear();
                buffer
            });
            let part = bytes.split_to(bytes.len().min(WRITE_BUFFER_BYTES - buffer.len()));
            buffer.extend_from_slice(&part);
            self.accepted += part.len() as u64;
        }
    }

    async fn suspend(self: Box<Self>) -> Result<Progress> {
        self.close(false).await
    }

    async fn finish(self: Box<Self>) -> Result<Progress> {
        if self.failed {
            return Err(self.unusable());
        }
        self.close(true).await
    }
}
