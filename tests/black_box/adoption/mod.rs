//! Storage that another registry wrote, served in place.

mod damage;
mod in_place;
mod odd;
mod scale;

use std::path::PathBuf;

use holdfast_tests::{Blob, Image, Index, Registry, eventually};
use serde_json::Value;

/// The other registries: the last of `registry:2`, and Distribution 3.
const OTHERS: [&str; 2] = ["docker-registry", "distribution-v3"];

/// How far the import of the tree is.
fn status(registry: &Registry) -> Value {
    registry
        .control()
        .get("/api/v1/import")
        .send()
        .expect(200)
        .json()
}

/// Waits until all is taken over.
fn adopted(registry: &Registry) -> Value {
    eventually("the tree is taken over", || {
        status(registry)["stage"] == "done"
    });
    status(registry)
}

/// The report on what was found broken.
fn problems(registry: &Registry) -> Vec<Value> {
    let lines = registry.control().get("/api/v1/import/problems").send();
    let lines = lines.expect(200).text();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect()
}

fn catalog(registry: &Registry) -> Value {
    registry
        .http()
        .get("/v2/_catalog")
        .send()
        .expect(200)
        .json()["repositories"]
        .clone()
}

/// Below the directory of the other registry.
fn tree(registry: &Registry, path: &str) -> PathBuf {
    registry.data().join("docker/registry/v2").join(path)
}

fn hex(digest: &str) -> &str {
    digest.split_once(':').expect("a digest").1
}

fn data_file(registry: &Registry, digest: &str) -> PathBuf {
    let path = format!("blobs/sha256/{}/{}/data", &hex(digest)[..2], hex(digest));
    tree(registry, &path)
}

/// Asserts that a manifest and its blobs come byte for byte.
#[track_caller]
fn assert_pulls(registry: &Registry, repository: &str, reference: &str, image: &Image) {
    let http = registry.http();
    assert_manifest(registry, repository, reference, &image.manifest);
    for blob in image.blobs() {
        let url = format!("/v2/{repository}/blobs/{}", blob.digest);
        let _ = http.head(&url).send().expect(200);
        assert!(
            http.get(&url).send().expect(200).body == blob.bytes,
            "{url}"
        );
    }
}

#[track_caller]
fn assert_manifest(registry: &Registry, repository: &str, reference: &str, manifest: &Blob) {
    let url = format!("/v2/{repository}/manifests/{reference}");
    let accept = [
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
    ];
    let got = registry
        .http()
        .get(&url)
        .header("Accept", &accept.join(", "))
        .send()
        .expect(200);
    assert!(got.body == manifest.bytes, "{url}");
    assert_eq!(
        got.header("Docker-Content-Digest"),
        Some(manifest.digest.as_str())
    );
    assert_eq!(got.header("Content-Type"), Some(manifest.media_type));
}

fn push_index(registry: &Registry, repository: &str, tag: &str, index: &Index) {
    for image in &index.images {
        registry
            .http()
            .push_image(repository, &image.manifest.digest, image);
    }
    registry
        .http()
        .push_manifest(repository, tag, &index.manifest);
}
