//! Bytes that are gathered until they are worth a request, and the bound on how many there are in this process.
//!
//! A small upload takes no more memory than it has bytes. One that grows past [`FREE_BYTES`] reserves room for a
//! whole part at once, and keeps it until that part is stored: whoever has room needs no more of it to give it back, so
//! uploads that wait for room never wait for each other.
//!
//! A client may be slow, or only pretend to be. So room is not waited for longer than [`PATIENCE`], and who has had
//! some for [`STAY`] without filling it has to go, one after the other, while somebody has waited as long: what it sent
//! is stored, and its client may go on from there. Shorter waits are those of clients that are fast, and pass.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use object_store::PutPayload;
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use crate::{Error, Result};

/// What an upload gathers without a reservation.
pub(super) const FREE_BYTES: usize = 1024 * 1024;
/// The size of the pieces that bytes are gathered in.
const PIECE_BYTES: usize = 256 * 1024;
/// How long a part may take to fill when others wait for room, and how long one of them has to have waited.
const STAY: Duration = Duration::from_secs(30);
/// How long an upload waits for room.
const PATIENCE: Duration = Duration::from_secs(120);

/// Room for parts in memory.
#[derive(Debug)]
pub(super) struct Room {
    kibibytes: Arc<Semaphore>,
    part: u32,
    /// Who waits for room.
    queue: watch::Sender<Queue>,
    /// Held by the one that has to go now, until it has gone.
    leaving: Arc<Mutex<()>>,
}

/// Since when each of those who wait has waited, in the order in which they came.
#[derive(Debug, Default)]
struct Queue {
    since: BTreeMap<u64, Instant>,
    came: u64,
}

/// A place in the queue, until dropped.
struct Waiting<'r> {
    queue: &'r watch::Sender<Queue>,
    number: u64,
}

impl Waiting<'_> {
    fn new(queue: &watch::Sender<Queue>) -> Waiting<'_> {
        let mut number = 0;
        queue.send_modify(|queue| {
            number = queue.came;
            queue.came += 1;
            queue.since.insert(number, Instant::now());
        });
        Waiting { queue, number }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.queue.send_modify(|queue| {
            queue.since.remove(&self.number);
        });
    }
}

impl Room {
    /// Room for `bytes`, or for one part where that is more.
    pub(super) fn new(bytes: usize, part_bytes: usize) -> Room {
        let part = part_bytes.div_ceil(1024);
        let kibibytes = (bytes / 1024).clamp(part, Semaphore::MAX_PERMITS);
        Room {
            kibibytes: Arc::new(Semaphore::new(kibibytes)),
            part: u32::try_from(part).expect("a part has less than four TiB"),
            queue: watch::Sender::default(),
            leaving: Arc::default(),
        }
    }

    async fn part(&self) -> Result<OwnedSemaphorePermit> {
        let all = Arc::clone(&self.kibibytes);
        if let Ok(room) = all.try_acquire_many_owned(self.part) {
            return Ok(room);
        }
        let _waiting = Waiting::new(&self.queue);
        let room = Arc::clone(&self.kibibytes).acquire_many_owned(self.part);
        match tokio::time::timeout(PATIENCE, room).await {
            Ok(room) => Ok(room.expect("nobody closes the semaphore")),
            Err(_elapsed) => Err(short("no room in memory became free")),
        }
    }

    /// Waits until somebody who has had room since then has to give it back.
    async fn wanted_back(&self, since: Instant) -> OwnedMutexGuard<()> {
        tokio::time::sleep_until(since + STAY).await;
        let leaving = Arc::clone(&self.leaving).lock_owned().await;
        loop {
            let until = self.longest_wait().await + STAY;
            if until <= Instant::now() {
                return leaving;
            }
            // Who has come since then has waited less.
            tokio::time::sleep_until(until).await;
        }
    }

    /// Waits until somebody waits for room; since when the first of them has.
    async fn longest_wait(&self) -> Instant {
        let mut queue = self.queue.subscribe();
        loop {
            let first = queue.borrow_and_update().since.values().next().copied();
            if let Some(first) = first {
                return first;
            }
            queue.changed().await.expect("the sender is here");
        }
    }
}

fn short(why: &'static str) -> Error {
    Error::Overloaded {
        operation: "take in",
        subject: "the bytes of an upload".to_owned(),
        source: io::Error::other(why),
    }
}

/// Bytes gathered for one request.
#[derive(Debug, Default)]
pub(super) struct Fill {
    pieces: Vec<Bytes>,
    open: BytesMut,
    length: usize,
    reserved: Option<OwnedSemaphorePermit>,
    /// When room was reserved.
    since: Option<Instant>,
    /// Dropped after the reservation: then the next one may have to go.
    leaving: Option<OwnedMutexGuard<()>>,
}

impl Fill {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How many bytes may be added now: some, unless there are `most` already. Waits for room.
    pub(super) async fn room(&mut self, room: &Room, most: usize) -> Result<usize> {
        if self.reserved.is_none() && self.length >= FREE_BYTES.min(most) && self.length < most {
            self.reserved = Some(room.part().await?);
            self.since = Some(Instant::now());
        }
        Ok(match self.reserved {
            Some(_) => most - self.length,
            None => FREE_BYTES.min(most) - self.length,
        })
    }

    /// Waits until the room that this takes is wanted back; for ever where it takes none.
    pub(super) async fn wanted_back(&mut self, room: &Room) -> Error {
        match self.since {
            Some(since) => self.leaving = Some(room.wanted_back(since).await),
            None => std::future::pending().await,
        }
        short("its client is slow, and others wait")
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(PIECE_BYTES) {
            self.open.extend_from_slice(piece);
            if self.open.len() >= PIECE_BYTES {
                self.pieces.push(self.open.split().freeze());
            }
        }
        self.length += bytes.len();
    }

    /// The bytes, in order. They are shared, not copied.
    pub(super) fn pieces(&mut self) -> Vec<Bytes> {
        if !self.open.is_empty() {
            self.pieces.push(self.open.split().freeze());
        }
        self.pieces.clone()
    }

    /// The body of a request, and the room it takes until it is answered.
    pub(super) fn take(&mut self) -> (PutPayload, Option<OwnedSemaphorePermit>) {
        let payload = self.pieces().into_iter().collect();
        let reserved = self.reserved.take();
        *self = Fill::default();
        (payload, reserved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_come_out_in_order_and_room_is_given_back() {
        const PART: usize = 3 * FREE_BYTES;
        let room = Room::new(0, PART);
        let mut fill = Fill::default();
        let mut expected = Vec::new();
        for number in 0..1000_u32 {
            let piece = vec![number as u8; 1 + number as usize * 7 % 900];
            assert!(fill.room(&room, PART).await.unwrap() >= piece.len());
            fill.push(&piece);
            expected.extend(piece);
        }
        assert_eq!(fill.len(), expected.len());
        assert_eq!(fill.pieces().concat(), expected);
        let left = FREE_BYTES - fill.len();
        assert_eq!(fill.room(&room, PART).await.unwrap(), left);
        fill.push(&vec![0; left]);
        assert_eq!(fill.room(&room, PART).await.unwrap(), 2 * FREE_BYTES);
        assert_eq!(room.kibibytes.available_permits(), 0);
        fill.push(&vec![0; 2 * FREE_BYTES]);
        assert_eq!(fill.room(&room, PART).await.unwrap(), 0);
        let (payload, reserved) = fill.take();
        assert_eq!(payload.content_length(), PART);
        assert!(fill.is_empty() && reserved.is_some());
        drop(reserved);
        assert_eq!(room.kibibytes.available_permits(), PART / 1024);
    }
}
