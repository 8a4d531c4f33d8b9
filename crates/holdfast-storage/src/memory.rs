//! Bytes in memory: Distribution's `inmemory` driver, for tests and trials.
//!
//! It keeps every promise of [`BlobStore`] but durability. It has no limit of its own on how much it
//! holds, which is what its name says.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_model::{Algorithm, Digest, Hasher, Timestamp, UploadId};

use crate::blob_store::check_put;
use crate::resumption::starting_point;
use crate::{
    BlobReader, BlobStore, Error, LISTED_AT_ONCE, Listed, Listing, Progress, READ_CHUNK_BYTES,
    Result, StorageKey, UploadWriter,
};

/// A store that is gone when it is dropped.
#[derive(Debug, Default)]
pub struct Memory {
    contents: Arc<Mutex<Contents>>,
}

#[derive(Debug, Default)]
struct Contents {
    uploads: HashMap<UploadId, Vec<u8>>,
    objects: BTreeMap<StorageKey, Bytes>,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Arc<Memory> {
        Arc::default()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        lock(&self.contents)
    }
}

/// No code panics between two changes that belong together, so a poisoned lock guards sound contents.
fn lock(contents: &Mutex<Contents>) -> MutexGuard<'_, Contents> {
    contents.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl BlobStore for Memory {
    fn driver(&self) -> &'static str {
        "inmemory"
    }

    async fn begin_upload(&self, id: UploadId) -> Result<()> {
        let mut contents = self.contents();
        if contents.uploads.contains_key(&id) {
            return Err(Error::unavailable(
                "begin upload",
                id.to_string(),
                "an upload of this id exists",
            ));
        }
        contents.uploads.insert(id, Vec::new());
        Ok(())
    }

    async fn resume_upload(
        &self,
        id: UploadId,
        saved: Option<Progress>,
        algorithm: Algorithm,
    ) -> Result<Box<dyn UploadWriter>> {
        let contents = self.contents();
        let staged = contents.uploads.get(&id).ok_or(Error::UploadUnknown(id))?;
        let stored_bytes = staged.len() as u64;
        let mut progress = starting_point(saved, stored_bytes, algorithm);
        // The record reaches no further than what is stored, so its offset fits.
        progress.hasher.update(&staged[progress.offset as usize..]);
        progress.offset = stored_bytes;
        Ok(Box::new(Writer {
            contents: Arc::clone(&self.contents),
            id,
            progress,
        }))
    }

    async fn uncommit_upload(&self, id: UploadId, key: &StorageKey) -> Result<()> {
        let mut contents = self.contents();
        let object = contents
            .objects
            .remove(key)
            .ok_or_else(|| Error::NotFound(key.clone()))?;
        contents.uploads.insert(id, object.to_vec());
        Ok(())
    }

    async fn abort_upload(&self, id: UploadId) -> Result<()> {
        self.contents().uploads.remove(&id);
        Ok(())
    }

    async fn staged_uploads(&self) -> Result<Vec<UploadId>> {
        Ok(self.contents().uploads.keys().copied().collect())
    }

    async fn open(&self, key: &StorageKey) -> Result<Box<dyn BlobReader>> {
        let contents = self.contents();
        let object = contents
            .objects
            .get(key)
            .ok_or_else(|| Error::NotFound(key.clone()))?;
        Ok(Box::new(Reader {
            object: object.clone(),
        }))
    }

    async fn size(&self, key: &StorageKey) -> Result<Option<u64>> {
        Ok(self
            .contents()
            .objects
            .get(key)
            .map(|object| object.len() as u64))
    }

    async fn get(&self, key: &StorageKey, max: u64) -> Result<Bytes> {
        let contents = self.contents();
        let object = contents.objects.get(key);
        let object = object.ok_or_else(|| Error::NotFound(key.clone()))?;
        let size = object.len() as u64;
        if size > max {
            let key = key.clone();
            return Err(Error::TooLarge { key, size, max });
        }
        Ok(object.clone())
    }

    async fn list(&self, directory: &StorageKey) -> Result<Box<dyn Listing>> {
        Ok(Box::new(Entries::below(self, directory, true)))
    }

    async fn children(&self, directory: &StorageKey) -> Result<Box<dyn Listing>> {
        Ok(Box::new(Entries::below(self, directory, false)))
    }

    async fn modified(&self, _directory: &StorageKey) -> Result<Option<Timestamp>> {
        Ok(None)
    }

    async fn put(&self, objects: Vec<(StorageKey, Bytes)>) -> Result<()> {
        check_put(&objects)?;
        self.contents().objects.extend(objects);
        Ok(())
    }

    async fn link(&self, from: &StorageKey, to: &StorageKey) -> Result<()> {
        let mut contents = self.contents();
        let object = contents.objects.get(from).cloned();
        let object = object.ok_or_else(|| Error::NotFound(from.clone()))?;
        contents.objects.insert(to.clone(), object);
        Ok(())
    }

    async fn delete(&self, keys: &[StorageKey]) -> Result<()> {
        let mut contents = self.contents();
        for key in keys {
            contents.objects.remove(key);
        }
        Ok(())
    }

    async fn probe(&self) -> Result<()> {
        Ok(())
    }
}

struct Writer {
    contents: Arc<Mutex<Contents>>,
    id: UploadId,
    progress: Progress,
}

#[async_trait]
impl UploadWriter for Writer {
    fn offset(&self) -> u64 {
        self.progress.offset
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let mut contents = lock(&self.contents);
        let staged = contents
            .uploads
            .get_mut(&self.id)
            .ok_or(Error::UploadUnknown(self.id))?;
        staged.extend_from_slice(&bytes);
        self.progress.hasher.update(&bytes);
        self.progress.offset += bytes.len() as u64;
        Ok(())
    }

    async fn suspend(self: Box<Self>) -> Result<Progress> {
        Ok(self.progress)
    }

    async fn digest(&mut self, algorithm: Algorithm) -> Result<Digest> {
        let contents = lock(&self.contents);
        let staged = contents
            .uploads
            .get(&self.id)
            .ok_or(Error::UploadUnknown(self.id))?;
        Ok(Hasher::digest(algorithm, staged))
    }

    async fn commit(self: Box<Self>, key: &StorageKey) -> Result<Option<Progress>> {
        let mut contents = lock(&self.contents);
        let staged = contents
            .uploads
            .remove(&self.id)
            .ok_or(Error::UploadUnknown(self.id))?;
        contents.objects.insert(key.clone(), staged.into());
        Ok(None)
    }
}

/// Walks the keys in their order. All keys before `from` are done with; it is a text, since what comes
/// after a directory need not be a key.
struct Entries {
    contents: Arc<Mutex<Contents>>,
    prefix: String,
    from: String,
    recursive: bool,
}

impl Entries {
    fn below(memory: &Memory, directory: &StorageKey, recursive: bool) -> Entries {
        let prefix = format!("{directory}/");
        Entries {
            contents: Arc::clone(&memory.contents),
            from: prefix.clone(),
            prefix,
            recursive,
        }
    }
}

#[async_trait]
impl Listing for Entries {
    async fn next(&mut self) -> Result<Vec<Listed>> {
        let contents = lock(&self.contents);
        let mut entries = Vec::new();
        while entries.len() < LISTED_AT_ONCE {
            let rest = (Bound::Included(self.from.as_str()), Bound::Unbounded);
            let Some((key, object)) = contents.objects.range::<str, _>(rest).next() else {
                break;
            };
            let Some(name) = key.as_str().strip_prefix(&self.prefix) else {
                break;
            };
            match name.split_once('/').filter(|_| !self.recursive) {
                Some((directory, _)) => {
                    let path = format!("{}{directory}", self.prefix);
                    // The letter after the slash in ASCII: behind everything below the directory.
                    self.from = format!("{path}0");
                    let key = path.parse().expect("it begins a key, before a slash");
                    entries.push(Listed::Directory { key });
                }
                None => {
                    self.from = format!("{key}\0");
                    entries.push(Listed::Object {
                        key: key.clone(),
                        size: object.len() as u64,
                        modified: None,
                    });
                }
            }
        }
        Ok(entries)
    }
}

struct Reader {
    object: Bytes,
}

#[async_trait]
impl BlobReader for Reader {
    fn size(&self) -> u64 {
        self.object.len() as u64
    }

    async fn read_at(&self, offset: u64, max: usize) -> Result<Bytes> {
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(self.object.len());
        let length = max
            .clamp(1, READ_CHUNK_BYTES)
            .min(self.object.len() - start);
        Ok(self.object.slice(start..start + length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_what_every_store_promises() {
        let store = Memory::new();
        crate::suite::run(async || Arc::clone(&store) as Arc<dyn BlobStore>).await;
    }
}
