//! Registries that do less: without deletes, and read-only.

use std::time::Duration;

use holdfast_tests::{Findings, Image, Registry};

use super::{ABSENT, OCI_MANIFEST, blob, open_session, with_query};

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
        findings.header(case, answer, "Allow", Some("GET, HEAD"));
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

#[test]
fn read_only_by_command() {
    let mut registry = Registry::start();
    let http = registry.http();
    let image = Image::new(720, &[100]);
    http.push_image("switch/app", "v1", &image);
    let location = open_session(&http, "switch/app");
    let content = blob(721, 1000);
    let half = content.bytes[..500].to_vec();
    let _ = http.patch(&location).body(half).send().expect(202);
    let status = |registry: &Registry| registry.manage(&["maintenance", "status"]).run();
    assert_eq!(status(&registry).text(), "read-only: off");

    let on = registry.manage(&["maintenance", "on"]).run();
    assert!(
        on.text().starts_with("read-only: on, by command since 2"),
        "{on}"
    );
    let again = registry.manage(&["maintenance", "on"]).run();
    assert_eq!(again.text(), on.text());
    let mut findings = Findings::new();
    let manifest = "/v2/switch/app/manifests/v1";
    let tag = |name: &str| {
        http.put(&format!("/v2/switch/app/manifests/{name}"))
            .header("Content-Type", OCI_MANIFEST)
            .body(image.manifest.bytes.clone())
            .send()
    };
    let finish = with_query(&location, &format!("digest={}", content.digest));
    let refused = |findings: &mut Findings| {
        let rest = content.bytes[500..].to_vec();
        for (case, answer) in [
            ("push", tag("v2")),
            ("delete", http.delete(manifest).send()),
            ("finish", http.put(&finish).body(rest).send()),
        ] {
            findings.error_about(case, &answer, 405, "UNSUPPORTED", &["read-only"]);
        }
        findings.status("pull", &http.get(manifest).send(), 200);
        let undo = registry.manage(&["tag", "restore", "switch/app:v1"]);
        undo.refused().mentions("read-only");
        let collect = registry.manage(&["gc", "run"]);
        collect.refused().mentions("read-only");
    };
    refused(&mut findings);
    // It outlives a crash, and a restart; without a server it can be turned as well.
    registry.kill();
    registry.restart();
    assert_eq!(status(&registry).text(), on.text());
    findings.status("after a restart", &tag("v2"), 405);
    registry.terminate();
    assert_eq!(status(&registry).text(), on.text());
    let off = registry.manage(&["maintenance", "off"]).run();
    assert_eq!(off.text(), "read-only: off");
    registry.restart();
    findings.status("push", &tag("v2"), 201);
    // The upload goes on where it was.
    let session = http.get(&location).send();
    findings.header("the session", &session, "Range", Some("0-499"));
    let rest = content.bytes[500..].to_vec();
    findings.status("finish", &http.put(&finish).body(rest).send(), 201);
}

#[test]
fn the_configuration_outweighs_the_command() {
    let registry = Registry::builder()
        .env("REGISTRY_STORAGE_MAINTENANCE_READONLY", "{enabled: true}")
        .start();
    let manage = |what: &str| registry.manage(&["maintenance", what]);
    assert_eq!(
        manage("status").run().text(),
        "read-only: on, by the configuration"
    );
    let on = manage("on").run();
    assert!(
        on.text()
            .starts_with("read-only: on, by the configuration and by command since"),
        "{on}"
    );
    let off = manage("off").refused();
    off.mentions("storage.maintenance.readonly.enabled");
    assert_eq!(
        manage("status").run().text(),
        "read-only: on, by the configuration"
    );
    let answer = registry.http().post("/v2/a/blobs/uploads/").body("").send();
    assert_eq!(answer.status, 405, "{answer}");
}

/// Bytes that are under way when the switch is turned are kept, and the blob is made when changes are allowed.
#[test]
fn an_upload_under_way_waits_for_its_end() {
    let registry = Registry::start();
    let http = registry.http();
    let content = blob(730, 100_000);
    let location = open_session(&http, "switch/slow");
    let finish = with_query(&location, &format!("digest={}", content.digest));
    let path = finish
        .split_once("/v2/")
        .map(|(_, path)| format!("/v2/{path}"))
        .unwrap();
    let mut raw = http.open().expect("a connection");
    let head = format!(
        "PUT {path} HTTP/1.1\r\nHost: {}\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        http.host(),
        content.bytes.len()
    );
    raw.send(head).unwrap();
    // It is asked for its bytes: it was allowed to begin.
    assert!(
        raw.has_answer_within(Duration::from_secs(30)),
        "no permission came"
    );
    raw.send(&content.bytes[..50_000]).unwrap();
    let on = registry.manage(&["maintenance", "on"]).run();
    on.mentions("read-only: on");
    raw.send(&content.bytes[50_000..]).unwrap();
    let answer = raw.answer(false).unwrap();
    assert_eq!(answer.status, 405, "{answer}");
    let session = http.get(&location).send().expect(204);
    assert_eq!(session.header("Range"), Some("0-99999"));
    registry.manage(&["maintenance", "off"]).run();
    let _ = http.put(&finish).body("").send().expect(201);
    let target = format!("/v2/switch/slow/blobs/{}", content.digest);
    assert_eq!(http.get(&target).send().expect(200).body, content.bytes);
}
