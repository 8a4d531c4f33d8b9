//! Images as one tar: a docker-archive for `docker load`, or an OCI layout.
//!
//! Everything is looked up before the first byte goes out, so that what is missing is an answer and not a broken
//! file. Then blobs stream from the store, a chunk at a time; the collector deletes no bytes meanwhile. An archive that
//! breaks off lacks the two empty blocks at its end, which every reader misses.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use holdfast_model::{Descriptor, Digest, Manifest, Reference, RepositoryName};
use holdfast_storage::StorageKey;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::OwnedMutexGuard;
use tokio::sync::mpsc;

use super::super::{Error, Operations, Result};
use crate::error_chain::chain;

/// Most images in one archive.
const IMAGES_MAX: usize = 1000;
/// Most bytes of manifests in one archive; they are in memory.
const MANIFEST_BYTES_MAX: usize = 256 * 1024 * 1024;
/// A block of a tar.
const BLOCK: usize = 512;

/// How the archive is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ArchiveFormat {
    /// What `docker save` writes; one platform.
    #[default]
    DockerArchive,
    /// The OCI image layout; everything that an index names.
    Oci,
}

/// An image to export.
#[derive(Clone, Debug)]
pub(crate) struct ImageName {
    /// Its repository.
    pub(crate) repository: RepositoryName,
    /// Its tag or digest.
    pub(crate) reference: Reference,
}

impl ImageName {
    /// `repository:tag`, as an archive names it; none of an image without tag.
    fn tagged(&self) -> Option<String> {
        match &self.reference {
            Reference::Tag(tag) => Some(format!("{}:{tag}", self.repository)),
            Reference::Digest(_) => None,
        }
    }
}

/// An archive that can be written.
pub(crate) struct Archive {
    parts: Vec<Part>,
    written: HashSet<String>,
    manifest_bytes: usize,
    _held: OwnedMutexGuard<()>,
}

struct Part {
    path: String,
    content: Content,
}

enum Content {
    Bytes(Bytes),
    Blob {
        digest: Digest,
        size: u64,
        key: StorageKey,
    },
}

impl Operations {
    /// Looks up everything that these images need.
    pub(crate) async fn archive(
        &self,
        images: &[ImageName],
        format: ArchiveFormat,
        platform: &str,
    ) -> Result<Archive> {
        if images.len() > IMAGES_MAX {
            return Err(Error::NotExportable(format!(
                "{} images are more than {IMAGES_MAX}, the limit of one archive",
                images.len()
            )));
        }
        let mut archive = Archive {
            parts: Vec::new(),
            written: HashSet::new(),
            manifest_bytes: 0,
            _held: self.deletions_held().await,
        };
        match format {
            ArchiveFormat::DockerArchive => {
                self.add_docker(&mut archive, images, platform).await?;
            }
            ArchiveFormat::Oci => self.add_oci(&mut archive, images).await?,
        }
        Ok(archive)
    }

    async fn add_docker(
        &self,
        archive: &mut Archive,
        images: &[ImageName],
        platform: &str,
    ) -> Result<()> {
        // One entry for each image, with all its names.
        let mut entries: BTreeMap<Digest, (String, Vec<String>, Vec<String>)> = BTreeMap::new();
        for image in images {
            let (config, layers) = self.image_parts(image, platform).await?;
            let name = format!("{}.json", config.digest.hex());
            self.add_blob(archive, image, &config, name.clone()).await?;
            let mut paths = Vec::new();
            for layer in &layers {
                let path = format!("{}.tar", layer.digest.hex());
                self.add_blob(archive, image, layer, path.clone()).await?;
                paths.push(path);
            }
            let entry = entries.entry(config.digest);
            let (_, _, names) = entry.or_insert((name, paths, Vec::new()));
            names.extend(image.tagged());
        }
        let list: Vec<_> = entries
            .into_values()
            .map(|(config, layers, names)| json!({"Config": config, "RepoTags": names, "Layers": layers}))
            .collect();
        archive.add_json("manifest.json", &json!(list));
        Ok(())
    }

    /// The config and the layers of an image, of an index those for this platform.
    async fn image_parts(
        &self,
        image: &ImageName,
        platform: &str,
    ) -> Result<(Descriptor, Vec<Descriptor>)> {
        let mut reference = image.reference.clone();
        // An index may hold indexes; no real one goes deeper.
        for _ in 0..3 {
            let stored = self.manifest(&image.repository, &reference).await;
            let stored = stored.map_err(named)?;
            let manifest = Manifest::parse(&stored.media_type, &stored.payload)?;
            if let Some(config) = manifest.config {
                if !config.media_type.contains("image") {
                    break;
                }
                return Ok((config, manifest.layers));
            }
            let fits = |child: &&Descriptor| {
                let spelled = child.platform.as_ref().map(|platform| platform.spelled());
                spelled.is_some_and(|spelled| {
                    spelled == platform || spelled.starts_with(&format!("{platform}/"))
                })
            };
            let Some(child) = manifest.children.iter().find(fits) else {
                return Err(Error::NotExportable(format!(
                    "{}:{} has nothing for the platform {platform}",
                    image.repository, image.reference
                )));
            };
            reference = Reference::Digest(child.digest);
        }
        Err(Error::NotExportable(format!(
            "{}:{} is not an image that docker loads; the format oci takes everything",
            image.repository, image.reference
        )))
    }

    async fn add_oci(&self, archive: &mut Archive, images: &[ImageName]) -> Result<()> {
        archive.add_json("oci-layout", &json!({"imageLayoutVersion": "1.0.0"}));
        let mut roots = Vec::new();
        for image in images {
            let mut waiting = vec![image.reference.clone()];
            let mut root = None;
            while let Some(reference) = waiting.pop() {
                let stored = match self.manifest(&image.repository, &reference).await {
                    Ok(stored) => stored,
                    // A child that the registry never had: a sparse index stays one.
                    Err(Error::ManifestUnknown { .. }) if root.is_some() => continue,
                    Err(error) => return Err(named(error)),
                };
                let manifest = Manifest::parse(&stored.media_type, &stored.payload)?;
                root.get_or_insert_with(|| {
                    let mut descriptor = json!({
                        "mediaType": stored.media_type.to_string(),
                        "digest": stored.digest.to_string(),
                        "size": stored.payload.len(),
                    });
                    if let (Some(name), Reference::Tag(tag)) = (image.tagged(), &image.reference) {
                        descriptor["annotations"] = json!({
                            "org.opencontainers.image.ref.name": tag.to_string(),
                            "io.containerd.image.name": name,
                        });
                    }
                    descriptor
                });
                if !archive.add_manifest(stored.digest, stored.payload.clone())? {
                    continue;
                }
                for blob in manifest.blobs() {
                    if !blob.urls().is_empty() {
                        continue;
                    }
                    self.add_blob(archive, image, blob, place(&blob.digest))
                        .await?;
                }
                let children = manifest.children.iter();
                waiting.extend(children.map(|child| Reference::Digest(child.digest)));
            }
            roots.extend(root);
        }
        archive.add_json(
            "index.json",
            &json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": roots,
            }),
        );
        Ok(())
    }

    async fn add_blob(
        &self,
        archive: &mut Archive,
        image: &ImageName,
        blob: &Descriptor,
        path: String,
    ) -> Result<()> {
        if !archive.written.insert(path.clone()) {
            return Ok(());
        }
        let digest = blob.digest;
        let stored = self.blob(&image.repository, &digest).await?;
        // Opened once now, so that what is missing is told before anything is sent.
        if let Err(error) = self.open_blob(&digest, &stored).await {
            let (repository, reference) = (&image.repository, &image.reference);
            let why = chain(&error);
            return Err(Error::NotExportable(format!(
                "blob {digest} of {repository}:{reference} cannot be read: {why}"
            )));
        }
        let key = stored.storage_key.parse();
        archive.parts.push(Part {
            path,
            content: Content::Blob {
                digest,
                size: stored.size,
                key: key.map_err(|_| Error::BlobDamaged(digest))?,
            },
        });
        Ok(())
    }

    /// Sends the archive until its end, or until nobody takes it any more.
    pub(crate) async fn write_archive(
        &self,
        archive: Archive,
        to: &mpsc::Sender<Bytes>,
    ) -> Result<()> {
        /// Nobody listens.
        struct Gone;
        let send = async |bytes: Bytes| to.send(bytes).await.map_err(|_| Gone);
        let padding = |size: u64| {
            let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
            Bytes::from_static(&[0; BLOCK]).slice(..(BLOCK - over) % BLOCK)
        };
        for part in archive.parts {
            let size = match &part.content {
                Content::Bytes(bytes) => bytes.len() as u64,
                Content::Blob { size, .. } => *size,
            };
            if send(header(&part.path, size)).await.is_err() {
                return Ok(());
            }
            match part.content {
                Content::Bytes(bytes) => {
                    if send(bytes).await.is_err() {
                        return Ok(());
                    }
                }
                Content::Blob { digest, size, key } => {
                    let reader = self.store.open(&key).await?;
                    if reader.size() != size {
                        return Err(Error::BlobDamaged(digest));
                    }
                    let mut offset = 0;
                    while offset < size {
                        let chunk = reader.read_at(offset, usize::MAX).await?;
                        offset += chunk.len() as u64;
                        if send(chunk).await.is_err() {
                            return Ok(());
                        }
                    }
                }
            }
            if send(padding(size)).await.is_err() {
                return Ok(());
            }
        }
        let _ = send(Bytes::from_static(&[0; 2 * BLOCK])).await;
        Ok(())
    }
}

impl Archive {
    fn add_json(&mut self, path: &str, value: &serde_json::Value) {
        self.parts.push(Part {
            path: path.to_owned(),
            content: Content::Bytes(value.to_string().into()),
        });
    }

    /// Adds a manifest; whether it is not in there yet.
    fn add_manifest(&mut self, digest: Digest, payload: Bytes) -> Result<bool> {
        let path = place(&digest);
        if !self.written.insert(path.clone()) {
            return Ok(false);
        }
        self.manifest_bytes += payload.len();
        if self.manifest_bytes > MANIFEST_BYTES_MAX {
            return Err(Error::NotExportable(format!(
                "the manifests have more than {MANIFEST_BYTES_MAX} bytes, the limit of one archive"
            )));
        }
        self.parts.push(Part {
            path,
            content: Content::Bytes(payload),
        });
        Ok(true)
    }
}

/// Where a layout has a blob.
fn place(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

/// The header of a file; before it, for a path that does not fit, an entry that holds the path.
fn header(path: &str, size: u64) -> Bytes {
    let mut blocks = Vec::new();
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(size);
    if header.set_path(path).is_err() {
        let mut long = tar::Header::new_gnu();
        long.set_entry_type(tar::EntryType::GNULongName);
        long.set_size(path.len() as u64 + 1);
        long.set_path("././@LongLink").expect("a short path");
        long.set_cksum();
        blocks.extend_from_slice(long.as_bytes());
        blocks.extend_from_slice(path.as_bytes());
        blocks.push(0);
        blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
        header
            .set_path(&path[..100])
            .expect("the first hundred bytes fit");
    }
    header.set_cksum();
    blocks.extend_from_slice(header.as_bytes());
    blocks.into()
}

/// Says which of several images it is that is not there.
fn named(error: Error) -> Error {
    match error {
        Error::ManifestUnknown { .. } => Error::NotExportable(error.to_string()),
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn paths_of_any_length_come_back() {
        for length in [1, 99, 100, 101, 141, 511, 512, 600] {
            let path = "a".repeat(length);
            let mut archive = header(&path, 3).to_vec();
            archive.extend_from_slice(b"abc");
            archive.resize(archive.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
            let mut archive = tar::Archive::new(archive.as_slice());
            let mut entries = archive.entries().unwrap();
            let mut entry = entries.next().unwrap().unwrap();
            assert_eq!(entry.path().unwrap().to_str().unwrap(), path);
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            assert_eq!(text, "abc");
            assert!(entries.next().is_none());
        }
    }
}
