//! Appending to an upload.
//!
//! Bytes are hashed and gathered as they come. What fills a part goes out at once, several parts at a time, while
//! the next one fills; the object that the parts make is where the blob will be, so that nothing is copied or read
//! back in the end.
//!
//! A request may end with less than a part. What is there is then stored as a small object, so that any node can go
//! on: as the *whole* when no part was sent yet, beside the parts as their *tail* otherwise. A whole is where the
//! blob will be if nothing more comes: a small blob costs one request however its client cuts it.
//!
//! Invariant: an object is written with one content only, since its name says what that is: the hash of the upload
//! up to its end. Whatever a request that was given up long ago still writes, on whichever node, it changes nothing.
//! The parts of a multipart upload are bound by what the service called them when they were stored.

use std::mem;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use holdfast_model::{Algorithm, Digest, Hasher, UploadId};

use super::Shared;
use super::bucket::failed;
use super::fill::Fill;
use super::parts::Parts;
use super::state::{Piece, State};
use crate::{Error, Progress, Result, StorageKey, UploadWriter};

/// Where the bytes before those that are gathered are.
enum Base {
    /// There are none.
    Nothing,
    /// In an object that has all of them.
    Whole(StorageKey),
    /// In parts.
    Parts(Parts),
}

/// Tells others of this process that an upload is being written to.
struct Writing {
    shared: Arc<Shared>,
    id: UploadId,
}

impl Writing {
    fn begin(shared: &Arc<Shared>, id: UploadId) -> Writing {
        shared.writing().push(id);
        Writing {
            shared: Arc::clone(shared),
            id,
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut writing = self.shared.writing();
        if let Some(place) = writing.iter().position(|id| *id == self.id) {
            writing.swap_remove(place);
        }
    }
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    _writing: Writing,
    id: UploadId,
    base: Base,
    /// What is stored behind the parts and was not fetched.
    tail: Option<Piece>,
    fill: Fill,
    /// Bytes and hash of everything up to the end of what is gathered.
    offset: u64,
    hasher: Hasher,
    /// The record this began with.
    resumed: Progress,
    /// Objects that the record does not need any more.
    old: Vec<StorageKey>,
    /// Objects that the record needs and the next one will not.
    superseded: Vec<StorageKey>,
    /// Whether anything was stored or gathered since.
    changed: bool,
    /// Whether something may have been stored that is named nowhere: a multipart upload whose id is not known, or parts
    /// that came after their object.
    unsure: bool,
    failed: bool,
}

impl Writer {
    /// Goes on from a record.
    pub(super) fn resume(
        shared: &Arc<Shared>,
        id: UploadId,
        saved: Option<Progress>,
        algorithm: Algorithm,
    ) -> Result<Writer> {
        let resumed = saved.unwrap_or_else(|| Progress::new(0, Hasher::new(algorithm)));
        let state = State::restore(resumed.state.as_deref())
            .filter(|state| state.size() == resumed.offset)
            .ok_or(Error::UploadUnknown(id))?;
        let key = |text: &str| parsed(text).ok_or(Error::UploadUnknown(id));
        let base = match (state.whole, state.parts) {
            (Some(whole), _) => Base::Whole(key(&whole.key)?),
            (None, Some(sent)) => Base::Parts(Parts::resumed(key(&sent.key)?, sent)),
            (None, None) => Base::Nothing,
        };
        Ok(Writer {
            shared: Arc::clone(shared),
            _writing: Writing::begin(shared, id),
            id,
            base,
            tail: state.tail,
            fill: Fill::default(),
            offset: resumed.offset,
            hasher: resumed.hasher.clone(),
            resumed,
            old: state.old.iter().filter_map(|old| parsed(old)).collect(),
            superseded: Vec::new(),
            changed: false,
            unsure: false,
            failed: false,
        })
    }

    /// The name of the object that holds the upload from `start` up to where it is now.
    fn name(&self, start: u64) -> StorageKey {
        let hash = self.hasher.clone().finish();
        let short = &hash.hex()[..32];
        let name = match start {
            0 => format!("w{short}"),
            start => format!("t{short}x{start:x}"),
        };
        StorageKey::uploaded(self.id, &name)
    }

    /// Gathers bytes, and sends every part that is full.
    async fn absorb(&mut self, mut bytes: Bytes) -> Result<()> {
        let part_bytes = self.shared.limits.part_bytes;
        while !bytes.is_empty() {
            if self.fill.len() == part_bytes {
                self.hand_over().await?;
            }
            let room = self.fill.room(&self.shared.room, part_bytes).await?;
            let piece = bytes.split_to(room.min(bytes.len()));
            self.hasher.update(&piece);
            self.fill.push(&piece);
            self.offset += piece.len() as u64;
        }
        Ok(())
    }

    /// Sends what is gathered as a part.
    async fn hand_over(&mut self) -> Result<()> {
        let limits = &self.shared.limits;
        if matches!(self.base, Base::Nothing) {
            let name = format!("m{:032x}", u128::from_be_bytes((self.shared.random)()));
            let key = StorageKey::uploaded(self.id, &name);
            let unsure = mem::replace(&mut self.unsure, true);
            let id = self.shared.bucket.create(&key).await?;
            self.base = Base::Parts(Parts::new(key, id));
            self.unsure = unsure;
        }
        let Base::Parts(parts) = &mut self.base else {
            return Err(unusable());
        };
        if parts.count() == limits.parts_max {
            return Err(Error::TooLarge {
                key: parts.key.clone(),
                size: self.offset,
                max: limits.part_bytes as u64 * limits.parts_max as u64,
            });
        }
        parts.room(limits.parts_at_once).await?;
        let (payload, reserved) = self.fill.take();
        let hasher = self.hasher.clone();
        parts.send(&self.shared, payload, reserved, self.offset, hasher);
        self.changed = true;
        Ok(())
    }

    /// Fetches what was left too small for a part, so that more can be added to it.
    async fn fetch(&mut self) -> Result<()> {
        if matches!(self.base, Base::Whole(_)) {
            return self.fetch_whole().await;
        }
        if let Base::Parts(parts) = &self.base
            && self.resumed.doubtful
            && !self.changed
        {
            // Somebody may have made the object of the parts and died before that was recorded. It begins with
            // what is recorded, or the comparison fails.
            let key = parts.key.clone();
            if self.shared.bucket.head(&key).await?.is_some() {
                let tail = self.tail.take().and_then(|tail| parsed(&tail.key));
                self.superseded.extend(tail);
                self.base = Base::Whole(key);
                return self.fetch_whole().await;
            }
        }
        let Some(tail) = self.tail.take() else {
            return Ok(());
        };
        let key = parsed(&tail.key).ok_or(Error::UploadUnknown(self.id))?;
        self.superseded.push(key.clone());
        let pieces = match self.shared.copies.find(&key) {
            Some(pieces) => pieces.to_vec(),
            None => {
                let part_bytes = self.shared.limits.part_bytes as u64;
                let bytes = self.shared.get(&key, part_bytes).await;
                vec![bytes.map_err(|error| self.lost(error))?]
            }
        };
        let length: usize = pieces.iter().map(Bytes::len).sum();
        if length as u64 != tail.size {
            return Err(Error::UploadUnknown(self.id));
        }
        for mut piece in pieces {
            while !piece.is_empty() {
                let part_bytes = self.shared.limits.part_bytes;
                let room = self.fill.room(&self.shared.room, part_bytes).await?;
                self.fill.push(&piece.split_to(room.min(piece.len())));
            }
        }
        Ok(())
    }

    /// Takes in the bytes of a whole as if a client sent them, and compares them with their hash.
    async fn fetch_whole(&mut self) -> Result<()> {
        let Base::Whole(key) = mem::replace(&mut self.base, Base::Nothing) else {
            return Ok(());
        };
        self.superseded.push(key.clone());
        let expected = self.hasher.clone().finish();
        self.hasher = Hasher::new(expected.algorithm());
        let size = mem::take(&mut self.offset);
        if let Some(pieces) = self.shared.copies.find(&key) {
            for piece in pieces.iter() {
                self.absorb(piece.clone()).await?;
            }
        } else {
            let got = self.shared.bucket.get(&key, None, None).await;
            let mut stream = got.map_err(|error| self.lost(error))?.into_stream();
            while self.offset < size
                && let Some(mut piece) = stream
                    .try_next()
                    .await
                    .map_err(failed("read", key.as_str()))?
            {
                let left = usize::try_from(size - self.offset).unwrap_or(usize::MAX);
                piece.truncate(left);
                self.absorb(piece).await?;
            }
        }
        if self.offset != size || self.hasher.clone().finish() != expected {
            return Err(Error::UploadUnknown(self.id));
        }
        Ok(())
    }

    /// An object that the record names and that is not there: the upload was ended elsewhere.
    fn lost(&self, error: Error) -> Error {
        match error {
            Error::NotFound(_) => Error::UploadUnknown(self.id),
            error => error,
        }
    }

    /// Makes the object out of its parts.
    async fn complete(&mut self) -> Result<()> {
        if self.tail.is_some() {
            self.fetch().await?;
        }
        if !self.fill.is_empty() {
            self.hand_over().await?;
        }
        let Base::Parts(parts) = &mut self.base else {
            return Ok(());
        };
        let (key, id) = (parts.key.clone(), parts.id.clone());
        let mut completed = parts.all_stored().await;
        if completed.is_ok() {
            completed = self.shared.bucket.complete(&key, &id, parts.tags()).await;
        }
        match completed {
            Ok(()) => self.look_after(&key).await?,
            // The answer may have been lost, or another request was here before. Only the bytes can tell.
            Err(error) => {
                let stored = self.shared.digest_of(&key, self.hasher.algorithm()).await;
                let expected = (self.offset, self.hasher.clone().finish());
                if !matches!(stored, Ok(Some(found)) if found == expected) {
                    return Err(error);
                }
                // Swift keeps parts that came after the object was made.
                self.unsure = true;
            }
        }
        self.base = Base::Whole(key);
        self.changed = true;
        Ok(())
    }

    /// Looks whether the service has made the object that it says it has made. One that was killed while it did so
    /// may take the parts for an object ever after, and they are lost: the client begins again.
    async fn look_after(&self, key: &StorageKey) -> Result<()> {
        let found = self.shared.bucket.head(key).await?;
        let size = found.map(|meta| meta.size);
        if size == Some(self.offset) {
            return Ok(());
        }
        tracing::error!(%key, expected = self.offset, found = size, "the service acknowledged an object that is not there");
        Err(Error::UploadUnknown(self.id))
    }

    /// Stores what is gathered as an object of its own.
    async fn put_aside(&mut self, start: u64) -> Result<Piece> {
        let key = self.name(start);
        let pieces = self.fill.pieces();
        let size = self.fill.len() as u64;
        let payload = pieces.iter().cloned().collect();
        self.shared.bucket.put(&key, payload).await?;
        self.shared.copies.keep(&key, pieces);
        Ok(Piece {
            key: key.as_str().to_owned(),
            size,
        })
    }

    /// What the record says from now on, with everything stored.
    async fn store(&mut self) -> Result<State> {
        let mut state = State::default();
        let enough = self.fill.len() >= self.shared.limits.cut_bytes;
        if enough && matches!(self.base, Base::Parts(_)) {
            self.hand_over().await?;
        }
        match &self.base {
            Base::Whole(key) => {
                state.whole = Some(Piece {
                    key: key.as_str().to_owned(),
                    size: self.offset,
                });
            }
            Base::Nothing if self.fill.is_empty() => {}
            Base::Nothing => state.whole = Some(self.put_aside(0).await?),
            Base::Parts(_) => {
                if !self.fill.is_empty() {
                    let start = self.offset - self.fill.len() as u64;
                    state.tail = Some(self.put_aside(start).await?);
                }
                let Base::Parts(parts) = &mut self.base else {
                    return Err(unusable());
                };
                parts.all_stored().await?;
                state.parts = Some(parts.sent());
            }
        }
        Ok(state)
    }

    /// What can be gone on from after a failure: new parts up to the first that is missing, or what was there.
    async fn kept(mut self) -> Progress {
        let mut doubtful = self.resumed.doubtful || self.unsure;
        if let Base::Parts(parts) = &mut self.base {
            let kept = parts.settle().await;
            let further = kept.filter(|(end, _)| *end > self.resumed.offset);
            if let Some((offset, hasher)) = further {
                let state = State {
                    parts: Some(parts.sent()),
                    old: texts(self.old.iter().chain(&self.superseded)),
                    ..State::default()
                };
                return Progress {
                    offset,
                    hasher,
                    state: state.save(),
                    doubtful,
                };
            }
            // A multipart upload that was begun here is named nowhere now.
            doubtful |= self.changed;
        }
        Progress {
            doubtful,
            ..self.resumed
        }
    }

    /// Every object known of the upload that is not the one to keep. Their copies are not needed any more.
    fn left(&mut self, keep: Option<&StorageKey>) -> Vec<StorageKey> {
        let tail = self.tail.take().and_then(|tail| parsed(&tail.key));
        let mut left: Vec<StorageKey> = mem::take(&mut self.old);
        left.append(&mut self.superseded);
        left.extend(tail);
        left.retain(|key| Some(key) != keep);
        for key in left.iter().chain(keep) {
            self.shared.copies.forget(key);
        }
        left
    }
}

#[async_trait]
impl UploadWriter for Writer {
    fn offset(&self) -> u64 {
        self.offset
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        if self.failed {
            return Err(unusable());
        }
        if bytes.is_empty() {
            return Ok(());
        }
        // Also when this is cancelled half-way.
        self.failed = true;
        self.fetch().await?;
        self.absorb(bytes).await?;
        self.failed = false;
        self.changed = true;
        Ok(())
    }

    async fn out_of_time(&mut self) -> Error {
        self.fill.wanted_back(&self.shared.room).await
    }

    async fn suspend(mut self: Box<Self>) -> Result<Progress> {
        if self.failed {
            return Ok(self.kept().await);
        }
        if !self.changed {
            return Ok(self.resumed);
        }
        let mut state = self.store().await?;
        // The record that named them is not the last one any more.
        if let Err(error) = self.shared.bucket.delete(&self.old).await {
            tracing::debug!(upload = %self.id, %error, "what an upload has left behind is deleted later");
            state.old = texts(&self.old);
        }
        for key in &self.superseded {
            self.shared.copies.forget(key);
        }
        state.old.append(&mut texts(&self.superseded));
        Ok(Progress {
            offset: self.offset,
            hasher: self.hasher,
            state: state.save(),
            doubtful: self.resumed.doubtful || self.unsure,
        })
    }

    async fn digest(&mut self, algorithm: Algorithm) -> Result<Digest> {
        if self.failed {
            return Err(unusable());
        }
        if self.tail.is_some() {
            // A commit needs it, and must not wait for room: the caller may keep others waiting then.
            self.failed = true;
            self.fetch().await?;
            self.failed = false;
        }
        if self.hasher.algorithm() == algorithm {
            return Ok(self.hasher.clone().finish());
        }
        if let Base::Nothing = self.base {
            let mut hasher = Hasher::new(algorithm);
            for piece in self.fill.pieces() {
                hasher.update(&piece);
            }
            return Ok(hasher.finish());
        }
        // Parts cannot be read before they are an object.
        self.complete().await.inspect_err(|_| self.failed = true)?;
        let Base::Whole(key) = &self.base else {
            return Err(unusable());
        };
        match self.shared.digest_of(key, algorithm).await? {
            Some((size, digest)) if size == self.offset => Ok(digest),
            _ => Err(Error::UploadUnknown(self.id)),
        }
    }

    fn own_key(&self) -> Option<StorageKey> {
        Some(match &self.base {
            Base::Whole(key) => key.clone(),
            Base::Parts(parts) => parts.key.clone(),
            Base::Nothing => self.name(0),
        })
    }

    async fn commit(mut self: Box<Self>, key: &StorageKey) -> Result<Option<Progress>> {
        if self.failed {
            return Err(unusable());
        }
        if let Base::Nothing = self.base {
            let (payload, _reserved) = self.fill.take();
            self.shared.bucket.put(key, payload).await?;
        } else {
            self.complete().await?;
        }
        if let Base::Whole(own) = &self.base
            && own != key
        {
            let own = own.clone();
            let part_bytes = self.shared.limits.part_bytes;
            self.shared.bucket.copy(&own, key, part_bytes).await?;
            self.superseded.push(own);
        }
        let left = self.left(Some(key));
        let state = State {
            whole: Some(Piece {
                key: key.as_str().to_owned(),
                size: self.offset,
            }),
            old: texts(&left),
            ..State::default()
        };
        Ok(Some(Progress {
            offset: self.offset,
            hasher: self.hasher,
            state: state.save(),
            doubtful: self.resumed.doubtful || self.unsure,
        }))
    }

    async fn discard(mut self: Box<Self>) -> Result<bool> {
        match mem::replace(&mut self.base, Base::Nothing) {
            Base::Nothing => {}
            Base::Whole(key) => self.old.push(key),
            Base::Parts(mut parts) => {
                // A part that arrives after the end of its upload could bring it back.
                parts.settle().await;
                let name = parts.key.as_str();
                self.shared.bucket.abort(name, &parts.id).await?;
                // They may have become an object before, and nobody was told.
                self.old.push(parts.key);
            }
        }
        let left = self.left(None);
        if self.resumed.doubtful || self.unsure {
            let prefix = StorageKey::uploaded_prefix(self.id);
            self.shared.bucket.sweep(&prefix, None).await?;
        } else {
            self.shared.bucket.delete(&left).await?;
        }
        Ok(true)
    }
}

/// A key that an earlier request has recorded.
fn parsed(text: &str) -> Option<StorageKey> {
    text.parse().ok()
}

fn texts<'k>(keys: impl IntoIterator<Item = &'k StorageKey>) -> Vec<String> {
    keys.into_iter()
        .map(|key| key.as_str().to_owned())
        .collect()
}

fn unusable() -> Error {
    Error::unavailable("continue", "the upload", "an earlier write to it failed")
}
