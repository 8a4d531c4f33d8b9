//! Link files of what was deleted since the other registry wrote them: without them it would come back.
//!
//! Adoption took over every link that it could follow, so a link that the metadata does not know was deleted
//! through this registry, or adoption left it alone and noted why; such a one stays, and so does whatever is not a
//! link. In the reverse order of writing: tags, then revisions, then layers.

use std::collections::{BTreeSet, HashSet};

use holdfast_metadata::{Problem, ProblemKind};
use holdfast_model::{Digest, Reference, RepositoryName, Tag};
use holdfast_storage::{Listed, StorageKey};

use super::super::view::View;
use super::super::{Error, Operations, Result};
use super::links::{Exported, PAGE, directory};
use crate::clock;

/// Links removed at a time.
const BATCH: usize = 500;

/// What adoption left alone in a repository.
#[derive(Default)]
struct LeftAlone {
    tags: HashSet<String>,
    digests: HashSet<Digest>,
}

impl Operations {
    pub(super) async fn remove_stale_links(
        &self,
        view: &View,
        repository: &RepositoryName,
        dry_run: bool,
        exported: &mut Exported,
    ) -> Result<()> {
        let left = self.left_alone(repository).await?;
        let below = |place: &str| {
            directory(repository)?
                .join(place)
                .map_err(|_| Error::NameTooLong(repository.clone()))
        };
        let mut stale = BTreeSet::new();
        for key in self.objects(&below("_manifests/tags")?).await? {
            let Some(tag) = key.tag else { continue };
            let known = match tag.parse::<Tag>() {
                Ok(tag) => {
                    let reference = Reference::Tag(tag);
                    view.metadata
                        .manifest(repository, &reference)
                        .await?
                        .is_some()
                }
                Err(_) => true,
            };
            if !known && !left.tags.contains(&tag) {
                stale.insert(key.key);
            }
        }
        // A revision of a tag's history that was deleted, and the revision itself.
        for place in ["_manifests/tags", "_manifests/revisions"] {
            for key in self.objects(&below(place)?).await? {
                let Some(digest) = key.digest else { continue };
                let reference = Reference::Digest(digest);
                let known = view
                    .metadata
                    .manifest(repository, &reference)
                    .await?
                    .is_some();
                if !known && !left.digests.contains(&digest) {
                    stale.insert(key.key);
                }
            }
        }
        for key in self.objects(&below("_layers")?).await? {
            let Some(digest) = key.digest else { continue };
            // Registries of long ago linked manifests among the layers.
            let reference = Reference::Digest(digest);
            let known = view.metadata.has_link(repository, &digest).await?
                || view
                    .metadata
                    .manifest(repository, &reference)
                    .await?
                    .is_some();
            if !known && !left.digests.contains(&digest) {
                stale.insert(key.key);
            }
        }
        exported.links_removed += stale.len() as u64;
        if !dry_run {
            let current = |key: &StorageKey| key.as_str().ends_with("/current/link");
            let (first, then): (Vec<_>, Vec<_>) = stale.into_iter().partition(current);
            for keys in first.chunks(BATCH).chain(then.chunks(BATCH)) {
                self.store.delete(keys).await?;
            }
        }
        Ok(())
    }

    async fn left_alone(&self, repository: &RepositoryName) -> Result<LeftAlone> {
        let mut left = LeftAlone::default();
        // Pages go by repository, so they begin at the first of this one.
        let mut after = Problem {
            repository: repository.to_string(),
            kind: ProblemKind::LinkInvalid,
            place: String::new(),
            tag: None,
            digest: None,
            manifest: None,
            detail: String::new(),
            found_at: clock::now(),
        };
        loop {
            let page = self.metadata.problems(Some(&after), PAGE).await?;
            for (problem, _) in &page {
                if problem.repository != repository.as_str() {
                    return Ok(left);
                }
                left.tags.extend(problem.tag.clone());
                left.digests.extend(problem.digest);
                left.digests.extend(problem.manifest);
            }
            match page.into_iter().next_back() {
                Some((last, _)) => after = last,
                None => return Ok(left),
            }
        }
    }

    /// The link files below a directory, with what their places say.
    async fn objects(&self, below: &StorageKey) -> Result<Vec<Link>> {
        let mut listing = self.store.list(below).await?;
        let mut links = Vec::new();
        loop {
            let entries = listing.next().await?;
            if entries.is_empty() {
                return Ok(links);
            }
            for entry in entries {
                match entry {
                    Listed::Object { key, .. } => links.extend(Link::read(below, key)),
                    Listed::Unreadable { error, .. } => return Err(error.into()),
                    Listed::Directory { .. } | Listed::Foreign { .. } => {}
                }
            }
        }
    }
}

/// A link file.
struct Link {
    key: StorageKey,
    /// The tag whose directory it is in, when that is where it is.
    tag: Option<String>,
    /// The digest that its place names; none of a tag's `current`.
    digest: Option<Digest>,
}

impl Link {
    fn read(below: &StorageKey, key: StorageKey) -> Option<Link> {
        let path = key
            .as_str()
            .strip_prefix(below.as_str())?
            .strip_prefix('/')?;
        let parts: Vec<&str> = path.split('/').collect();
        let digest = |algorithm: &str, hex: &str| format!("{algorithm}:{hex}").parse().ok();
        let tags = below.name() == "tags";
        let (tag, digest) = match parts.as_slice() {
            [algorithm, hex, "link"] if !tags => (None, Some(digest(algorithm, hex)?)),
            [tag, "current", "link"] if tags => (Some((*tag).to_owned()), None),
            [tag, "index", algorithm, hex, "link"] if tags => {
                (Some((*tag).to_owned()), Some(digest(algorithm, hex)?))
            }
            _ => return None,
        };
        Some(Link { key, tag, digest })
    }
}
