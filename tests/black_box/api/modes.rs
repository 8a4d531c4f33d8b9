//! Registries that do less: without deletes, and read-only.

use holdfast_tests::{Findings, Image, Registry};

use super::{ABSENT, OCI_MANIFEST, open_session, with_query};

#[test]
fn deletes_are_off_by_default() {
    let registry = Registry::builder()
        .env("REGISTRY_STORAGE_DELETE_ENABLED", "false")
        .start();
    let (http, mut findings) = (registry.http(), Findings::new());
    let image = Image::new(700, &[100]);
    http.push_image("off/app", "v1", &image);
    for target in [
        "/v2/off/app/manifests/v1".to_owned(),
        "/v2/off/app/manifests/v2".to_owned(),
        format!("/v2/off/app/manifests/{}", image.manifest.digest),
        format!("/v2/off/app/manifests/{ABSENT}"),
        format!("/v2/off/app/blobs/{}", image.config.digest),
        format!("/v2/off/app/blobs/{ABSENT}"),
        "/v2/off/none/manifests/v1".to_owned(),
    ] {
        let answer = http.delete(&target).send();
        findings.error_about(&target, &answer, 405, "UNSUPPORTED", &["deletes are off"]);
    }
    // A session is not content.
    let location = open_session(&http, "off/app");
    findings.status("cancel", &http.delete(&location).send(), 204);
    findings.check(http.tags("off/app") == ["v1"], || {
        "nothing was deleted".into()
    });
}

#[test]
fn read_only() {
    let image = Image::new(710, &[100]);
    let mut registry = Registry::start();
    let http = registry.http();
    http.push_image("ro/app", "v1", &image);
    let location = open_session(&http, "ro/app");
    let _ = http.patch(&location).body("some bytes").send().expect(202);
    // The same data, now under a configuration that forbids every change.
    registry.terminate();
    let text = std::fs::read_to_string(registry.config_file()).unwrap();
    let read_only = text.replace(
        "storage:\n",
        "storage:\n  maintenance:\n    readonly:\n      enabled: true\n",
    );
    assert_ne!(text, read_only);
    std::fs::write(registry.config_file(), read_only).unwrap();
    registry.restart();

    let mut findings = Findings::new();
    let digest = image.manifest.digest.as_str();
    let put = |reference: &str| {
        http.put(&format!("/v2/ro/app/manifests/{reference}"))
            .header("Content-Type", OCI_MANIFEST)
            .body(image.manifest.bytes.clone())
            .send()
    };
    let uploads = "/v2/ro/app/blobs/uploads/";
    let finish = with_query(&location, &format!("digest={ABSENT}"));
    let cases = [
        ("PUT by tag", put("v2")),
        ("PUT by digest", put(digest)),
        (
            "DELETE a tag",
            http.delete("/v2/ro/app/manifests/v1").send(),
        ),
        (
            "DELETE a manifest",
            http.delete(&format!("/v2/ro/app/manifests/{digest}"))
                .send(),
        ),
        (
            "DELETE a blob",
            http.delete(&format!("/v2/ro/app/blobs/{}", image.config.digest))
                .send(),
        ),
        ("POST", http.post(uploads).body("").send()),
        (
            "POST with content",
            http.post(&format!("{uploads}?digest={ABSENT}"))
                .body("x")
                .send(),
        ),
        (
            "mount",
            http.post(&format!(
                "/v2/ro/b/blobs/uploads/?mount={}&from=ro/app",
                image.config.digest
            ))
            .body("")
            .send(),
        ),
        ("PATCH", http.patch(&location).body("x").send()),
        ("PUT", http.put(&finish).body("x").send()),
        ("DELETE a session", http.delete(&location).send()),
    ];
    for (case, answer) in &cases {
        findings.error_about(case, answer, 405, "UNSUPPORTED", &["read-only"]);
    }
    for target in [
        "/v2/".to_owned(),
        "/v2/_catalog".to_owned(),
        "/v2/ro/app/tags/list".to_owned(),
        "/v2/ro/app/manifests/v1".to_owned(),
        format!("/v2/ro/app/blobs/{}", image.layers[0].digest),
        format!("/v2/ro/app/referrers/{digest}"),
    ] {
        findings.status(&target, &http.get(&target).send(), 200);
    }
    let status = http.get(&location).send();
    findings.status("the session", &status, 204);
    findings.header("the session", &status, "Range", Some("0-9"));
    let forged = http
        .patch("/v2/ro/app/blobs/uploads/5f0c1f2e-0000-4000-8000-000000000000")
        .body("x");
    findings.error("no state", &forged.send(), 404, "BLOB_UPLOAD_INVALID");

    std::fs::write(registry.config_file(), text).unwrap();
    registry.restart();
    findings.status("writable again", &put("v2"), 201);
}
