//! `middleware.registry` with `repository`: names that may be used, and no others.

use std::fs;

use holdfast_tests::{Findings, Image, PASSWORD, Registry, USER};
use serde_json::json;

use super::{blob, with_query};

const SECTION: &str = "\
middleware:
  registry:
    - name: repository
      options: {allow: ['^approved/', '^base$'], deny: [/secret$]}
";

#[test]
fn other_repositories_are_closed_to_everybody() {
    if Registry::is_peer() {
        return;
    }
    let registry = Registry::builder().section(SECTION).start();
    let (http, mut findings) = (registry.http(), Findings::new());
    for repository in ["approved/app", "base"] {
        http.push_image(repository, "v1", &Image::new(1300, &[100]));
        assert_eq!(http.tags(repository), ["v1"]);
    }
    let detail = json!("this repository is not among those that middleware.registry permits");
    for repository in ["evil/app", "x/approved/app", "approved/secret", "base/app"] {
        let upload = format!("/v2/{repository}/blobs/uploads/");
        let session = http.post(&upload).body("").send();
        findings.error_detail(&upload, &session, 403, "DENIED", &detail);
        for path in ["manifests/v1", "tags/list"] {
            let target = format!("/v2/{repository}/{path}");
            let answer = http.get(&target).send();
            findings.error_detail(&target, &answer, 403, "DENIED", &detail);
        }
        let target = format!("/v2/{repository}/manifests/v1");
        let answer = http.delete(&target).send();
        findings.error_detail(&target, &answer, 403, "DENIED", &detail);
    }
}

/// What was pushed before the list was written down is not mounted out of a closed repository either.
#[test]
fn nothing_is_mounted_out_of_a_closed_repository() {
    if Registry::is_peer() {
        return;
    }
    let mut registry = Registry::start();
    let blob = blob(1301, 100);
    registry.http().push_blob("evil/app", &blob);
    let config = fs::read_to_string(registry.config_file()).expect("the configuration");
    fs::write(registry.config_file(), config + SECTION).expect("writing the configuration");
    registry.restart();
    let http = registry.http();
    let mount = with_query(
        "/v2/approved/app/blobs/uploads/",
        &format!("mount={}", blob.digest),
    );
    for target in [with_query(&mount, "from=evil/app"), mount] {
        let _ = http.post(&target).body("").send().expect(202);
    }
}

#[test]
fn strangers_are_asked_who_they_are_first() {
    if Registry::is_peer() {
        return;
    }
    let registry = Registry::builder().accounts().section(SECTION).start();
    let http = registry.http();
    let _ = http.get("/v2/evil/app/tags/list").send().expect(401);
    let http = http.with_password(USER, PASSWORD);
    let _ = http.get("/v2/evil/app/tags/list").send().expect(403);
}
