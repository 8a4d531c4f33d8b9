//! The management API: on the control socket, on the main address, and through commands with and without a
//! server.

use holdfast_tests::{Findings, PASSWORD, Registry, USER, Workbench};
use serde_json::json;

fn session(registry: &Registry, repository: &str) -> String {
    let target = format!("/v2/{repository}/blobs/uploads/");
    let opened = registry.http().post(&target).body("").send().expect(202);
    opened
        .header("Docker-Upload-UUID")
        .expect("the id of a session")
        .to_owned()
}

#[test]
fn sessions_are_listed_and_cancelled_with_and_without_a_server() {
    let mut registry = Registry::start();
    let (one, two) = (session(&registry, "up/one"), session(&registry, "up/two"));
    let listed = registry.manage(&["uploads", "list"]).run();
    let listed = listed.text();
    for line in [format!("{one} up/one 0 "), format!("{two} up/two 0 ")] {
        assert!(listed.contains(&line), "{listed}");
    }
    registry
        .manage(&["uploads", "cancel", "up/one", &one])
        .run();
    let refused = registry
        .manage(&["uploads", "cancel", "up/one", &one])
        .refused();
    refused.mentions("blob upload unknown");
    let gone = format!("/v2/up/one/blobs/uploads/{one}");
    registry.http().get(&gone).send().expect(404);

    registry.terminate();
    let listed = registry.manage(&["uploads", "list"]).run();
    let listed = listed.text();
    assert!(listed.starts_with(&format!("{two} up/two 0 ")), "{listed}");
    registry
        .manage(&["uploads", "cancel", "up/two", &two])
        .run();
    assert_eq!(registry.manage(&["uploads", "list"]).run().text(), "");

    // A server that was killed leaves its socket behind, which hinders neither commands nor the next server.
    registry.restart();
    registry.kill();
    assert_eq!(registry.manage(&["uploads", "list"]).run().text(), "");
    registry.restart();
    assert_eq!(registry.manage(&["uploads", "list"]).run().text(), "");
}

/// A command that looks must not make what it looks for.
#[test]
fn where_no_registry_was_nothing_is_made() {
    let bench = Workbench::new();
    let data = bench.path("data");
    let config = format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: ':0'}}\n",
        data.display()
    );
    let config = bench.file("config.yml", config);
    for arguments in [
        &["gc", "status"][..],
        &["uploads", "list"],
        &["maintenance", "status"],
        &["check"],
    ] {
        let command = Registry::command()
            .args(arguments)
            .arg("--config")
            .arg(&config);
        command.refused().mentions("there is no registry's data");
    }
    assert!(!data.exists());
}

#[test]
fn only_administrators_are_served() {
    let mut findings = Findings::new();
    let version = "/api/v1/version";
    let open = Registry::start();
    let answer = open.http().get(version).send();
    findings.status("without auth", &answer, 403);

    let plain = Registry::builder().accounts().start();
    let administered = Registry::builder()
        .accounts()
        .section(&format!("access: {{administrators: [{USER}]}}"))
        .start();
    let asked = |registry: &Registry, password: &str| {
        let client = registry.http().with_password(USER, password);
        client.get(version).send()
    };
    findings.status("a user", &asked(&plain, PASSWORD), 403);
    findings.status("no credentials", &plain.http().get(version).send(), 401);
    findings.status("wrong password", &asked(&administered, "x"), 401);
    let answer = asked(&administered, PASSWORD);
    findings.status("an administrator", &answer, 200);
    for (kind, status) in [
        ("text/plain", 400),
        ("application/json; charset=utf-8", 404),
    ] {
        let client = administered.http().with_password(USER, PASSWORD);
        let id = "00000000-0000-4000-8000-000000000000";
        let wish = json!({"repository": "a", "id": id}).to_string();
        let request = client
            .post("/api/v1/uploads/cancel")
            .header("Content-Type", kind);
        findings.status(kind, &request.body(wish).send(), status);
    }
    findings.header(
        "an administrator",
        &answer,
        "Cache-Control",
        Some("no-store"),
    );

    let control = plain.control();
    for (method, target, status) in [
        ("GET", version, 200),
        ("POST", version, 405),
        ("GET", "/api/v1", 404),
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/v2/", 404),
        ("POST", "/api/v1/uploads/cancel", 400),
    ] {
        let answer = control.request(method, target).body("").send();
        findings.status(&format!("control {method} {target}"), &answer, status);
    }
    let long = json!({"repository": "a", "id": "b".repeat(100_000)}).to_string();
    let answer = control.post("/api/v1/uploads/cancel").body(long).send();
    findings.status("a long body", &answer, 400);
    plain.assert_calm();
}
