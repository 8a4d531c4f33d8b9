//! Who is let in: htpasswd, anonymous pull, and the realm for tests.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::sync::Arc;

use holdfast_tests::http::Client;
use holdfast_tests::{Findings, Image, PASSWORD, Registry, Shared, USER, eventually};
use serde_json::{Value, json};

use super::{ABSENT, OCI_MANIFEST};

static SHARED: Shared = Shared::new();

fn registry() -> Arc<Registry> {
    SHARED.get(|| Registry::builder().accounts().start())
}

const CHALLENGE: &str = "Basic realm=\"Holdfast tests\"";

/// Requests, and the actions on a repository that each needs; `catalog` is a resource of its own.
fn requests() -> Vec<(&'static str, String, &'static [&'static str])> {
    vec![
        ("GET", "/v2/x/y/tags/list".into(), &["pull"]),
        ("GET", "/v2/x/y/manifests/v1".into(), &["pull"]),
        ("GET", format!("/v2/x/y/blobs/{ABSENT}"), &["pull"]),
        ("GET", format!("/v2/x/y/referrers/{ABSENT}"), &["pull"]),
        ("PUT", "/v2/x/y/manifests/v1".into(), &["pull", "push"]),
        ("POST", "/v2/x/y/blobs/uploads/".into(), &["pull", "push"]),
        ("DELETE", "/v2/x/y/manifests/v1".into(), &["delete"]),
        ("DELETE", format!("/v2/x/y/blobs/{ABSENT}"), &["delete"]),
        ("GET", "/v2/_catalog".into(), &["*"]),
        ("GET", "/v2/".into(), &[]),
    ]
}

fn wanted(actions: &[&str]) -> Value {
    let entry = |action: &&str| match *action {
        "*" => json!({"Type": "registry", "Class": "", "Name": "catalog", "Action": "*"}),
        action => json!({"Type": "repository", "Class": "", "Name": "x/y", "Action": action}),
    };
    if actions.is_empty() {
        Value::Null
    } else {
        actions.iter().map(entry).collect()
    }
}

#[test]
fn without_credentials() {
    let (registry, mut findings) = (registry(), Findings::new());
    for (method, target, actions) in requests() {
        let case = format!("{method} {target}");
        let answer = registry.http().request(method, &target).body("").send();
        findings.header(&case, &answer, "WWW-Authenticate", Some(CHALLENGE));
        findings.error_detail(&case, &answer, 401, "UNAUTHORIZED", &wanted(actions));
    }
    // A stranger learns nothing from what he did wrong.
    for (method, target) in [
        ("GET", "/v2/Bad!/tags/list"),
        ("PATCH", "/v2/_catalog"),
        ("GET", "/v2/_catalog?n=-1"),
        ("GET", "/v2/x/y/blobs/rubbish"),
    ] {
        let answer = registry.http().request(method, target).send();
        findings.error(target, &answer, 401, "UNAUTHORIZED");
    }
    for (method, target, status) in [
        ("GET", "/", 200),
        ("GET", "/v2/x", 404),
        ("GET", "/v2", 301),
        ("OPTIONS", "/v2/x/y/manifests/v1", 204),
        ("GET", "/healthz", 200),
    ] {
        let answer = registry.http().request(method, target).send();
        findings.status(&format!("{method} {target}"), &answer, status);
    }
    let base = registry.http().get("/v2/").send();
    let null = base.text().contains("\"detail\":null");
    findings.check(null, || format!("the detail is there, and null: {base}"));
}

#[test]
fn credentials() {
    let (registry, mut findings) = (registry(), Findings::new());
    let plain = registry.http();
    let good = plain.clone().with_password(USER, PASSWORD);
    let image = Image::new(900, &[100]);
    good.push_image("auth/app", "v1", &image);
    let pulled = good.get("/v2/auth/app/manifests/v1").send();
    findings.status("the right password", &pulled, 200);
    let long = "x".repeat(5000);
    for (user, password) in [
        (USER, "wrong"),
        (USER, ""),
        (USER, &PASSWORD[..PASSWORD.len() - 1]),
        ("ALICE", PASSWORD),
        ("nobody", PASSWORD),
        ("", ""),
        (USER, long.as_str()),
        (long.as_str(), PASSWORD),
    ] {
        let answer = plain
            .clone()
            .with_password(user, password)
            .get("/v2/")
            .send();
        let case = format!("{} {}", user.len(), password.len());
        findings.header(&case, &answer, "WWW-Authenticate", Some(CHALLENGE));
        findings.error(&case, &answer, 401, "UNAUTHORIZED");
    }
    for header in [
        "",
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic YWxpY2U=",
        "Bearer abc",
        "Basic /////w==",
    ] {
        let answer = plain
            .get("/v2/auth/app/manifests/v1")
            .header("Authorization", header)
            .send();
        findings.error(&format!("{header:?}"), &answer, 401, "UNAUTHORIZED");
    }
}

fn can_log_in(http: &Client, user: &str, password: &str) -> bool {
    let answer = http
        .clone()
        .with_password(user, password)
        .get("/v2/")
        .send();
    assert!(matches!(answer.status, 200 | 401), "{answer}");
    answer.status == 200
}

#[test]
fn users_come_and_go_without_a_restart() {
    let registry = Registry::builder().accounts().start();
    let http = registry.http();
    assert!(can_log_in(&http, USER, PASSWORD));
    assert!(!can_log_in(&http, "bob", "bobs password"));
    // As an operator adds one: the line that the applet prints, at the end of the file.
    let line = Registry::command()
        .args(["htpasswd", "-Bbn", "-C", "4", "bob", "bobs password"])
        .run();
    assert!(line.text().starts_with("bob:$2y$04$"), "{line}");
    let mut file = OpenOptions::new()
        .append(true)
        .open(registry.password_file())
        .unwrap();
    writeln!(file, "{}", line.text()).unwrap();
    drop(file);
    eventually("the new user is let in", || {
        can_log_in(&http, "bob", "bobs password")
    });
    assert!(can_log_in(&http, USER, PASSWORD));
    // A removed user is refused, although his password was right a moment ago.
    std::fs::write(registry.password_file(), format!("{}\n", line.text())).unwrap();
    eventually("the removed user is refused", || {
        !can_log_in(&http, USER, PASSWORD)
    });
    assert!(can_log_in(&http, "bob", "bobs password"));
    registry.assert_calm();
}

#[test]
fn anonymous_pull() {
    let registry = Registry::builder()
        .accounts()
        .section("access:\n  anonymouspull: true")
        .start();
    let (http, mut findings) = (registry.http(), Findings::new());
    let user = http.clone().with_password(USER, PASSWORD);
    let image = Image::new(910, &[100]);
    user.push_image("public/app", "v1", &image);
    let blob = format!("/v2/public/app/blobs/{}", image.layers[0].digest);
    for target in [
        "/v2/public/app/manifests/v1",
        "/v2/public/app/tags/list",
        "/v2/_catalog",
        &blob,
    ] {
        findings.status(target, &http.get(target).send(), 200);
        let wrong = http.clone().with_password(USER, "wrong").get(target).send();
        findings.error(target, &wrong, 401, "UNAUTHORIZED");
        findings.status(target, &user.get(target).send(), 200);
    }
    // Who logs in must learn whether his password is right.
    let base = http.get("/v2/").send();
    let challenge = format!(
        "Bearer realm=\"{}/auth/token\",service=\"Holdfast tests\"",
        registry.url()
    );
    findings.header("/v2/", &base, "WWW-Authenticate", Some(&challenge));
    findings.error("/v2/", &base, 401, "UNAUTHORIZED");
    findings.status("/v2/ with credentials", &user.get("/v2/").send(), 200);
    // A token says who asks: nobody, or a user with the right password.
    let wrong = http.clone().with_password(USER, "wrong");
    findings.error(
        "a token for a wrong password",
        &wrong.get("/auth/token").send(),
        401,
        "UNAUTHORIZED",
    );
    findings.error(
        "a token by POST",
        &http.post("/auth/token").body("").send(),
        404,
        "NOT_FOUND",
    );
    for (who, client, may_push) in [("nobody", &http, 401), ("a user", &user, 202)] {
        let answer = client
            .get("/auth/token?service=x&scope=repository:public/app:pull,push")
            .send()
            .expect(200)
            .json();
        let bearer = format!("Bearer {}", answer["token"].as_str().expect("a token"));
        let with_token = |method: &str, target: &str| {
            http.request(method, target)
                .header("Authorization", &bearer)
                .body("")
                .send()
        };
        findings.status(&format!("/v2/ as {who}"), &with_token("GET", "/v2/"), 200);
        findings.status(&format!("a pull as {who}"), &with_token("GET", &blob), 200);
        let push = with_token("POST", "/v2/public/app/blobs/uploads/");
        findings.status(&format!("a push as {who}"), &push, may_push);
        let forged = format!("{bearer}x");
        let forged = http.get(&blob).header("Authorization", &forged).send();
        findings.error(
            &format!("a forged token as {who}"),
            &forged,
            401,
            "UNAUTHORIZED",
        );
    }
    // Tokens are not made under http.secret, which copied configurations share: this one has the same.
    let other = Registry::builder()
        .accounts()
        .section("access:\n  anonymouspull: true")
        .start();
    let answer = other
        .http()
        .with_password(USER, PASSWORD)
        .get("/auth/token")
        .send()
        .expect(200)
        .json();
    let bearer = format!("Bearer {}", answer["token"].as_str().expect("a token"));
    let foreign = http.get(&blob).header("Authorization", &bearer).send();
    findings.error("a token of another registry", &foreign, 401, "UNAUTHORIZED");
    // A token ends with its user, long before its time.
    let answer = user.get("/auth/token").send().expect(200).json();
    let bearer = format!("Bearer {}", answer["token"].as_str().expect("a token"));
    let users = std::fs::read(registry.password_file()).expect("reading the password file");
    let status = || {
        http.get(&blob)
            .header("Authorization", &bearer)
            .send()
            .status
    };
    findings.check(status() == 200, || "a fresh token is refused".into());
    std::fs::write(registry.password_file(), "# nobody\n").expect("removing all users");
    eventually("the token of a removed user is refused", || status() == 401);
    std::fs::write(registry.password_file(), users).expect("bringing the user back");
    eventually("the user is known again", || status() == 200);
    let nothing = http.clone().with_password("", "").get(&blob).send();
    findings.status("credentials that are empty", &nothing, 200);
    let put = http
        .put("/v2/public/app/manifests/v2")
        .header("Content-Type", OCI_MANIFEST)
        .body(image.manifest.bytes.clone());
    findings.error("a push", &put.send(), 401, "UNAUTHORIZED");
    for (method, target) in [
        ("POST", "/v2/public/app/blobs/uploads/"),
        ("DELETE", "/v2/public/app/manifests/v1"),
        ("DELETE", blob.as_str()),
    ] {
        let answer = http.request(method, target).body("").send();
        findings.error(&format!("{method} {target}"), &answer, 401, "UNAUTHORIZED");
    }
    findings.check(user.tags("public/app") == ["v1"], || {
        "a stranger changed a tag".into()
    });
}

#[test]
fn silly() {
    let registry = Registry::builder()
        .section("auth:\n  silly:\n    realm: https://tokens.example/\n    service: \"the \\\"service\\\"\"")
        .start();
    let (http, mut findings) = (registry.http(), Findings::new());
    let begins = "Bearer realm=\"https://tokens.example/\",service=\"the \\\"service\\\"\"";
    for (method, target, scope) in [
        ("GET", "/v2/", ""),
        ("GET", "/v2/_catalog", ",scope=\"registry:catalog:*\""),
        (
            "GET",
            "/v2/x/y/manifests/v1",
            ",scope=\"repository:x/y:pull\"",
        ),
        (
            "POST",
            "/v2/x/y/blobs/uploads/",
            ",scope=\"repository:x/y:pull repository:x/y:push\"",
        ),
        (
            "DELETE",
            "/v2/x/y/manifests/v1",
            ",scope=\"repository:x/y:delete\"",
        ),
    ] {
        let answer = http.request(method, target).body("").send();
        findings.error(target, &answer, 401, "UNAUTHORIZED");
        let challenge = format!("{begins}{scope}");
        findings.header(target, &answer, "WWW-Authenticate", Some(&challenge));
    }
    let answer = http
        .get("/v2/")
        .header("Authorization", "seriously, anything")
        .send();
    findings.status("anything will do", &answer, 200);
}
