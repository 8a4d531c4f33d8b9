//! The place under test, and the steps that every behaviour is made of.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_model::{Algorithm, Digest, Hasher, UploadId};

use crate::{
    BlobReader, BlobStore, Error, LISTED_AT_ONCE, Listed, Listing, Progress, READ_CHUNK_BYTES,
    StorageKey, UploadWriter,
};

/// A store that can be closed and opened again.
pub(super) struct Place {
    store: Option<Arc<dyn BlobStore>>,
    numbers: u32,
}

impl Place {
    pub(super) fn new(store: Arc<dyn BlobStore>) -> Place {
        Place {
            store: Some(store),
            numbers: 0,
        }
    }

    pub(super) fn store(&self) -> &dyn BlobStore {
        self.store
            .as_deref()
            .expect("a store is open between reopenings")
    }

    pub(super) async fn reopen(&mut self, open: &impl AsyncFn() -> Arc<dyn BlobStore>) {
        self.store = None;
        self.store = Some(open().await);
    }

    /// Sixteen bytes that differ after each upload.
    pub(super) fn mark(&self) -> [u8; 16] {
        let mut mark = [0; 16];
        mark[..4].copy_from_slice(&self.numbers.to_be_bytes());
        mark
    }

    pub(super) fn upload(&mut self) -> UploadId {
        self.numbers += 1;
        UploadId::from_random(self.mark())
    }

    pub(super) async fn begun(&mut self) -> UploadId {
        let id = self.upload();
        self.store()
            .begin_upload(id)
            .await
            .expect("a fresh upload begins");
        id
    }

    /// Resumes an upload; begins it again when it had no bytes and was forgotten.
    async fn resumed(&self, id: UploadId, saved: Option<Progress>) -> Box<dyn UploadWriter> {
        let store = self.store();
        let without_bytes = saved.as_ref().is_none_or(|saved| saved.offset == 0);
        let mut resumed = store.resume_upload(id, saved, Algorithm::Sha256).await;
        if without_bytes && matches!(resumed, Err(Error::UploadUnknown(_))) {
            store
                .begin_upload(id)
                .await
                .expect("an upload begins again");
            resumed = store.resume_upload(id, None, Algorithm::Sha256).await;
        }
        resumed.expect("the upload resumes")
    }

    /// Appends `content` in pieces and suspends.
    pub(super) async fn append(
        &self,
        id: UploadId,
        saved: Option<Progress>,
        content: &[u8],
    ) -> Progress {
        let mut writer = self.resumed(id, saved).await;
        let start = writer.offset();
        for piece in content.chunks(100_000) {
            writer
                .write(Bytes::copy_from_slice(piece))
                .await
                .expect("bytes are taken");
        }
        assert_eq!(writer.offset(), start + content.len() as u64);
        let progress = writer.suspend().await.expect("the upload is suspended");
        assert_eq!(progress.offset, start + content.len() as u64);
        progress
    }

    /// Commits an upload; what its digest was.
    pub(super) async fn commit(
        &self,
        id: UploadId,
        saved: Option<Progress>,
        key: &StorageKey,
    ) -> Digest {
        let mut writer = self.resumed(id, saved).await;
        let digest = writer.digest(Algorithm::Sha256).await;
        writer.commit(key).await.expect("an upload is committed");
        digest.expect("the upload is hashed")
    }

    /// Uploads and commits `content` under its own digest.
    pub(super) async fn push(&mut self, content: &[u8]) -> StorageKey {
        let id = self.begun().await;
        let saved = self.append(id, None, content).await;
        let key = StorageKey::canonical(&sha256(content));
        let digest = self.commit(id, Some(saved), &key).await;
        assert_eq!(digest, sha256(content));
        key
    }

    /// Commits `content` under this key, in one go.
    pub(super) async fn push_as(&mut self, content: &[u8], key: &StorageKey) {
        let id = self.begun().await;
        let mut writer = self.resumed(id, None).await;
        let bytes = Bytes::copy_from_slice(content);
        writer.write(bytes).await.expect("bytes are taken");
        writer.commit(key).await.expect("an upload is committed");
    }

    /// A reader goes on after its object was replaced or deleted, where the store is a local one.
    pub(super) async fn still_reads(&self, reader: &dyn BlobReader, content: &[u8]) {
        if !self.store().is_shared() {
            assert!(read_all(reader).await == content, "an open reader goes on");
        }
    }

    pub(super) async fn content(&self, key: &StorageKey) -> Vec<u8> {
        read_all(&*self.store().open(key).await.expect("the object opens")).await
    }

    /// Keys and sizes of everything below a directory, sorted.
    pub(super) async fn listed(&self, directory: &StorageKey) -> Vec<(StorageKey, u64)> {
        let listing = self.store().list(directory).await;
        let mut found = Vec::new();
        for entry in entries(listing.expect("a store is listed")).await {
            match entry {
                Listed::Object { key, size, .. } => found.push((key, size)),
                other => panic!("a listing names objects only, not {other:?}"),
            }
        }
        found.sort();
        found
    }

    /// Names directly below a directory, those of directories with a slash behind, sorted.
    pub(super) async fn children(&self, directory: &StorageKey) -> Vec<String> {
        let listing = self.store().children(directory).await;
        let mut found = Vec::new();
        for entry in entries(listing.expect("a directory is listed")).await {
            match entry {
                Listed::Object { key, .. } => found.push(key.name().to_owned()),
                Listed::Directory { key } => found.push(format!("{}/", key.name())),
                other => panic!("nothing is foreign here, but {other:?} is"),
            }
        }
        found.sort();
        found
    }

    pub(super) async fn absent(&self, key: &StorageKey) {
        let size = self.store().size(key).await.expect("the store answers");
        assert_eq!(size, None, "{key}");
        let opened = self.store().open(key).await.map(|reader| reader.size());
        assert!(
            matches!(&opened, Err(Error::NotFound(named)) if named == key),
            "{opened:?}"
        );
    }
}

async fn entries(mut listing: Box<dyn Listing>) -> Vec<Listed> {
    let mut found = Vec::new();
    loop {
        let batch = listing.next().await.expect("a listing goes on");
        assert!(batch.len() <= LISTED_AT_ONCE);
        if batch.is_empty() {
            return found;
        }
        found.extend(batch);
    }
}

async fn read_all(reader: &dyn BlobReader) -> Vec<u8> {
    let mut content = Vec::new();
    while (content.len() as u64) < reader.size() {
        let piece = reader
            .read_at(content.len() as u64, usize::MAX)
            .await
            .expect("the object reads");
        assert!(!piece.is_empty() && piece.len() <= READ_CHUNK_BYTES);
        content.extend_from_slice(&piece);
    }
    let end = reader
        .read_at(reader.size(), 1)
        .await
        .expect("the end reads");
    assert!(end.is_empty());
    content
}

pub(super) fn sha256(content: &[u8]) -> Digest {
    Hasher::digest(Algorithm::Sha256, content)
}

/// Bytes that repeat nowhere near, different for each `seed`.
pub(super) fn sample(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut content = Vec::with_capacity(length + 8);
    while content.len() < length {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        content.extend_from_slice(&(state ^ (state >> 29)).to_le_bytes());
    }
    content.truncate(length);
    content
}
