//! Text that would be something else: a path, a header.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use holdfast_tests::http::Response;
use holdfast_tests::{Findings, Image, Registry};

use super::{ABSENT, OCI_MANIFEST, assert_well, converse, open_session};

/// Every file below a directory with its content.
fn snapshot(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).expect("reading a directory") {
        let path = entry.expect("reading a directory").path();
        if path.is_dir() {
            found.extend(snapshot(&path));
            found.insert(path, Vec::new());
        } else if path.is_file() {
            let content = fs::read(&path).expect("reading a file");
            found.insert(path, content);
        }
    }
    found
}

#[test]
fn paths_that_lead_elsewhere() {
    const SECRET: &str = "the sentinel beside the data";
    let registry = Registry::start();
    let (http, mut findings) = (registry.http(), Findings::new());
    http.push_image("trap/app", "v1", &Image::new(1700, &[100]));
    let sentinel = registry.home().join("sentinel");
    fs::create_dir_all(sentinel.join("deep")).unwrap();
    for name in ["data", "link", "deep/secret"] {
        fs::write(sentinel.join(name), SECRET).unwrap();
    }
    let around = || {
        let mut files = snapshot(registry.home());
        // What the server writes by right.
        files.retain(|path, _| {
            !path.starts_with(registry.data()) && !path.ends_with("registry.log")
        });
        files
    };
    let before = around();

    let session = open_session(&http, "trap/app");
    let climbs = [
        "..",
        "../..",
        "../../sentinel/data",
        "%2e%2e",
        "%2e%2e/%2e%2e/sentinel/data",
        "..%2F..%2Fsentinel%2Fdata",
        "%2e%2e%2f%2e%2e%2fsentinel%2fdeep%2fsecret",
        "%252e%252e%252fsentinel",
        "..%5C..%5Csentinel%5Cdata",
        "..\\..\\sentinel\\data",
        "%c0%ae%c0%ae/%c0%ae%c0%ae/sentinel/data",
        "%c0%ae%c0%ae%c0%af",
        "%e0%80%ae%e0%80%ae",
        "a%00",
        "%00",
        "..%00/",
        "a%00/../../sentinel/data",
        "....//....//sentinel",
        ".",
        "./.",
        "~",
        "%ff",
        "/etc/passwd",
        "%2Fetc%2Fpasswd",
        "sha256:../../../sentinel/data",
        "sha256:..%2F..%2F..%2Fsentinel%2Fdata",
        "sha256:%00",
        "C:%5Cwindows",
        "a%0d%0ab",
    ];
    for climb in climbs {
        let blob = format!("digest={ABSENT}");
        let targets = [
            format!("/{climb}"),
            format!("/v2/{climb}"),
            format!("/v2/{climb}/tags/list"),
            format!("/v2/{climb}/manifests/v1"),
            format!("/v2/a/{climb}/manifests/v1"),
            format!("/v2/trap/app/manifests/{climb}"),
            format!("/v2/trap/app/blobs/{climb}"),
            format!("/v2/trap/app/referrers/{climb}"),
            format!("/v2/trap/app/blobs/uploads/{climb}"),
            format!(
                "/v2/trap/app/blobs/uploads/{climb}?{}&{blob}",
                session.split('?').nth(1).unwrap()
            ),
            format!("/v2/{climb}/blobs/uploads/"),
            format!("/v2/trap/app/blobs/uploads/?digest={climb}"),
            format!("/v2/trap/app/blobs/uploads/?mount={climb}&from=trap/app"),
            format!("/v2/trap/app/blobs/uploads/?mount={ABSENT}&from={climb}"),
            format!("{session}&digest={climb}"),
            format!("/v2/trap/app/manifests/{ABSENT}?tag={climb}"),
            format!("/v2/trap/app/tags/list?last={climb}&n=1"),
            format!("/v2/_catalog?last={climb}&n=1"),
            format!("/v2/trap/app/referrers/{ABSENT}?artifactType={climb}"),
        ];
        for target in &targets {
            for method in ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"] {
                if method == "DELETE" && target.starts_with(&session) {
                    continue;
                }
                let request = http
                    .request(method, target)
                    .header("Content-Type", OCI_MANIFEST);
                let answer = request.body("x").send();
                let case = format!("{method} {target}");
                findings.check(answer.status < 500, || format!("{case}: {answer}"));
                findings.check(!answer.text().contains(SECRET), || {
                    format!("{case}: {answer}")
                });
                let stored = answer.status == 201;
                findings.check(!stored, || format!("{case} was stored: {answer}"));
            }
        }
    }
    findings.check(around() == before, || {
        "something outside the data directory changed".into()
    });
    let mut own: Vec<_> = fs::read_dir(registry.data())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    own.sort();
    findings.check(own == ["docker", "holdfast"], || {
        format!("in the data directory: {own:?}")
    });
    assert_well(&registry);
}

#[test]
fn headers_cannot_be_smuggled_into_answers() {
    let registry = Registry::start();
    let (http, mut findings) = (registry.http(), Findings::new());
    let image = Image::new(1800, &[100]);
    http.push_image("inject/app", "v1", &image);
    let evil = "%0d%0aX-Injected:%201%0d%0a%0d%0a<script>";
    let targets = [
        format!("/v2/{evil}/"),
        format!("/v2//{evil}//"),
        format!("/v2/inject/app/tags/list/{evil}/"),
        format!("/v2/{evil}/tags/list/"),
        format!("/v2/inject/app/tags/list?n=1&last={evil}"),
        format!("/v2/_catalog?n=1&last={evil}"),
        format!("/v2/inject/app/manifests/{evil}"),
        format!("/v2/inject/app/blobs/{evil}"),
        format!(
            "/v2/inject/app/referrers/{}?artifactType={evil}",
            image.manifest.digest
        ),
        format!("/v2/inject/app/blobs/uploads/{evil}"),
        format!("/v2/inject/app/blobs/uploads/?mount={evil}&from={evil}"),
        format!("/v2/inject/app/blobs/uploads/?digest={evil}"),
        format!(
            "/v2/inject/app/manifests/{}?tag={evil}",
            image.manifest.digest
        ),
    ];
    let unharmed = |findings: &mut Findings, case: &str, answer: &Response| {
        findings.header(case, answer, "X-Injected", None);
        findings.check(answer.status < 500, || format!("{case}: {answer}"));
        let known = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let sound = answer.headers.iter().all(|(name, _)| known(name));
        findings.check(sound, || format!("{case}: {answer}"));
    };
    for target in &targets {
        for method in ["GET", "POST", "PUT", "OPTIONS"] {
            let request = http
                .request(method, target)
                .header("Content-Type", OCI_MANIFEST);
            let answer = request.body(image.manifest.bytes.clone()).send();
            unharmed(&mut findings, &format!("{method} {target}"), &answer);
        }
    }
    // Bare control characters in the lines from which URLs are made.
    for value in [
        "a\tb",
        "a\u{b}b",
        "a\u{7f}",
        "a b",
        "a\rX-Injected: 1",
        "a\nX-Injected: 1",
        "\u{fc}",
        "a\"b",
        "a<b>",
        "a\\b",
        "@",
        "",
    ] {
        for name in ["Host", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded"] {
            let shown = if name == "Forwarded" {
                format!("host=\"{value}\";proto={value}")
            } else {
                value.to_owned()
            };
            let own = if name == "Host" {
                String::new()
            } else {
                "Host: x\r\n".to_owned()
            };
            let bytes = converse(&http, format!("POST /v2/inject/app/blobs/uploads/ HTTP/1.1\r\n{own}{name}: {shown}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes());
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let location = text.lines().find_map(|line| {
                line.strip_prefix("location: ")
                    .or(line.strip_prefix("Location: "))
            });
            let plain = |location: &str| {
                location
                    .bytes()
                    .all(|b| b.is_ascii_graphic() && !b"\"<>\\".contains(&b))
            };
            findings.check(location.is_none_or(plain), || {
                format!("{name}: {value:?}: {text}")
            });
            findings.check(!text.to_lowercase().contains("\nx-injected"), || {
                format!("{name}: {value:?}: {text}")
            });
        }
    }
    assert_well(&registry);
}
