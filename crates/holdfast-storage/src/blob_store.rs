//! The boundary between the registry and the place where its bytes are.
//!
//! An upload is staged under its [`UploadId`], invisible, and becomes an object under a
//! [`StorageKey`] in one step. Objects never change afterwards; they are read and deleted.
//!
//! Invariant: the caller never reuses a key after asking for its deletion (invariant V3), so no
//! driver needs to order a deletion against a later commit of the same key.

use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_model::{Algorithm, Digest, Hasher, Timestamp, UploadId};

use crate::{Error, Result, StorageKey};

/// The most bytes one [`BlobReader::read_at`] returns.
///
/// Larger pieces are no faster and hold more memory for each client; smaller ones cost more calls.
pub const READ_CHUNK_BYTES: usize = 128 * 1024;
/// The most bytes of one object given to [`BlobStore::put`]: what the largest manifest may have.
pub const PUT_OBJECT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The most entries one [`Listing::next`] returns.
pub const LISTED_AT_ONCE: usize = 1000;

/// What a commit leaves behind of its upload beside the object that it made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leftovers {
    /// These objects, if any.
    Objects(Vec<StorageKey>),
    /// Requests were cut off, and nobody knows what they have stored. [`BlobStore::delete_rest`] finds it.
    Unknown,
}

impl Default for Leftovers {
    fn default() -> Self {
        Leftovers::Objects(Vec::new())
    }
}

/// A place for blob bytes.
///
/// Stores are of two kinds. On a local one, what is staged is the truth, and the record of an upload only saves
/// hashing it again; a process that opens it is alone there. A *shared* one goes by the record: many nodes use
/// it at once, each goes on with any upload from what was last recorded, and whatever is stored beyond that
/// does not count. See [`is_shared`](Self::is_shared).
///
/// Every call may be cancelled by dropping its future. A disk job it had started then runs to its end,
/// and later calls on the same upload wait for that job.
#[async_trait]
pub trait BlobStore: Send + Sync + 'static {
    /// The driver's name in the configuration: `filesystem`, `inmemory`.
    fn driver(&self) -> &'static str;

    /// Whether uploads go on from their record, on any node, rather than from what is stored here.
    ///
    /// The caller of such a store records, before it hands over bytes, that the record will be behind
    /// ([`Progress::doubtful`]), and asks it neither for staged uploads nor for unsettled commits. Deleting an
    /// object may break those who read it.
    fn is_shared(&self) -> bool {
        false
    }

    /// Makes an empty upload. The id must be fresh. Until it has bytes, closing the store may forget it.
    async fn begin_upload(&self, id: UploadId) -> Result<()>;

    /// Opens an upload for appending at the end of what is stored.
    ///
    /// `saved` is what was last recorded for it. A local store believes the stored bytes before the record:
    /// when more are there, the rest is hashed; when fewer, or when the record is of another algorithm,
    /// everything is hashed again. A shared store goes by the record alone; without one the upload is empty.
    /// [`UploadWriter::offset`] tells the outcome.
    ///
    /// One writer per upload at a time is the caller's duty. A driver that finds the upload in use
    /// waits a while and answers [`Error::UploadBusy`].
    async fn resume_upload(
        &self,
        id: UploadId,
        saved: Option<Progress>,
        algorithm: Algorithm,
    ) -> Result<Box<dyn UploadWriter>>;

    /// Notes that a record names what was committed under this key. Without this note the store may ask
    /// about the commit once more, at its next start.
    fn settle_commit(&self, _id: UploadId, _key: &StorageKey) {}

    /// Commits that may have no record, because the process ended before it was noted; for start-up
    /// recovery only.
    async fn unsettled_commits(&self) -> Result<Vec<(UploadId, StorageKey)>> {
        Ok(Vec::new())
    }

    /// What a commit left behind of its upload. It is deleted only when the upload has ended, since until then
    /// another request, on another node, may make the blob out of it: whoever records the end notes this in the same
    /// transaction.
    fn leftovers(&self, _committed: &Progress) -> Leftovers {
        Leftovers::default()
    }

    /// Deletes everything that an ended upload has, except the object that it became.
    async fn delete_rest(&self, _object: &StorageKey) -> Result<()> {
        Ok(())
    }

    /// Takes a commit back: the bytes are the staged upload again, and nothing is stored under `key`.
    ///
    /// Only for a key that nobody else has committed to since, and that no record names. With no object
    /// there, it is [`NotFound`](crate::Error::NotFound). A shared store has nothing to do here: the caller
    /// records what [`UploadWriter::commit`] returned.
    async fn uncommit_upload(&self, id: UploadId, key: &StorageKey) -> Result<()>;

    /// Forgets an upload and its bytes. An unknown upload is success.
    async fn abort_upload(&self, id: UploadId) -> Result<()>;

    /// Every upload that has staged bytes; for start-up recovery only.
    async fn staged_uploads(&self) -> Result<Vec<UploadId>>;

    /// Objects that other processes are making of parts, and those that nobody will complete any more; at most so many.
    /// Only who knows which uploads there are can tell the two apart. A local store has none.
    async fn unfinished(&self, _most: usize) -> Result<Vec<Unfinished>> {
        Ok(Vec::new())
    }

    /// Ends one of them without an object. One that has ended already is success.
    async fn end_unfinished(&self, _unfinished: &Unfinished) -> Result<()> {
        Ok(())
    }

    /// Opens an object for reading; in a local store it stays readable when it is deleted meanwhile.
    async fn open(&self, key: &StorageKey) -> Result<Box<dyn BlobReader>>;

    /// The size of an object, or `None` when there is none.
    async fn size(&self, key: &StorageKey) -> Result<Option<u64>>;

    /// The whole of a small object, for those who read many of them once each: nothing stays open.
    /// One of more than `max` bytes is [`TooLarge`](crate::Error::TooLarge).
    async fn get(&self, key: &StorageKey, max: u64) -> Result<Bytes>;

    /// Every object below a directory, in no promised order. Nothing is there, not even an error, when
    /// there is no such directory.
    ///
    /// Nothing but adoption, export and repair lists a store: it costs a look at each object.
    async fn list(&self, directory: &StorageKey) -> Result<Box<dyn Listing>>;

    /// What is directly below a directory: objects, and directories that hold some. A driver that has
    /// real directories also names empty ones.
    async fn children(&self, directory: &StorageKey) -> Result<Box<dyn Listing>>;

    /// When something was last put into a directory or taken from it, where the driver knows and there is
    /// such a directory.
    async fn modified(&self, directory: &StorageKey) -> Result<Option<Timestamp>>;

    /// Writes small objects whole: each is durable when this returns, and a reader sees either what was
    /// there before or all of the new bytes. Many in one call are cheaper than as many calls; the caller
    /// bounds how much it holds in memory at once.
    ///
    /// After an error some may be written. An object over [`PUT_OBJECT_BYTES_MAX`] is
    /// [`TooLarge`](Error::TooLarge), and nothing is written.
    async fn put(&self, objects: Vec<(StorageKey, Bytes)>) -> Result<()>;

    /// Gives an object's bytes a second key, durably, without copying them where the driver can. What was under
    /// the second key is replaced; deleting one of the two leaves the other.
    async fn link(&self, from: &StorageKey, to: &StorageKey) -> Result<()>;

    /// The file that holds an object, where there is one: for those who give it another name on the same file
    /// system. Nobody writes to it.
    fn file(&self, _key: &StorageKey) -> Option<PathBuf> {
        None
    }

    /// A URL at which whoever has it may read the object for a while, where clients can be sent to the store
    /// itself. The object need not exist.
    async fn signed_url(&self, _key: &StorageKey) -> Result<Option<String>> {
        Ok(None)
    }

    /// How long a [`signed_url`](Self::signed_url) is good; zero where there are none. An object that clients
    /// may have been sent to is not deleted before.
    fn signed_url_life(&self) -> Duration {
        Duration::ZERO
    }

    /// Deletes objects, durably. An absent one is success. After an error some may be gone.
    async fn delete(&self, keys: &[StorageKey]) -> Result<()>;

    /// Whether the store works: writes a small object, syncs it, reads it back and deletes it.
    async fn probe(&self) -> Result<()>;
}

/// A listing under way. It holds a few entries at a time, however many there are, and sees each object
/// that was there from its begin to its end; of others it may see some.
#[async_trait]
pub trait Listing: Send {
    /// Some more entries: at most [`LISTED_AT_ONCE`], and none at the end only.
    ///
    /// After an error the listing has ended.
    async fn next(&mut self) -> Result<Vec<Listed>>;
}

/// One entry of a listing.
#[derive(Debug)]
pub enum Listed {
    /// An object.
    Object {
        /// Its key.
        key: StorageKey,
        /// Its size in bytes.
        size: u64,
        /// When it was last written, where the driver knows.
        modified: Option<Timestamp>,
    },
    /// A directory; from [`BlobStore::children`] only.
    Directory {
        /// Its key.
        key: StorageKey,
    },
    /// A name that no [`StorageKey`] can have, and whatever is below it.
    Foreign {
        /// The name with the directories above it, made readable where it is not text.
        path: String,
    },
    /// Something that could not be looked at; the rest follows.
    Unreadable {
        /// What it is.
        path: String,
        /// Why.
        error: Error,
    },
}

/// An object that is being made of parts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unfinished {
    /// Its key, which names its upload.
    pub key: StorageKey,
    /// What the service calls the making of it.
    pub id: String,
}

/// Refuses what [`BlobStore::put`] does not take; every driver asks first.
pub(crate) fn check_put(objects: &[(StorageKey, Bytes)]) -> Result<()> {
    match objects
        .iter()
        .find(|(_, bytes)| bytes.len() > PUT_OBJECT_BYTES_MAX)
    {
        None => Ok(()),
        Some((key, bytes)) => Err(Error::TooLarge {
            key: key.clone(),
            size: bytes.len() as u64,
            max: PUT_OBJECT_BYTES_MAX as u64,
        }),
    }
}

/// An upload open for appending.
///
/// Dropping a writer keeps what has reached the store and may lose what has not. After an error no
/// more can be written, and `suspend` tells what was kept.
#[async_trait]
pub trait UploadWriter: Send {
    /// How many bytes the upload has, including those still on their way to the store.
    fn offset(&self) -> u64;

    /// Appends bytes. Waits while the store is slower than the caller, so memory stays bounded.
    /// When it is cancelled, `offset` tells how many were taken.
    async fn write(&mut self, bytes: Bytes) -> Result<()>;

    /// Waits until the writer cannot wait for more bytes any longer, since others need what it takes: it is to be
    /// suspended then. For ever, where that never is.
    async fn out_of_time(&mut self) -> Error {
        std::future::pending().await
    }

    /// Closes the writer with every byte handed to the store, so that the upload can be resumed.
    ///
    /// A failure that no call has reported yet is reported here.
    async fn suspend(self: Box<Self>) -> Result<Progress>;

    /// The digest of every byte so far. The last ones need not have reached the store for it, so that
    /// bytes nobody wants never do.
    ///
    /// For another algorithm than the upload was resumed with, the store reads what it has again. A commit after this
    /// waits for no other upload.
    async fn digest(&mut self, algorithm: Algorithm) -> Result<Digest>;

    /// The key under which a commit is cheapest, where the store has chosen one: it was never used before, and
    /// what is there, if anything is, are the bytes of this upload.
    fn own_key(&self) -> Option<StorageKey> {
        None
    }

    /// Makes the upload visible under `key`, with every byte durable, and ends it. What was there is
    /// replaced. A shared store returns what the caller records when nothing comes of the commit.
    ///
    /// After [`Full`](crate::Error::Full) and [`UploadUnknown`](crate::Error::UploadUnknown) nothing is
    /// visible. After any other error the outcome is open: the bytes may be visible, and the caller
    /// deletes `key` or commits under another. When syncing fails the store may forget the upload, since
    /// a second sync could succeed without the bytes that the first one lost.
    async fn commit(self: Box<Self>, key: &StorageKey) -> Result<Option<Progress>>;

    /// Ends the upload with what is known here, and drops its bytes. False when that takes
    /// [`BlobStore::abort_upload`].
    async fn discard(self: Box<Self>) -> Result<bool> {
        Ok(false)
    }
}

/// An object open for reading.
#[async_trait]
pub trait BlobReader: Send + Sync {
    /// The size of the object when it was opened.
    fn size(&self) -> u64;

    /// Some bytes from `offset` on: at least one, at most `max` (taken as 1 when 0) and
    /// [`READ_CHUNK_BYTES`]. Nothing only at or past the end.
    ///
    /// An object that turns out shorter than its size is [`Error::Truncated`].
    async fn read_at(&self, offset: u64, max: usize) -> Result<Bytes>;

    /// Adds the bytes from `offset` on, at most `max` of them, to a hash; how many they were, 0 only at or
    /// past the end.
    ///
    /// This looks at what is stored now, and at nothing that is remembered of it, as far as the driver can
    /// tell the two apart; it leaves in memory what was there. `offset` and `max` are best multiples of a MiB.
    async fn hash_at(&self, offset: u64, max: u64, hasher: Hasher) -> Result<(Hasher, u64)> {
        let mut hasher = hasher;
        let mut hashed = 0;
        while hashed < max {
            let wanted = usize::try_from(max - hashed).unwrap_or(usize::MAX);
            let bytes = self.read_at(offset.saturating_add(hashed), wanted).await?;
            if bytes.is_empty() {
                break;
            }
            hasher.update(&bytes);
            hashed += bytes.len() as u64;
        }
        Ok((hasher, hashed))
    }

    /// Tells what will be read next, so that a store far away fetches that and no more.
    fn expect(&self, _range: Range<u64>) {}

    /// The file that holds the bytes from `offset` on, at most `max` of them, if they are in memory, so
    /// that the kernel can send them without a copy and without waiting for a disk.
    ///
    /// `None` when the next bytes are not in memory, or are not in a file; [`read_at`](Self::read_at)
    /// always works.
    fn in_memory(&self, _offset: u64, _max: u64) -> Option<FileRange> {
        None
    }
}

/// Bytes of an open file; at least one.
#[derive(Clone, Debug)]
pub struct FileRange {
    /// The file.
    pub file: Arc<File>,
    /// Where the bytes begin.
    pub offset: u64,
    /// How many there are.
    pub length: u64,
}

/// How far an upload has come: what a caller records between two requests.
#[derive(Clone, Debug)]
pub struct Progress {
    /// How many bytes are stored.
    pub offset: u64,
    /// The hash of exactly these bytes.
    pub hasher: Hasher,
    /// What a shared store needs to go on.
    pub state: Option<String>,
    /// Whether somebody handed over bytes and never recorded what became of them: a shared store may hold
    /// something of this upload that `state` does not name.
    pub doubtful: bool,
}

impl Progress {
    /// So many bytes with this hash, and nothing else to say.
    pub fn new(offset: u64, hasher: Hasher) -> Progress {
        Progress {
            offset,
            hasher,
            state: None,
            doubtful: false,
        }
    }
}
