//! Content that is damaged on disk: nothing pretends that it is there, and a push brings it back.

use holdfast_tests::{Blob, Image, Registry, eventually, random_bytes};

fn data_file(registry: &Registry, digest: &str) -> std::path::PathBuf {
    let hex = digest.strip_prefix("sha256:").expect("a sha256 digest");
    let blobs = registry.data().join("docker/registry/v2/blobs/sha256");
    blobs.join(&hex[..2]).join(hex).join("data")
}

#[test]
fn a_push_replaces_content_that_is_missing_or_cut_short() {
    let registry = Registry::start();
    let http = registry.http();
    for (number, damage) in ["missing", "cut short"].into_iter().enumerate() {
        let bytes = random_bytes(800 + number as u64, 100_000);
        let blob = Blob::new("application/octet-stream", bytes);
        let url = |repository: &str| format!("/v2/{repository}/blobs/{}", blob.digest);
        http.push_blob("heal/first", &blob);
        assert_eq!(
            http.get(&url("heal/first")).send().expect(200).body,
            blob.bytes
        );
        let file = data_file(&registry, &blob.digest);
        if damage == "missing" {
            std::fs::remove_file(file).expect("removing content");
        } else {
            let file = std::fs::File::options()
                .write(true)
                .open(file)
                .expect("opening content");
            file.set_len(10).expect("cutting content short");
        }
        let broken = http.get(&url("heal/first")).send().expect(502).json();
        assert_eq!(broken["errors"][0]["code"], "UNKNOWN", "{damage}");
        // Clients ask before they push; what a pull found broken must not look present to them.
        let _ = http.head(&url("heal/first")).send().expect(404);
        let mount = format!(
            "/v2/heal/mounted/blobs/uploads/?mount={}&from=heal/first",
            blob.digest
        );
        let _ = http.post(&mount).body("").send().expect(202);

        http.push_blob("heal/second", &blob);
        for repository in ["heal/first", "heal/second"] {
            let stored = http.get(&url(repository)).send().expect(200);
            assert_eq!(stored.body, blob.bytes, "{damage} in {repository}");
        }
        let _ = http.head(&url("heal/first")).send().expect(200);
        // Healed content is ordinary content: it can be pushed, used and pulled like any other.
        http.push_blob("heal/third", &blob);
        assert_eq!(
            http.get(&url("heal/third")).send().expect(200).body,
            blob.bytes
        );
    }
}

#[test]
fn healed_content_survives_a_restart() {
    let mut registry = Registry::start();
    let image = Image::new(810, &[50_000]);
    registry.http().push_image("heal/app", "v1", &image);
    for blob in image.blobs() {
        std::fs::remove_file(data_file(&registry, &blob.digest)).expect("removing content");
    }
    registry.http().push_image("heal/app", "v1", &image);
    registry.kill();
    registry.restart();
    for blob in image.blobs() {
        let stored = registry
            .http()
            .get(&format!("/v2/heal/app/blobs/{}", blob.digest))
            .send();
        assert_eq!(stored.expect(200).body, blob.bytes);
    }
}

#[test]
fn damage_is_remembered_and_told_with_the_tags_it_touches() {
    let mut registry = Registry::start();
    let image = Image::new(820, &[40_000]);
    registry.http().push_image("heal/app", "v1", &image);
    registry.http().push_image("heal/other", "latest", &image);
    let layer = &image.layers[0];
    let url = format!("/v2/heal/app/blobs/{}", layer.digest);
    std::fs::remove_file(data_file(&registry, &layer.digest)).expect("removing content");
    let _ = registry.http().get(&url).send().expect(502);
    eventually("the log names the tags", || {
        registry.log().contains("heal/app:v1, heal/other:latest")
    });

    registry.kill();
    registry.restart();
    let http = registry.http();
    let _ = http.get(&url).send().expect(502);
    let _ = http.head(&url).send().expect(404);
    // A new image must not rest on it.
    let manifest = &image.manifest;
    let mut other: serde_json::Value =
        serde_json::from_slice(&manifest.bytes).expect("reading a manifest");
    other["annotations"] = serde_json::json!({ "another": "image" });
    let other = Blob::new(manifest.media_type, other.to_string().into_bytes());
    let put = || {
        let request = http.put(&format!("/v2/heal/app/manifests/{}", other.digest));
        let request = request.header("Content-Type", other.media_type);
        request.body(other.bytes.clone()).send()
    };
    let refused = put().expect(400).json();
    assert_eq!(refused["errors"][0]["code"], "MANIFEST_BLOB_UNKNOWN");
    http.push_blob("heal/third", layer);
    let _ = put().expect(201);
    assert_eq!(http.get(&url).send().expect(200).body, layer.bytes);
}
