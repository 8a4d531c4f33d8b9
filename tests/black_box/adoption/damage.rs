//! A tree with every kind of damage: what can be had is served, and the rest is in the report.

use std::fs;
use std::path::Path;

use holdfast_tests::{Blob, Image, Index, Registry, digest, sha512_digest};
use serde_json::{Value, json};

use super::{
    adopted, assert_manifest, assert_pulls, catalog, data_file, hex, problems, push_index, tree,
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("making directories");
    fs::write(path, bytes).expect("writing a file");
}

fn revision(registry: &Registry, repository: &str, digest: &str) -> std::path::PathBuf {
    let hex = hex(digest);
    tree(
        registry,
        &format!("repositories/{repository}/_manifests/revisions/sha256/{hex}/link"),
    )
}

fn layer(registry: &Registry, repository: &str, algorithm: &str, hex: &str) -> std::path::PathBuf {
    tree(
        registry,
        &format!("repositories/{repository}/_layers/{algorithm}/{hex}/link"),
    )
}

fn current(registry: &Registry, repository: &str, tag: &str) -> std::path::PathBuf {
    tree(
        registry,
        &format!("repositories/{repository}/_manifests/tags/{tag}/current/link"),
    )
}

/// Puts bytes where the other registry keeps blobs.
fn store(registry: &Registry, bytes: &[u8]) -> String {
    let digest = digest(bytes);
    write(&data_file(registry, &digest), bytes);
    digest
}

#[test]
fn what_is_broken_is_named_and_the_rest_is_served() {
    let mut registry = Registry::builder().program("docker-registry").start();
    let http = registry.http();
    let good = Image::new(100, &[10_000]);
    let images: Vec<Image> = (101..116).map(|seed| Image::new(seed, &[5_000])).collect();
    http.push_image("good", "v1", &good);
    for (number, image) in images.iter().enumerate() {
        http.push_image(&format!("case{number:02}"), "v1", image);
    }
    let index = Index::new(150, 1_000);
    push_index(&registry, "index", "v1", &index);
    registry.kill();

    let at = |number: usize| format!("case{number:02}");
    let of = |number: usize| images[number].manifest.digest.as_str();
    let layer_of = |number: usize| images[number].layers[0].digest.as_str();
    // 0: a layer is gone. 1: a manifest is gone. 2: a manifest has other bytes. 3: it is no JSON.
    fs::remove_file(data_file(&registry, layer_of(0))).expect("removing a layer");
    fs::remove_file(data_file(&registry, of(1))).expect("removing a manifest");
    write(&data_file(&registry, of(2)), b"{}");
    let rubbish = store(&registry, b"\x1f\x8b rubbish");
    write(&revision(&registry, &at(3), &rubbish), &rubbish);
    // 4: a manifest of schema 1.
    let schema1 = store(
        &registry,
        br#"{"schemaVersion":1,"name":"a","tag":"b","signatures":[]}"#,
    );
    write(&revision(&registry, &at(4), &schema1), &schema1);
    write(&current(&registry, &at(4), "old"), &schema1);
    // 5: a tag of which only the directory is left. 6: a tag that names what was never there. 7: rubbish.
    fs::create_dir_all(tree(&registry, "repositories/case05/_manifests/tags/empty"))
        .expect("making a directory");
    write(
        &current(&registry, &at(6), "dangling"),
        digest(b"never stored"),
    );
    write(&current(&registry, &at(7), "rubbish"), b"rubbish");
    // 8: links with white space around. 9: empty links. 10: links to something else.
    for link in [
        revision(&registry, &at(8), of(8)),
        layer(&registry, &at(8), "sha256", hex(layer_of(8))),
        current(&registry, &at(8), "v1"),
    ] {
        let text = fs::read_to_string(&link).expect("a link");
        write(&link, format!("  {text}\r\n"));
    }
    write(&revision(&registry, &at(9), of(9)), b"");
    write(&layer(&registry, &at(9), "sha256", hex(layer_of(9))), b"");
    write(
        &layer(&registry, &at(10), "sha256", hex(layer_of(10))),
        format!("{} ", of(10)),
    );
    // 11: a link to a blob that was collected. 12: temporary files. 13: a revision is not linked, as in 2.1.
    write(
        &layer(&registry, &at(11), "sha256", hex(&digest(b"gone"))),
        digest(b"gone"),
    );
    write(
        &revision(&registry, &at(12), of(12)).with_extension("4711.tmp"),
        b"sha256:",
    );
    write(&tree(&registry, "blobs/sha256/stray"), b"x");
    fs::remove_file(revision(&registry, &at(13), of(13))).expect("removing a link");
    write(&layer(&registry, &at(13), "sha256", hex(of(13))), of(13));
    // 14: signatures, upload directories, an algorithm nobody has, names that cannot be.
    let signatures = revision(&registry, &at(14), of(14)).with_file_name("signatures");
    write(
        &signatures.join("sha256").join(hex(of(14))).join("link"),
        of(14),
    );
    let uploads = tree(&registry, "repositories/case14/_uploads");
    write(
        &uploads.join("11111111-1111-1111-1111-111111111111/startedat"),
        b"2020-01-01T00:00:00Z",
    );
    write(
        &uploads.join("11111111-1111-1111-1111-111111111111/data"),
        b"old",
    );
    write(
        &uploads.join("11111111-1111-1111-1111-111111111111/hashstates/sha256/3"),
        b"x",
    );
    write(
        &uploads.join("22222222-2222-2222-2222-222222222222/data"),
        b"undated",
    );
    fs::create_dir_all(uploads.join("33333333-3333-3333-3333-333333333333")).expect("a directory");
    write(
        &layer(&registry, &at(14), "sha384", &"a".repeat(96)),
        b"sha384:",
    );
    write(&current(&registry, &at(14), "-bad"), of(14));
    fs::create_dir_all(tree(&registry, "repositories/Bad/_manifests/tags")).expect("a directory");
    fs::create_dir_all(tree(&registry, "repositories/with space/_layers")).expect("a directory");
    // Repositories that are empty, and one of which only uploads are left.
    fs::create_dir_all(tree(&registry, "repositories/emptied/_manifests/tags")).expect("empty");
    fs::create_dir_all(tree(&registry, "repositories/emptied/_layers")).expect("empty");
    fs::create_dir_all(tree(&registry, "repositories/begun/_uploads")).expect("empty");
    // An index without one of its images.
    let child = &index.images[1].manifest.digest;
    fs::remove_file(revision(&registry, "index", child)).expect("removing a link");

    registry.take_over();
    assert_pulls(&registry, "good", "v1", &good);
    adopted(&registry);
    assert_pulls(&registry, "good", "v1", &good);
    for number in [4, 5, 6, 7, 8, 9, 11, 12, 13, 14] {
        assert_pulls(&registry, &at(number), "v1", &images[number]);
    }
    let http = registry.http();
    for number in [0, 10] {
        assert_manifest(&registry, &at(number), "v1", &images[number].manifest);
        let url = format!("/v2/{}/blobs/{}", at(number), layer_of(number));
        let _ = http.get(&url).send().expect(404);
    }
    for number in [1, 2] {
        let _ = http
            .get(&format!("/v2/{}/manifests/v1", at(number)))
            .send()
            .expect(404);
        assert_eq!(http.tags(&at(number)), Vec::<String>::new());
    }
    for gone in [
        "case04/manifests/old",
        "case05/manifests/empty",
        "case06/manifests/dangling",
    ] {
        let _ = http.get(&format!("/v2/{gone}")).send().expect(404);
    }
    assert_eq!(http.tags("case05"), ["v1"]);
    assert_eq!(http.tags("emptied"), Vec::<String>::new());
    let _ = http.get("/v2/begun/tags/list").send().expect(404);
    assert_manifest(&registry, "index", "v1", &index.manifest);
    assert!(!catalog(&registry).to_string().contains("emptied"));

    let found = problems(&registry);
    let has = |kind: &str, repository: &str, digest: Option<&str>| {
        assert!(
            found.iter().any(|problem| problem["kind"] == kind
                && problem["repository"] == repository
                && digest.is_none_or(|digest| problem["digest"] == digest)),
            "{kind} in {repository} is not in {found:#?}"
        );
    };
    has("blob-missing", "case00", Some(layer_of(0)));
    has("link-dangling", "case00", Some(layer_of(0)));
    has("manifest-missing", "case01", Some(of(1)));
    has("tag-dangling", "case01", Some(of(1)));
    has("manifest-corrupt", "case02", Some(of(2)));
    has("manifest-invalid", "case03", Some(&rubbish));
    has("manifest-schema1", "case04", Some(&schema1));
    has("tag-dangling", "case04", Some(&schema1));
    has("tag-empty", "case05", None);
    has("tag-dangling", "case06", Some(&digest(b"never stored")));
    has("link-invalid", "case07", None);
    has("link-empty", "case09", Some(of(9)));
    has("link-empty", "case09", Some(layer_of(9)));
    has("link-invalid", "case10", Some(layer_of(10)));
    has("blob-missing", "case10", Some(layer_of(10)));
    has("link-dangling", "case11", Some(&digest(b"gone")));
    has("leftover", "case12", None);
    has("leftover", "", None);
    has("upload-undated", "case14", None);
    has("name-invalid", "case14", None);
    has("name-invalid", "", None);
    has("manifest-missing", "index", Some(child));
    assert!(!found.iter().any(|problem| problem["repository"] == "good"));
    assert!(
        !found
            .iter()
            .any(|problem| problem["repository"] == "case08"),
        "{found:#?}"
    );
    let tagged = |kind: &str, tag: &str| {
        found
            .iter()
            .any(|problem| problem["kind"] == kind && problem["tags"] == json!([tag]))
    };
    assert!(
        tagged("blob-missing", "v1")
            && tagged("tag-dangling", "old")
            && tagged("tag-empty", "empty")
    );

    // The report is for people too; harm is an exit code.
    let report = registry.manage(&["import", "--status"]).run();
    report.mentions("done: ");
    report.mentions("manifest-schema1");
    report.mentions("case00:v1");
    let failed = registry.manage(&["import"]).refused();
    failed.mentions("blob-missing");
    // What is too old to go on with is removed, its other files with it; what tells no time stays.
    assert!(
        !uploads
            .join("11111111-1111-1111-1111-111111111111/data")
            .exists()
            || {
                registry.restart();
                holdfast_tests::eventually("old uploads are purged", || {
                    !uploads
                        .join("11111111-1111-1111-1111-111111111111/data")
                        .exists()
                });
                true
            }
    );
    assert!(
        !uploads
            .join("11111111-1111-1111-1111-111111111111/hashstates/sha256/3")
            .exists()
    );
    assert!(
        uploads
            .join("22222222-2222-2222-2222-222222222222/data")
            .exists()
    );
    registry.assert_calm();
    // A push brings back what was missing.
    registry.http().push_blob(&at(0), &images[0].layers[0]);
    assert_pulls(&registry, &at(0), "v1", &images[0]);
    registry.http().push_image(&at(2), "v1", &images[2]);
    assert_pulls(&registry, &at(2), "v1", &images[2]);
}

#[test]
fn verification_finds_what_sizes_do_not_tell() {
    let mut registry = Registry::builder().program("docker-registry").start();
    let image = Image::new(200, &[10_000]);
    registry.http().push_image("app", "v1", &image);
    registry.kill();
    let layer = &image.layers[0];
    let mut bytes = layer.bytes.clone();
    bytes[5_000] ^= 1;
    write(&data_file(&registry, &layer.digest), &bytes);
    // Before any server: the command does the work itself.
    let report = registry.manage(&["import", "--verify"]).refused();
    report.mentions("blob-corrupt");
    registry.take_over();
    let url = format!("/v2/app/blobs/{}", layer.digest);
    let _ = registry.http().head(&url).send().expect(404);
    let _ = registry.http().get(&url).send().expect(502);
    registry.http().push_image("app", "v1", &image);
    assert_pulls(&registry, "app", "v1", &image);
}

#[test]
fn sha512_is_served_as_it_was() {
    for other in super::OTHERS {
        let mut registry = Registry::builder().program(other).start();
        // Pushed by its sha512, which the other registry stores as sha256 with a link from one to the other.
        let layer = Blob::new("application/vnd.oci.image.layer.v1.tar", vec![7; 30_000]);
        let alias = sha512_digest(&layer.bytes);
        let aliased = Blob {
            digest: alias.clone(),
            ..layer.clone()
        };
        registry.http().push_blob("app", &aliased);
        let config = Blob::new("application/vnd.oci.image.config.v1+json", b"{}".to_vec());
        registry.http().push_blob("app", &config);
        let manifest: Value = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": config.descriptor(), "layers": [aliased.descriptor()],
        });
        let manifest = Blob::new(MANIFEST, manifest.to_string().into_bytes());
        registry.http().push_manifest("app", "v1", &manifest);
        registry.kill();
        // Native content, as the other registry serves it when it is put there.
        let native = Blob::new(
            MANIFEST,
            manifest.bytes.iter().copied().chain(*b"\n").collect(),
        );
        let long = sha512_digest(&native.bytes);
        let path = format!("blobs/sha512/{}/{}/data", &hex(&long)[..2], hex(&long));
        write(&tree(&registry, &path), &native.bytes);
        let link = format!(
            "repositories/app/_manifests/revisions/sha512/{}/link",
            hex(&long)
        );
        write(&tree(&registry, &link), &long);
        write(&current(&registry, "app", "native"), &long);

        registry.take_over();
        for _ in 0..2 {
            let url = format!("/v2/app/blobs/{alias}");
            let got = registry.http().get(&url).send().expect(200);
            assert!(got.body == layer.bytes, "{other}");
            assert_eq!(got.header("Docker-Content-Digest"), Some(alias.as_str()));
            assert_manifest(&registry, "app", "v1", &manifest);
            let native = Blob {
                digest: long.clone(),
                ..native.clone()
            };
            assert_manifest(&registry, "app", "native", &native);
            assert_manifest(&registry, "app", &long, &native);
            adopted(&registry);
        }
        assert_eq!(problems(&registry), Vec::<Value>::new());
    }
}
