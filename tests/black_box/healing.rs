//! Content that went missing on disk: nothing pretends that it is there, and a push brings it back.

use holdfast_tests::{Blob, Image, Registry, random_bytes};

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
