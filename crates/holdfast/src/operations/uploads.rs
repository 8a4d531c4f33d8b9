//! Upload sessions: begin, append, finish, cancel, and the push of a blob in one request.
//!
//! A session is a row in the database and, from its first bytes on, a staging file; the running hash lives in the row between two
//! requests, and the driver trusts the stored bytes over the row, so a session survives a kill at any
//! moment. Finishing an upload costs a comparison and a rename whatever its size.
//!
//! On a store that many nodes share it is the other way round: the row says where the bytes are, and any node goes on
//! from there. Before a request hands over its first byte it marks the row as doubtful, and saving its outcome takes
//! the mark away; so what a killed node may have left is known of, and deleted when the session ends.
//!
//! Invariant: bytes are visible under a digest only after they hashed to it and were synced (V1, V2).
//! Source: distribution-spec "Pushing blobs"; the link transaction is step 2 of the collection protocol.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use holdfast_metadata::{
    ExpiredUpload, LinkBlob, Linked, NewUpload, OpenUpload, Upload, UploadCreated, UploadProgress,
};
use holdfast_model::byte_range::ContentRange;
use holdfast_model::{Algorithm, Digest, Hasher, RepositoryName, UploadId};
use holdfast_storage::{Error as StorageError, Progress, StorageKey, UploadWriter};

use super::outbox::{self, Entry};
use super::{ByteStream, Damage, Error, Operations, Result};
use crate::error_chain::chain;
use crate::held::Hold;
use crate::{clock, random};

/// How long a push waits for others of the same content. Meanwhile it may keep a part in memory, and where the store
/// does not answer each of those before it takes a minute to find out.
const PUBLISHER_WAIT: Duration = Duration::from_secs(120);

/// Bytes a request adds to a session.
pub(crate) struct Chunk {
    /// Where the client says they belong.
    pub(crate) range: Option<ContentRange>,
    /// How many the client says it sends.
    pub(crate) length: Option<u64>,
    /// The bytes.
    pub(crate) body: ByteStream,
}

impl Operations {
    /// Opens a session. `algorithm` is what its bytes will be hashed with as they arrive.
    pub(crate) async fn start_upload(
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
                storage_key: Entry::Upload(id).to_string(),
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
        if let Err(error) = self.store.begin_upload(id).await {
            // A session nobody was told of must not count against the limit.
            self.forget(repository, id).await;
            return Err(error.into());
        }
        Ok(id)
    }

    /// Bytes the session holds.
    pub(crate) async fn upload_offset(
        &self,
        repository: &RepositoryName,
        id: UploadId,
    ) -> Result<u64> {
        let upload = self.upload(repository, id).await?;
        let Some(_guard) = self.sessions.take(id).await else {
            return Ok(upload.offset);
        };
        let upload = self.upload(repository, id).await?;
        let writer = self.resume(id, &upload).await?;
        if writer.offset() == upload.offset {
            return Ok(upload.offset);
        }
        self.suspend(id, upload.version, writer).await
    }

    /// Appends a chunk and returns the bytes the session holds then.
    ///
    /// When the body breaks off, what arrived is kept and the error is returned.
    pub(crate) async fn append_chunk(
        &self,
        repository: &RepositoryName,
        id: UploadId,
        chunk: Chunk,
    ) -> Result<u64> {
        self.writable()?;
        let (_guard, mut upload) = self.hold(repository, id).await?;
        let mut writer = self.resume(id, &upload).await?;
        let written = self.write(id, &mut upload, writer.as_mut(), chunk).await;
        let offset = self.suspend(id, upload.version, writer).await?;
        written.map(|()| offset)
    }

    /// Appends the last bytes, if any, and makes the blob of this digest out of the session.
    ///
    /// A session whose content has another digest is thrown away.
    pub(crate) async fn finish_upload(
        &self,
        repository: &RepositoryName,
        id: UploadId,
        digest: Digest,
        chunk: Chunk,
    ) -> Result<()> {
        self.writable()?;
        let (_guard, mut upload) = self.hold(repository, id).await?;
        let mut writer = self.resume(id, &upload).await?;
        if let Err(error) = self.write(id, &mut upload, writer.as_mut(), chunk).await {
            self.suspend(id, upload.version, writer).await?;
            return Err(error);
        }
        let actual = match writer.digest(digest.algorithm()).await {
            Ok(actual) => actual,
            Err(error) => {
                self.suspend(id, upload.version, writer).await?;
                return Err(error.into());
            }
        };
        if actual != digest {
            self.discard(repository, id, Some(writer)).await?;
            return Err(Error::DigestMismatch {
                expected: digest,
                actual,
            });
        }
        // The bytes may have taken long. When changes are no longer allowed, the session waits with them.
        let _change = match self.change() {
            Ok(change) => change,
            Err(error) => {
                self.suspend(id, upload.version, writer).await?;
                return Err(error);
            }
        };
        // Of several who push the same content at once, the first stores it and the others find it. Only who
        // has that content may wait here, or anybody could keep its publishers waiting. The first needs nothing any
        // more that one of the others has.
        let _publisher = match self.publisher(digest).await {
            Ok(publisher) => publisher,
            Err(error) => {
                self.suspend(id, upload.version, writer).await?;
                return Err(error);
            }
        };
        if self.is_stored(&digest).await? {
            let linked = self.metadata.link_stored_blob(
                repository,
                &digest,
                Some((id, upload.version)),
                self.store.is_shared(),
                clock::now(),
            );
            match linked.await? {
                Some(linked) if linked.session_ended => {
                    return self.drop_bytes(id, Some(writer)).await;
                }
                // A later request may go on with these bytes.
                Some(_) => return Ok(()),
                None => {}
            }
        }
        self.publish(repository, (id, upload.version), digest, writer)
            .await
    }

    /// The right to publish this content, alone in this process.
    pub(super) async fn publisher(&self, digest: Digest) -> Result<Hold<Digest>> {
        let taken = self.publishers.take_within(digest, PUBLISHER_WAIT).await;
        taken.ok_or(Error::BlobBusy(digest))
    }

    /// Whether this content is stored, as far as its length tells, whoever pushed it.
    ///
    /// What is found missing or cut short is noted, so that the bytes at hand take its place.
    async fn is_stored(&self, digest: &Digest) -> Result<bool> {
        let Some(blob) = self.metadata.content(digest).await? else {
            return Ok(false);
        };
        let key = &blob.storage_key;
        let found = match key.parse() {
            Ok(key) => self.store.size(&key).await?,
            Err(_no_place) => None,
        };
        if found != Some(blob.size) {
            let damage = found.map_or(Damage::Missing, |_| Damage::Size);
            self.mark_damaged(digest, key, damage).await?;
        }
        Ok(found == Some(blob.size))
    }

    /// Drops the bytes of a session that has ended. Its writer, where there is one, may know what there is of them.
    async fn drop_bytes(&self, id: UploadId, writer: Option<Box<dyn UploadWriter>>) -> Result<()> {
        let discarded = match writer {
            Some(writer) => writer.discard().await?,
            None => false,
        };
        if !discarded {
            self.store.abort_upload(id).await?;
        }
        Ok(())
    }

    /// Pushes a blob in one request.
    pub(crate) async fn push_blob(
        &self,
        repository: &RepositoryName,
        digest: Digest,
        body: ByteStream,
    ) -> Result<()> {
        let id = self.start_upload(repository, digest.algorithm()).await?;
        let chunk = Chunk {
            range: None,
            length: None,
            body,
        };
        let pushed = self.finish_upload(repository, id, digest, chunk).await;
        if matches!(pushed, Err(ref error) if !matches!(error, Error::DigestMismatch { .. })) {
            self.forget(repository, id).await;
        }
        pushed
    }

    /// Ends a session and drops its bytes.
    pub(crate) async fn cancel_upload(
        &self,
        repository: &RepositoryName,
        id: UploadId,
    ) -> Result<()> {
        self.writable()?;
        let (_guard, _) = self.hold(repository, id).await?;
        self.discard(repository, id, None).await
    }

    /// A page of the open sessions, in the order of their ids.
    pub(crate) async fn open_uploads(&self, after: Option<UploadId>) -> Result<Vec<OpenUpload>> {
        /// Sessions on a page.
        const PAGE: usize = 1000;
        Ok(self.metadata.uploads_after(after, PAGE).await?)
    }

    /// Drops the sessions that nobody has touched for their whole life; returns how many. In read-only mode
    /// none: it is not their clients' fault that they stand still.
    ///
    /// With `dry_run` they are only logged and counted.
    pub(crate) async fn purge_uploads(&self, dry_run: bool) -> Result<u64> {
        /// Sessions dropped per look at the database.
        const BATCH: usize = 100;
        let mut purged = 0;
        while !self.read_only() {
            let expired = self.metadata.expired_uploads(clock::now(), BATCH).await?;
            let before = purged;
            for ExpiredUpload { repository, id, .. } in &expired {
                if !dry_run && !self.purge(repository, *id).await? {
                    continue;
                }
                purged += 1;
                tracing::info!(upload = %id, repository = %repository, dry_run, "purged an abandoned upload session");
            }
            // A batch of which nothing could be dropped would come again.
            if dry_run || expired.len() < BATCH || purged == before {
                break;
            }
        }
        Ok(purged)
    }

    /// Drops one session, unless somebody works on it or has done so meanwhile.
    async fn purge(&self, repository: &RepositoryName, id: UploadId) -> Result<bool> {
        let Some(_guard) = self.sessions.take(id).await else {
            return Ok(false);
        };
        let Ok(_change) = self.change() else {
            return Ok(false);
        };
        match self.metadata.upload(repository, id).await? {
            Some(upload) if upload.expires_at <= clock::now() => {
                self.discard(repository, id, None).await.map(|()| true)
            }
            _ => Ok(false),
        }
    }

    /// Brings staged bytes and sessions together again after a crash: takes back commits that were not
    /// recorded, and drops staging bytes whose session is not in the database. How many of the latter. What is in
    /// a shared store is never this process's to take.
    ///
    /// To be called before the first request only.
    pub(crate) async fn recover_uploads(&self) -> Result<u64> {
        if self.store.is_shared() {
            return Ok(0);
        }
        let unsettled = self.store.unsettled_commits().await?;
        let staged = self.store.staged_uploads().await?;
        if unsettled.is_empty() && staged.is_empty() {
            return Ok(0);
        }
        let sessions = self.open_sessions().await?;
        for (id, key) in unsettled {
            // A session ends in the transaction that records its commit. Without session or record this may be
            // another database than the one that knew of the bytes, and they are nobody's to delete.
            if sessions.contains(&id) && !self.is_recorded(&key).await? {
                match self.store.uncommit_upload(id, &key).await {
                    Ok(()) => {
                        tracing::info!(upload = %id, %key, "took back a commit that was not recorded");
                    }
                    Err(StorageError::NotFound(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            self.store.settle_commit(id, &key);
        }
        let mut swept = 0;
        for id in staged {
            if !sessions.contains(&id) {
                self.store.abort_upload(id).await?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    /// The ids of all open sessions.
    pub(super) async fn open_sessions(&self) -> Result<HashSet<UploadId>> {
        let (mut sessions, mut after) = (HashSet::new(), None);
        loop {
            let page = self.open_uploads(after).await?;
            let Some(last) = page.last() else {
                return Ok(sessions);
            };
            after = Some(last.id);
            sessions.extend(page.iter().map(|upload| upload.id));
        }
    }

    /// Whether a record names the object. Nothing but digests is committed.
    async fn is_recorded(&self, key: &StorageKey) -> Result<bool> {
        let Some(digest) = key.digest() else {
            return Ok(true);
        };
        let object = [(digest, key.as_str())];
        Ok(self.metadata.objects_known(&object).await?.contains(&true))
    }

    /// Exclusive use of a session, and its state.
    async fn hold(
        &self,
        repository: &RepositoryName,
        id: UploadId,
    ) -> Result<(Hold<UploadId>, Upload)> {
        match self.sessions.take(id).await {
            Some(guard) => Ok((guard, self.upload(repository, id).await?)),
            None => Err(Error::UploadBusy {
                offset: self.upload(repository, id).await?.offset,
            }),
        }
    }

    /// The state of a session, as last recorded.
    pub(crate) async fn upload(&self, repository: &RepositoryName, id: UploadId) -> Result<Upload> {
        self.metadata
            .upload(repository, id)
            .await?
            .ok_or(Error::UploadUnknown(id))
    }

    async fn resume(&self, id: UploadId, upload: &Upload) -> Result<Box<dyn UploadWriter>> {
        let algorithm = upload.algorithm.unwrap_or(Algorithm::Sha256);
        let hasher = match upload.hash_state.as_deref() {
            Some(state) => Hasher::restore(state).ok(),
            None => (upload.offset == 0).then(|| Hasher::new(algorithm)),
        };
        let saved = hasher.map(|hasher| Progress {
            offset: upload.offset,
            hasher,
            state: upload.backend_state.clone(),
            doubtful: upload.doubtful,
        });
        if saved.is_none() && self.store.is_shared() {
            // Its hash is of another release; without it nobody can vouch for the bytes.
            return Err(Error::UploadUnknown(id));
        }
        match self.store.resume_upload(id, saved, algorithm).await {
            // The store may forget an upload without bytes when the server restarts.
            Err(StorageError::UploadUnknown(_)) if upload.offset == 0 => {
                self.store.begin_upload(id).await?;
                Ok(self.store.resume_upload(id, None, algorithm).await?)
            }
            resumed => Ok(resumed?),
        }
    }

    async fn suspend(
        &self,
        id: UploadId,
        version: u64,
        writer: Box<dyn UploadWriter>,
    ) -> Result<u64> {
        let progress = writer.suspend().await?;
        let offset = progress.offset;
        self.record(id, version, progress).await?;
        Ok(offset)
    }

    async fn record(&self, id: UploadId, version: u64, progress: Progress) -> Result<()> {
        let expires_at = clock::now().plus(self.rules.upload_age);
        let progress = UploadProgress {
            offset: progress.offset,
            hash_state: Some(progress.hasher.save()),
            backend_state: progress.state,
            doubtful: progress.doubtful,
        };
        let saved = self.metadata.save_upload(id, version, progress, expires_at);
        let open = saved.await?;
        if !open && self.store.is_shared() {
            // Another node has ended it meanwhile or taken it over, and could not know of these bytes, unless it made a blob of them.
            return Err(Error::UploadUnknown(id));
        }
        Ok(())
    }

    /// Checks the place of the chunk, then hands its bytes to the store.
    async fn write(
        &self,
        id: UploadId,
        upload: &mut Upload,
        writer: &mut dyn UploadWriter,
        mut chunk: Chunk,
    ) -> Result<()> {
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
        let mut recorded = !self.store.is_shared();
        loop {
            let frame = tokio::select! {
                biased;
                frame = chunk.body.next() => frame,
                late = writer.out_of_time() => return Err(late.into()),
            };
            let Some(frame) = frame.transpose()? else {
                return Ok(());
            };
            if !recorded {
                if !self.metadata.doubt_upload(id, upload.version).await? {
                    return Err(Error::UploadUnknown(id));
                }
                upload.version += 1;
                recorded = true;
            }
            writer.write(frame).await?;
        }
    }

    /// Row first: bytes without a row are swept at the next start or by the collector, a row without bytes would
    /// be resumed.
    pub(super) async fn discard(
        &self,
        repository: &RepositoryName,
        id: UploadId,
        writer: Option<Box<dyn UploadWriter>>,
    ) -> Result<()> {
        if !self
            .metadata
            .delete_upload(repository, id, clock::now())
            .await?
        {
            return Err(Error::UploadUnknown(id));
        }
        self.drop_bytes(id, writer).await?;
        if self.store.is_shared() {
            // A request at another node may still be storing: the collector looks once more.
            return Ok(());
        }
        let now = clock::now();
        Ok(self
            .metadata
            .object_deleted(&Entry::Upload(id).to_string(), now)
            .await?)
    }

    /// Drops a session that no client knows, as far as that is possible.
    async fn forget(&self, repository: &RepositoryName, id: UploadId) {
        if let Err(error) = self.discard(repository, id, None).await {
            tracing::warn!(upload = %id, error = chain(&error), "a broken push left its session behind");
        }
    }

    /// Gives verified bytes their key, durably, then makes them visible in the repository.
    async fn publish(
        &self,
        repository: &RepositoryName,
        (id, version): (UploadId, u64),
        digest: Digest,
        writer: Box<dyn UploadWriter>,
    ) -> Result<()> {
        let size = writer.offset();
        let key = match writer.own_key() {
            Some(key) => key,
            None => self.free_key(&digest).await?,
        };
        let staged = writer.commit(&key).await?;
        let leftovers = staged.as_ref().map(|staged| self.store.leftovers(staged));
        let leftovers = outbox::leftovers(&key, leftovers.unwrap_or_default());
        let linked = self
            .metadata
            .link_blob(LinkBlob {
                repository: repository.clone(),
                digest,
                size,
                storage_key: key.as_str().to_owned(),
                upload: Some((id, version)),
                leftovers,
                now: clock::now(),
            })
            .await;
        if matches!(
            linked,
            Ok(Linked::Stored | Linked::Surplus { .. } | Linked::Healed { .. })
        ) {
            self.store.settle_commit(id, &key);
        }
        match linked {
            Ok(Linked::Healed { damaged_key }) => {
                tracing::warn!(%digest, damaged_key, "stored content was damaged; a push has replaced it");
                Ok(())
            }
            // With a surplus somebody else's bytes are the blob, and the collector deletes ours.
            Ok(Linked::Stored | Linked::Surplus { .. }) => Ok(()),
            Ok(Linked::KeyTaken) => {
                self.take_back((id, version), &key, staged).await?;
                Err(Error::Conflict)
            }
            Ok(Linked::SessionEnded) => self.settle_ended(id, &digest, &key).await,
            // Whatever is stored goes when that request has ended the session.
            Ok(Linked::SessionTaken) => Err(Error::UploadUnknown(id)),
            Err(error) => {
                // Where it is certain that nothing was linked, the session gets its bytes back and the client may
                // try again. The publisher's lock keeps others from this key meanwhile.
                use holdfast_metadata::Error as E;
                if matches!(error, E::Busy(_) | E::Overloaded | E::Full(_) | E::Closed) {
                    self.take_back((id, version), &key, staged).await?;
                }
                Err(error.into())
            }
        }
    }

    /// A key for the bytes of this digest that nothing was ever stored under.
    async fn free_key(&self, digest: &Digest) -> Result<StorageKey> {
        let canonical = StorageKey::canonical(digest);
        let free = self.metadata.key_is_free(canonical.as_str(), digest);
        if free.await? && self.may_overwrite(&canonical).await? {
            Ok(canonical)
        } else {
            Ok(StorageKey::incarnation(digest, random::bytes()))
        }
    }

    /// Gives a session the bytes of a commit back that came to nothing.
    async fn take_back(
        &self,
        (id, version): (UploadId, u64),
        key: &StorageKey,
        staged: Option<Progress>,
    ) -> Result<()> {
        match staged {
            Some(staged) => self.record(id, version, staged).await,
            None => Ok(self.store.uncommit_upload(id, key).await?),
        }
    }

    /// Another request has ended the session while this one was at work, on another node. When that has made a
    /// blob of the very same object, this one has succeeded. Otherwise its object is left to that request, which
    /// knew that it was not alone; only that one can tell whether the object is a blob under another digest.
    async fn settle_ended(&self, id: UploadId, digest: &Digest, key: &StorageKey) -> Result<()> {
        let blob = self.metadata.content(digest).await?;
        if blob.is_some_and(|blob| &*blob.storage_key == key.as_str()) {
            return Ok(());
        }
        Err(Error::UploadUnknown(id))
    }
}
