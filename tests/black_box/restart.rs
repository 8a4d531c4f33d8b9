//! What a registry answered with success is still there after it was killed; what it did not is not.

use holdfast_tests::{Blob, Image, Registry, random_bytes};

#[test]
fn pushed_images_survive_a_kill() {
    let mut registry = Registry::start();
    let image = Image::new(900, &[200_000, 10]);
    registry.http().push_image("restart/app", "v1", &image);
    registry.kill();
    registry.restart();
    let http = registry.http();
    for blob in image.blobs() {
        let stored = http
            .get(&format!("/v2/restart/app/blobs/{}", blob.digest))
            .send()
            .expect(200);
        assert_eq!(stored.body, blob.bytes);
    }
    let manifest = http
        .get("/v2/restart/app/manifests/v1")
        .header("Accept", image.manifest.media_type);
    assert_eq!(manifest.send().expect(200).body, image.manifest.bytes);
    assert_eq!(http.tags("restart/app"), ["v1"]);
}

#[test]
fn an_upload_cut_off_leaves_no_blob() {
    let mut registry = Registry::start();
    let blob = Blob::new("application/octet-stream", random_bytes(910, 1_000_000));
    let http = registry.http();
    let session = http
        .post("/v2/restart/cut/blobs/uploads/")
        .body("")
        .send()
        .expect(202);
    let location = session.location();
    let separator = if location.contains('?') { '&' } else { '?' };
    let target = format!("{location}{separator}digest={}", blob.digest);
    http.put(&target)
        .body(blob.bytes.clone())
        .send_part(blob.bytes.len() / 2);

    let url = format!("/v2/restart/cut/blobs/{}", blob.digest);
    let _ = http.head(&url).send().expect(404);
    registry.kill();
    registry.restart();
    let _ = http.head(&url).send().expect(404);
    http.push_blob("restart/cut", &blob);
    assert_eq!(http.get(&url).send().expect(200).body, blob.bytes);
}

#[test]
fn a_registry_asked_to_end_does_so() {
    let mut registry = Registry::start();
    registry
        .http()
        .push_image("restart/app", "v1", &Image::new(920, &[10]));
    assert!(
        registry.terminate().is_some(),
        "still running after SIGTERM"
    );
    assert!(registry.http().get("/v2/").try_send().is_err());
    registry.restart();
    assert_eq!(registry.http().tags("restart/app"), ["v1"]);
}
