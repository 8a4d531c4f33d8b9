//! Which repositories the tree holds.
//!
//! Directories nest: `a/b` and `a/b/c` may both be repositories. One is a repository if it has one of the
//! parts of one. The walk keeps one open listing for each level.

use holdfast_metadata::{FoundRepository, Problem, ProblemKind};
use holdfast_model::RepositoryName;
use holdfast_storage::{Listed, Listing, StorageKey};

use super::{layout, walk};
use crate::operations::{Operations, Result};

/// What the walk over the names comes to.
#[derive(Debug)]
pub(super) enum Named {
    /// A repository.
    Repository(FoundRepository),
    /// Something else.
    Problem(Box<Problem>),
}

struct Level {
    /// The name of the repository that this directory is, or is above of; empty at the top.
    name: String,
    listing: Box<dyn Listing>,
    entries: std::vec::IntoIter<Listed>,
    parts: Parts,
}

/// What was seen directly in one directory.
#[derive(Default)]
struct Parts {
    any: bool,
    manifests: Option<StorageKey>,
}

/// The walk.
pub(super) struct Names<'a> {
    operations: &'a Operations,
    levels: Vec<Level>,
}

impl Operations {
    pub(super) async fn names(&self) -> Result<Names<'_>> {
        let listing = self.children(layout::REPOSITORIES).await?;
        Ok(Names {
            operations: self,
            levels: vec![Level::new(String::new(), listing)],
        })
    }
}

impl Level {
    fn new(name: String, listing: Box<dyn Listing>) -> Level {
        Level {
            name,
            listing,
            entries: Vec::new().into_iter(),
            parts: Parts::default(),
        }
    }

    async fn next(&mut self) -> holdfast_storage::Result<Option<Listed>> {
        if let Some(entry) = self.entries.next() {
            return Ok(Some(entry));
        }
        self.entries = self.listing.next().await?.into_iter();
        Ok(self.entries.next())
    }
}

impl Names<'_> {
    /// The next thing; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Named>> {
        while let Some(level) = self.levels.last_mut() {
            let next = match level.next().await {
                Ok(next) => next,
                // Without the top there is nothing to go on with; below it the rest follows.
                Err(error) if level.name.is_empty() => return Err(error.into()),
                Err(error) => {
                    let place = format!("{}/{}", layout::REPOSITORIES, level.name);
                    self.levels.pop();
                    let why = crate::error_chain::chain(&error);
                    return Ok(Some(problem(ProblemKind::Unreadable, &place, &why)));
                }
            };
            let Some(entry) = next else {
                let level = self.levels.pop().expect("it was there a moment ago");
                if level.parts.any {
                    return finished(self.operations, level.name, level.parts)
                        .await
                        .map(Some);
                }
                continue;
            };
            match entry {
                Listed::Directory { key } => match key.name() {
                    part @ (layout::LAYERS | layout::UPLOADS | "_manifests")
                        if !level.name.is_empty() =>
                    {
                        level.parts.any = true;
                        if part == "_manifests" {
                            level.parts.manifests = Some(key);
                        }
                    }
                    part if part.starts_with('_') => {
                        let why = "no part of a repository is called so";
                        return Ok(Some(problem(ProblemKind::Leftover, &key, why)));
                    }
                    part => {
                        let name = match level.name.as_str() {
                            "" => part.to_owned(),
                            above => format!("{above}/{part}"),
                        };
                        let listing = self.operations.store.children(&key).await?;
                        self.levels.push(Level::new(name, listing));
                    }
                },
                Listed::Object { key, .. } => {
                    let why = "a file where only directories belong";
                    return Ok(Some(problem(ProblemKind::Leftover, &key, why)));
                }
                Listed::Foreign { path } => {
                    let why = "no repository can be called so";
                    return Ok(Some(problem(ProblemKind::NameInvalid, &path, why)));
                }
                Listed::Unreadable { path, error } => {
                    let why = crate::error_chain::chain(&error);
                    return Ok(Some(problem(ProblemKind::Unreadable, &path, &why)));
                }
            }
        }
        Ok(None)
    }
}

/// A directory with the parts of a repository, after all in it was seen.
async fn finished(operations: &Operations, name: String, parts: Parts) -> Result<Named> {
    let name: RepositoryName = match name.parse() {
        Ok(name) => name,
        Err(error) => {
            let why = error.to_string();
            return Ok(problem(ProblemKind::NameInvalid, &name, &why));
        }
    };
    let populated = match &parts.manifests {
        Some(manifests) => operations.is_populated(manifests).await?,
        None => false,
    };
    Ok(Named::Repository(FoundRepository { name, populated }))
}

impl Operations {
    /// Whether there are links to manifests, or tags, below a repository's `_manifests`. What cannot be looked
    /// at counts: the import that follows finds out, and names it.
    pub(super) async fn is_populated(&self, manifests: &StorageKey) -> Result<bool> {
        match self.has_manifests(manifests).await {
            Ok(populated) => Ok(populated),
            Err(_unreadable) => self.reachable().await.map(|()| true),
        }
    }

    async fn has_manifests(&self, manifests: &StorageKey) -> holdfast_storage::Result<bool> {
        let store = &self.store;
        let below = |part| manifests.join(part).expect("a short name makes a key");
        for algorithm in store.children(&below("revisions")).await?.next().await? {
            if let Listed::Directory { key } = algorithm
                && !store.children(&key).await?.next().await?.is_empty()
            {
                return Ok(true);
            }
        }
        Ok(!store
            .children(&below("tags"))
            .await?
            .next()
            .await?
            .is_empty())
    }
}

fn problem(kind: ProblemKind, place: &impl ToString, detail: &str) -> Named {
    Named::Problem(Box::new(walk::problem(kind, place, detail)))
}
