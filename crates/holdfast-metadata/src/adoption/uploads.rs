//! Upload directories that the other registry left behind: nobody can go on with them.

use holdfast_model::Timestamp;

use crate::operation::{Durability, Operation, Transaction, Write, params};
use crate::{Metadata, Result};

pub(crate) const DUE_UPLOADS: &str = "SELECT directory, started_at FROM adoption_uploads
     WHERE started_at < ?1 ORDER BY started_at LIMIT ?2";

/// An upload directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldUpload {
    /// The directory, as a storage key.
    pub directory: String,
    /// When the upload began.
    pub started_at: Timestamp,
}

impl Metadata {
    /// Notes upload directories, to be removed when they are old enough.
    pub async fn note_old_uploads(&self, uploads: Vec<OldUpload>) -> Result<()> {
        self.write(Note { uploads }).await
    }

    /// Some upload directories that began before a time, the oldest first.
    pub async fn old_uploads(&self, before: Timestamp, limit: usize) -> Result<Vec<OldUpload>> {
        self.read(Due { before, limit }).await
    }

    /// Forgets an upload directory that was removed.
    pub async fn forget_old_upload(&self, directory: &str) -> Result<()> {
        self.write(Forget {
            directory: directory.to_owned(),
        })
        .await
    }
}

struct Note {
    uploads: Vec<OldUpload>,
}

impl Operation for Note {
    type Output = ();

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<()> {
        for upload in &self.uploads {
            tx.execute(
                "INSERT INTO adoption_uploads (directory, started_at) VALUES (?1, ?2)
                 ON CONFLICT (directory) DO NOTHING",
                params![upload.directory.as_str(), upload.started_at],
            )
            .await?;
        }
        Ok(())
    }
}

impl Write for Note {
    const DURABILITY: Durability = Durability::Relaxed;
}

struct Due {
    before: Timestamp,
    limit: usize,
}

impl Operation for Due {
    type Output = Vec<OldUpload>;

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<Vec<OldUpload>> {
        let rows = tx
            .query(DUE_UPLOADS, params![self.before, self.limit])
            .await?;
        rows.into_iter()
            .map(|mut row| {
                Ok(OldUpload {
                    directory: row.text()?,
                    started_at: row.time()?,
                })
            })
            .collect()
    }
}

struct Forget {
    directory: String,
}

impl Operation for Forget {
    type Output = ();

    async fn run<T: Transaction>(&self, tx: &mut T) -> Result<()> {
        tx.execute(
            "DELETE FROM adoption_uploads WHERE directory = ?1",
            params![self.directory.as_str()],
        )
        .await
        .map(drop)
    }
}

impl Write for Forget {
    const DURABILITY: Durability = Durability::Relaxed;
}
