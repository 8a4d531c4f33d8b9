//! Writes what Distribution finds its content by, so that `registry:2` serves the same directory.
//!
//! Distribution has no database: a manifest is a blob, and what a repository has is a link file. For each
//! repository, in the order that Distribution writes in, come the bytes under their canonical paths, `_layers`,
//! `_manifests/revisions`, `_manifests/tags/<tag>/index`, and `current` last; so whatever stops an export, no link is
//! there before what it points at. It can be repeated: what is there already stays as it is.
//!
//! All of it is the registry of one moment (`view.rs`), also beside pushes; what comes later needs another export.
//!
//! * A blob that was stored again beside its canonical path moves there, and its old object goes to the outbox: so
//!   the collector and the check find nothing unusual.
//! * The text of a manifest at its canonical path is known to the check by its digest. Once the manifest is
//!   deleted, `check --repair` takes the object away like any other that nobody knows.

use bytes::Bytes;
use holdfast_metadata::{Discarded, Stage};
use holdfast_model::{Digest, Reference, RepositoryName};
use holdfast_storage::{BlobStore, Error as StorageError, StorageKey};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::super::view::View;
use super::super::{Error, Operations, Result};
use crate::clock;

/// Rows read at a time.
pub(super) const PAGE: usize = 1000;
/// Objects, and bytes of them, that are written at a time.
const BATCH: usize = 2000;
const BATCH_BYTES: usize = 16 * 1024 * 1024;
/// A link file is a digest.
const LINK_BYTES_MAX: u64 = 1024;

/// What to export.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinksWish {
    /// These only; all without any.
    pub(crate) repositories: Vec<RepositoryName>,
    /// Only count.
    pub(crate) dry_run: bool,
}

/// What an export did, or would do; in a repository, or in all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exported {
    /// The repository; none in the sum.
    pub(crate) repository: Option<String>,
    /// Repositories.
    pub(crate) repositories: u64,
    /// Blobs that moved to their canonical paths.
    pub(crate) blobs_moved: u64,
    /// Blobs whose bytes are missing or damaged; they got no link.
    pub(crate) blobs_left_out: u64,
    /// Manifests written.
    pub(crate) manifests: u64,
    /// Links written.
    pub(crate) links: u64,
    /// Links that were right already.
    pub(crate) links_kept: u64,
    /// Links removed, of what was deleted since the other registry wrote them.
    pub(crate) links_removed: u64,
}

impl Exported {
    /// Whether there is nothing of the repository, here or in the tree.
    pub(crate) fn is_nothing(&self) -> bool {
        self.links + self.links_kept + self.links_removed + self.blobs_left_out == 0
    }

    fn add(&mut self, other: &Exported) {
        self.repositories += 1;
        self.blobs_moved += other.blobs_moved;
        self.blobs_left_out += other.blobs_left_out;
        self.manifests += other.manifests;
        self.links += other.links;
        self.links_kept += other.links_kept;
        self.links_removed += other.links_removed;
    }
}

impl Operations {
    /// Writes the link files of the wished repositories and removes those of what was deleted. Tells of each
    /// repository, then of all; ends early when nobody listens.
    pub(crate) async fn export_links(
        &self,
        wish: &LinksWish,
        listener: mpsc::Sender<Exported>,
    ) -> Result<()> {
        let walk = self.metadata.adoption_walk().await?;
        if walk.is_some_and(|walk| walk.stage != Stage::Done) {
            return Err(Error::StillAdopting);
        }
        if self.metadata.is_shared() && !wish.dry_run {
            return Err(Error::ExportShared);
        }
        if !wish.dry_run {
            // Otherwise the next start would take the tree for another registry's, and bring back from it what is
            // deleted between the two.
            self.metadata.nothing_to_adopt(clock::now()).await?;
        }
        let view = self.view().await?;
        let mut total = Exported::default();
        if wish.repositories.is_empty() {
            let mut after = None;
            loop {
                let page = view.metadata.all_repositories(after.as_ref(), PAGE).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.clone());
                for repository in page {
                    let exported = self.export_repository(&view, &repository, wish).await?;
                    total.add(&exported);
                    if listener.send(exported).await.is_err() {
                        return Ok(());
                    }
                }
            }
        } else {
            for repository in &wish.repositories {
                let exported = self.export_repository(&view, repository, wish).await?;
                total.add(&exported);
                if listener.send(exported).await.is_err() {
                    return Ok(());
                }
            }
        }
        let _ = listener.send(total).await;
        Ok(())
    }

    async fn export_repository(
        &self,
        view: &View,
        repository: &RepositoryName,
        wish: &LinksWish,
    ) -> Result<Exported> {
        let mut exported = Exported {
            repository: Some(repository.to_string()),
            ..Exported::default()
        };
        let mut batch = Batch {
            store: &**self.store(),
            dry_run: wish.dry_run,
            objects: Vec::new(),
            bytes: 0,
        };
        self.export_blobs(view, repository, &mut batch, &mut exported)
            .await?;
        self.export_manifests(view, repository, &mut batch, &mut exported)
            .await?;
        self.export_tags(view, repository, &mut batch, &mut exported)
            .await?;
        batch.flush().await?;
        self.remove_stale_links(view, repository, wish.dry_run, &mut exported)
            .await?;
        if !wish.dry_run {
            let now = clock::now();
            self.metadata.repository_exported(repository, now).await?;
        }
        tracing::info!(
            %repository,
            links = exported.links,
            links_removed = exported.links_removed,
            manifests = exported.manifests,
            dry_run = wish.dry_run,
            "exported the links of a repository"
        );
        Ok(exported)
    }

    async fn export_blobs(
        &self,
        view: &View,
        repository: &RepositoryName,
        batch: &mut Batch<'_>,
        exported: &mut Exported,
    ) -> Result<()> {
        let mut after = None;
        loop {
            let page = view
                .metadata
                .repository_blobs(repository, after.as_ref(), PAGE)
                .await?;
            let Some(last) = page.last() else { break };
            after = Some(last.digest);
            for blob in page {
                if !blob.live {
                    exported.blobs_left_out += 1;
                    continue;
                }
                match self.move_to_canonical(&blob.digest, batch.dry_run).await? {
                    Place::Canonical => {}
                    Place::Moved => exported.blobs_moved += 1,
                    Place::Missing => {
                        exported.blobs_left_out += 1;
                        continue;
                    }
                }
                let link = format!("_layers/{}", place(&blob.digest));
                batch
                    .link(repository, &link, &blob.digest, exported)
                    .await?;
            }
        }
        batch.flush().await
    }

    /// Brings a blob under the path where Distribution looks for it.
    async fn move_to_canonical(&self, digest: &Digest, dry_run: bool) -> Result<Place> {
        let canonical = StorageKey::canonical(digest);
        // One at a time publishes a digest, as pushes do.
        let _publisher = self.publishers.wait(*digest).await;
        // Deleted or damaged since the view: its links go with the next export.
        let Some(blob) = self.metadata.content(digest).await? else {
            return Ok(Place::Missing);
        };
        let Ok(current) = blob.storage_key.parse::<StorageKey>() else {
            return Ok(Place::Missing);
        };
        if self.store.size(&current).await? != Some(blob.size) {
            return Ok(Place::Missing);
        }
        if current == canonical {
            return Ok(Place::Canonical);
        }
        if dry_run {
            return Ok(Place::Moved);
        }
        self.free_canonical(&canonical).await?;
        self.store.link(&current, &canonical).await?;
        let (old, new) = (current.as_str(), canonical.as_str());
        match self
            .metadata
            .move_blob(digest, old, new, clock::now())
            .await?
        {
            true => Ok(Place::Moved),
            false => Ok(Place::Missing),
        }
    }

    /// Takes a key out of the outbox. The collector waits meanwhile, so nobody else holds it.
    async fn free_canonical(&self, canonical: &StorageKey) -> Result<()> {
        if !self.metadata.is_discarded(canonical.as_str()).await? {
            return Ok(());
        }
        self.store.delete(std::slice::from_ref(canonical)).await?;
        let object = Discarded {
            storage_key: canonical.to_string(),
            digest: None,
            size: None,
        };
        let now = clock::now();
        Ok(self.metadata.objects_deleted(vec![object], now).await?)
    }

    async fn export_manifests(
        &self,
        view: &View,
        repository: &RepositoryName,
        batch: &mut Batch<'_>,
        exported: &mut Exported,
    ) -> Result<()> {
        // All texts first, then the links to them.
        for links in [false, true] {
            let mut after = None;
            loop {
                let page = view
                    .metadata
                    .repository_manifests(repository, after, PAGE)
                    .await?;
                let Some(last) = page.last() else { break };
                after = Some(last.id);
                for manifest in page {
                    let digest = manifest.digest;
                    if links {
                        let link = format!("_manifests/revisions/{}", place(&digest));
                        batch.link(repository, &link, &digest, exported).await?;
                        continue;
                    }
                    let reference = Reference::Digest(digest);
                    let Some(stored) = view.metadata.manifest(repository, &reference).await? else {
                        continue;
                    };
                    let key = StorageKey::canonical(&digest);
                    let size = self.store.size(&key).await?;
                    if size == Some(stored.payload.len() as u64) {
                        continue;
                    }
                    exported.manifests += 1;
                    if !batch.dry_run {
                        self.free_canonical(&key).await?;
                    }
                    batch.add(key, stored.payload.clone()).await?;
                }
            }
            batch.flush().await?;
        }
        Ok(())
    }

    async fn export_tags(
        &self,
        view: &View,
        repository: &RepositoryName,
        batch: &mut Batch<'_>,
        exported: &mut Exported,
    ) -> Result<()> {
        for current in [false, true] {
            let mut after = None;
            loop {
                let page = view
                    .metadata
                    .tag_targets(repository, after.as_ref(), PAGE)
                    .await?;
                let Some((last, _)) = page.last() else { break };
                after = Some(last.clone());
                for (tag, digest) in page {
                    let link = match current {
                        false => format!("_manifests/tags/{tag}/index/{}", place(&digest)),
                        true => format!("_manifests/tags/{tag}/current"),
                    };
                    batch.link(repository, &link, &digest, exported).await?;
                }
            }
            batch.flush().await?;
        }
        Ok(())
    }
}

/// Where the bytes of a blob are.
enum Place {
    /// Where Distribution looks for them.
    Canonical,
    /// There now, or they would be.
    Moved,
    /// Nowhere.
    Missing,
}

/// `<algorithm>/<hex>`, as links are sorted.
fn place(digest: &Digest) -> String {
    format!("{}/{}", digest.algorithm(), digest.hex())
}

/// The directory of a repository in Distribution's layout.
pub(super) fn directory(repository: &RepositoryName) -> Result<StorageKey> {
    format!("docker/registry/v2/repositories/{repository}")
        .parse()
        .map_err(|_| Error::NameTooLong(repository.clone()))
}

/// Objects that are written together.
struct Batch<'a> {
    store: &'a dyn BlobStore,
    dry_run: bool,
    objects: Vec<(StorageKey, Bytes)>,
    bytes: usize,
}

impl Batch<'_> {
    /// Writes a link unless it says that already.
    async fn link(
        &mut self,
        repository: &RepositoryName,
        place: &str,
        digest: &Digest,
        exported: &mut Exported,
    ) -> Result<()> {
        let key = directory(repository)?
            .join(&format!("{place}/link"))
            .map_err(|_| Error::NameTooLong(repository.clone()))?;
        let content = digest.to_string();
        match self.store.get(&key, LINK_BYTES_MAX).await {
            // Some registries end it with a line feed.
            Ok(found) if found.trim_ascii_end() == content.as_bytes() => {
                exported.links_kept += 1;
                return Ok(());
            }
            Ok(_) | Err(StorageError::NotFound(_) | StorageError::TooLarge { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        exported.links += 1;
        self.add(key, content.into()).await
    }

    async fn add(&mut self, key: StorageKey, content: Bytes) -> Result<()> {
        if self.dry_run {
            return Ok(());
        }
        self.bytes += content.len();
        self.objects.push((key, content));
        if self.objects.len() >= BATCH || self.bytes >= BATCH_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        self.bytes = 0;
        if self.objects.is_empty() {
            return Ok(());
        }
        Ok(self.store.put(std::mem::take(&mut self.objects)).await?)
    }
}
