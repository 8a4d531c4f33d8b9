//! Images made on the spot: the same seed gives the same bytes, so their digests are known beforehand.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::tar::Archive;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// `sha256:<hex>` of some bytes.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold("sha256:".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Bytes that do not compress, the same for the same seed (xorshift64*).
#[must_use]
pub fn random_bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Content with its address and type.
#[derive(Clone, Debug)]
pub struct Blob {
    /// What kind of content it is.
    pub media_type: &'static str,
    /// `sha256:<hex>` of the bytes.
    pub digest: String,
    /// The content.
    pub bytes: Vec<u8>,
}

impl Blob {
    /// Names content by its digest.
    #[must_use]
    pub fn new(media_type: &'static str, bytes: Vec<u8>) -> Self {
        Self {
            media_type,
            digest: digest(&bytes),
            bytes,
        }
    }

    /// The descriptor of this content.
    #[must_use]
    pub fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len() })
    }
}

/// An OCI image for one platform, every layer holding one file of random bytes.
#[derive(Clone, Debug)]
pub struct Image {
    /// The manifest.
    pub manifest: Blob,
    /// The image's configuration; its digest is docker's image id.
    pub config: Blob,
    /// The layers, gzipped tar archives.
    pub layers: Vec<Blob>,
    /// The processor architecture, as in `amd64`.
    pub architecture: &'static str,
    archives: Vec<Vec<u8>>,
}

impl Image {
    /// An `amd64` image with one layer for each of the sizes.
    #[must_use]
    pub fn new(seed: u64, layer_bytes: &[usize]) -> Self {
        Self::for_architecture("amd64", seed, layer_bytes)
    }

    /// An image of another architecture.
    #[must_use]
    pub fn for_architecture(architecture: &'static str, seed: u64, layer_bytes: &[usize]) -> Self {
        let archives: Vec<_> = (0_u64..)
            .zip(layer_bytes)
            .map(|(number, &length)| {
                let content = random_bytes(seed * 1000 + number, length);
                Archive::default()
                    .file(&format!("layer-{number}.bin"), &content)
                    .finish()
            })
            .collect();
        let layers: Vec<_> = archives
            .iter()
            .map(|archive| Blob::new(LAYER, gzip(archive)))
            .collect();
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "created": "2020-01-01T00:00:00Z",
            "config": { "Labels": { "seed": seed.to_string() } },
            "rootfs": { "type": "layers", "diff_ids": archives.iter().map(|archive| digest(archive)).collect::<Vec<_>>() },
            "history": archives.iter().map(|_| json!({ "created": "2020-01-01T00:00:00Z", "created_by": "test" })).collect::<Vec<_>>(),
        });
        let config = Blob::new(CONFIG, to_bytes(&config));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(),
            "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
        });
        let manifest = Blob::new(MANIFEST, to_bytes(&manifest));
        Self {
            manifest,
            config,
            layers,
            architecture,
            archives,
        }
    }

    /// The config and the layers: all blobs that the manifest names.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        std::iter::once(&self.config).chain(&self.layers)
    }

    /// Writes an OCI image layout whose one entry has this tag.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write_layout(&self, directory: &Path, tag: &str) {
        write_layout(directory, &self.manifest, tag, self.blobs());
    }

    /// Writes an archive for `docker load`, in which the image has these names.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write_docker_archive(&self, path: &Path, names: &[&str]) {
        let hex = self.config.digest.trim_start_matches("sha256:");
        let config_name = format!("{hex}.json");
        let layer_names: Vec<_> = (0..self.archives.len())
            .map(|number| format!("{number}/layer.tar"))
            .collect();
        let manifest = json!([{ "Config": config_name, "RepoTags": names, "Layers": layer_names }]);
        let archive = layer_names
            .iter()
            .zip(&self.archives)
            .fold(Archive::default(), |archive, (name, layer)| {
                archive.file(name, layer)
            })
            .file(&config_name, &self.config.bytes)
            .file("manifest.json", &to_bytes(&manifest))
            .finish();
        std::fs::write(path, archive).expect("writing a docker archive");
    }
}

/// An OCI index over images of several architectures.
#[derive(Clone, Debug)]
pub struct Index {
    /// The index itself.
    pub manifest: Blob,
    /// The images it lists.
    pub images: Vec<Image>,
}

impl Index {
    /// An index over `amd64` and `arm64` images, one layer each.
    #[must_use]
    pub fn new(seed: u64, layer_bytes: usize) -> Self {
        let image =
            |architecture, seed| Image::for_architecture(architecture, seed, &[layer_bytes]);
        Self::of(vec![image("amd64", seed), image("arm64", seed + 1)])
    }

    /// An index over these images.
    #[must_use]
    pub fn of(images: Vec<Image>) -> Self {
        let entries: Vec<_> = images
            .iter()
            .map(|image| {
                let mut entry = image.manifest.descriptor();
                entry["platform"] = json!({ "architecture": image.architecture, "os": "linux" });
                entry
            })
            .collect();
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
        Self {
            manifest: Blob::new(INDEX, to_bytes(&index)),
            images,
        }
    }

    /// Writes an OCI image layout whose one entry is this index.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write_layout(&self, directory: &Path, tag: &str) {
        let images = self.images.iter();
        let content =
            images.flat_map(|image| std::iter::once(&image.manifest).chain(image.blobs()));
        write_layout(directory, &self.manifest, tag, content);
    }
}

fn write_layout<'a>(
    directory: &Path,
    root: &'a Blob,
    tag: &str,
    content: impl Iterator<Item = &'a Blob>,
) {
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).expect("making an image layout");
    for blob in content.chain([root]) {
        let hex = blob.digest.trim_start_matches("sha256:");
        std::fs::write(blobs.join(hex), &blob.bytes).expect("writing a blob");
    }
    let mut entry = root.descriptor();
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] });
    std::fs::write(directory.join("index.json"), to_bytes(&index))
        .expect("writing a layout's index");
    std::fs::write(
        directory.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .expect("writing oci-layout");
}

fn to_bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("JSON values can be written")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("compressing into memory");
    encoder.finish().expect("compressing into memory")
}
