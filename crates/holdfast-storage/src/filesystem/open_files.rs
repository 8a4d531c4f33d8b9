//! Files of objects that were pulled lately, kept open for the next pull.
//!
//! Opening costs a small pull as much as reading. An object never changes and its key is never used
//! again, so an open file can be trusted but for two things, and one `fstat` sees both: the file was
//! deleted or replaced (it has no name any more), or somebody else changed its length. The space of a
//! deleted file comes back when the last descriptor closes, so deletions are announced here.
//!
//! Only for file systems of this machine: on others that `fstat` may ask another machine, and a deleted file
//! may look as if it were there.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::StorageKey;

/// An object open for reading.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) key: StorageKey,
    pub(super) file: Arc<File>,
    /// Bytes it had when it was opened.
    pub(super) size: u64,
}

impl OpenFile {
    fn is_intact(&self) -> bool {
        self.file
            .metadata()
            .is_ok_and(|found| found.nlink() > 0 && found.len() == self.size)
    }
}

#[derive(Debug)]
pub(super) struct OpenFiles {
    kept: bool,
    files: Cache<StorageKey, Arc<OpenFile>>,
}

impl OpenFiles {
    /// Keeps so many files open; with 0, none.
    pub(super) fn new(most: usize) -> OpenFiles {
        OpenFiles {
            kept: most > 0,
            files: Cache::new(most),
        }
    }

    /// The open file of an object, as it is on the disk now.
    pub(super) fn get(&self, key: &StorageKey) -> Option<Arc<OpenFile>> {
        let open = self.files.get(key)?;
        if open.is_intact() {
            return Some(open);
        }
        self.forget(key);
        None
    }

    /// Keeps a file that was opened just now, with its size.
    pub(super) fn keep(&self, key: &StorageKey, (file, size): (File, u64)) -> Arc<OpenFile> {
        let open = Arc::new(OpenFile {
            key: key.clone(),
            file: Arc::new(file),
            size,
        });
        if !self.kept {
            return open;
        }
        self.files.insert(key.clone(), Arc::clone(&open));
        // It may have been deleted since, and announced before it was here to be forgotten.
        if !open.is_intact() {
            self.forget(key);
        }
        open
    }

    /// Closes the file of an object that is deleted or replaced, once its readers are done.
    pub(super) fn forget(&self, key: &StorageKey) {
        self.files.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use bytes::Bytes;
    use holdfast_model::{Algorithm, UploadId};

    use super::super::Filesystem;
    use super::*;
    use crate::BlobStore as _;

    fn id() -> UploadId {
        UploadId::from_random([7; 16])
    }

    async fn push(store: &Filesystem, key: &StorageKey, content: &'static [u8]) {
        store.begin_upload(id()).await.unwrap();
        let mut writer = store
            .resume_upload(id(), None, Algorithm::Sha256)
            .await
            .unwrap();
        writer.write(Bytes::from_static(content)).await.unwrap();
        writer.commit(key).await.unwrap();
    }

    async fn read(store: &Filesystem, key: &StorageKey) -> Bytes {
        let reader = store.open(key).await.unwrap();
        reader.read_at(0, 100).await.unwrap()
    }

    /// Descriptors of this process that are open on a file of this path, deleted or not.
    fn descriptors(path: &Path) -> usize {
        let path = path.to_str().unwrap();
        fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
            .filter(|target| target.to_str().is_some_and(|to| to.starts_with(path)))
            .count()
    }

    #[tokio::test]
    async fn a_file_stays_open_until_its_object_is_deleted() {
        let root = tempfile::tempdir().unwrap();
        let store = Filesystem::open(root.path(), true).unwrap();
        let key: StorageKey = "blobs/a".parse().unwrap();
        let file = root.path().join("blobs/a");
        push(&store, &key, b"content").await;
        for _ in 0..3 {
            assert_eq!(read(&store, &key).await, "content");
            assert_eq!(descriptors(&file), 1);
        }
        store.delete(std::slice::from_ref(&key)).await.unwrap();
        assert_eq!(descriptors(&file), 0);
        assert!(store.open(&key).await.is_err());
    }

    #[tokio::test]
    async fn what_is_on_the_disk_is_what_is_read() {
        let root = tempfile::tempdir().unwrap();
        let store = Filesystem::open(root.path(), true).unwrap();
        let key: StorageKey = "blobs/a".parse().unwrap();
        let file = root.path().join("blobs/a");
        push(&store, &key, b"content").await;
        assert_eq!(read(&store, &key).await, "content");
        push(&store, &key, b"replaced").await;
        assert_eq!(read(&store, &key).await, "replaced");
        store.uncommit_upload(id(), &key).await.unwrap();
        assert!(store.open(&key).await.is_err());
        let again = store.resume_upload(id(), None, Algorithm::Sha256).await;
        again.unwrap().commit(&key).await.unwrap();
        assert_eq!(read(&store, &key).await, "replaced");
        // Not by us: deleted, made anew, cut short.
        fs::remove_file(&file).unwrap();
        assert!(store.open(&key).await.is_err());
        fs::write(&file, "anew").unwrap();
        assert_eq!(read(&store, &key).await, "anew");
        fs::write(&file, "ane").unwrap();
        let reader = store.open(&key).await.unwrap();
        assert_eq!(reader.size(), 3);
        fs::write(&file, "").unwrap();
        assert!(reader.in_memory(0, 3).is_none());
        assert!(reader.read_at(0, 3).await.is_err());
        assert_eq!(store.open(&key).await.unwrap().size(), 0);
    }

    #[tokio::test]
    async fn what_is_in_memory_can_be_sent_from_its_file() {
        let root = tempfile::tempdir().unwrap();
        let store = Filesystem::open(root.path(), true).unwrap();
        let key: StorageKey = "blobs/a".parse().unwrap();
        push(&store, &key, b"content").await;
        let reader = store.open(&key).await.unwrap();
        let found = reader.in_memory(2, 100).unwrap();
        assert_eq!((found.offset, found.length), (2, 5));
        let found = reader.in_memory(0, 3).unwrap();
        assert_eq!((found.offset, found.length), (0, 3));
        for (offset, max) in [(7, 1), (8, 1), (u64::MAX, u64::MAX), (0, 0)] {
            assert!(reader.in_memory(offset, max).is_none(), "{offset} {max}");
        }
        store.shared.inline_reads.forbid();
        assert!(reader.in_memory(0, 7).is_none());
    }
}
