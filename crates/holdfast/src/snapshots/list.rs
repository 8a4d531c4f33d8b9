//! The list of snapshots.

use holdfast_model::{Digest, Timestamp};
use holdfast_storage::{BlobStore, StorageKey};
use serde::{Deserialize, Serialize};

use super::Error;

/// Longest list that is read: a line for each snapshot that is kept.
const LIST_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A snapshot, as the list names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// Its number; the redo log after it has the same.
    pub(crate) number: u64,
    /// When it was taken.
    #[serde(with = "micros")]
    pub(crate) taken_at: Timestamp,
    /// The digest of the compressed bytes.
    pub(crate) digest: Digest,
    /// How many there are.
    pub(crate) bytes: u64,
    /// Bytes of the database.
    pub(crate) database_bytes: u64,
}

impl Snapshot {
    pub(crate) fn key(&self) -> StorageKey {
        StorageKey::snapshot(self.number)
    }
}

#[derive(Serialize, Deserialize)]
struct List {
    snapshots: Vec<Snapshot>,
}

/// Reads the list, oldest first. Without one there are none.
pub(super) async fn read(store: &dyn BlobStore) -> Result<Vec<Snapshot>, Error> {
    let text = match store
        .get(&StorageKey::snapshot_list(), LIST_BYTES_MAX)
        .await
    {
        Err(holdfast_storage::Error::NotFound(_)) => return Ok(Vec::new()),
        other => other?,
    };
    let list: List = serde_json::from_slice(&text)?;
    Ok(list.snapshots)
}

pub(super) async fn write(store: &dyn BlobStore, snapshots: &[Snapshot]) -> Result<(), Error> {
    let list = List {
        snapshots: snapshots.to_vec(),
    };
    let text = serde_json::to_vec_pretty(&list)?;
    store
        .put(vec![(StorageKey::snapshot_list(), text.into())])
        .await?;
    Ok(())
}

mod micros {
    use holdfast_model::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(time.as_micros())
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(from).map(Timestamp::from_micros)
    }
}
