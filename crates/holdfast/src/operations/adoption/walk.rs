//! The walk over the tree, stage by stage. It may end anywhere and goes on from there.

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use holdfast_metadata::{AdoptionWalk, FoundBlob, GcHold, Problem, ProblemKind, Stage};
use holdfast_model::{Digest, Hasher, RepositoryName};
use holdfast_storage::{Listed, StorageKey};

use super::layout::{self, BlobPath};
use super::names::Named;
use super::{AdoptionState, directory};
use crate::clock;
use crate::error_chain::chain;
use crate::operations::{Damage, Operations, Result};

/// Repositories noted in one transaction, and read from the list of those that wait.
const REPOSITORIES_AT_ONCE: usize = 100;
/// Repositories imported at once: while one waits for the disk, another computes.
const REPOSITORIES_AT_WORK: usize = 4;
/// Blobs looked at for links in one transaction.
const SETTLED_AT_ONCE: usize = 1000;
/// Bytes hashed in one disk job.
const HASHED_AT_ONCE: u64 = 16 << 20;
/// Repositories named to the operator in one warning.
const WRITTEN_NAMED: usize = 5;

impl Operations {
    /// Walks the tree to the end, if that has not been done. May be dropped at any moment.
    pub(crate) async fn walk_adoption(&self) -> Result<()> {
        let _only = self.adoption.0.walking.lock().await;
        let Some(mut walk) = self.enter_walk().await? else {
            return Ok(());
        };
        while walk.stage != Stage::Done {
            self.reachable().await?;
            match walk.stage {
                Stage::Names => self.name_repositories().await?,
                Stage::Blobs => self.note_blobs(&walk.cursor, walk.verify).await?,
                Stage::Repositories => self.import_repositories().await?,
                Stage::Settling => self.queue_unlinked(&walk.cursor).await?,
                Stage::Done => {}
            }
            self.metadata
                .end_adoption_stage(walk.stage, clock::now())
                .await?;
            let Some(next) = self.enter_walk().await? else {
                return Ok(());
            };
            walk = next;
            let counts = walk.counts;
            tracing::info!(
                stage = ?walk.stage,
                repositories = walk.repositories,
                blobs = counts.blobs,
                bytes = counts.blob_bytes,
                links = counts.links,
                manifests = counts.manifests,
                tags = counts.tags,
                problems = walk.problems,
                "taking over the repositories of another registry"
            );
        }
        if self.metadata.gc_hold(clock::now()).await? == Some(GcHold::Unread) {
            tracing::warn!(
                "parts of another registry's storage could not be read, so no garbage is collected: \
                 `holdfast import --status` names them, `holdfast import --rescan` looks again"
            );
        }
        Ok(())
    }

    /// Takes over how far another node has come, if any is at work.
    pub(crate) async fn follow_adoption(&self) -> Result<()> {
        // The walk of this node does so itself.
        if self.adoption.0.walking.try_lock().is_ok() {
            self.enter_walk().await?;
        }
        Ok(())
    }

    /// Takes what the database says of the walk.
    async fn enter_walk(&self) -> Result<Option<AdoptionWalk>> {
        let _in_order = self.adoption.0.entering.lock().await;
        let walk = self.metadata.adoption_walk().await?;
        if let Some(walk) = &walk {
            self.adoption.enter(walk);
        }
        Ok(walk)
    }

    async fn name_repositories(&self) -> Result<()> {
        let mut found = Vec::new();
        let mut problems = Vec::new();
        let mut names = self.names().await?;
        loop {
            let next = names.next().await?;
            let end = next.is_none();
            match next {
                Some(Named::Repository(repository)) => found.push(repository),
                Some(Named::Problem(problem)) => problems.push(*problem),
                None => {}
            }
            if end || found.len() + problems.len() >= REPOSITORIES_AT_ONCE {
                self.adoption.add(|p| &p.repositories, found.len() as u64);
                self.metadata
                    .note_repositories(std::mem::take(&mut found))
                    .await?;
                self.note_problems(std::mem::take(&mut problems)).await?;
            }
            if end {
                return Ok(());
            }
        }
    }

    /// Notes all blobs, one directory of the layout after the other.
    async fn note_blobs(&self, cursor: &str, verify: bool) -> Result<()> {
        let mut prefixes = Vec::new();
        for algorithm in self.sorted_directories(layout::BLOBS).await? {
            prefixes.extend(self.sorted_directories(algorithm.as_str()).await?);
        }
        for prefix in prefixes {
            if prefix.as_str() <= cursor {
                continue;
            }
            let mut listing = self.store.list(&prefix).await?;
            loop {
                let batch = listing.next().await?;
                if batch.is_empty() {
                    break;
                }
                self.note_batch(batch, verify).await?;
            }
            self.metadata
                .save_adoption_cursor(Stage::Blobs, prefix.as_str())
                .await?;
        }
        Ok(())
    }

    /// The directories directly below one; few, unless somebody has put others there.
    async fn sorted_directories(&self, directory: &str) -> Result<Vec<StorageKey>> {
        let mut listing = self.children(directory).await?;
        let mut found = Vec::new();
        loop {
            let batch = listing.next().await?;
            if batch.is_empty() {
                found.sort();
                return Ok(found);
            }
            let mut problems = Vec::new();
            for entry in batch {
                match entry {
                    Listed::Directory { key } => found.push(key),
                    Listed::Object { key, .. } if key.name() == "holdfast-probe" => {}
                    other => problems.push(stray(other)),
                }
            }
            self.note_problems(problems).await?;
        }
    }

    async fn note_batch(&self, batch: Vec<Listed>, verify: bool) -> Result<()> {
        let mut found = Vec::new();
        let mut problems = Vec::new();
        let mut damaged = Vec::new();
        for entry in batch {
            let Listed::Object { key, size, .. } = &entry else {
                problems.push(stray(entry));
                continue;
            };
            let below = key.as_str().strip_prefix(layout::BLOBS);
            let below = below.unwrap_or_default().trim_start_matches('/');
            let (digest, canonical) = match layout::blob_path(below) {
                BlobPath::Canonical(digest) => (digest, true),
                BlobPath::Incarnation(digest) => (digest, false),
                BlobPath::Ours => continue,
                BlobPath::Invalid(error) => {
                    problems.push(problem(ProblemKind::NameInvalid, key, &error.to_string()));
                    continue;
                }
                BlobPath::Other => {
                    problems.push(stray(entry));
                    continue;
                }
            };
            if verify && let Some(why) = self.differs(key, &digest).await {
                let mut problem = problem(ProblemKind::BlobCorrupt, key, &why);
                problem.digest = Some(digest);
                problems.push(problem);
                damaged.push((digest, key.clone()));
            }
            self.adoption.add(|p| &p.blobs, 1);
            self.adoption.add(|p| &p.blob_bytes, *size);
            found.push(FoundBlob {
                digest,
                size: *size,
                storage_key: key.to_string(),
                canonical,
            });
        }
        self.note_problems(problems).await?;
        self.metadata.adopt_blobs(found, clock::now()).await?;
        for (digest, key) in damaged {
            // It keeps its links, and the next push of it brings it back.
            self.mark_damaged(&digest, key.as_str(), Damage::Digest)
                .await?;
        }
        Ok(())
    }

    /// Why stored bytes are not those of a digest, if they are not.
    async fn differs(&self, key: &StorageKey, digest: &Digest) -> Option<String> {
        let read = async {
            let reader = self.store.open(key).await?;
            let mut hasher = Hasher::new(digest.algorithm());
            let mut offset = 0;
            while offset < reader.size() {
                let (next, hashed) = reader.hash_at(offset, HASHED_AT_ONCE, hasher).await?;
                hasher = next;
                offset += hashed;
                if hashed == 0 {
                    break;
                }
            }
            Ok::<_, holdfast_storage::Error>(hasher.finish())
        };
        match read.await {
            Ok(actual) if actual == *digest => None,
            Ok(actual) => Some(format!("its bytes are those of {actual}")),
            Err(error) => Some(chain(&error)),
        }
    }

    async fn import_repositories(&self) -> Result<()> {
        let mut after: Option<RepositoryName> = None;
        loop {
            let waiting = self
                .metadata
                .waiting_repositories(
                    after.as_ref().map(RepositoryName::as_str),
                    REPOSITORIES_AT_ONCE,
                )
                .await?;
            let Some(last) = waiting.last() else {
                return Ok(());
            };
            after = Some(last.clone());
            let imports: Vec<BoxFuture<'static, Result<()>>> = waiting
                .into_iter()
                .map(|repository| {
                    let operations = self.clone();
                    let import = async move { operations.import_repository(&repository).await };
                    import.boxed()
                })
                .collect();
            let mut work =
                futures_util::stream::iter(imports).buffer_unordered(REPOSITORIES_AT_WORK);
            while let Some(imported) = work.next().await {
                imported?;
            }
        }
    }

    /// Hands to garbage collection what no repository has.
    async fn queue_unlinked(&self, cursor: &str) -> Result<()> {
        let mut after: Option<Digest> = cursor.parse().ok();
        loop {
            after = self
                .metadata
                .queue_unlinked_blobs(after, SETTLED_AT_ONCE, clock::now())
                .await?;
            let Some(digest) = after else {
                return Ok(());
            };
            self.metadata
                .save_adoption_cursor(Stage::Settling, &digest.to_string())
                .await?;
        }
    }

    /// Looks whether another registry has written to the tree since it was taken over, and says so.
    ///
    /// What is looked at are the times of four directories of each repository, which tell of new uploads, blobs,
    /// manifests and tags; not of an existing tag that was set to an existing manifest. A bucket has no such times:
    /// there it is new repositories only.
    pub(crate) async fn warn_of_other_writers(&self) -> Result<u64> {
        let mut names = self.names().await?;
        let mut written = Vec::new();
        let mut count = 0_u64;
        while let Some(named) = names.next().await? {
            let Named::Repository(found) = named else {
                continue;
            };
            let changed = match self.metadata.adoption_state(&found.name).await? {
                AdoptionState::Unknown => true,
                AdoptionState::Waiting { .. } => false,
                AdoptionState::Done { seen_at } => {
                    seen_at.is_some() && self.last_written(&found.name).await? > seen_at
                }
            };
            if changed {
                count += 1;
                if written.len() < WRITTEN_NAMED {
                    written.push(found.name.to_string());
                }
            }
        }
        if count > 0 {
            tracing::warn!(
                repositories = count,
                some = written.join(", "),
                "another registry has written to this storage since its repositories were taken over; \
                 `holdfast import --rescan` takes over what is new"
            );
        }
        Ok(count)
    }

    /// When something in a repository of the tree changed last, as far as its directories tell.
    async fn last_written(
        &self,
        repository: &RepositoryName,
    ) -> Result<Option<holdfast_model::Timestamp>> {
        let mut last = None;
        for part in [
            layout::UPLOADS,
            "_layers/sha256",
            "_manifests/revisions/sha256",
            layout::TAGS,
        ] {
            if let Some(directory) = directory(repository, part) {
                last = last.max(self.store.modified(&directory).await?);
            }
        }
        Ok(last)
    }

    /// Removes uploads of the other registry that are older than unfinished uploads may become; how many.
    pub(crate) async fn purge_old_uploads(&self, dry_run: bool) -> Result<u64> {
        /// Directories removed per look at the database.
        const BATCH: usize = 100;
        let age = i64::try_from(self.rules.upload_age.as_micros()).unwrap_or(i64::MAX);
        let before = clock::now().as_micros().saturating_sub(age);
        let before = holdfast_model::Timestamp::from_micros(before);
        let mut purged = 0;
        while !self.read_only() {
            let due = self.metadata.old_uploads(before, BATCH).await?;
            for upload in &due {
                if !dry_run {
                    let _change = self.change()?;
                    self.remove_old_upload(&upload.directory).await?;
                }
                purged += 1;
                tracing::info!(
                    directory = upload.directory,
                    dry_run,
                    "purged an upload that another registry left behind"
                );
            }
            if dry_run || due.len() < BATCH {
                break;
            }
        }
        Ok(purged)
    }

    async fn remove_old_upload(&self, directory: &str) -> Result<()> {
        if let Ok(key) = directory.parse() {
            let mut listing = self.store.list(&key).await?;
            loop {
                let batch = listing.next().await?;
                if batch.is_empty() {
                    break;
                }
                let objects = batch.into_iter().filter_map(|entry| match entry {
                    Listed::Object { key, .. } => Some(key),
                    _ => None,
                });
                let objects: Vec<StorageKey> = objects.collect();
                self.store.delete(&objects).await?;
            }
        }
        Ok(self.metadata.forget_old_upload(directory).await?)
    }
}

/// Something below `blobs` that is no blob.
fn stray(entry: Listed) -> Problem {
    match entry {
        Listed::Object { key, .. } | Listed::Directory { key } => {
            let why = "it has no place here, such as what a crash left behind";
            problem(ProblemKind::Leftover, &key, why)
        }
        Listed::Foreign { path } => {
            let why = "nothing in such a tree is called so";
            problem(ProblemKind::NameInvalid, &path, why)
        }
        Listed::Unreadable { path, error } => {
            problem(ProblemKind::Unreadable, &path, &chain(&error))
        }
    }
}

/// One that is of no repository.
pub(super) fn problem(kind: ProblemKind, place: &impl ToString, detail: &str) -> Problem {
    Problem {
        repository: String::new(),
        kind,
        place: place.to_string(),
        tag: None,
        digest: None,
        manifest: None,
        detail: detail.to_owned(),
        found_at: clock::now(),
    }
}
