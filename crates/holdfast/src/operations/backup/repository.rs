//! One repository from a backup, into a registry that goes on serving.
//!
//! It is pushed again: blobs that the repository lacks, then manifests in the order they were pushed in, then tags. So
//! everything is checked as any push is, and nothing that is there now is lost.

use std::path::PathBuf;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use holdfast_model::{Digest, Reference, RepositoryName};
use serde::{Deserialize, Serialize};

use super::super::{Error, Operations};
use super::layout::find;
use super::read::{self, Opened};
use super::write::PAGE;
use super::{BackupError, Result};

/// Bytes of a blob read at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// How often manifests are gone through while some wait for others.
const ROUNDS: usize = 4;

/// What to bring back.
#[derive(Clone, Debug)]
pub(crate) struct RepositoryWish {
    /// The directory of backups.
    pub(crate) directory: PathBuf,
    /// The backup; the newest without a name.
    pub(crate) name: Option<String>,
    /// The repository in it.
    pub(crate) repository: RepositoryName,
    /// The repository to write to.
    pub(crate) into: RepositoryName,
    /// Move tags that are elsewhere now.
    pub(crate) move_tags: bool,
}

/// What was brought back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RepositoryRestored {
    /// The backup.
    pub(crate) backup: String,
    /// Blobs that the repository lacked.
    pub(crate) blobs: u64,
    /// Manifests that it lacked.
    pub(crate) manifests: u64,
    /// Tags that were set.
    pub(crate) tags: u64,
    /// Tags that point elsewhere now and were left.
    pub(crate) tags_left: Vec<String>,
    /// What could not be brought back, and why.
    pub(crate) failed: Vec<String>,
}

impl Operations {
    /// Brings a repository back from a backup.
    pub(crate) async fn restore_repository(
        &self,
        wish: &RepositoryWish,
    ) -> Result<RepositoryRestored> {
        let (directory, summary) = find(&wish.directory, wish.name.as_deref())?;
        let scratch = self
            .rules
            .scratch
            .clone()
            .unwrap_or_else(std::env::temp_dir);
        let opened = read::open(&directory, &summary, &scratch).await?;
        let mut restored = RepositoryRestored {
            backup: summary.name.clone(),
            ..RepositoryRestored::default()
        };
        let known = opened
            .metadata
            .repository_manifests(&wish.repository, None, 1)
            .await?;
        if known.is_empty() {
            return Err(BackupError::Unusable(format!(
                "repository {} has nothing in backup {}",
                wish.repository, summary.name
            )));
        }
        let mut after = None;
        loop {
            let page = opened
                .metadata
                .repository_blobs(&wish.repository, after.as_ref(), PAGE)
                .await?;
            let Some(last) = page.last() else { break };
            after = Some(last.digest);
            for blob in page {
                if self.blob(&wish.into, &blob.digest).await.is_ok() {
                    continue;
                }
                let path = directory.blob(&blob.digest);
                match self
                    .push_blob(&wish.into, blob.digest, file_stream(path))
                    .await
                {
                    Ok(()) => restored.blobs += 1,
                    Err(error @ (Error::ReadOnly | Error::Storage(_) | Error::Metadata(_))) => {
                        return Err(error.into());
                    }
                    Err(error) => restored
                        .failed
                        .push(format!("blob {}: {error}", blob.digest)),
                }
            }
        }
        self.restore_manifests(wish, &opened, &mut restored).await?;
        self.restore_tags(wish, &opened, &mut restored).await?;
        tracing::info!(
            repository = %wish.repository,
            into = %wish.into,
            backup = restored.backup,
            blobs = restored.blobs,
            manifests = restored.manifests,
            tags = restored.tags,
            failed = restored.failed.len(),
            "restored a repository from a backup"
        );
        Ok(restored)
    }

    async fn restore_manifests(
        &self,
        wish: &RepositoryWish,
        opened: &Opened,
        restored: &mut RepositoryRestored,
    ) -> Result<()> {
        // An index may have come before what it names; then it waits for the next round.
        for round in 1..=ROUNDS {
            let (mut waiting, mut after) = (Vec::new(), None);
            loop {
                let page = opened
                    .metadata
                    .repository_manifests(&wish.repository, after, PAGE)
                    .await?;
                let Some(last) = page.last() else { break };
                after = Some(last.id);
                for manifest in page {
                    let reference = Reference::Digest(manifest.digest);
                    if self
                        .metadata
                        .manifest(&wish.into, &reference)
                        .await?
                        .is_some()
                    {
                        continue;
                    }
                    match self
                        .push_again(wish, opened, manifest.digest, Vec::new())
                        .await
                    {
                        Ok(()) => restored.manifests += 1,
                        Err(error @ (Error::ReadOnly | Error::Storage(_) | Error::Metadata(_))) => {
                            return Err(error.into());
                        }
                        Err(error) => {
                            waiting.push(format!("manifest {}: {error}", manifest.digest))
                        }
                    }
                }
            }
            if waiting.is_empty() || round == ROUNDS {
                restored.failed.extend(waiting);
                return Ok(());
            }
        }
        Ok(())
    }

    async fn restore_tags(
        &self,
        wish: &RepositoryWish,
        opened: &Opened,
        restored: &mut RepositoryRestored,
    ) -> Result<()> {
        let mut after = None;
        loop {
            let page = opened
                .metadata
                .tag_targets(&wish.repository, after.as_ref(), PAGE)
                .await?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            after = Some(last.clone());
            for (tag, digest) in page {
                let reference = Reference::Tag(tag.clone());
                let now = self.metadata.manifest(&wish.into, &reference).await?;
                match now {
                    Some(now) if now.digest == digest => continue,
                    Some(_) if !wish.move_tags => {
                        restored.tags_left.push(tag.to_string());
                        continue;
                    }
                    _ => {}
                }
                match self
                    .push_again(wish, opened, digest, vec![tag.clone()])
                    .await
                {
                    Ok(()) => restored.tags += 1,
                    Err(error) => restored.failed.push(format!("tag {tag}: {error}")),
                }
            }
        }
    }

    async fn push_again(
        &self,
        wish: &RepositoryWish,
        opened: &Opened,
        digest: Digest,
        tags: Vec<holdfast_model::Tag>,
    ) -> super::super::Result<()> {
        let reference = Reference::Digest(digest);
        let stored = opened
            .metadata
            .manifest(&wish.repository, &reference)
            .await?;
        let Some(stored) = stored else { return Ok(()) };
        self.push_manifest(
            &wish.into,
            &reference,
            tags,
            &stored.media_type,
            stored.payload.clone(),
        )
        .await
        .map(drop)
    }
}

/// A file as the body of a push. One that cannot be read ends the push as a client that went away does.
fn file_stream(path: PathBuf) -> super::super::ByteStream {
    stream::unfold(None, move |file| {
        let path = path.clone();
        async move {
            let read = tokio::task::spawn_blocking(move || {
                use std::io::Read as _;
                let mut file = match file {
                    Some(file) => file,
                    None => std::fs::File::open(path)?,
                };
                let mut chunk = vec![0; CHUNK_BYTES];
                let length = file.read(&mut chunk)?;
                chunk.truncate(length);
                std::io::Result::Ok((Bytes::from(chunk), file))
            });
            match read.await {
                Ok(Ok((chunk, _))) if chunk.is_empty() => None,
                Ok(Ok((chunk, file))) => Some((Ok(chunk), Some(file))),
                Ok(Err(error)) => Some((Err(Error::ClientGone(error.to_string())), None)),
                Err(error) => Some((Err(Error::ClientGone(error.to_string())), None)),
            }
        }
    })
    .boxed()
}
