//! Which paths and methods there are, and what all answers have in common.

use std::sync::Arc;

use holdfast_tests::{Findings, Registry, Shared};

use super::ABSENT;

static SHARED: Shared = Shared::new();

fn registry() -> Arc<Registry> {
    SHARED.get(Registry::start)
}

/// A session id that was never given out.
const SESSION: &str = "5f0c1f2e-0000-4000-8000-000000000000";

#[test]
fn the_base_answers_every_method() {
    let (registry, mut findings) = (registry(), Findings::new());
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"] {
        let answer = registry.http().request(method, "/v2/").send();
        findings.status(method, &answer, 200);
        findings.header(method, &answer, "Content-Type", Some("application/json"));
        findings.header(method, &answer, "Content-Length", Some("2"));
        let body: &[u8] = if method == "HEAD" { b"" } else { b"{}" };
        findings.check(answer.body == body, || format!("{method}: {answer}"));
    }
}

#[test]
fn the_root_is_for_load_balancers() {
    let (registry, mut findings) = (registry(), Findings::new());
    let answer = registry.http().get("/").send();
    findings.status("/", &answer, 200);
    findings.header("/", &answer, "Cache-Control", Some("no-cache"));
    findings.header("/", &answer, "Docker-Distribution-Api-Version", None);
    findings.check(answer.body.is_empty(), || format!("a body: {answer}"));
}

#[test]
fn slashes_are_corrected() {
    let (registry, mut findings) = (registry(), Findings::new());
    let cases = [
        ("GET", "/v2", "/v2/"),
        ("GET", "/v2//", "/v2/"),
        ("GET", "/v2//a/tags/list", "/v2/a/tags/list"),
        ("GET", "/v2/a/tags/list/", "/v2/a/tags/list"),
        ("GET", "/v2/a//b/manifests/x", "/v2/a/b/manifests/x"),
        ("GET", "/v2/_catalog/", "/v2/_catalog"),
        ("POST", "/v2/a//blobs/uploads/", "/v2/a/blobs/uploads/"),
    ];
    for (method, target, location) in cases {
        let case = format!("{method} {target}");
        let answer = registry.http().request(method, target).body("").send();
        findings.status(&case, &answer, 301);
        findings.header(&case, &answer, "Location", Some(location));
    }
    // Clients differ about this one slash, and a redirected POST may come back as a GET.
    let answer = registry.http().post("/v2/a/blobs/uploads").body("").send();
    findings.status("uploads without a slash", &answer, 202);
}

#[test]
fn paths_of_no_route() {
    let (registry, mut findings) = (registry(), Findings::new());
    for target in [
        "/v1/",
        "/v1/search?q=x",
        "/v3/",
        "/index.html",
        "/v2/x",
        "/v2/a/b/c",
        "/v2/a/manifests",
        "/v2/a/manifests/",
        "/v2/a/tags",
        "/v2/tags/list",
        "/v2/a/uploads/x",
        "/v2/_catalog/x",
        "/v2/manifests/latest",
    ] {
        for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
            let answer = registry.http().request(method, target).send();
            findings.error(&format!("{method} {target}"), &answer, 404, "NOT_FOUND");
        }
    }
}

/// Each route with its methods, the largest set of other methods a client may try, and what `Allow` says.
fn routes() -> Vec<(String, &'static [&'static str], &'static str)> {
    vec![
        ("/v2/_catalog".into(), &["GET"], "GET, OPTIONS"),
        ("/v2/a/tags/list".into(), &["GET"], "GET, OPTIONS"),
        (
            format!("/v2/a/referrers/{ABSENT}"),
            &["GET"],
            "GET, OPTIONS",
        ),
        (
            "/v2/a/manifests/latest".into(),
            &["GET", "HEAD", "PUT", "DELETE"],
            "GET, HEAD, PUT, DELETE, OPTIONS",
        ),
        (
            format!("/v2/a/blobs/{ABSENT}"),
            &["GET", "HEAD", "DELETE"],
            "GET, HEAD, DELETE, OPTIONS",
        ),
        ("/v2/a/blobs/uploads/".into(), &["POST"], "POST, OPTIONS"),
        (
            format!("/v2/a/blobs/uploads/{SESSION}"),
            &["GET", "HEAD", "PATCH", "PUT", "DELETE"],
            "GET, HEAD, PATCH, PUT, DELETE, OPTIONS",
        ),
    ]
}

#[test]
fn methods_of_each_route() {
    let (registry, mut findings) = (registry(), Findings::new());
    for (target, methods, allow) in routes() {
        for method in [
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "PROPFIND", "X",
        ] {
            let case = format!("{method} {target}");
            let answer = registry.http().request(method, &target).body("").send();
            if methods.contains(&method) {
                findings.check(answer.status != 405, || format!("{case}: {answer}"));
                continue;
            }
            findings.header(&case, &answer, "Allow", Some(allow));
            if method == "HEAD" {
                findings.status(&case, &answer, 405);
            } else {
                findings.error(&case, &answer, 405, "UNSUPPORTED");
            }
        }
    }
}

#[test]
fn options_need_nothing_and_tell_the_methods() {
    let (registry, mut findings) = (registry(), Findings::new());
    for (target, _, allow) in routes() {
        let answer = registry.http().request("OPTIONS", &target).send();
        findings.status(&target, &answer, 204);
        findings.header(&target, &answer, "Allow", Some(allow));
        findings.header(&target, &answer, "Content-Length", None);
    }
}

#[test]
fn every_routed_answer_names_the_api() {
    let (registry, mut findings) = (registry(), Findings::new());
    let targets = [
        "/v2/",
        "/v2",
        "/v2/x",
        "/v2/_catalog",
        "/v2/_catalog?n=-1",
        "/v2/A/tags/list",
        "/v2/none/tags/list",
        "/v2/none/manifests/x",
        "/v2/none/manifests/sha256:x",
        "/v2/none/blobs/uploads/",
    ];
    for target in targets {
        for method in ["GET", "HEAD", "OPTIONS", "DELETE"] {
            let case = format!("{method} {target}");
            let answer = registry.http().request(method, target).send();
            let version = "Docker-Distribution-Api-Version";
            findings.header(&case, &answer, version, Some("registry/2.0"));
        }
    }
}

#[test]
fn an_error_to_head_has_the_headers_of_the_error_and_no_body() {
    let (registry, mut findings) = (registry(), Findings::new());
    for target in [
        "/v2/none/manifests/x".to_owned(),
        format!("/v2/none/blobs/{ABSENT}"),
        "/v2/none/tags/list".to_owned(),
        "/v2/x".to_owned(),
    ] {
        let (head, get) = (
            registry.http().head(&target).send(),
            registry.http().get(&target).send(),
        );
        findings.header(&target, &head, "Content-Type", Some("application/json"));
        findings.check(head.body.is_empty(), || format!("a body: {head}"));
        // Without HEAD on a route its own error is sent, of another length.
        if head.status == get.status {
            let length = get.header("Content-Length");
            findings.header(&target, &head, "Content-Length", length);
        }
    }
}
