//! `/api/v1/backup` and `/api/v1/restore/repository`: copies in a directory of the server's machine.
//!
//! Both name files of that machine, so they answer its own users only: on the control socket.

use std::path::PathBuf;
use std::sync::Arc;

use holdfast_model::RepositoryName;
use http::Response;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::lines;
use crate::app::App;
use crate::error_chain::chain;
use crate::http::body::Body;
use crate::operations::backup::{BackupWish, RepositoryWish};

/// Events that may wait to become lines.
const WAITING_MAX: usize = 64;

/// A backup to write.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Backup {
    /// The directory of backups, as an absolute path.
    pub(crate) directory: PathBuf,
    /// How many are kept; all without a number.
    #[serde(default)]
    pub(crate) keep: Option<usize>,
    /// Copy bytes even where a hard link would do.
    #[serde(default)]
    pub(crate) copy: bool,
}

/// `POST /backup`: progress, then what the backup holds.
pub(super) fn backup(app: &Arc<App>, wish: Backup) -> Response<Body> {
    let operations = app.operations.clone();
    let wish = BackupWish {
        directory: wish.directory,
        keep: wish.keep,
        copy: wish.copy,
    };
    lines::answer(|lines| async move {
        let (sender, mut events) = mpsc::channel(WAITING_MAX);
        let work = async move {
            let outcome = operations.backup(&wish, &sender).await;
            drop(sender);
            outcome
        };
        let forward = async move {
            while let Some(event) = events.recv().await {
                if lines.send(&event).await.is_err() {
                    break;
                }
            }
        };
        let (written, ()) = tokio::join!(work, forward);
        written.map_err(|error| chain(&error))
    })
}

/// A repository to bring back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestoreRepository {
    /// The directory of backups, as an absolute path.
    pub(crate) directory: PathBuf,
    /// The backup's name; the newest without one.
    #[serde(default)]
    pub(crate) backup: Option<String>,
    /// The repository in the backup.
    pub(crate) repository: RepositoryName,
    /// The repository to write to; the same without one.
    #[serde(default)]
    pub(crate) into: Option<RepositoryName>,
    /// Move tags that point elsewhere now.
    #[serde(default)]
    pub(crate) move_tags: bool,
}

/// `POST /restore/repository`: one line at the end.
pub(super) fn restore_repository(app: &Arc<App>, wish: RestoreRepository) -> Response<Body> {
    let operations = app.operations.clone();
    let wish = RepositoryWish {
        directory: wish.directory,
        name: wish.backup,
        into: wish.into.unwrap_or_else(|| wish.repository.clone()),
        repository: wish.repository,
        move_tags: wish.move_tags,
    };
    lines::answer(|lines| async move {
        let restored = operations
            .restore_repository(&wish)
            .await
            .map_err(|error| chain(&error))?;
        let _ = lines.send(&restored).await;
        Ok(())
    })
}
