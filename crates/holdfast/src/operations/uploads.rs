//! Upload sessions: begin, append, finish, cancel, and the push of a blob in one request.
//!
//! A session is a row in the database and a staging file; the running hash lives in the row between two
//! requests, and the driver trusts the stored bytes over the row, so a session survives a kill at any
//! moment. Finishing an upload costs a comparison and a rename whatever its size.
//!
//! Invariant: bytes are visible under a digest only after they hashed to it and were synced (V1, V2).
//! Source: distribution-spec "Pushing blobs"; the link transaction is step 2 of the collection protocol.

use std::collections::HashSet;

use futures_util::StreamExt as _;
use holdfast_metadata::{ExpiredUpload, LinkBlob, Linked, NewUpload, Upload, UploadCreated};
use holdfast_model::byte_range::ContentRange;
use holdfast_model::{Algorithm, Digest, Hasher, RepositoryName, UploadId};
use holdfast_storage::{Progress, StorageKey, UploadWriter};

use super::{ByteStream, Error, Operations, Result};
use crate::{clock, random};

/// Bytes a request adds to a session.
pub struct Chunk {
    /// Where the client says they belong.
    pub range: Option<ContentRange>,
    /// How many the client says it sends.
    pub length: Option<u64>,
    /// The bytes.
    pub body: ByteStream,
}

impl Operations {
    /// Opens a session. `algorithm` is what its bytes will be hashed with as they arrive.
    pub async fn start_upload(
        &self,
        repository: &RepositoryName,
        algorithm: Algorithm,
    ) -> Result<UploadId> {
        self.writable()?;
        let id = UploadId::from_random(random::bytes());
        let now = clock::now();
        let opened = self
            .metadata
            .create_upload(NewUpload {
                repository: repository.clone(),
                id,
                storage_key: id.to_string(),
                algorithm: Some(algorithm),
                expires_at: now.plus(self.rules.upload_age),
                now,
                limit_open_sessions: self.rules.upload_sessions,
            })
            .await?;
        if opened == UploadCreated::TooMany {
            return Err(Error::TooManyUploads {
                limit: self.rules.upload_sessions,
            });
        }
        self.store.begin_upload(id).await?;
        Ok(id)
    }

    /// Bytes the session holds.
    pub async fn upload_offset(&self, repository: &RepositoryName, id: UploadId) -> Result<u64> {
        let upload = self.session(repository, id).await?;
        let Some(_guard) = self.sessions.take(id).await else {
            return Ok(upload.offset);
        };
        let upload = self.session(repository, id).await?;
        let writer = self.resume(id, &upload).await?;
        let offset = writer.offset();
        self.suspend(id, writer).await?;
        Ok(offset)
    }

    /// Appends a chunk and returns the bytes the session holds then.
    ///
    /// When the body breaks off, what arrived is kept and the error is returned.
    pub async fn append_chunk(
        &self,
        repository: &RepositoryName,
        id: UploadId,
        chunk: Chunk,
    ) -> Result<u64> {
        self.writable()?;
        let upload = self.session(repository, id).await?;
        let guard = self.sessions.take(id).await.ok_or(Error::UploadBusy {
            offset: upload.offset,
        })?;
        let upload = self.session(repository, id).await?;
        let mut writer = self.resume(id, &upload).await?;
        let written = write(writer.as_mut(), chunk).await;
        let offset = self.suspend(id, writer).await?;
        drop(guard);
        written.map(|()| offset)
    }

    /// Appends the last bytes, if any, and makes the blob of this digest out of the session.
    ///
    /// A session whose content has another digest is thrown away.
    pub async fn finish_upload(
        &self,
        repository: &RepositoryName,
        id: UploadId,
        digest: Digest,
        chunk: Chunk,
    ) -> Result<()> {
        self.writable()?;
        let upload = self.session(repository, id).await?;
        let guard = self.sessions.take(id).await.ok_or(Error::UploadBusy {
            offset: upload.offset,
        })?;
        let upload = self.session(repository, id).await?;
        let mut writer = self.resume(id, &upload).await?;
        if let Err(error) = write(writer.as_mut(), chunk).await {
            self.suspend(id, writer).await?;
            return Err(error);
        }
        let stored = self.metadata.content_exists(&digest).await?;
        let progress = if stored {
            writer.suspend().await?
        } else {
            writer.finish().await?
        };
        let size = progress.offset;
        let actual = self.digest(id, progress, digest.algorithm()).await?;
        if actual != digest {
            self.discard(repository, id).await?;
            return Err(Error::DigestMismatch {
                expected: digest,
                actual,
            });
        }
        if stored && self.link_stored(repository, &digest, Some(id)).await? {
            self.store.abort_upload(id).await?;
            return Ok(());
        }
        if stored {
            // It went away in between: sync our own bytes after all.
            let upload = self.session(repository, id).await?;
            self.resume(id, &upload).await?.finish().await?;
        }
        self.publish(repository, id, digest, size).await?;
        drop(guard);
        Ok(())
    }

    /// Pushes a blob in one request.
    pub async fn push_blob(
        &self,
        repository: &RepositoryName,
        digest: Digest,
        body: ByteStream,
    ) -> Result<()> {
        let id = self.start_upload(repository, digest.algorithm()).await?;
        let pushed = self
            .finish_upload(
                repository,
                id,
                digest,
                Chunk {
                    range: None,
                    length: None,
                    body,
                },
            )
            .await;
        if pushed.is_err() {
            // Nobody knows this session: it cannot be resumed.
            self.discard(repository, id).await?;
        }
        pushed
    }

    /// Ends a session and drops its bytes.
    pub async fn cancel_upload(&self, repository: &RepositoryName, id: UploadId) -> Result<()> {
        self.writable()?;
        let upload = self.session(repository, id).await?;
        let _guard = self.sessions.take(id).await.ok_or(Error::UploadBusy {
            offset: upload.offset,
        })?;
        if self.discard(repository, id).await? {
            Ok(())
        } else {
            Err(Error::UploadUnknown(id))
        }
    }

    /// Drops the sessions that nobody has touched for their whole life; returns how many.
    ///
    /// With `dry_run` they are only counted and logged.
    pub async fn purge_uploads(&self, dry_run: bool) -> Result<u64> {
        /// Sessions dropped per look at the database.
        const BATCH: usize = 100;
        let mut purged = 0;
        loop {
            let expired = self.metadata.expired_uploads(clock::now(), BATCH).await?;
            let all = expired.len() < BATCH;
            for ExpiredUpload { repository, id, .. } in expired {
                purged += 1;
                tracing::info!(upload = %id, repository = %repository, dry_run, "purging an abandoned upload session");
                if !dry_run && let Some(_guard) = self.sessions.take(id).await {
                    self.discard(&repository, id).await?;
                }
            }
            if all || dry_run {
                return Ok(purged);
            }
        }
    }

    /// Drops staging bytes whose session is not in the database: what a crash between the two leaves.
    ///
    /// To be called before the first request only.
    pub async fn sweep_staged_uploads(&self) -> Result<u64> {
        /// Sessions read at a time.
        const PAGE: usize = 1000;
        let staged = self.store.staged_uploads().await?;
        let mut known = HashSet::new();
        let mut after = None;
        while !staged.is_empty() {
            let page = self.metadata.uploads_after(after, PAGE).await?;
            after = page.last().copied();
            known.extend(page);
            if after.is_none() {
                break;
            }
        }
        let mut swept = 0;
        for id in staged {
            if !known.contains(&id) {
                self.store.abort_upload(id).await?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    async fn session(&self, repository: &RepositoryName, id: UploadId) -> Result<Upload> {
        self.metadata
            .upload(repository, id)
            .await?
            .ok_or(Error::UploadUnknown(id))
    }

    async fn resume(&self, id: UploadId, upload: &Upload) -> Result<Box<dyn UploadWriter>> {
        let saved = upload
            .hash_state
            .as_deref()
            .and_then(|state| Hasher::restore(state).ok());
        let saved = saved.map(|hasher| Progress {
            offset: upload.offset,
            hasher,
        });
        Ok(self
            .store
            .resume_upload(id, saved, upload.algorithm.unwrap_or(Algorithm::Sha256))
            .await?)
    }

    async fn suspend(&self, id: UploadId, writer: Box<dyn UploadWriter>) -> Result<u64> {
        let progress = writer.suspend().await?;
        let expires_at = clock::now().plus(self.rules.upload_age);
        self.metadata
            .save_upload(
                id,
                progress.offset,
                Some(progress.hasher.save()),
                expires_at,
            )
            .await?;
        Ok(progress.offset)
    }

    async fn digest(
        &self,
        id: UploadId,
        progress: Progress,
        algorithm: Algorithm,
    ) -> Result<Digest> {
        if progress.hasher.algorithm() == algorithm {
            Ok(progress.hasher.finish())
        } else {
            Ok(self.store.hash_upload(id, algorithm).await?)
        }
    }

    /// Row first: bytes without a row are swept at the next start, a row without bytes would be resumed.
    async fn discard(&self, repository: &RepositoryName, id: UploadId) -> Result<bool> {
        let existed = self
            .metadata
            .delete_upload(repository, id, clock::now())
            .await?;
        self.store.abort_upload(id).await?;
        if existed {
            self.metadata.object_deleted(&id.to_string()).await?;
        }
        Ok(existed)
    }

    /// Gives synced and verified bytes their key, then makes them visible in the repository.
    async fn publish(
        &self,
        repository: &RepositoryName,
        id: UploadId,
        digest: Digest,
        size: u64,
    ) -> Result<()> {
        let canonical = StorageKey::canonical(&digest);
        let key = if self
            .metadata
            .key_is_free(canonical.as_str(), &digest)
            .await?
        {
            canonical
        } else {
            StorageKey::incarnation(&digest, random::bytes())
        };
        self.store.commit_upload(id, &key).await?;
        let linked = self
            .metadata
            .link_blob(LinkBlob {
                repository: repository.clone(),
                digest,
                size,
                storage_key: key.as_str().to_owned(),
                upload: Some(id),
                now: clock::now(),
            })
            .await?;
        match linked {
            Linked::Stored => Ok(()),
            Linked::Surplus { .. } => {
                // Somebody else's bytes are the blob; ours were never live and may go at once.
                self.store.delete(std::slice::from_ref(&key)).await?;
                self.metadata.object_deleted(key.as_str()).await?;
                Ok(())
            }
            Linked::KeyTaken => Err(Error::Conflict),
        }
    }
}

/// Checks the place of the chunk, then hands its bytes to the store.
async fn write(writer: &mut dyn UploadWriter, mut chunk: Chunk) -> Result<()> {
    if let Some(range) = chunk.range {
        if range.first != writer.offset() {
            return Err(Error::OutOfOrder {
                offset: writer.offset(),
                first: range.first,
            });
        }
        if let Some(length) = chunk.length.filter(|length| *length != range.length()) {
            return Err(Error::ChunkLength {
                length,
                range: range.length(),
            });
        }
    }
    while let Some(frame) = chunk.body.next().await {
        writer.write(frame?).await?;
    }
    Ok(())
}
