//! Appending to an upload.
//!
//! The async side copies what arrives into a buffer; a full buffer goes with the file and the hash to
//! a blocking thread, which writes and hashes it, while the next buffer fills. With both in hand the
//! writer waits, and between buffers it holds no thread.
//!
//! The last buffer is kept back until the upload's digest was asked for, so a small upload is one job
//! in all: create, write, sync, rename; and one whose digest is false never reaches the disk.
//!
//! While a processor is left for it, a buffer is hashed on one thread and then written by another, so
//! that an upload is as fast as the slower of the two. The hash then runs ahead of the file, and its
//! state travels with the buffer it belongs to.
//!
//! Invariant: the hash and the offset in a [`Lane`] are those of the bytes in its file, after every
//! error too, since a part of a buffer that was written is the right next part of the upload. Only
//! the job that writes changes them.

use std::fs::{self, File};
use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_model::{Algorithm, Digest, Hasher};
use tokio::task::{JoinHandle, spawn_blocking};

use super::blocking::joined;
use super::direct_io::StagingFile;
use super::lease::Lease;
use super::upload_buffers::UploadBuffer;
use super::{Shared, object, staging, writeback};
use crate::{Error, Progress, Result, StorageKey, UploadWriter};

/// How many cached bytes are gathered before the kernel is asked to start writing them to the disk.
const WRITEBACK_BYTES: u64 = 8 * 1024 * 1024;
/// The most bytes that are hashed without handing them to another thread, which would cost as much.
const HASHED_INLINE_BYTES: usize = 128 * 1024;

/// The one place from which a staging file is written. It moves into a job and back.
pub(super) struct Lane {
    /// `None` until the first byte.
    file: Option<StagingFile>,
    path: PathBuf,
    progress: Progress,
    /// Cached bytes up to here are on their way to the disk.
    written_back: u64,
    lease: Lease,
    shared: Arc<Shared>,
}

impl Lane {
    /// A lane over a staging file, or over one that is still to be made.
    pub(super) fn new(
        shared: &Arc<Shared>,
        lease: Lease,
        file: Option<File>,
        path: PathBuf,
        progress: Progress,
    ) -> Lane {
        Lane {
            file: file.map(StagingFile::new),
            path,
            written_back: progress.offset,
            progress,
            lease,
            shared: Arc::clone(shared),
        }
    }

    /// Appends bytes. `hashed` is the hash of everything up to their end, if it is known already.
    fn append(&mut self, bytes: &[u8], hashed: Option<Hasher>) -> Result<()> {
        let (written, outcome) = self.write(bytes);
        self.progress.offset += written as u64;
        match hashed {
            Some(hashed) if written == bytes.len() => self.progress.hasher = hashed,
            _ => self.progress.hasher.update(&bytes[..written]),
        }
        outcome
    }

    /// Writes at the end; how much of it.
    fn write(&mut self, bytes: &[u8]) -> (usize, Result<()>) {
        let mut written = 0;
        if let Err(error) = self.make_file() {
            return (written, Err(error));
        }
        let file = self.file.as_mut().expect("the file was made");
        while written < bytes.len() {
            let offset = self.progress.offset + written as u64;
            let outcome = file.write_at(&bytes[written..], offset, &self.shared.direct_io);
            let error = match outcome {
                Ok((0, _)) => io::ErrorKind::WriteZero.into(),
                Ok((length, direct)) => {
                    written += length;
                    if direct {
                        self.written_back = offset + length as u64;
                    }
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            return (written, Err(Error::at("write", &self.path)(error)));
        }
        let end = self.progress.offset + written as u64;
        let waiting = end - self.written_back;
        if waiting >= WRITEBACK_BYTES {
            writeback::start(file.cached(), self.written_back, waiting);
            self.written_back = end;
        }
        (written, Ok(()))
    }

    fn make_file(&mut self) -> Result<()> {
        if self.file.is_none() {
            let file = staging::create(&self.shared, self.lease.id(), &self.path)?;
            self.file = Some(StagingFile::new(file));
        }
        Ok(())
    }

    /// Makes every byte durable.
    ///
    /// After a failed sync the kernel may count the lost pages as clean, and a second sync would
    /// succeed without them. So the upload ends here, rather than being committed with holes. It is
    /// not cut short instead: a record of the bytes that were there would outlive them.
    fn sync(&mut self) -> Result<()> {
        self.make_file()?;
        let file = self.file.as_ref().expect("the file was made");
        file.cached().sync_data().map_err(|error| {
            // A file system that refuses this refuses the rename of a commit as well.
            if let Err(error) = fs::remove_file(&self.path) {
                tracing::error!(path = %self.path.display(), %error, "cannot delete an upload whose sync failed");
            }
            Error::at("sync", &self.path)(error)
        })
    }
}

/// What a writing job gives back.
struct Burst {
    lane: Box<Lane>,
    outcome: Result<()>,
}

enum Work {
    Idle(Box<Lane>),
    Running(JoinHandle<Burst>),
    /// The job was lost in a shutdown; its bytes are found again when the upload is resumed.
    Lost,
}

/// A buffer, and the hash of the upload up to its end.
struct Hashed {
    buffer: UploadBuffer,
    hasher: Hasher,
}

impl Hashed {
    /// Adds the buffer to the hash of what comes before it.
    fn new(buffer: UploadBuffer, mut hasher: Hasher) -> Hashed {
        hasher.update(buffer.bytes());
        Hashed { buffer, hasher }
    }
}

/// Hashing ahead of the file.
#[derive(Default)]
struct Ahead {
    running: Option<JoinHandle<Hashed>>,
    /// Ready to be written.
    done: Option<Hashed>,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    work: Work,
    ahead: Ahead,
    filling: Option<UploadBuffer>,
    accepted: u64,
    failed: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, lane: Box<Lane>) -> Writer {
        let accepted = lane.progress.offset;
        Writer {
            shared,
            work: Work::Idle(lane),
            ahead: Ahead::default(),
            filling: None,
            accepted,
            failed: false,
        }
    }

    /// Waits for the writing job, if there is one.
    async fn settle(&mut self) -> Result<()> {
        let Work::Running(running) = &mut self.work else {
            return Ok(());
        };
        let outcome = running.await;
        self.work = Work::Lost;
        let Burst { lane, outcome } = joined(outcome).inspect_err(|_| self.failed = true)?;
        if outcome.is_err() {
            self.failed = true;
            self.filling = None;
            self.ahead = Ahead::default();
            self.accepted = lane.progress.offset;
        }
        self.work = Work::Idle(lane);
        outcome
    }

    /// Starts a writing job, once the one before is done. `take` is asked for its bytes last, so that
    /// until then nothing is lost when the wait is cancelled.
    async fn start<B: AsRef<[u8]> + Send + 'static>(
        &mut self,
        take: impl FnOnce(&mut Self) -> Option<(B, Option<Hasher>)>,
    ) -> Result<()> {
        self.settle().await?;
        let room = self.shared.writes.admit().await;
        let Some((bytes, hashed)) = take(self) else {
            return Ok(());
        };
        let Work::Idle(mut lane) = mem::replace(&mut self.work, Work::Lost) else {
            return Err(self.unusable());
        };
        self.work = Work::Running(room.start(move || {
            let outcome = lane.append(bytes.as_ref(), hashed);
            Burst { lane, outcome }
        }));
        Ok(())
    }

    /// Hands on the full buffer: to be hashed ahead if a processor is free, else hashed and written by
    /// one job.
    async fn hand_over(&mut self) -> Result<()> {
        self.write_hashed().await?;
        self.finish_hashing().await?;
        let Ok(processor) = Arc::clone(&self.shared.hash_threads).try_acquire_owned() else {
            self.write_hashed().await?;
            return self
                .start(|writer| writer.filling.take().map(|buffer| (buffer, None)))
                .await;
        };
        let hasher = match &self.ahead.done {
            Some(before) => before.hasher.clone(),
            None => {
                self.settle().await?;
                self.lane()?.progress.hasher.clone()
            }
        };
        self.ahead.running = self.filling.take().map(|buffer| {
            spawn_blocking(move || {
                let _processor = processor;
                Hashed::new(buffer, hasher)
            })
        });
        self.write_hashed().await
    }

    /// Waits for the hashing job, if there is one.
    async fn finish_hashing(&mut self) -> Result<()> {
        if let Some(running) = &mut self.ahead.running {
            let outcome = running.await;
            self.ahead.running = None;
            self.ahead.done = Some(joined(outcome).inspect_err(|_| self.failed = true)?);
        }
        Ok(())
    }

    /// Starts to write the buffer that is hashed, if there is one.
    async fn write_hashed(&mut self) -> Result<()> {
        if self.ahead.done.is_none() {
            return Ok(());
        }
        self.start(|writer| {
            let hashed = writer.ahead.done.take()?;
            Some((hashed.buffer, Some(hashed.hasher)))
        })
        .await
    }

    /// Waits until everything handed over is written.
    async fn drain(&mut self) -> Result<()> {
        self.write_hashed().await?;
        self.finish_hashing().await?;
        self.write_hashed().await?;
        self.settle().await
    }

    fn lane(&self) -> Result<&Lane> {
        match &self.work {
            Work::Idle(lane) => Ok(lane),
            Work::Running(_) | Work::Lost => Err(self.unusable()),
        }
    }

    fn unusable(&self) -> Error {
        Error::unavailable("continue", "the upload", "an earlier write to it failed")
    }

    /// Takes a buffer. False when there is none to be had.
    async fn have_buffer(&mut self) -> Result<bool> {
        if self.filling.is_none() {
            self.filling = self.shared.upload_buffers.take(self.accepted);
        }
        if self.filling.is_none() {
            self.drain().await?;
            self.filling = self.shared.upload_buffers.take(self.accepted);
        }
        Ok(self.filling.is_some())
    }

    /// Writes all but the last buffer, and hashes that one.
    async fn hash_last(&mut self) -> Result<()> {
        if let Some(last) = &self.filling {
            let room = match last.bytes().len() {
                ..=HASHED_INLINE_BYTES => None,
                _ => Some(self.shared.writes.admit().await),
            };
            self.drain().await?;
            let hasher = self.lane()?.progress.hasher.clone();
            let last = self.filling.take().expect("nobody else takes it");
            match room {
                None => self.ahead.done = Some(Hashed::new(last, hasher)),
                Some(room) => {
                    self.ahead.running = Some(room.start(|| Hashed::new(last, hasher)));
                }
            }
        }
        self.finish_hashing().await?;
        self.settle().await
    }

    /// The lane, for the last job.
    fn into_lane(self) -> Result<Box<Lane>> {
        match self.work {
            Work::Idle(lane) => Ok(lane),
            Work::Running(_) | Work::Lost => Err(Error::unavailable(
                "continue",
                "the upload",
                "its last job was lost in a shutdown",
            )),
        }
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
            if self.filling.as_ref().is_some_and(UploadBuffer::is_full) {
                self.hand_over().await?;
            }
            if bytes.is_empty() {
                return Ok(());
            }
            if self.have_buffer().await?
                && let Some(buffer) = &mut self.filling
            {
                self.accepted += buffer.fill(&mut bytes) as u64;
            } else {
                let frame = mem::take(&mut bytes);
                self.start(|writer| {
                    writer.accepted += frame.len() as u64;
                    Some((frame, None))
                })
                .await?;
            }
        }
    }

    async fn suspend(mut self: Box<Self>) -> Result<Progress> {
        self.drain().await?;
        let shared = Arc::clone(&self.shared);
        let last = self.filling.take();
        let mut lane = self.into_lane()?;
        let Some(last) = last else {
            return Ok(lane.progress);
        };
        let job = move || {
            lane.append(last.bytes(), None)?;
            Ok(lane.progress)
        };
        shared.writes.run(job).await
    }

    async fn digest(&mut self, algorithm: Algorithm) -> Result<Digest> {
        if self.failed {
            return Err(self.unusable());
        }
        self.hash_last().await?;
        let hasher = match &self.ahead.done {
            Some(last) => &last.hasher,
            None => &self.lane()?.progress.hasher,
        };
        if hasher.algorithm() == algorithm {
            return Ok(hasher.clone().finish());
        }
        self.drain().await?;
        let (shared, id) = (Arc::clone(&self.shared), self.lane()?.lease.id());
        let job = move || staging::hash(&shared, id, algorithm);
        self.shared.writes.run(job).await
    }

    async fn commit(mut self: Box<Self>, key: &StorageKey) -> Result<Option<Progress>> {
        if self.failed {
            return Err(self.unusable());
        }
        self.hash_last().await?;
        let shared = Arc::clone(&self.shared);
        let last = self.ahead.done.take();
        let mut lane = self.into_lane()?;
        let key = key.clone();
        let job = move || {
            if let Some(Hashed { buffer, hasher }) = last {
                lane.append(buffer.bytes(), Some(hasher))?;
            }
            lane.sync()?;
            object::commit(&lane.shared, &lane.lease, &lane.path, &key)?;
            Ok(None)
        };
        shared.writes.run(job).await
    }
}
