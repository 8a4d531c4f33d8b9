//! Taking over another registry's tree in place, while it is served.
//!
//! A walk in the background ([`walk`]) names the repositories, notes the blobs, and then imports one
//! repository after the other ([`import`]). Requests do not wait for it:
//!
//! * A manifest, tag or blob that the database does not know is looked for in the tree and imported alone,
//!   in one step, if its repository is not done. So a pull costs a few small reads the first time, however
//!   many million links its repository has.
//! * A push does the same for what its manifest names and for the tags it moves.
//! * What needs the whole repository, a list or a deletion, has it imported ahead of the others and waits for
//!   that, a while; then the client is told to come again.
//! * The catalog waits for the names only, and then counts the repositories that wait.
//!
//! Why nothing deleted comes back: deletion waits until its repository is done, and the database adds
//! nothing to a repository that is. Why nothing is lost: the tree is only read, and garbage collection is
//! held until the walk is over and a grace period has passed.
//!
//! Alternatives that were rejected: importing everything before the first request (an hour for a large
//! bucket, a window for nobody), and serving from the tree's files until a repository is done (two sources
//! of truth for each question, and deletions needed tombstones).

mod import;
mod item;
mod layout;
mod names;
#[cfg(test)]
mod tests;
mod walk;

pub(crate) use layout::{ManifestKind, manifest_kind};

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use holdfast_metadata::{AdoptionState, AdoptionWalk, Counts, FoundRepository, Stage};
use holdfast_model::{RepositoryName, Timestamp};
use holdfast_storage::{BlobStore, Error as StorageError, Listed, Listing, StorageKey};
use tokio::sync::watch;

use super::{Error, Operations, Result};
use crate::clock;
use crate::error_chain::chain;
use crate::held::Held;

/// How long a request waits for the whole of a repository, or for the names of all.
const WAIT: Duration = Duration::from_secs(20);

/// What is known about the adoption without asking the database. Cheap to clone.
#[derive(Clone)]
pub(super) struct Adoption(Arc<Inner>);

struct Inner {
    /// What the walk does; `Done` also when there is nothing to adopt.
    stage: watch::Sender<Stage>,
    /// Repositories and items that are being imported, by hash.
    importing: Held<u64>,
    /// Only one walk at a time.
    walking: tokio::sync::Mutex<()>,
    /// What the database says of the walk is entered here in the order in which it came to say so.
    entering: tokio::sync::Mutex<()>,
    progress: Progress,
}

/// Counters of the walk since it began.
#[derive(Default)]
struct Progress {
    repositories: AtomicU64,
    repositories_done: AtomicU64,
    blobs: AtomicU64,
    blob_bytes: AtomicU64,
    links: AtomicU64,
    manifests: AtomicU64,
    tags: AtomicU64,
    problems: AtomicU64,
}

/// How far the adoption has come; for logs, metrics and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdoptionProgress {
    /// What the walk does now.
    pub(crate) stage: Stage,
    /// Repositories found.
    pub(crate) repositories: u64,
    /// Repositories that are done.
    pub(crate) repositories_done: u64,
    /// What was taken over.
    pub(crate) counts: Counts,
    /// Rows of the report.
    pub(crate) problems: u64,
}

impl Default for Adoption {
    fn default() -> Self {
        Adoption(Arc::new(Inner {
            stage: watch::Sender::new(Stage::Done),
            importing: Held::default(),
            walking: tokio::sync::Mutex::default(),
            entering: tokio::sync::Mutex::default(),
            progress: Progress::default(),
        }))
    }
}

impl Adoption {
    fn stage(&self) -> Stage {
        *self.0.stage.borrow()
    }

    /// Whether there may be something in the tree that the database does not know.
    fn under_way(&self) -> bool {
        self.stage() != Stage::Done
    }

    /// Takes what the database says of the walk.
    fn enter(&self, walk: &AdoptionWalk) {
        let progress = &self.0.progress;
        for (counter, value) in [
            (&progress.repositories, walk.repositories),
            (&progress.repositories_done, walk.repositories_done),
            (&progress.blobs, walk.counts.blobs),
            (&progress.blob_bytes, walk.counts.blob_bytes),
            (&progress.links, walk.counts.links),
            (&progress.manifests, walk.counts.manifests),
            (&progress.tags, walk.counts.tags),
            (&progress.problems, walk.problems),
        ] {
            counter.store(value, Ordering::Relaxed);
        }
        self.0.stage.send_replace(walk.stage);
    }

    fn add(&self, counter: impl FnOnce(&Progress) -> &AtomicU64, more: u64) {
        counter(&self.0.progress).fetch_add(more, Ordering::Relaxed);
    }
}

/// What is written beside another registry's repositories once they are being taken over: without it they
/// have never been ours. Distribution skips what it does not know there.
const MARKER: &str = "docker/registry/v2/adopted-by-holdfast";

/// Whether a store holds repositories of another registry that were never taken over, so that no database
/// is missing.
pub(crate) async fn is_another_registrys(store: &dyn BlobStore) -> holdfast_storage::Result<bool> {
    let key = |text: &str| {
        text.parse::<StorageKey>()
            .expect("the layout's paths are keys")
    };
    let mut repositories = store.children(&key(layout::REPOSITORIES)).await?;
    Ok(!repositories.next().await?.is_empty() && store.size(&key(MARKER)).await?.is_none())
}

impl Operations {
    /// Looks whether there is a tree to adopt, or an adoption to go on with. To be called once, before the
    /// first request.
    pub(crate) async fn open_adoption(&self) -> Result<()> {
        let walk = match self.metadata.adoption_walk().await? {
            Some(walk) => walk,
            None if self.finds_tree().await? => {
                tracing::info!(
                    "the storage holds the repositories of another registry: they are served from now on, \
                     and taken over in the background"
                );
                let walk = self.metadata.begin_adoption(false, false, clock::now());
                walk.await?
            }
            None => return Ok(()),
        };
        self.adoption.enter(&walk);
        let marker: StorageKey = MARKER.parse().expect("the layout's paths are keys");
        if self.store.size(&marker).await?.is_none() {
            let text = "Holdfast has taken over the repositories beside this file, and keeps its own records of them since.\n\
                        Another registry that writes here goes unseen until `holdfast import --rescan`.\n";
            let mark = self.store.put(vec![(marker, text.into())]);
            if let Err(error) = mark.await {
                tracing::warn!(
                    error = chain(&error),
                    "the mark of the adoption was not written"
                );
            }
        }
        Ok(())
    }

    /// Whether somebody has kept repositories here, or there are blobs of which this database knows none.
    async fn finds_tree(&self) -> Result<bool> {
        if !self
            .children(layout::REPOSITORIES)
            .await?
            .next()
            .await?
            .is_empty()
        {
            return Ok(true);
        }
        if self.metadata.any_blob().await? {
            return Ok(false);
        }
        let algorithms = self.children(layout::BLOBS).await?.next().await?;
        for algorithm in algorithms {
            if let Listed::Directory { key, .. } = algorithm
                && !self.store.children(&key).await?.next().await?.is_empty()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Begins to walk the tree once more, for what another registry has written to it since. Of what was seen
    /// before, only what is newer is looked at.
    pub(crate) async fn adopt_again(&self, verify: bool) -> Result<()> {
        let _in_order = self.adoption.0.entering.lock().await;
        let walk = self
            .metadata
            .begin_adoption(true, verify, clock::now())
            .await?;
        self.adoption.enter(&walk);
        Ok(())
    }

    /// Has a walk that is under way or not begun read every blob from here on.
    pub(crate) async fn adopt_with_verification(&self) -> Result<()> {
        Ok(self.metadata.verify_adoption().await?)
    }

    /// How far the adoption has come, without a question to the database.
    pub(crate) fn adoption_progress(&self) -> AdoptionProgress {
        let progress = &self.adoption.0.progress;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        AdoptionProgress {
            stage: self.adoption.stage(),
            repositories: get(&progress.repositories),
            repositories_done: get(&progress.repositories_done),
            counts: Counts {
                blobs: get(&progress.blobs),
                blob_bytes: get(&progress.blob_bytes),
                links: get(&progress.links),
                manifests: get(&progress.manifests),
                tags: get(&progress.tags),
            },
            problems: get(&progress.problems),
        }
    }

    /// Whether there may be something in a tree that the database does not know.
    pub(crate) fn adoption_under_way(&self) -> bool {
        self.adoption.under_way()
    }

    /// Waits until there is something to adopt.
    pub(crate) async fn adoption_begun(&self) {
        let mut stage = self.adoption.0.stage.subscribe();
        if stage.wait_for(|stage| *stage != Stage::Done).await.is_err() {
            // The sender lives as long as this.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until all that a repository had in another registry's tree is in the database.
    ///
    /// To be called before anything of the repository is listed or deleted.
    pub(crate) async fn adopted(&self, repository: &RepositoryName) -> Result<()> {
        if !self.adoption.under_way() || self.waits(repository).await?.is_none() {
            return Ok(());
        }
        // On a task of its own: who comes again finds it further.
        let (operations, name) = (self.clone(), repository.clone());
        let work = tokio::spawn(async move { operations.import_repository(&name).await });
        match tokio::time::timeout(WAIT, work).await {
            Ok(Ok(imported)) => imported,
            Ok(Err(panicked)) => {
                tracing::error!(%repository, error = %panicked, "an import ended in a panic");
                Err(Error::Adopting(format!("repository {repository}")))
            }
            Err(_) => Err(Error::Adopting(format!("repository {repository}"))),
        }
    }

    /// Waits until the names of all repositories are known.
    pub(crate) async fn repositories_named(&self) -> Result<()> {
        let mut stage = self.adoption.0.stage.subscribe();
        let named = stage.wait_for(|stage| *stage > Stage::Names);
        match tokio::time::timeout(WAIT, named).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::Adopting("the list of repositories".to_owned())),
        }
    }

    /// Whether new bytes may go to a key that no record names. While a tree is adopted, somebody else's may be
    /// there, which a commit taken back would destroy.
    pub(super) async fn may_overwrite(&self, key: &StorageKey) -> Result<bool> {
        Ok(!self.adoption.under_way() || self.store.size(key).await?.is_none())
    }

    /// If the tree may hold more of a repository than the database: since when it would be news.
    async fn waits(&self, repository: &RepositoryName) -> Result<Option<Waits>> {
        match self.metadata.adoption_state(repository).await? {
            AdoptionState::Done { .. } => Ok(None),
            AdoptionState::Waiting { since } => Ok(Some(Waits { since })),
            AdoptionState::Unknown if self.adoption.stage() > Stage::Names => Ok(None),
            AdoptionState::Unknown => {
                // The walk has not named it yet. Names that only a request made up must not become rows.
                let Some(found) = self.find_repository(repository).await? else {
                    return Ok(None);
                };
                self.metadata.note_repositories(vec![found]).await?;
                Ok(Some(Waits { since: None }))
            }
        }
    }

    async fn find_repository(
        &self,
        repository: &RepositoryName,
    ) -> Result<Option<FoundRepository>> {
        let mut found = false;
        for part in [layout::LAYERS, layout::MANIFESTS, layout::UPLOADS] {
            let Some(directory) = directory(repository, part) else {
                return Ok(None);
            };
            found |= !self
                .store
                .children(&directory)
                .await?
                .next()
                .await?
                .is_empty();
        }
        let manifests = directory(repository, layout::MANIFESTS);
        Ok(match manifests {
            Some(manifests) if found => Some(FoundRepository {
                name: repository.clone(),
                populated: self.is_populated(&manifests).await?,
            }),
            _ => None,
        })
    }

    /// An error unless the storage as a whole can be used: in an outage everything would look broken.
    async fn reachable(&self) -> Result<()> {
        match self.store.probe().await {
            Err(StorageError::Full { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn children(&self, directory: &str) -> holdfast_storage::Result<Box<dyn Listing>> {
        let key = directory.parse().expect("the layout's paths are keys");
        self.store.children(&key).await
    }
}

/// A repository that is not done.
#[derive(Clone, Copy, Debug)]
struct Waits {
    /// What is older was looked at by an earlier walk.
    since: Option<Timestamp>,
}

impl Waits {
    /// Whether something of this age is news. A service that dates objects to the second may mean any time in it.
    fn is_news(self, modified: Option<Timestamp>) -> bool {
        const SECOND: i64 = 1_000_000;
        match (self.since, modified) {
            (None, _) => true,
            (Some(since), Some(modified)) if modified.as_micros() % SECOND == 0 => {
                modified.as_micros() > since.as_micros() - SECOND
            }
            (Some(since), Some(modified)) => modified >= since,
            (Some(_), None) => false,
        }
    }
}

/// A part of a repository; `None` when the path would be too long, so that nothing can be there.
fn directory(repository: &RepositoryName, part: &str) -> Option<StorageKey> {
    format!("{}/{repository}/{part}", layout::REPOSITORIES)
        .parse()
        .ok()
}

fn hashed(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
