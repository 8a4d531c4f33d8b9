//! Images in files: an OCI image layout, in a directory or a tar archive, and what `docker save` writes.
//!
//! An archive is read where it is: one pass notes where its members are. Only one that is compressed is unpacked
//! first, beside the system's other temporary files.
//!
//! Source: OCI image-spec image-layout.md; Docker's image archive (`manifest.json`).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use flate2::read::GzDecoder;
use futures_util::{StreamExt as _, stream};
use holdfast_model::{Algorithm, Digest, Hasher, MediaType, Reference, RepositoryName, Tag};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::{Failure, Fetched, Source};
use crate::operations::{self, ByteStream, ManifestKind, manifest_kind};

/// Bytes read at a time.
const CHUNK_BYTES: u64 = 1 << 20;
/// Most bytes of a manifest, an index or a config.
const DOCUMENT_BYTES_MAX: u64 = 16 << 20;
/// Most members of an archive.
const MEMBERS_MAX: usize = 1_000_000;
/// What names an image in a layout.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// What containerd and docker name it by.
const IMAGE_NAME: &str = "io.containerd.image.name";
/// How compressed files begin.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What an image is to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedImage {
    /// Its repository.
    pub(crate) repository: RepositoryName,
    /// Its tag.
    pub(crate) tag: Option<Tag>,
}

/// Images in files.
pub(crate) struct Archive {
    members: Members,
    images: Vec<(NamedImage, Digest)>,
    /// Manifests that are not in the files: made of what `docker save` wrote.
    made: HashMap<Digest, Fetched>,
    /// Blobs that the files do not name by their digest.
    blobs: HashMap<Digest, Place>,
}

/// Bytes of a file.
#[derive(Clone)]
struct Place {
    file: Arc<File>,
    offset: u64,
    length: u64,
}

enum Members {
    Directory(PathBuf),
    Tar(HashMap<String, Place>),
}

impl Archive {
    /// Opens files and finds the images in them. `wanted` is what they are to be called, whatever they say.
    pub(crate) async fn open(
        path: PathBuf,
        wanted: Option<NamedImage>,
    ) -> Result<Archive, Failure> {
        let opened = spawn_blocking(move || {
            Archive::open_here(&path, wanted.as_ref())
                .map_err(|why| format!("{}: {why}", path.display()))
        });
        opened
            .await
            .map_err(|panicked| format!("reading the archive ended in a panic: {panicked}"))?
    }

    fn open_here(path: &Path, wanted: Option<&NamedImage>) -> Result<Archive, Failure> {
        let members = if path.is_dir() {
            Members::Directory(path.to_owned())
        } else if !path.is_file() {
            return Err("there is no such file or directory".to_owned());
        } else {
            Members::Tar(members(path).map_err(|error| error.to_string())?)
        };
        let mut archive = Archive {
            members,
            images: Vec::new(),
            made: HashMap::new(),
            blobs: HashMap::new(),
        };
        if archive.place("index.json").is_some() {
            archive.read_layout(wanted)?;
        } else if archive.place("manifest.json").is_some() {
            archive.read_docker_archive(wanted)?;
        } else {
            return Err("there is neither an index.json nor a manifest.json in it".to_owned());
        }
        if archive.images.is_empty() {
            return Err("there is no image in it".to_owned());
        }
        Ok(archive)
    }

    fn place(&self, name: &str) -> Option<Place> {
        match &self.members {
            Members::Tar(members) => members.get(name).cloned(),
            Members::Directory(root) => {
                // Whoever made the directory must not name other files of this machine, by `..` or by links.
                let path = root.join(name).canonicalize().ok()?;
                let inside = path.starts_with(root.canonicalize().ok()?);
                let found = path.metadata().ok().filter(|_| inside)?;
                let file = found.is_file().then(|| File::open(path).ok()).flatten()?;
                let found = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
                Some(Place {
                    file: Arc::new(file),
                    offset: 0,
                    length: found.len(),
                })
            }
        }
    }

    fn document(&self, name: &str) -> Result<Bytes, Failure> {
        let place = self
            .place(name)
            .ok_or_else(|| format!("{name} is missing"))?;
        place.document().map_err(|error| format!("{name}: {error}"))
    }

    fn blob_place(&self, digest: &Digest) -> Option<Place> {
        let name = format!("blobs/{}/{}", digest.algorithm(), digest.hex());
        self.blobs
            .get(digest)
            .cloned()
            .or_else(|| self.place(&name))
    }

    fn read_layout(&mut self, wanted: Option<&NamedImage>) -> Result<(), Failure> {
        #[derive(Deserialize)]
        struct Index {
            #[serde(default)]
            manifests: Vec<Entry>,
        }
        #[derive(Deserialize)]
        struct Entry {
            digest: Digest,
            #[serde(default)]
            annotations: HashMap<String, String>,
        }
        let index: Index = serde_json::from_slice(&self.document("index.json")?)
            .map_err(|error| format!("index.json: {error}"))?;
        let only = index.manifests.len() == 1;
        for entry in index.manifests {
            let stated = entry
                .annotations
                .get(IMAGE_NAME)
                .or_else(|| entry.annotations.get(REF_NAME));
            let name = named(stated.map(String::as_str), wanted, only)?;
            self.images.push((name, entry.digest));
        }
        Ok(())
    }

    fn read_docker_archive(&mut self, wanted: Option<&NamedImage>) -> Result<(), Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Image {
            config: String,
            #[serde(default)]
            repo_tags: Option<Vec<String>>,
            #[serde(default)]
            layers: Vec<String>,
        }
        let images: Vec<Image> = serde_json::from_slice(&self.document("manifest.json")?)
            .map_err(|error| format!("manifest.json: {error}"))?;
        let only = images.len() == 1;
        for image in images {
            let config = self.adopt(&image.config, "application/vnd.oci.image.config.v1+json")?;
            let mut layers = Vec::new();
            for layer in &image.layers {
                layers.push(self.adopt(layer, "application/vnd.oci.image.layer.v1.tar")?);
            }
            let manifest = json!({
                "schemaVersion": 2,
                "mediaType": MediaType::OCI_MANIFEST,
                "config": config,
                "layers": layers,
            });
            let payload = Bytes::from(manifest.to_string());
            let digest = Hasher::digest(Algorithm::Sha256, &payload);
            let made = Fetched {
                digest,
                media_type: MediaType::OCI_MANIFEST,
                payload,
            };
            self.made.insert(digest, made);
            let tags = image.repo_tags.unwrap_or_default();
            if tags.is_empty() {
                self.images.push((named(None, wanted, only)?, digest));
            }
            for tag in &tags {
                let name = named(Some(tag), wanted, only && tags.len() == 1)?;
                self.images.push((name, digest));
            }
        }
        Ok(())
    }

    /// Makes a blob of a member; its descriptor.
    fn adopt(&mut self, name: &str, media_type: &str) -> Result<Value, Failure> {
        let place = self
            .place(name)
            .ok_or_else(|| format!("{name} is missing"))?;
        let failed = |error: io::Error| format!("{name}: {error}");
        let begin = place.read(0, 2).map_err(failed)?;
        let digest = place.digest().map_err(failed)?;
        let compressed = if media_type.ends_with(".tar") && begin[..] == GZIP {
            "+gzip"
        } else {
            ""
        };
        let size = place.length;
        self.blobs.insert(digest, place);
        Ok(json!({
            "mediaType": format!("{media_type}{compressed}"),
            "digest": digest,
            "size": size,
        }))
    }
}

impl Place {
    /// Some bytes, at most `max`; none at the end.
    fn read(&self, offset: u64, max: u64) -> io::Result<Bytes> {
        let length = self.length.saturating_sub(offset).min(max);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut bytes, self.offset + offset)?;
        Ok(bytes.into())
    }

    fn document(&self) -> io::Result<Bytes> {
        if self.length > DOCUMENT_BYTES_MAX {
            let why = format!("it is over {DOCUMENT_BYTES_MAX} bytes");
            return Err(io::Error::other(why));
        }
        self.read(0, self.length)
    }

    fn digest(&self) -> io::Result<Digest> {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut offset = 0;
        while offset < self.length {
            let bytes = self.read(offset, CHUNK_BYTES)?;
            offset += bytes.len() as u64;
            hasher.update(&bytes);
        }
        Ok(hasher.finish())
    }

    fn stream(self) -> ByteStream {
        stream::unfold((self, 0_u64), |(place, offset)| async move {
            if offset >= place.length {
                return None;
            }
            let read = spawn_blocking(move || {
                let read = place.read(offset, CHUNK_BYTES);
                (place, read)
            });
            let Ok((place, read)) = read.await else {
                return None;
            };
            let failed = |error: io::Error| operations::Error::ClientGone(error.to_string());
            // After an error nothing more follows.
            let next = read
                .as_ref()
                .map_or(u64::MAX, |bytes| offset + bytes.len() as u64);
            Some((read.map_err(failed), (place, next)))
        })
        .boxed()
    }
}

/// Where the members of an archive are.
fn members(path: &Path) -> io::Result<HashMap<String, Place>> {
    let mut file = File::open(path)?;
    let mut begin = [0; 2];
    let read = file.read(&mut begin)?;
    file.seek(SeekFrom::Start(0))?;
    if read == 2 && begin == GZIP {
        let mut unpacked = tempfile::tempfile()?;
        io::copy(&mut GzDecoder::new(&file), &mut unpacked)?;
        unpacked.seek(SeekFrom::Start(0))?;
        file = unpacked;
    }
    let file = Arc::new(file);
    let mut members = HashMap::new();
    let mut links = Vec::new();
    let mut archive = tar::Archive::new(&*file);
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let name = plain(&entry.path()?.to_string_lossy());
        if members.len() + links.len() >= MEMBERS_MAX {
            return Err(io::Error::other("it has too many members"));
        }
        let kind = entry.header().entry_type();
        if kind.is_file() {
            let place = Place {
                file: Arc::clone(&file),
                offset: entry.raw_file_position(),
                length: entry.size(),
            };
            members.insert(name, place);
        } else if let Some(target) = entry.link_name()?
            && (kind.is_symlink() || kind.is_hard_link())
        {
            let target = target.to_string_lossy();
            let target = if kind.is_symlink() {
                beside(&name, &target)
            } else {
                plain(&target)
            };
            links.push((name, target));
        }
    }
    // Older archives have a layer once, and links to it.
    for (name, target) in links {
        if let Some(place) = members.get(&target).cloned() {
            members.insert(name, place);
        }
    }
    Ok(members)
}

fn plain(name: &str) -> String {
    name.trim_start_matches("./")
        .trim_end_matches('/')
        .to_owned()
}

/// What a link in a member's directory leads to.
fn beside(name: &str, target: &str) -> String {
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// What an image is called here: as wanted, else as stated. `only` says that it is the only one.
fn named(
    stated: Option<&str>,
    wanted: Option<&NamedImage>,
    only: bool,
) -> Result<NamedImage, Failure> {
    let (repository, tag) = stated.map_or((None, None), split_name);
    let Some(repository) = wanted
        .map(|wanted| wanted.repository.clone())
        .or(repository)
    else {
        return Err("an image in it has no name; say what it is to be called".to_owned());
    };
    let wanted_tag = wanted.and_then(|wanted| wanted.tag.clone());
    let tag = match (wanted_tag, tag) {
        (Some(_), _) if !only => {
            return Err("there are several images in it: one tag is not enough".to_owned());
        }
        (Some(tag), _) | (None, Some(tag)) => Some(tag),
        (None, None) if only => Some("latest".parse().expect("a plain word is a tag")),
        (None, None) => None,
    };
    Ok(NamedImage { repository, tag })
}

/// Repository and tag of a name such as `registry.example:5000/team/app:v1`, without the registry.
fn split_name(text: &str) -> (Option<RepositoryName>, Option<Tag>) {
    if let Ok(tag) = text.parse::<Tag>() {
        // Layouts name an image by its tag alone.
        return (None, Some(tag));
    }
    let (path, tag) = match text.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, tag.parse().ok()),
        _ => (text, None),
    };
    let path = match path.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => rest,
        _ => path,
    };
    (path.parse().ok(), tag)
}

#[async_trait]
impl Source for Archive {
    async fn repositories(&self) -> Result<Vec<RepositoryName>, Failure> {
        let mut names: Vec<RepositoryName> = self
            .images
            .iter()
            .map(|(name, _)| name.repository.clone())
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    async fn references(&self, repository: &RepositoryName) -> Result<Vec<Reference>, Failure> {
        let here = self
            .images
            .iter()
            .filter(|(name, _)| name.repository == *repository);
        Ok(here
            .map(|(name, digest)| match &name.tag {
                Some(tag) => Reference::Tag(tag.clone()),
                None => Reference::Digest(*digest),
            })
            .collect())
    }

    async fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<Fetched>, Failure> {
        let digest = match reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(tag) => {
                let found = self.images.iter().find(|(name, _)| {
                    name.repository == *repository && name.tag.as_ref() == Some(tag)
                });
                let Some((_, digest)) = found else {
                    return Ok(None);
                };
                *digest
            }
        };
        if let Some(made) = self.made.get(&digest) {
            return Ok(Some(made.clone()));
        }
        let Some(place) = self.blob_place(&digest) else {
            return Ok(None);
        };
        if place.length > DOCUMENT_BYTES_MAX {
            return Ok(None);
        }
        let payload = place
            .document()
            .map_err(|error| format!("{digest}: {error}"))?;
        if Hasher::digest(digest.algorithm(), &payload) != digest {
            return Err(format!("{digest} has other bytes in it"));
        }
        Ok(match manifest_kind(&payload) {
            ManifestKind::Typed(media_type) => Some(Fetched {
                digest,
                media_type,
                payload,
            }),
            ManifestKind::Schema1 => {
                return Err(format!(
                    "{digest} is a manifest of schema 1, which is not served"
                ));
            }
            ManifestKind::Unknown => None,
        })
    }

    async fn blob(
        &self,
        _repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<ByteStream>, Failure> {
        Ok(self.blob_place(digest).map(Place::stream))
    }

    async fn referrers(
        &self,
        _repository: &RepositoryName,
        _subject: &Digest,
    ) -> Result<Vec<Digest>, Failure> {
        // They stand in the list of images like all others.
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (text, repository, tag) in [
            ("v1", None, Some("v1")),
            ("team/app:v1", Some("team/app"), Some("v1")),
            (
                "registry.example:5000/team/app:v1",
                Some("team/app"),
                Some("v1"),
            ),
            ("localhost/app", Some("app"), None),
            (
                "docker.io/library/alpine:3",
                Some("library/alpine"),
                Some("3"),
            ),
            ("Bad Name:v1", None, Some("v1")),
        ] {
            let (found, found_tag) = split_name(text);
            assert_eq!(
                found.as_ref().map(RepositoryName::as_str),
                repository,
                "{text}"
            );
            assert_eq!(found_tag.as_ref().map(Tag::as_str), tag, "{text}");
        }
        let wanted = NamedImage {
            repository: "a/b".parse().unwrap(),
            tag: None,
        };
        let text = |stated, wanted: Option<&NamedImage>, only| {
            let name = named(stated, wanted, only)?;
            let tag = name.tag.map_or_else(String::new, |tag| format!(":{tag}"));
            Ok::<_, Failure>(format!("{}{tag}", name.repository))
        };
        assert_eq!(text(Some("v1"), Some(&wanted), false).unwrap(), "a/b:v1");
        assert_eq!(text(None, Some(&wanted), true).unwrap(), "a/b:latest");
        assert_eq!(text(None, Some(&wanted), false).unwrap(), "a/b");
        assert_eq!(text(Some("x/y:v2"), None, true).unwrap(), "x/y:v2");
        assert!(text(Some("v1"), None, true).is_err());
        let tagged = NamedImage {
            tag: Some("t".parse().unwrap()),
            ..wanted
        };
        assert_eq!(text(Some("v1"), Some(&tagged), true).unwrap(), "a/b:t");
        assert!(text(Some("v1"), Some(&tagged), false).is_err());
    }

    #[test]
    fn links() {
        for (name, target, expected) in [
            ("a/layer.tar", "../b/layer.tar", "b/layer.tar"),
            ("a/layer.tar", "./other", "a/other"),
            ("x", "../../../etc/passwd", "etc/passwd"),
        ] {
            assert_eq!(beside(name, target), expected);
        }
        assert_eq!(plain("./index.json"), "index.json");
    }
}
