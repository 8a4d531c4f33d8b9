//! The grammar of names, tags and digests, at every place where one may stand.

use std::sync::Arc;

use holdfast_tests::{Findings, Image, Registry, Shared};
use serde_json::json;

use super::{ABSENT, OCI_MANIFEST};

static SHARED: Shared = Shared::new();

fn registry() -> Arc<Registry> {
    SHARED.get(Registry::start)
}

#[test]
fn good_names_hold_an_image() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let image = Image::new(1, &[10]);
    let longest = format!("{}/{}", "a".repeat(127), "b".repeat(127));
    for name in [
        "a",
        "0",
        "a/b",
        "a-b",
        "a--b",
        "a-----b",
        "a_b",
        "a__b",
        "a.b",
        "a.b/c-d__e/0",
        "blobs",
        "blobs/uploads",
        "manifests/tags",
        "tags/list",
        "referrers",
        "v2",
        "FOO/bar",
        "Host.Name/a/b",
        longest.as_str(),
    ] {
        http.push_image(name, "v1", &image);
        let answer = http.get(&format!("/v2/{name}/tags/list")).send();
        findings.status(name, &answer, 200);
        let expected = json!({"name": name, "tags": ["v1"]});
        findings.check(answer.json() == expected, || format!("{name}: {answer}"));
        let answer = http.get(&format!("/v2/{name}/manifests/v1")).send();
        findings.check(answer.body == image.manifest.bytes, || {
            format!("{name}: {answer}")
        });
    }
}

#[test]
fn an_escaped_slash_is_a_slash() {
    let registry = registry();
    let http = registry.http();
    let image = Image::new(2, &[10]);
    http.push_image("team/app", "v1", &image);
    for target in [
        "/v2/team%2Fapp/manifests/v1",
        "/v2/team%2fapp/manifests/v1",
        "/v2/t%65am/app/manifests/%76%31",
        "/v2/team/app/manifests%2Fv1",
    ] {
        assert_eq!(
            http.get(target).send().expect(200).body,
            image.manifest.bytes,
            "{target}"
        );
    }
}

#[test]
fn bad_names_are_refused_everywhere() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let too_long = "a".repeat(256);
    for name in [
        "A",
        "a/B",
        "a/B/c",
        "a..b",
        "a___b",
        "a._b",
        "-a",
        "a-",
        "_a",
        "a_",
        ".a",
        "a.",
        "a/-b",
        "a%20b",
        "a+b",
        "a%00b",
        "a%0Ab",
        "%C3%BC",
        "a/../b",
        "a/./b",
        "..",
        "a%5Cb",
        "host:5000/a",
        "a@b",
        too_long.as_str(),
    ] {
        let requests = [
            ("GET", format!("/v2/{name}/tags/list")),
            ("GET", format!("/v2/{name}/manifests/v1")),
            ("PUT", format!("/v2/{name}/manifests/v1")),
            ("DELETE", format!("/v2/{name}/manifests/v1")),
            ("GET", format!("/v2/{name}/blobs/{ABSENT}")),
            ("DELETE", format!("/v2/{name}/blobs/{ABSENT}")),
            ("GET", format!("/v2/{name}/referrers/{ABSENT}")),
            ("POST", format!("/v2/{name}/blobs/uploads/")),
        ];
        for (method, target) in requests {
            let case = format!("{method} {target}");
            let answer = http.request(method, &target).body("").send();
            findings.error_about(&case, &answer, 400, "NAME_INVALID", &["name", "reason"]);
        }
    }
}

#[test]
fn tags() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let image = Image::new(3, &[10]);
    http.push_image("tags/app", "v1", &image);
    let longest = "x".repeat(128);
    for tag in [
        "latest",
        "_x",
        "0",
        "V1.0-rc_2",
        "a.",
        "a-",
        longest.as_str(),
    ] {
        http.push_manifest("tags/app", tag, &image.manifest);
        let answer = http.head(&format!("/v2/tags/app/manifests/{tag}")).send();
        findings.status(tag, &answer, 200);
    }
    let too_long = "x".repeat(129);
    for tag in [
        ".a",
        "-a",
        "a+b",
        "a%20b",
        "a@b",
        "a%5Cb",
        "%C3%BC",
        "a%0D%0AX-Injected",
        "..",
        too_long.as_str(),
    ] {
        let target = format!("/v2/tags/app/manifests/{tag}");
        let get = http.get(&target).send();
        findings.error_about(tag, &get, 404, "MANIFEST_UNKNOWN", &["tag"]);
        let put = http
            .put(&target)
            .header("Content-Type", OCI_MANIFEST)
            .body(image.manifest.bytes.clone())
            .send();
        findings.error_about(tag, &put, 400, "TAG_INVALID", &["tag", "reason"]);
        let delete = http.delete(&target).send();
        findings.error_about(tag, &delete, 400, "TAG_INVALID", &["tag", "reason"]);
        for answer in [get, put, delete] {
            findings.header(tag, &answer, "X-Injected", None);
        }
    }
}

#[test]
fn digests() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let image = Image::new(4, &[10]);
    http.push_image("digests/app", "v1", &image);
    let upper = ABSENT.replace("aa", "AA");
    let long = format!("{ABSENT}0");
    let sha384 = format!("sha384:{}", "0".repeat(96));
    for digest in [
        "sha256:12",
        "sha256:",
        "sha256:baddigeststring",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "sha512:00",
        sha384.as_str(),
        upper.as_str(),
        long.as_str(),
        "SHA256:00000000000000000000000000000000000000000000000000000000000000aa",
        "sha256:..",
    ] {
        for (method, target) in [
            ("GET", format!("/v2/digests/app/blobs/{digest}")),
            ("HEAD", format!("/v2/digests/app/blobs/{digest}")),
            ("DELETE", format!("/v2/digests/app/blobs/{digest}")),
            ("GET", format!("/v2/digests/app/manifests/{digest}")),
            ("PUT", format!("/v2/digests/app/manifests/{digest}")),
            ("DELETE", format!("/v2/digests/app/manifests/{digest}")),
            ("GET", format!("/v2/digests/app/referrers/{digest}")),
            (
                "POST",
                format!("/v2/digests/app/blobs/uploads/?digest={digest}"),
            ),
        ] {
            let case = format!("{method} {target}");
            let request = http.request(method, &target);
            let request = if method == "PUT" {
                request
                    .header("Content-Type", OCI_MANIFEST)
                    .body(image.manifest.bytes.clone())
            } else {
                request.body("x")
            };
            let answer = request.send();
            if method == "HEAD" {
                findings.status(&case, &answer, 400);
            } else {
                findings.error_about(&case, &answer, 400, "DIGEST_INVALID", &["digest", "reason"]);
            }
        }
    }
    let bare = http.get("/v2/digests/app/blobs/abc").send();
    findings.error("a blob named by no digest", &bare, 400, "DIGEST_INVALID");
}
