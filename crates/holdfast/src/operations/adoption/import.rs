//! Importing one repository: links, then manifests, then tags, then what is left of uploads.
//!
//! Every step may be repeated: what is in the database already is left alone. Nothing is held in memory that
//! grows with the repository, save the digests of its indexes, which come after what they name.

use std::collections::{HashMap, HashSet};

use futures_util::StreamExt as _;
use holdfast_metadata::{
    AdoptTag, AdoptionState, FoundBlob, OldUpload, Problem, ProblemKind, PutManifest,
    StoredManifest, TagAdopted,
};
use holdfast_model::{
    Algorithm, Digest, Hasher, Manifest, RepositoryName, Tag, Timestamp, UploadId,
};
use holdfast_storage::{Error as StorageError, Leftovers, Listed, Listing, StorageKey};

use super::layout::{self, LinkContent, LinkPath, ManifestKind, TagPath};
use super::{Waits, directory, hashed};
use crate::error_chain::chain;
use crate::operations::{Error, Operations, Result};
use crate::{clock, random};

/// Most bytes of a link; a digest has 135.
const LINK_BYTES_MAX: u64 = 4096;
/// Most bytes of a manifest. Distribution takes 4 MiB.
const MANIFEST_BYTES_MAX: u64 = 16 << 20;
/// Small files that are read at once.
const READS: usize = 16;
/// Manifests stored in one transaction, and their bytes.
const MANIFESTS_AT_ONCE: usize = 64;
const MANIFEST_BYTES_AT_ONCE: usize = 8 << 20;
/// Most lines of history of one tag; the newest are kept.
const HISTORY_MAX: usize = 5000;
/// Indexes in indexes that are followed.
const DEPTH_MAX: usize = 8;
/// Problems noted in one transaction.
const PROBLEMS_AT_ONCE: usize = 100;

/// The import of a repository, or of one thing in it.
pub(super) struct Import<'a> {
    operations: &'a Operations,
    repository: &'a RepositoryName,
    waits: Waits,
    /// Links are not in the database yet, and are looked for one by one.
    alone: bool,
    problems: Vec<Problem>,
}

/// A manifest that was read and found good.
struct Read {
    manifest: Manifest,
    facts: PutManifest,
}

/// A link that is to be followed.
struct Link {
    digest: Digest,
    key: StorageKey,
    size: u64,
    modified: Option<Timestamp>,
}

/// Something that is not as it should be: its kind and what there is to say.
type Fault = (ProblemKind, String);

impl Operations {
    /// Imports all of a repository, unless it is done. Several who ask wait for one.
    pub(super) async fn import_repository(&self, repository: &RepositoryName) -> Result<()> {
        let _importing = self.adoption.0.importing.wait(hashed(repository)).await;
        let AdoptionState::Waiting { since } = self.metadata.adoption_state(repository).await?
        else {
            return Ok(());
        };
        let seen_at = clock::now();
        let mut import = Import::new(self, repository, Waits { since }, false);
        if since.is_none() {
            // What an import that was broken off has noted.
            self.metadata.clear_problems(repository.as_str()).await?;
        }
        import.links().await?;
        import.manifests().await?;
        import.tags().await?;
        import.uploads().await?;
        import.flush().await?;
        let existed = match directory(repository, layout::TAGS) {
            Some(tags) => match self.exists(&tags).await {
                Ok(exists) => exists,
                // Named in the report already.
                Err(_unreadable) => self.reachable().await.map(|()| true)?,
            },
            None => false,
        };
        self.metadata
            .repository_adopted(repository, existed, seen_at)
            .await?;
        self.adoption.add(|p| &p.repositories_done, 1);
        tracing::debug!(%repository, "a repository was taken over");
        Ok(())
    }
}

impl<'a> Import<'a> {
    pub(super) fn new(
        operations: &'a Operations,
        repository: &'a RepositoryName,
        waits: Waits,
        alone: bool,
    ) -> Import<'a> {
        Import {
            operations,
            repository,
            waits,
            alone,
            problems: Vec::new(),
        }
    }

    fn part(&self, part: &str) -> StorageKey {
        // A name has 255 bytes at most.
        directory(self.repository, part).expect("the parts of a repository have short names")
    }

    async fn list(&self, part: &str) -> Result<(StorageKey, Box<dyn Listing>)> {
        let directory = self.part(part);
        let listing = self.operations.store.list(&directory).await?;
        Ok((directory, listing))
    }

    /// `_layers`: which blobs the repository has.
    async fn links(&mut self) -> Result<()> {
        let (directory, mut listing) = self.list(layout::LAYERS).await?;
        loop {
            let batch = self.batch(&mut *listing, &directory).await?;
            if batch.is_empty() {
                return Ok(());
            }
            let mut digests = Vec::with_capacity(batch.len());
            for entry in batch {
                if let Some(link) = self.link(&directory, entry).await? {
                    digests.extend(self.blob_of(&link).await?);
                }
            }
            for digest in self.add_links(digests).await? {
                let place = format!("{directory}/{}/link", layout::digest_path(&digest));
                let fault = (
                    ProblemKind::LinkDangling,
                    "the blob is not stored".to_owned(),
                );
                self.note(fault, place, Some(digest), None, None).await?;
            }
        }
    }

    /// A link among the entries of a listing, if it is news: its digest, where it is, and its size.
    async fn link(&mut self, directory: &StorageKey, entry: Listed) -> Result<Option<Link>> {
        let (key, size, modified) = match entry {
            Listed::Object {
                key,
                size,
                modified,
            } => (key, size, modified),
            other => {
                self.unexpected(other).await?;
                return Ok(None);
            }
        };
        match layout::link_path(below(directory, &key)) {
            LinkPath::Link(digest) if self.waits.is_news(modified) => {
                return Ok(Some(Link {
                    digest,
                    key,
                    size,
                    modified,
                }));
            }
            LinkPath::Link(_) | LinkPath::Signature => {}
            LinkPath::Invalid(error) => {
                let fault = (ProblemKind::NameInvalid, error.to_string());
                self.note(fault, key, None, None, None).await?;
            }
            LinkPath::Other => self.leftover(key).await?,
        }
        Ok(None)
    }

    /// What a link says, unless it is rubbish. One of the right length need not be read.
    async fn follow(&mut self, link: &Link) -> Result<Option<LinkContent>> {
        let Link {
            digest, key, size, ..
        } = link;
        if *size == layout::link_bytes(digest) {
            return Ok(Some(LinkContent::Same));
        }
        let content = match self.operations.store.get(key, LINK_BYTES_MAX).await {
            Ok(content) => layout::link_content(digest, &content),
            Err(StorageError::TooLarge { .. }) => LinkContent::Invalid,
            // It was removed meanwhile.
            Err(StorageError::NotFound(_)) => return Ok(None),
            Err(error) => {
                let fault = (ProblemKind::Unreadable, chain(&error));
                self.note(fault, key, Some(*digest), None, None).await?;
                return Ok(None);
            }
        };
        let fault = match content {
            LinkContent::Same | LinkContent::Alias(_) => return Ok(Some(content)),
            LinkContent::Empty => (
                ProblemKind::LinkEmpty,
                "the link is empty; its place tells what it meant",
            ),
            LinkContent::Invalid => (
                ProblemKind::LinkInvalid,
                "the link says something else than its place",
            ),
        };
        let fault = (fault.0, fault.1.to_owned());
        self.note(fault, key, Some(*digest), None, None).await?;
        Ok((content == LinkContent::Empty).then_some(content))
    }

    /// The blob that a link in `_layers` means, if that can be had.
    async fn blob_of(&mut self, link: &Link) -> Result<Option<Digest>> {
        let digest = link.digest;
        let good = match self.follow(link).await? {
            Some(LinkContent::Alias(target)) => {
                self.adopt_alias(&digest, &target, &link.key).await?
            }
            Some(_) => true,
            None => false,
        };
        Ok(good.then_some(digest))
    }

    /// Links blobs that are stored; the others.
    async fn add_links(&mut self, digests: Vec<Digest>) -> Result<Vec<Digest>> {
        if digests.is_empty() {
            return Ok(digests);
        }
        for (digest, error) in self.operations.adopt_content(&digests).await? {
            let fault = (ProblemKind::Unreadable, chain(&error));
            self.note(fault, digest, Some(digest), None, None).await?;
        }
        let (linked, missing) = self
            .operations
            .metadata
            .adopt_links(self.repository, digests, clock::now())
            .await?;
        self.operations.adoption.add(|p| &p.links, linked);
        Ok(missing)
    }

    /// Makes a blob of its own of content that was pushed as sha512 and is stored as sha256. That is the one
    /// case in which bytes are copied: two blobs must not share an object, since each may be deleted.
    async fn adopt_alias(
        &mut self,
        digest: &Digest,
        target: &Digest,
        link: &StorageKey,
    ) -> Result<bool> {
        let operations = self.operations;
        if operations
            .metadata
            .unknown_content(&[*digest])
            .await?
            .is_empty()
        {
            return Ok(true);
        }
        let fault = match operations.copy_as(target, digest).await {
            Ok(None) => return Ok(true),
            Ok(Some(fault)) => fault,
            Err(Error::Storage(error)) => (ProblemKind::Unreadable, chain(&error)),
            Err(error) => return Err(error),
        };
        self.note(fault, link, Some(*digest), None, None).await?;
        Ok(false)
    }

    /// `_manifests/revisions`: which manifests the repository has.
    async fn manifests(&mut self) -> Result<()> {
        let (directory, mut listing) = self.list(layout::REVISIONS).await?;
        let mut indexes = Vec::new();
        loop {
            let batch = self.batch(&mut *listing, &directory).await?;
            if batch.is_empty() {
                break;
            }
            let mut found = Vec::with_capacity(batch.len());
            for entry in batch {
                let Some(link) = self.link(&directory, entry).await? else {
                    continue;
                };
                match self.follow(&link).await? {
                    None => {}
                    Some(LinkContent::Alias(_)) => {
                        let why = "a manifest's link names a digest of another algorithm";
                        let fault = (ProblemKind::LinkInvalid, why.to_owned());
                        self.note(fault, link.key, Some(link.digest), None, None)
                            .await?;
                    }
                    Some(_) => found.push(link),
                }
            }
            indexes.append(&mut self.images(found).await?);
        }
        for index in indexes {
            self.tree(index).await?;
        }
        Ok(())
    }

    /// Stores the image manifests among these; the indexes, which come later.
    async fn images(&mut self, links: Vec<Link>) -> Result<Vec<Digest>> {
        let operations = self.operations;
        let pushed: HashMap<Digest, Option<Timestamp>> = links
            .into_iter()
            .map(|link| (link.digest, link.modified))
            .collect();
        let digests: Vec<Digest> = pushed.keys().copied().collect();
        let unknown = operations
            .metadata
            .unknown_manifests(self.repository, &digests)
            .await?;
        let repository = self.repository;
        let mut reading = futures_util::stream::iter(unknown)
            .map(|digest| {
                let pushed = pushed[&digest];
                async move {
                    let read = operations.read_manifest(repository, digest, pushed);
                    (digest, read.await)
                }
            })
            .buffer_unordered(READS);
        let mut indexes = Vec::new();
        let (mut reads, mut bytes) = (Vec::new(), 0);
        while let Some((digest, read)) = reading.next().await {
            match read? {
                Ok(read) if !read.manifest.children.is_empty() => indexes.push(digest),
                Ok(read) => {
                    bytes += read.facts.payload.len();
                    reads.push(read);
                }
                Err(fault) => self.note(fault, digest, Some(digest), None, None).await?,
            }
            if reads.len() >= MANIFESTS_AT_ONCE || bytes >= MANIFEST_BYTES_AT_ONCE {
                self.store_manifests(std::mem::take(&mut reads)).await?;
                bytes = 0;
            }
        }
        drop(reading);
        self.store_manifests(reads).await?;
        Ok(indexes)
    }

    /// Stores manifests whose children, if they have any, are there.
    async fn store_manifests(&mut self, reads: Vec<Read>) -> Result<()> {
        if reads.is_empty() {
            return Ok(());
        }
        let metadata = &self.operations.metadata;
        let blobs: HashSet<Digest> = reads
            .iter()
            .flat_map(|read| read.manifest.blobs())
            .map(|blob| blob.digest)
            .collect();
        let blobs: Vec<Digest> = blobs.into_iter().collect();
        let mut absent = metadata.unlinked_blobs(self.repository, &blobs).await?;
        if self.alone && !absent.is_empty() {
            self.links_alone(&absent).await?;
            absent = metadata.unlinked_blobs(self.repository, &absent).await?;
        }
        let absent: HashSet<Digest> = absent.into_iter().collect();
        for read in &reads {
            let manifest = read.facts.digest;
            for blob in read.manifest.blobs() {
                if absent.contains(&blob.digest) && !holdfast_model::manifest::is_foreign(blob) {
                    let why = "the manifest names a blob that the repository does not have";
                    let fault = (ProblemKind::BlobMissing, why.to_owned());
                    let place = format!("{manifest} {}", blob.digest);
                    self.note(fault, place, Some(blob.digest), Some(manifest), None)
                        .await?;
                }
            }
        }
        let stored = reads.into_iter().map(|read| read.facts).collect();
        let stored = metadata.adopt_manifests(self.repository, stored).await?;
        self.operations.adoption.add(|p| &p.manifests, stored);
        Ok(())
    }

    /// Stores a manifest after those that it names; whether the repository has it then.
    pub(super) async fn tree(&mut self, top: Digest) -> Result<bool> {
        let operations = self.operations;
        // A stack of manifests; one is stored when it is come upon for the second time.
        let mut seen = HashSet::new();
        let mut waiting: Vec<(Digest, Option<Read>, usize)> = vec![(top, None, 0)];
        while let Some((digest, read, depth)) = waiting.pop() {
            if let Some(read) = read {
                self.missing_children(&read).await?;
                self.store_manifests(vec![read]).await?;
                continue;
            }
            let unknown = operations
                .metadata
                .unknown_manifests(self.repository, &[digest])
                .await?;
            if unknown.is_empty() || !seen.insert(digest) || depth > DEPTH_MAX {
                continue;
            }
            let Some(link) = self.manifest_link(&digest).await? else {
                continue;
            };
            let read = operations.read_manifest(self.repository, digest, link.modified);
            match read.await? {
                Err(fault) => self.note(fault, digest, Some(digest), None, None).await?,
                Ok(read) => {
                    let children: Vec<Digest> = read
                        .manifest
                        .children
                        .iter()
                        .filter(|child| layout::is_manifest_type(&child.media_type))
                        .map(|child| child.digest)
                        .collect();
                    waiting.push((digest, Some(read), depth));
                    waiting.extend(children.into_iter().map(|child| (child, None, depth + 1)));
                }
            }
        }
        let unknown = operations
            .metadata
            .unknown_manifests(self.repository, &[top])
            .await?;
        Ok(unknown.is_empty())
    }

    async fn missing_children(&mut self, read: &Read) -> Result<()> {
        let children: Vec<Digest> = read
            .manifest
            .children
            .iter()
            .map(|child| child.digest)
            .collect();
        let metadata = &self.operations.metadata;
        if self.alone && !children.is_empty() {
            // The caches of BuildKit are indexes of blobs.
            let blobs = metadata
                .unknown_manifests(self.repository, &children)
                .await?;
            let blobs = metadata.unlinked_blobs(self.repository, &blobs).await?;
            self.links_alone(&blobs).await?;
        }
        let absent = metadata
            .unknown_manifests(self.repository, &children)
            .await?;
        let absent = metadata.unlinked_blobs(self.repository, &absent).await?;
        let index = read.facts.digest;
        for child in absent {
            let why = "an index names a manifest that the repository does not have";
            let fault = (ProblemKind::ManifestMissing, why.to_owned());
            let place = format!("{index} {child}");
            self.note(fault, place, Some(child), Some(index), None)
                .await?;
        }
        Ok(())
    }

    /// The repository's link to a manifest, if it is news. Registries of the 2.1 era linked manifests as they
    /// linked blobs.
    async fn manifest_link(&mut self, digest: &Digest) -> Result<Option<Link>> {
        for part in [layout::REVISIONS, layout::LAYERS] {
            let Some(link) = self.find_link(part, digest).await? else {
                continue;
            };
            if let Some(LinkContent::Same | LinkContent::Empty) = self.follow(&link).await? {
                return Ok(Some(link));
            }
        }
        Ok(None)
    }

    /// The link of one digest, if there is one and it is news.
    async fn find_link(&mut self, part: &str, digest: &Digest) -> Result<Option<Link>> {
        let Ok(place) = self.part(part).join(&layout::digest_path(digest)) else {
            return Ok(None);
        };
        let mut listing = self.operations.store.children(&place).await?;
        for entry in self.batch(&mut *listing, &place).await? {
            if let Listed::Object {
                key,
                size,
                modified,
            } = entry
                && key.name() == "link"
                && self.waits.is_news(modified)
            {
                return Ok(Some(Link {
                    digest: *digest,
                    key,
                    size,
                    modified,
                }));
            }
        }
        Ok(None)
    }

    /// Adds the links to these blobs, of which the database has none.
    pub(super) async fn links_alone(&mut self, digests: &[Digest]) -> Result<()> {
        let mut found = Vec::new();
        for digest in digests {
            if let Some(link) = self.find_link(layout::LAYERS, digest).await? {
                found.extend(self.blob_of(&link).await?);
            }
        }
        self.add_links(found).await.map(drop)
    }

    /// Some more of a listing. One that cannot be read is noted, and has ended.
    async fn batch(
        &mut self,
        listing: &mut dyn Listing,
        directory: &StorageKey,
    ) -> Result<Vec<Listed>> {
        match listing.next().await {
            Ok(batch) => Ok(batch),
            Err(error) => {
                let fault = (ProblemKind::Unreadable, chain(&error));
                self.note(fault, directory, None, None, None).await?;
                Ok(Vec::new())
            }
        }
    }

    /// `_manifests/tags`.
    async fn tags(&mut self) -> Result<()> {
        let directory = self.part(layout::TAGS);
        let mut listing = self.operations.store.children(&directory).await?;
        loop {
            let batch = self.batch(&mut *listing, &directory).await?;
            if batch.is_empty() {
                return Ok(());
            }
            for entry in batch {
                let key = match entry {
                    Listed::Directory { key } => key,
                    Listed::Object { key, .. } => {
                        self.leftover(key).await?;
                        continue;
                    }
                    other => {
                        self.unexpected(other).await?;
                        continue;
                    }
                };
                match key.name().parse::<Tag>() {
                    Ok(tag) => self.tag(&tag).await?,
                    Err(error) => {
                        let fault = (ProblemKind::NameInvalid, error.to_string());
                        self.note(fault, key, None, None, None).await?;
                    }
                }
            }
        }
    }

    /// One tag with its history.
    pub(super) async fn tag(&mut self, tag: &Tag) -> Result<()> {
        let directory = self.part(&format!("{}/{tag}", layout::TAGS));
        let mut listing = self.operations.store.list(&directory).await?;
        let mut current = None;
        let mut history: Vec<(Digest, Timestamp)> = Vec::new();
        loop {
            let batch = self.batch(&mut *listing, &directory).await?;
            if batch.is_empty() {
                break;
            }
            for entry in batch {
                let (key, modified) = match entry {
                    Listed::Object { key, modified, .. } => (key, modified),
                    other => {
                        self.unexpected(other).await?;
                        continue;
                    }
                };
                match layout::tag_path(below(&directory, &key)) {
                    TagPath::Current => current = Some((key, modified)),
                    TagPath::Past(digest) => {
                        history.push((digest, modified.unwrap_or(Timestamp::from_micros(0))));
                    }
                    TagPath::Other => self.leftover(key).await?,
                }
            }
        }
        let Some((key, modified)) = current else {
            let why = "the tag points at nothing; clients were told that it is not there";
            let fault = (ProblemKind::TagEmpty, why.to_owned());
            return self.note(fault, directory, None, None, Some(tag)).await;
        };
        if !self.waits.is_news(modified) {
            return Ok(());
        }
        let content = match self.operations.store.get(&key, LINK_BYTES_MAX).await {
            Ok(content) => content,
            Err(error) => {
                let fault = (ProblemKind::Unreadable, chain(&error));
                return self.note(fault, key, None, None, Some(tag)).await;
            }
        };
        let Some(digest) = layout::read_link(&content) else {
            let (kind, why) = if content.trim_ascii().is_empty() {
                (ProblemKind::TagDangling, "the tag's link is empty")
            } else {
                (ProblemKind::LinkInvalid, "the tag's link holds no digest")
            };
            return self
                .note((kind, why.to_owned()), key, None, None, Some(tag))
                .await;
        };
        let now = clock::now();
        let at = modified.unwrap_or(now).min(now);
        // A time in the future is wrong, and says nothing about which of two is newer.
        let dated = modified.is_some_and(|modified| modified <= now);
        history.retain(|(past, _)| *past != digest);
        history.sort_by_key(|(digest, at)| (*at, *digest));
        for (_, past) in &mut history {
            *past = (*past).min(at);
        }
        let surplus = history.len().saturating_sub(HISTORY_MAX);
        history.drain(..surplus);
        let wanted = AdoptTag {
            repository: self.repository.clone(),
            tag: tag.clone(),
            digest,
            at,
            dated,
            history,
        };
        let metadata = &self.operations.metadata;
        let mut outcome = metadata.adopt_tag(wanted.clone()).await?;
        if outcome == TagAdopted::NoManifest && self.tree(digest).await? {
            outcome = metadata.adopt_tag(wanted).await?;
        }
        match outcome {
            TagAdopted::Set => {
                self.operations.adoption.add(|p| &p.tags, 1);
                Ok(())
            }
            TagAdopted::Kept | TagAdopted::Late => Ok(()),
            TagAdopted::NoManifest => {
                let why = "the repository has no such manifest, or none that can be read";
                let fault = (ProblemKind::TagDangling, why.to_owned());
                self.note(fault, key, Some(digest), None, Some(tag)).await
            }
        }
    }

    /// `_uploads`: what nobody can go on with.
    async fn uploads(&mut self) -> Result<()> {
        let directory = self.part(layout::UPLOADS);
        let mut listing = self.operations.store.children(&directory).await?;
        loop {
            let batch = self.batch(&mut *listing, &directory).await?;
            if batch.is_empty() {
                return Ok(());
            }
            let mut uploads = Vec::new();
            for entry in batch {
                let key = match entry {
                    Listed::Directory { key } => key,
                    Listed::Object { key, .. } => {
                        self.leftover(key).await?;
                        continue;
                    }
                    other => {
                        self.unexpected(other).await?;
                        continue;
                    }
                };
                match self.operations.upload_started(&key).await? {
                    Some(started_at) => uploads.push(OldUpload {
                        directory: key.to_string(),
                        started_at,
                    }),
                    None if self.is_empty(&key).await? => {}
                    None => {
                        let why = "the upload does not say when it began, so it stays";
                        let fault = (ProblemKind::UploadUndated, why.to_owned());
                        self.note(fault, key, None, None, None).await?;
                    }
                }
            }
            self.operations.metadata.note_old_uploads(uploads).await?;
        }
    }

    /// Whether a directory holds nothing; one that cannot be read holds something.
    async fn is_empty(&self, directory: &StorageKey) -> Result<bool> {
        let mut listing = self.operations.store.children(directory).await?;
        match listing.next().await {
            Ok(batch) => Ok(batch.is_empty()),
            Err(_unreadable) => self.operations.reachable().await.map(|()| false),
        }
    }

    async fn leftover(&mut self, key: StorageKey) -> Result<()> {
        let why = "a file that has no place here, such as one that a crash left behind";
        let fault = (ProblemKind::Leftover, why.to_owned());
        self.note(fault, key, None, None, None).await
    }

    async fn unexpected(&mut self, entry: Listed) -> Result<()> {
        let (kind, place, why) = match entry {
            Listed::Foreign { path } => {
                let why = "nothing in such a tree is called so";
                (ProblemKind::NameInvalid, path, why.to_owned())
            }
            Listed::Unreadable { path, error } => (ProblemKind::Unreadable, path, chain(&error)),
            Listed::Object { key, .. } | Listed::Directory { key } => {
                return self.leftover(key).await;
            }
        };
        self.note((kind, why), place, None, None, None).await
    }

    /// Notes a problem. An import of a single thing notes none: that of the whole will.
    async fn note(
        &mut self,
        (kind, detail): Fault,
        place: impl ToString,
        digest: Option<Digest>,
        manifest: Option<Digest>,
        tag: Option<&Tag>,
    ) -> Result<()> {
        if self.alone {
            return Ok(());
        }
        self.problems.push(Problem {
            repository: self.repository.to_string(),
            kind,
            place: place.to_string(),
            tag: tag.map(ToString::to_string),
            digest,
            manifest,
            detail,
            found_at: clock::now(),
        });
        if self.problems.len() >= PROBLEMS_AT_ONCE {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        let problems = std::mem::take(&mut self.problems);
        self.operations.note_problems(problems).await
    }
}

impl Operations {
    async fn exists(&self, directory: &StorageKey) -> holdfast_storage::Result<bool> {
        Ok(self.store.modified(directory).await?.is_some()
            || !self
                .store
                .children(directory)
                .await?
                .next()
                .await?
                .is_empty())
    }

    pub(super) async fn note_problems(&self, problems: Vec<Problem>) -> Result<()> {
        if problems.is_empty() {
            return Ok(());
        }
        if problems
            .iter()
            .any(|problem| problem.kind == ProblemKind::Unreadable)
        {
            self.reachable().await?;
        }
        self.adoption.add(|p| &p.problems, problems.len() as u64);
        Ok(self.metadata.note_problems(problems).await?)
    }

    /// Makes blobs of stored objects of these digests that the walk has not come to yet; those that could not be
    /// looked at.
    pub(super) async fn adopt_content(
        &self,
        digests: &[Digest],
    ) -> Result<Vec<(Digest, StorageError)>> {
        let unknown = self.metadata.unknown_content(digests).await?;
        let mut looking = futures_util::stream::iter(unknown)
            .map(|digest| async move { (digest, self.find_content(digest).await) })
            .buffer_unordered(READS);
        let (mut found, mut unreadable) = (Vec::new(), Vec::new());
        while let Some((digest, content)) = looking.next().await {
            match content {
                Ok(content) => found.extend(content),
                Err(error) => unreadable.push((digest, error)),
            }
        }
        drop(looking);
        if !found.is_empty() {
            self.metadata.adopt_blobs(found, clock::now()).await?;
        }
        Ok(unreadable)
    }

    /// The object of a digest, wherever it is.
    async fn find_content(&self, digest: Digest) -> holdfast_storage::Result<Option<FoundBlob>> {
        let canonical = StorageKey::canonical(&digest);
        if let Some(size) = self.store.size(&canonical).await? {
            return Ok(Some(FoundBlob {
                digest,
                size,
                storage_key: canonical.to_string(),
                canonical: true,
            }));
        }
        let around = canonical.as_str().trim_end_matches("/data");
        let blobs = format!("{}/", layout::BLOBS);
        for entry in self.children(around).await?.next().await? {
            if let Listed::Object { key, size, .. } = entry
                && let Some(below) = key.as_str().strip_prefix(&blobs)
                && layout::blob_path(below) == layout::BlobPath::Incarnation(digest)
            {
                return Ok(Some(FoundBlob {
                    digest,
                    size,
                    storage_key: key.to_string(),
                    canonical: false,
                }));
            }
        }
        Ok(None)
    }

    /// Reads a manifest where blobs are kept, and checks it against its digest.
    async fn read_manifest(
        &self,
        repository: &RepositoryName,
        digest: Digest,
        pushed: Option<Timestamp>,
    ) -> Result<std::result::Result<Read, Fault>> {
        let key = match self.metadata.content(&digest).await? {
            Some(blob) => blob.storage_key.parse().ok(),
            None => None,
        };
        let key = key.unwrap_or_else(|| StorageKey::canonical(&digest));
        let payload = match self.store.get(&key, MANIFEST_BYTES_MAX).await {
            Ok(payload) => payload,
            Err(error) => {
                let kind = match error {
                    StorageError::NotFound(_) => ProblemKind::ManifestMissing,
                    StorageError::TooLarge { .. } => ProblemKind::ManifestTooLarge,
                    _ => ProblemKind::Unreadable,
                };
                return Ok(Err((kind, chain(&error))));
            }
        };
        let actual = Hasher::digest(digest.algorithm(), &payload);
        if actual != digest {
            let why = format!("its bytes are those of {actual}");
            return Ok(Err((ProblemKind::ManifestCorrupt, why)));
        }
        let media_type = match layout::manifest_kind(&payload) {
            ManifestKind::Typed(media_type) => media_type,
            ManifestKind::Schema1 => {
                let why = "manifests of schema 1 are not served; its bytes stay where they are";
                return Ok(Err((ProblemKind::ManifestSchema1, why.to_owned())));
            }
            ManifestKind::Unknown => {
                let why = "it has not the shape of a manifest";
                return Ok(Err((ProblemKind::ManifestInvalid, why.to_owned())));
            }
        };
        let manifest = match Manifest::parse(&media_type, &payload) {
            Ok(manifest) => manifest,
            Err(error) => return Ok(Err((ProblemKind::ManifestInvalid, error.to_string()))),
        };
        let now = clock::now();
        let pushed = pushed.unwrap_or(now).min(now);
        let stored = StoredManifest {
            digest,
            media_type,
            payload,
        };
        let mut facts = self.facts(repository, stored, &manifest, Vec::new(), pushed);
        // What is missing is missing already, and is in the report.
        facts
            .blobs
            .iter_mut()
            .for_each(|blob| blob.required = false);
        facts
            .children
            .iter_mut()
            .for_each(|child| child.required = false);
        Ok(Ok(Read { manifest, facts }))
    }

    /// Copies a blob's bytes to where those of another digest belong, if they are that.
    async fn copy_as(&self, from: &Digest, to: &Digest) -> Result<Option<Fault>> {
        let missing = || {
            let why = format!("{from}, which stands for it, is not stored");
            Ok(Some((ProblemKind::LinkDangling, why)))
        };
        let Some(source) = self.find_content(*from).await? else {
            return missing();
        };
        let key: StorageKey = source.storage_key.parse().expect("it was a key before");
        let reader = match self.store.open(&key).await {
            Ok(reader) => reader,
            Err(StorageError::NotFound(_)) => return missing(),
            Err(error) => return Err(error.into()),
        };
        let id = UploadId::from_random(random::bytes());
        self.store.begin_upload(id).await?;
        let mut writer = self
            .store
            .resume_upload(id, None, Algorithm::Sha512)
            .await?;
        while writer.offset() < reader.size() {
            let piece = reader.read_at(writer.offset(), usize::MAX).await?;
            writer.write(piece).await?;
        }
        let size = writer.offset();
        if writer.digest(to.algorithm()).await? != *to {
            drop(writer);
            self.store.abort_upload(id).await?;
            let why = format!("{from}, which stands for it, has other bytes");
            return Ok(Some((ProblemKind::BlobCorrupt, why)));
        }
        let place = StorageKey::incarnation(to, random::bytes());
        let staged = writer.commit(&place).await?;
        // Nobody else knows of this upload.
        if let Some(Leftovers::Objects(left)) = staged.map(|staged| self.store.leftovers(&staged)) {
            self.store.delete(&left).await?;
        }
        let copied = FoundBlob {
            digest: *to,
            size,
            storage_key: place.to_string(),
            canonical: false,
        };
        self.metadata
            .adopt_blobs(vec![copied], clock::now())
            .await?;
        Ok(None)
    }

    /// When an upload of another registry began, if it says so.
    async fn upload_started(&self, upload: &StorageKey) -> Result<Option<Timestamp>> {
        let Ok(key) = upload.join("startedat") else {
            return Ok(None);
        };
        let text = match self.store.get(&key, LINK_BYTES_MAX).await {
            Ok(text) => text,
            Err(_unreadable) => return Ok(None),
        };
        let text = String::from_utf8_lossy(&text);
        let time = chrono::DateTime::parse_from_rfc3339(text.trim()).ok();
        Ok(time.map(|time| Timestamp::from_micros(time.timestamp_micros())))
    }
}

fn below<'k>(directory: &StorageKey, key: &'k StorageKey) -> &'k str {
    let below = key.as_str().strip_prefix(directory.as_str());
    below.map_or("", |below| below.trim_start_matches('/'))
}
