//! How long a large tree takes, and how much memory. `HOLDFAST_ADOPTION_MANIFESTS=100000` with a release build in
//! `HOLDFAST_BIN` gives the figures of the guide.

use std::fs;
use std::path::Path;
use std::time::Instant;

use holdfast_tests::{Registry, digest};
use serde_json::json;

use super::{adopted, hex, problems, tree};

/// Manifests of one repository.
const MANIFESTS_EACH: usize = 100;
/// Manifests without another number in the environment.
const FEW: usize = 300;
/// What the server may have in memory while it takes over the large tree.
const MOST_BYTES: u64 = 200 << 20;

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("making directories");
    fs::write(path, bytes).expect("writing a file");
}

/// A tree of images with a config of their own, a layer of their own and five layers that ten of them share.
fn build(registry: &Registry, manifests: usize) {
    let data = |content: &str| {
        let digest = digest(content.as_bytes());
        let path = format!("blobs/sha256/{}/{}/data", &hex(&digest)[..2], hex(&digest));
        write(&tree(registry, &path), content.as_bytes());
        digest
    };
    for number in 0..manifests {
        let repository = format!(
            "repositories/team-{}/app-{}",
            number / 1000,
            number / MANIFESTS_EACH
        );
        let link = |below: &str, digest: &str| {
            let path = format!("{repository}/{below}/sha256/{}/link", hex(digest));
            write(&tree(registry, &path), digest.as_bytes());
        };
        let config = data(&format!("{{\"number\":{number}}}"));
        let mut layers = vec![data(&format!("layer {number}"))];
        layers.extend((0..5).map(|shared| data(&format!("shared {} {shared}", number / 10))));
        for blob in layers.iter().chain([&config]) {
            link("_layers", blob);
        }
        let described = |digest: &String, media_type: &str| json!({"mediaType": media_type, "digest": digest, "size": 10});
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": described(&config, "application/vnd.oci.image.config.v1+json"),
            "layers": layers.iter().map(|layer| described(layer, "application/vnd.oci.image.layer.v1.tar+gzip")).collect::<Vec<_>>(),
        });
        let manifest = data(&manifest.to_string());
        link("_manifests/revisions", &manifest);
        let tag = format!("_manifests/tags/v{}", number % MANIFESTS_EACH);
        link(&format!("{tag}/index"), &manifest);
        write(
            &tree(registry, &format!("{repository}/{tag}/current/link")),
            manifest.as_bytes(),
        );
    }
}

#[test]
fn a_large_tree_is_taken_over_in_bounded_memory() {
    let asked = std::env::var("HOLDFAST_ADOPTION_MANIFESTS").ok();
    let manifests = asked.map_or(FEW, |number| number.parse().expect("a number"));
    let mut registry = Registry::start();
    registry.kill();
    fs::remove_dir_all(registry.data()).expect("removing the data");
    build(&registry, manifests);
    let started = Instant::now();
    registry.restart();
    let first = started.elapsed();
    let url = format!(
        "/v2/team-{}/app-{}/manifests/v0",
        (manifests - 1) / 1000,
        (manifests - 1) / MANIFESTS_EACH
    );
    let _ = registry.http().get(&url).send().expect(200);
    let pulled = started.elapsed();
    let of = loop {
        let of = super::status(&registry);
        if of["stage"] == "done" || manifests <= FEW {
            break adopted(&registry);
        }
        assert!(
            registry.resident_bytes() < MOST_BYTES,
            "{} bytes",
            registry.resident_bytes()
        );
        std::thread::sleep(std::time::Duration::from_millis(100));
    };
    let status = fs::read_to_string(format!("/proc/{}/status", registry.pid())).expect("a process");
    let peak = status.lines().find(|line| line.starts_with("VmHWM:"));
    println!(
        "{manifests} manifests: first answer after {first:?}, first pull after {pulled:?}, all taken over after {:?}; {peak:?}",
        started.elapsed()
    );
    assert_eq!(
        (&of["manifests"], &of["tags"]),
        (&json!(manifests), &json!(manifests))
    );
    assert_eq!(problems(&registry), Vec::<serde_json::Value>::new());
    assert!(registry.resident_bytes() < MOST_BYTES);
}
