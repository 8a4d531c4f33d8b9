//! Bytes that are gathered until they are worth a request, and the bound on how many there are in this process.
//!
//! A small upload takes no more memory than it has bytes. One that grows past [`FREE_BYTES`] reserves room for a
//! whole part at once, and keeps it until that part is stored: whoever has room needs nothing but its client's
//! bytes to give it back, so uploads that wait for room never wait for each other.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use object_store::PutPayload;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What an upload gathers without a reservation.
pub(super) const FREE_BYTES: usize = 1024 * 1024;
/// The size of the pieces that bytes are gathered in.
const PIECE_BYTES: usize = 256 * 1024;

/// Room for parts in memory.
#[derive(Debug)]
pub(super) struct Room {
    kibibytes: Arc<Semaphore>,
    part: u32,
}

impl Room {
    /// Room for `bytes`, or for one part where that is more.
    pub(super) fn new(bytes: usize, part_bytes: usize) -> Room {
        let part = part_bytes.div_ceil(1024);
        let kibibytes = (bytes / 1024).clamp(part, Semaphore::MAX_PERMITS);
        Room {
            kibibytes: Arc::new(Semaphore::new(kibibytes)),
            part: u32::try_from(part).expect("a part has less than four TiB"),
        }
    }

    async fn part(&self) -> OwnedSemaphorePermit {
        let room = Arc::clone(&self.kibibytes).acquire_many_owned(self.part);
        room.await.expect("nobody closes the semaphore")
    }
}

/// Bytes gathered for one request.
#[derive(Debug, Default)]
pub(super) struct Fill {
    pieces: Vec<Bytes>,
    open: BytesMut,
    length: usize,
    reserved: Option<OwnedSemaphorePermit>,
}

impl Fill {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How many bytes may be added now: some, unless there are `most` already. Waits for room.
    pub(super) async fn room(&mut self, room: &Room, most: usize) -> usize {
        if self.reserved.is_none() && self.length >= FREE_BYTES.min(most) && self.length < most {
            self.reserved = Some(room.part().await);
        }
        match self.reserved {
            Some(_) => most - self.length,
            None => FREE_BYTES.min(most) - self.length,
        }
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
            assert!(fill.room(&room, PART).await >= piece.len());
            fill.push(&piece);
            expected.extend(piece);
        }
        assert_eq!(fill.len(), expected.len());
        assert_eq!(fill.pieces().concat(), expected);
        let left = FREE_BYTES - fill.len();
        assert_eq!(fill.room(&room, PART).await, left);
        fill.push(&vec![0; left]);
        assert_eq!(fill.room(&room, PART).await, 2 * FREE_BYTES);
        assert_eq!(room.kibibytes.available_permits(), 0);
        fill.push(&vec![0; 2 * FREE_BYTES]);
        assert_eq!(fill.room(&room, PART).await, 0);
        let (payload, reserved) = fill.take();
        assert_eq!(payload.content_length(), PART);
        assert!(fill.is_empty() && reserved.is_some());
        drop(reserved);
        assert_eq!(room.kibibytes.available_permits(), PART / 1024);
    }
}
