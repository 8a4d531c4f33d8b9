//! Keeps a database to its bucket.
//!
//! What a database says of bytes is true of one place only. Over another bucket, or another directory of it, every
//! blob looks lost: a push would put its bytes where no other node finds them, and give up the good ones. So both
//! carry the same id, made at the first start, and a start with two that differ is refused. A directory needs none:
//! it has its database with it, or is locked by the one process that uses both.

use bytes::Bytes;
use holdfast_metadata::Metadata;
use holdfast_storage::{BlobStore, Error as StorageError, StorageKey};

use crate::error_chain::attempt;
use crate::random;

/// The setting with the id.
const STORE_ID: &str = "store.id";
/// Most bytes of the object with it.
const ID_BYTES_MAX: u64 = 100;

/// Looks whether store and database belong together, and makes them do so at the first start.
pub(crate) async fn bind(store: &dyn BlobStore, metadata: &Metadata) -> Result<(), String> {
    if !store.is_shared() {
        return Ok(());
    }
    let key = StorageKey::store_id();
    let there = match store.get(&key, ID_BYTES_MAX).await {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).trim().to_owned()),
        Err(StorageError::NotFound(_)) => None,
        Err(error) => return Err(attempt("cannot read the id of the object store", &error)),
    };
    let cannot =
        |error: holdfast_metadata::Error| attempt("cannot keep the id of the object store", &error);
    let known = metadata.setting(STORE_ID).await.map_err(cannot)?;
    let id = match (&known, &there) {
        (Some(known), Some(there)) if known == there => return Ok(()),
        (Some(known), Some(_)) => return Err(another(&key, known)),
        (Some(known), None) if metadata.any_blob().await.map_err(cannot)? => {
            return Err(another(&key, known));
        }
        (Some(known), None) => known.clone(),
        (None, _) => {
            let proposed = there.clone().unwrap_or_else(random::hex::<16>);
            let kept = metadata.get_or_insert_setting(STORE_ID, &proposed);
            kept.await.map_err(cannot)?
        }
    };
    if there.as_ref() == Some(&id) {
        return Ok(());
    }
    let put = store.put(vec![(key, Bytes::from(id))]).await;
    put.map_err(|error| attempt("cannot give the object store an id", &error))
}

fn another(key: &StorageKey, id: &str) -> String {
    format!(
        "the object store is not the one that the metadata database knows: look at bucket and root directory. In a copy \
         that was made without the object {key}, write {id} into it"
    )
}
