//! Upload sessions: where the bytes go, how many there are, and the hash so far.
//!
//! The row exists before the first byte, so bytes without a row cannot exist. Progress survives the
//! end of the process but not the loss of power: a client whose session is behind sends again from the
//! offset it is told.

use holdfast_model::{Algorithm, RepositoryName, Timestamp, UploadId};

use crate::operation::{Durability, Operation, Transaction, Write, params};
use crate::{Error, Metadata, Result, gc, repositories};

pub(crate) const FIND_UPLOAD: &str =
    "SELECT u.offset_bytes, u.hash_state, u.algorithm, u.created_at, u.expires_at, u.storage_key,
            u.backend_state, u.doubtful, u.version
     FROM uploads u JOIN repositories r ON r.id = u.repo_id
     WHERE u.id = ?1 AND r.path = ?2 AND r.deleted_at IS NULL";
pub(crate) const EXPIRED_UPLOADS: &str = "SELECT r.path, u.id, u.created_at
     FROM uploads u JOIN repositories r ON r.id = u.repo_id
     WHERE u.expires_at <= ?1 ORDER BY u.expires_at LIMIT ?2";
pub(crate) const UPLOADS_PAGE: &str =
    "SELECT u.id, r.path, u.offset_bytes, u.created_at, u.expires_at
     FROM uploads u JOIN repositories r ON r.id = u.repo_id
     WHERE u.id > ?1 ORDER BY u.id LIMIT ?2";

/// A session to open.
#[derive(Clone, Debug)]
pub struct NewUpload {
    /// The repository the blob is for.
    pub repository: RepositoryName,
    /// The session's name.
    pub id: UploadId,
    /// Where the bytes will be written: fresh, used by nothing before.
    pub storage_key: String,
    /// The digest algorithm the client announced.
    pub algorithm: Option<Algorithm>,
    /// When the session may be thrown away.
    pub expires_at: Timestamp,
    /// The current time.
    pub now: Timestamp,
    /// Most sessions there may be, this one included.
    pub limit_open_sessions: u64,
}

/// Whether the session was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadCreated {
    /// It was.
    Created,
    /// There are as many as there may be.
    TooMany,
}

/// The state of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Bytes received.
    pub offset: u64,
    /// The hash of them, in the form its owner saved.
    pub hash_state: Option<Vec<u8>>,
    /// The digest algorithm the client announced.
    pub algorithm: Option<Algorithm>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it may be thrown away.
    pub expires_at: Timestamp,
    /// Where the bytes are.
    pub storage_key: String,
    /// What the storage driver saved for itself.
    pub backend_state: Option<String>,
    /// Whether a request began to hand over bytes and never saved what became of them.
    pub doubtful: bool,
    /// Which request was the last to hand over bytes.
    pub version: u64,
}

/// How far a session has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadProgress {
    /// Bytes received.
    pub offset: u64,
    /// The hash of them, in the form its owner saves.
    pub hash_state: Option<Vec<u8>>,
    /// What the storage driver needs to go on.
    pub backend_state: Option<String>,
    /// Whether the storage may hold something that the driver's state does not name.
    pub doubtful: bool,
}

/// An open session, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenUpload {
    /// The session's name.
    pub id: UploadId,
    /// The repository the blob is for.
    pub repository: RepositoryName,
    /// Bytes received, as last recorded.
    pub offset: u64,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it may be thrown away.
    pub expires_at: Timestamp,
}

/// A session past its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiredUpload {
    /// The repository the blob was for.
    pub repository: RepositoryName,
    /// The session's name.
    pub id: UploadId,
    /// When it was opened.
    pub created_at: Timestamp,
}

impl Metadata {
    /// Opens a session. Counting the open ones costs time in proportion to them, so keep the limit sane.
    pub async fn create_upload(&self, upload: NewUpload) -> Result<UploadCreated> {
        self.write(Create(upload)).await
    }

    /// The state of a session of this repository.
    pub async fn upload(
        &self,
        repository: &RepositoryName,
        id: UploadId,
    ) -> Result<Option<Upload>> {
        self.read(Find { repository, id }).await
    }

    /// Saves progress; false when the session is gone, or when a later request than the one of this version has
    /// taken it over.
    pub async fn save_upload(
        &self,
        id: UploadId,
        version: u64,
        progress: UploadProgress,
        expires_at: Timestamp,
    ) -> Result<bool> {
        self.write(Save {
            id,
            version,
            progress,
            expires_at,
        })
        .await
    }

    /// Notes that bytes are about to be handed over, whose fate is unknown until the next
    /// [`save_upload`](Self::save_upload), by the request that takes the session over with this version plus one;
    /// false when it is gone, or was taken over by another.
    pub async fn doubt_upload(&self, id: UploadId, version: u64) -> Result<bool> {
        self.write(Doubt { id, version }).await
    }

    /// Ends a session without a blob and gives up its storage key; whether it existed.
    pub async fn delete_upload(
        &self,
        repository: &RepositoryName,
        id: UploadId,
        now: Timestamp,
    ) -> Result<bool> {
        self.write(Delete {
            repository: repository.clone(),
            id,
            now,
        })
        .await
    }

    /// Sessions past their time, the longest expired first.
    pub async fn expired_uploads(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<ExpiredUpload>> {
        self.read(Expired { now, limit }).await
    }

    /// A page of all sessions in the order of their ids, after an id.
    pub async fn uploads_after(
        &self,
        after: Option<UploadId>,
        limit: usize,
    ) -> Result<Vec<OpenUpload>> {
        self.read(Page { after, limit }).await
    }
}

struct Create(NewUpload);

impl Operation for Create {
    type Output = UploadCreated;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<UploadCreated> {
        let upload = &self.0;
        let mut open = tx
            .query(
                "SELECT COUNT(*) FROM (SELECT 1 FROM uploads LIMIT ?1) AS open_sessions",
                params![upload.limit_open_sessions],
            )
            .await?;
        let open = open
            .first_mut()
            .ok_or_else(|| Error::internal("a count returns no row"))?
            .size()?;
        if open >= upload.limit_open_sessions {
            return Ok(UploadCreated::TooMany);
        }
        let repo_id = repositories::id_or_new(tx, &upload.repository, upload.now).await?;
        tx.execute(
            "INSERT INTO uploads (id, repo_id, storage_key, algorithm, created_at, expires_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                upload.id.to_string().as_str(),
                repo_id,
                upload.storage_key.as_str(),
                upload
                    .algorithm
                    .map(|algorithm| i64::from(algorithm.code())),
                upload.now,
                upload.expires_at,
            ],
        )
        .await?;
        Ok(UploadCreated::Created)
    }
}

impl Write for Create {
    const DURABILITY: Durability = Durability::Relaxed;
}

struct Find<'a> {
    repository: &'a RepositoryName,
    id: UploadId,
}

impl Operation for Find<'_> {
    type Output = Option<Upload>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Option<Upload>> {
        let id = self.id.to_string();
        let Some(mut row) = tx
            .first(FIND_UPLOAD, params![id.as_str(), self.repository.as_str()])
            .await?
        else {
            return Ok(None);
        };
        let (offset, hash_state) = (row.size()?, row.maybe_bytes()?);
        let algorithm = row.maybe_integer()?.map(algorithm).transpose()?;
        let (created_at, expires_at, storage_key) = (row.time()?, row.time()?, row.text()?);
        let (backend_state, doubtful) = (row.maybe_text()?, row.integer()? != 0);
        let version = row.size()?;
        Ok(Some(Upload {
            offset,
            hash_state,
            algorithm,
            created_at,
            expires_at,
            storage_key,
            backend_state,
            doubtful,
            version,
        }))
    }
}

fn algorithm(code: i64) -> Result<Algorithm> {
    u8::try_from(code)
        .ok()
        .and_then(Algorithm::from_code)
        .ok_or_else(|| {
            Error::corrupt(format!(
                "an upload session has the unknown digest algorithm {code}"
            ))
        })
}

struct Save {
    id: UploadId,
    version: u64,
    progress: UploadProgress,
    expires_at: Timestamp,
}

impl Operation for Save {
    type Output = bool;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<bool> {
        let progress = &self.progress;
        let changed = tx
            .execute(
                "UPDATE uploads SET offset_bytes = ?2, hash_state = ?3, expires_at = ?4, backend_state = ?5,
                 doubtful = ?6 WHERE id = ?1 AND version = ?7",
                params![
                    self.id.to_string().as_str(),
                    progress.offset,
                    progress.hash_state.as_deref(),
                    self.expires_at,
                    progress.backend_state.as_deref(),
                    i64::from(progress.doubtful),
                    self.version,
                ],
            )
            .await?;
        Ok(changed > 0)
    }
}

impl Write for Save {
    const DURABILITY: Durability = Durability::Relaxed;
}

struct Doubt {
    id: UploadId,
    version: u64,
}

impl Operation for Doubt {
    type Output = bool;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<bool> {
        let changed = tx
            .execute(
                "UPDATE uploads SET doubtful = 1, version = version + 1 WHERE id = ?1 AND version = ?2",
                params![self.id.to_string().as_str(), self.version],
            )
            .await?;
        Ok(changed > 0)
    }
}

impl Write for Doubt {
    const DURABILITY: Durability = Durability::Relaxed;
}

struct Delete {
    repository: RepositoryName,
    id: UploadId,
    now: Timestamp,
}

impl Operation for Delete {
    type Output = bool;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<bool> {
        let Some(repo_id) = repositories::id_of(tx, &self.repository).await? else {
            return Ok(false);
        };
        let deleted = tx
            .first(
                "DELETE FROM uploads WHERE id = ?1 AND repo_id = ?2 RETURNING storage_key",
                params![self.id.to_string().as_str(), repo_id],
            )
            .await?;
        let Some(mut row) = deleted else {
            return Ok(false);
        };
        gc::discard_key(tx, &row.text()?, None, self.now).await?;
        Ok(true)
    }
}

impl Write for Delete {
    const DURABILITY: Durability = Durability::Relaxed;
}

struct Expired {
    now: Timestamp,
    limit: usize,
}

impl Operation for Expired {
    type Output = Vec<ExpiredUpload>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Vec<ExpiredUpload>> {
        let rows = tx
            .query(EXPIRED_UPLOADS, params![self.now, self.limit])
            .await?;
        rows.into_iter()
            .map(|mut row| {
                Ok(ExpiredUpload {
                    repository: row.parsed()?,
                    id: row.parsed()?,
                    created_at: row.time()?,
                })
            })
            .collect()
    }
}

struct Page {
    after: Option<UploadId>,
    limit: usize,
}

impl Operation for Page {
    type Output = Vec<OpenUpload>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Vec<OpenUpload>> {
        let after = self.after.map(|id| id.to_string()).unwrap_or_default();
        let rows = tx
            .query(UPLOADS_PAGE, params![after.as_str(), self.limit])
            .await?;
        rows.into_iter()
            .map(|mut row| {
                Ok(OpenUpload {
                    id: row.parsed()?,
                    repository: row.parsed()?,
                    offset: row.size()?,
                    created_at: row.time()?,
                    expires_at: row.time()?,
                })
            })
            .collect()
    }
}
