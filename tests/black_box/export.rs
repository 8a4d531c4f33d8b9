//! The way back: after an export, other registries serve the same directory, byte for byte.

use std::fs;
use std::path::{Path, PathBuf};

use holdfast_tests::http::Client;
use holdfast_tests::{
    Blob, DockerEngine, Image, Index, Output, Registry, Workbench, random_bytes, sha512_digest,
};
use serde_json::Value;

use crate::storm::{Storm, assert_served};

const OTHERS: [&str; 2] = ["docker-registry", "distribution-v3"];

/// Everything that is asked of both registries.
struct Expected {
    repository: &'static str,
    reference: String,
    manifest: Blob,
    blobs: Vec<Blob>,
}

fn expected(repository: &'static str, reference: &str, image: &Image) -> Expected {
    Expected {
        repository,
        reference: reference.to_owned(),
        manifest: image.manifest.clone(),
        blobs: image.blobs().cloned().collect(),
    }
}

#[track_caller]
fn assert_serves(http: &Client, expected: &[Expected]) {
    for wanted in expected {
        let base = format!("/v2/{}", wanted.repository);
        for reference in [&wanted.reference, &wanted.manifest.digest] {
            let got = http
                .get(&format!("{base}/manifests/{reference}"))
                .header("Accept", wanted.manifest.media_type)
                .send()
                .expect(200);
            assert!(got.body == wanted.manifest.bytes, "{base}:{reference}");
            let digest = got.header("Docker-Content-Digest");
            assert_eq!(digest, Some(wanted.manifest.digest.as_str()));
        }
        for blob in &wanted.blobs {
            let got = http.get(&format!("{base}/blobs/{}", blob.digest)).send();
            assert!(got.expect(200).body == blob.bytes, "{base} {}", blob.digest);
        }
    }
}

fn export(registry: &Registry, arguments: &[&str]) -> Output {
    registry.manage(&[&["export"], arguments].concat()).run()
}

fn catalog(http: &Client) -> Value {
    http.get("/v2/_catalog").send().expect(200).json()["repositories"].clone()
}

fn hex(digest: &str) -> &str {
    digest.split_once(':').expect("a digest").1
}

fn data_file(registry: &Registry, digest: &str) -> PathBuf {
    let path = format!("blobs/sha256/{}/{}/data", &hex(digest)[..2], hex(digest));
    tree(registry).join(path)
}

fn tree(registry: &Registry) -> PathBuf {
    registry.data().join("docker/registry/v2")
}

/// Every file below a directory with its bytes.
fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("listing a directory") {
            let path = entry.expect("listing a directory").path();
            match path.is_dir() {
                true => directories.push(path),
                false => found.push((path.clone(), fs::read(&path).expect("reading a file"))),
            }
        }
    }
    found.sort();
    found
}

/// An image whose manifest and layer have SHA-512 digests.
fn sha512_image(seed: u64) -> (Blob, Blob) {
    let mut layer = Blob::new(
        "application/vnd.oci.image.layer.v1.tar",
        random_bytes(seed, 5000),
    );
    layer.digest = sha512_digest(&layer.bytes);
    let config = serde_json::json!({
        "mediaType": "application/vnd.oci.empty.v1+json", "size": layer.bytes.len(), "digest": layer.digest,
    });
    let text = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/x-test",
        "config": config,
        "layers": [layer.descriptor()],
    });
    let mut manifest = Blob::new(
        "application/vnd.oci.image.manifest.v1+json",
        text.to_string().into(),
    );
    manifest.digest = sha512_digest(&manifest.bytes);
    (manifest, layer)
}

#[test]
fn other_registries_serve_what_was_pushed_here() {
    let mut registry = Registry::start();
    let http = registry.http();
    let (first, second) = (
        Image::new(6000, &[30_000, 10]),
        Image::new(6001, &[400_000]),
    );
    http.push_image("team/app", "v1", &first);
    http.push_image("team/app", "latest", &first);
    http.push_image("team/app", "latest", &second);
    http.push_image("team/app/nested", "V2.0_rc-1", &second);
    let index = Index::new(6002, 20_000);
    for image in &index.images {
        http.push_image("multi", &image.manifest.digest, image);
    }
    http.push_manifest("multi", "all", &index.manifest);
    let (manifest, layer) = sha512_image(6003);
    http.push_blob("long", &layer);
    http.push_manifest("long", &manifest.digest, &manifest);
    let tag = format!("/v2/long/manifests/{}?tag=v1", manifest.digest);
    let tagged = http.put(&tag).header("Content-Type", manifest.media_type);
    let _ = tagged.body(manifest.bytes.clone()).send().expect(201);
    // Content that was damaged and pushed again is not where Distribution would look for it.
    let moved = &first.layers[0];
    fs::remove_file(data_file(&registry, &moved.digest)).expect("removing content");
    let url = format!("/v2/team/app/blobs/{}", moved.digest);
    let _ = http.get(&url).send().expect(502);
    http.push_blob("team/app", moved);
    assert!(!data_file(&registry, &moved.digest).exists());

    let mut all = vec![
        expected("team/app", "v1", &first),
        expected("team/app", "latest", &second),
        expected("team/app/nested", "V2.0_rc-1", &second),
        Expected {
            repository: "multi",
            reference: "all".to_owned(),
            manifest: index.manifest.clone(),
            blobs: Vec::new(),
        },
        Expected {
            repository: "long",
            reference: manifest.digest.clone(),
            manifest,
            blobs: vec![layer],
        },
    ];
    for image in &index.images {
        all.push(expected("multi", &image.manifest.digest, image));
    }
    assert_serves(&http, &all);

    let before = files(&tree(&registry));
    export(&registry, &["--dry-run"]).mentions("4 repositories, nothing was written: ");
    assert_eq!(files(&tree(&registry)), before);
    let one = export(&registry, &["--repository", "multi"]);
    one.mentions("multi: ");
    assert!(!tree(&registry).join("repositories/team").exists());
    export(&registry, &[]).mentions("1 blobs moved");
    assert!(data_file(&registry, &moved.digest).exists());
    let once = files(&tree(&registry));
    export(&registry, &[]).mentions("4 repositories: 0 links written");
    assert_eq!(
        files(&tree(&registry)),
        once,
        "a second time changes nothing"
    );
    assert_serves(&http, &all);
    let _ = registry.manage(&["gc", "run", "--grace", "0s"]).run();
    let _ = registry.manage(&["check", "--read-data"]).run();

    registry.restart();
    assert!(!registry.log().contains("another registry has written"));
    let catalog_here = catalog(&http);
    for other in OTHERS {
        registry.hand_over(other);
        let http = registry.http();
        assert_serves(&http, &all);
        assert_eq!(catalog(&http), catalog_here, "{other}");
        assert_eq!(http.tags("team/app"), ["latest", "v1"], "{other}");
        registry.take_over();
        assert_serves(&registry.http(), &all);
    }
}

#[test]
fn what_was_deleted_here_does_not_come_back_there() {
    for other in OTHERS {
        let mut registry = Registry::builder().program(other).start();
        let images: Vec<_> = (0..4)
            .map(|seed| Image::new(6100 + seed, &[2000]))
            .collect();
        for (number, image) in images.iter().enumerate() {
            registry
                .http()
                .push_image("old/app", &format!("v{number}"), image);
            registry.http().push_image("old/app", "moving", image);
        }
        registry.take_over();
        registry.manage(&["import"]).run();
        let http = registry.http();
        // A tag, a manifest with its tag, and all of a repository pushed since.
        let delete = |reference: &str| {
            let url = format!("/v2/old/app/manifests/{reference}");
            let _ = http.delete(&url).send().expect(202);
        };
        delete("v0");
        delete(&images[1].manifest.digest);
        let new = Image::new(6150, &[1000]);
        http.push_image("new/app", "v1", &new);
        export(&registry, &[]);
        let _ = http
            .delete(&format!("/v2/new/app/manifests/{}", new.manifest.digest))
            .send()
            .expect(202);
        // A start in between brings nothing back either.
        registry.restart();
        let said = export(&registry, &[]);
        said.mentions("new/app: ");

        registry.hand_over(other);
        let http = registry.http();
        assert_eq!(http.tags("old/app"), ["moving", "v2", "v3"], "{other}");
        assert_serves(
            &http,
            &[
                expected("old/app", "v2", &images[2]),
                expected("old/app", "v3", &images[3]),
                expected("old/app", "moving", &images[3]),
                expected("old/app", &images[0].manifest.digest, &images[0]),
            ],
        );
        for gone in [
            format!("old/app/manifests/{}", images[1].manifest.digest),
            "old/app/manifests/v0".to_owned(),
            "new/app/manifests/v1".to_owned(),
            format!("new/app/manifests/{}", new.manifest.digest),
        ] {
            let _ = http.get(&format!("/v2/{gone}")).send().expect(404);
        }
    }
}

#[test]
fn an_export_beside_pushes_is_whole_as_of_its_begin() {
    let mut registry = Registry::start();
    let storm = Storm::start(&registry, 4, 61);
    storm.wait_for(40);
    let before = storm.pushed();
    export(&registry, &[]);
    let all = storm.stop();
    registry.hand_over("docker-registry");
    assert_served(&registry.http(), &before, &all);
}

/// What `docker load` and others read back from a file.
#[test]
fn images_become_files_that_clients_read() {
    let registry = Registry::start();
    let http = registry.http();
    let (image, other) = (Image::new(6300, &[30_000, 10]), Image::new(6301, &[500]));
    http.push_image("team/app", "v1", &image);
    http.push_image("team/app", "also", &image);
    http.push_image("base", "latest", &other);
    let index = Index::new(6302, 2000);
    for image in &index.images {
        http.push_image("multi", &image.manifest.digest, image);
    }
    http.push_manifest("multi", "all", &index.manifest);
    let bench = Workbench::new();

    let archive = bench.path("images.tar");
    let file = archive.to_str().expect("a path of text");
    export(
        &registry,
        &["team/app:v1", "team/app:also", "base", "-o", file],
    );
    for (name, image) in [
        ("team/app:v1", &image),
        ("team/app:also", &image),
        ("base:latest", &other),
    ] {
        let config = bench
            .tool("skopeo")
            .args(["inspect", "--config", "--raw"])
            .arg(format!("docker-archive:{file}:{name}"))
            .run();
        assert_eq!(config.text().as_bytes(), image.config.bytes, "{name}");
    }
    let multi = bench.path("multi.tar");
    let multi = multi.to_str().expect("a path of text");
    let arm = ["multi:all", "--platform", "linux/arm64", "-o", multi];
    export(&registry, &arm);
    let config = bench
        .tool("skopeo")
        .args(["inspect", "--config", "--raw"])
        .arg(format!("docker-archive:{multi}:multi:all"))
        .run();
    assert!(config.text().contains("arm64"), "{}", config.text());

    let layout = bench.path("layout");
    let directory = format!("{}/", layout.display());
    let packed = bench.path("layout.tar");
    let (packed, image_digest) = (
        packed.to_str().expect("a path of text"),
        &image.manifest.digest,
    );
    export(
        &registry,
        &[
            "team/app:v1",
            "multi:all",
            "--format",
            "oci",
            "-o",
            &directory,
        ],
    );
    export(&registry, &["multi:all", "--format", "oci", "-o", packed]);
    let raw = |source: String| {
        let command = bench.tool("skopeo").args(["inspect", "--raw"]);
        command.arg(source).run().text().as_bytes().to_vec()
    };
    assert_eq!(
        raw(format!("oci:{}:v1", layout.display())),
        image.manifest.bytes
    );
    assert_eq!(
        raw(format!("oci:{}:all", layout.display())),
        index.manifest.bytes
    );
    assert_eq!(
        raw(format!("oci-archive:{packed}:all")),
        index.manifest.bytes
    );
    // Every blob of it, copied on by another client.
    let copy = format!("{}@{image_digest}", layout.display());
    bench
        .tool("oras")
        .args(["cp", "--from-oci-layout", "--to-oci-layout"])
        .arg(copy)
        .arg(format!("{}:v1", bench.path("copy").display()))
        .run();

    let digest = format!("team/app@{image_digest}");
    export(&registry, &[&digest, "--format", "oci", "-o", packed]);
    for (arguments, why) in [
        (&["nowhere:v1", "-o", file][..], "nowhere"),
        (&["team/app:v9", "-o", file], "v9"),
        (
            &["multi:all", "--platform", "plan9/386", "-o", file],
            "plan9/386",
        ),
        (&["team/app:v1", "-o", &directory], "only the format oci"),
    ] {
        let refused = registry
            .manage(&[&["export"], arguments].concat())
            .refused();
        refused.mentions(why);
    }
    // A blob that is damaged is told before a byte is written.
    fs::remove_file(data_file(&registry, &image.layers[0].digest)).expect("removing content");
    let whole = fs::read(&archive).expect("reading the archive");
    let refused = registry
        .manage(&["export", "team/app:v1", "-o", file])
        .refused();
    refused.mentions(&image.layers[0].digest);
    assert!(fs::read(&archive).expect("reading the archive") == whole);
    let left: Vec<_> = fs::read_dir(bench.root()).expect("listing").collect();
    assert!(
        !left.iter().flatten().any(|entry| entry
            .path()
            .display()
            .to_string()
            .contains("unfinished"))
    );
}

#[test]
fn docker_loads_what_was_exported() {
    let registry = Registry::start();
    let engine = DockerEngine::start();
    let image = Image::new(6400, &[30_000, 10]);
    registry.http().push_image("team/app", "v1", &image);
    let archive = registry.home().join("image.tar");
    let file = archive.to_str().expect("a path of text");
    export(&registry, &["team/app:v1", "-o", file]);
    engine.docker().args(["load", "-i", file]).run();
    assert_eq!(engine.image_id("team/app:v1"), image.config.digest);
}
