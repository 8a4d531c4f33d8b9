//! Tags and the catalog, page by page.

use std::sync::Arc;

use holdfast_tests::http::Response;
use holdfast_tests::{Findings, Image, Registry, Shared};
use serde_json::{Value, json};

static SHARED: Shared = Shared::new();

/// A registry whose pages are short.
fn registry() -> Arc<Registry> {
    SHARED.get(|| {
        let pages = "catalog:\n  maxentries: 5\ntags:\n  maxtags: 5";
        let registry = Registry::builder().section(pages).start();
        let http = registry.http();
        let image = Image::new(500, &[10]);
        // In byte order: capitals, then `_`, then small letters.
        for tag in TAGS {
            http.push_image("t/a", tag, &image);
        }
        for repository in ["t/a/b", "t-a", "b", "a/x"] {
            http.push_image(repository, "v1", &image);
        }
        // Neither has a manifest: both are in no list.
        http.push_blob("only-blobs", &image.config);
        let _ = http
            .post("/v2/only-session/blobs/uploads/")
            .body("")
            .send()
            .expect(202);
        registry
    })
}

const TAGS: [&str; 7] = ["B", "a", "_1", "b", "a.1", "10", "2"];
const TAGS_IN_ORDER: [&str; 7] = ["10", "2", "B", "_1", "a", "a.1", "b"];
const REPOSITORIES: [&str; 5] = ["a/x", "b", "t-a", "t/a", "t/a/b"];

/// The URL of the next page.
fn next(answer: &Response) -> Option<String> {
    let link = answer.header("Link")?;
    let target = link.strip_prefix('<')?.strip_suffix(">; rel=\"next\"")?;
    Some(target.to_owned())
}

/// Follows `Link` to the end and returns all entries.
fn all(registry: &Registry, first: &str, member: &str) -> Vec<String> {
    let (mut target, mut entries) = (Some(first.to_owned()), Vec::new());
    while let Some(url) = target {
        let answer = registry.http().get(&url).send().expect(200);
        let page = answer.json()[member].clone();
        let page: Vec<String> = serde_json::from_value(page).expect("a list of names");
        entries.extend(page);
        assert!(entries.len() < 10_000, "pages without end");
        target = next(&answer);
    }
    entries
}

#[test]
fn all_tags() {
    let (registry, mut findings) = (registry(), Findings::new());
    let answer = registry.http().get("/v2/t/a/tags/list").send();
    findings.status("all", &answer, 200);
    findings.header("all", &answer, "Content-Type", Some("application/json"));
    let expected = json!({"name": "t/a", "tags": TAGS_IN_ORDER});
    findings.check(answer.json() == expected, || format!("all: {answer}"));
    findings.header("all", &answer, "Link", None);
    for n in 1..8 {
        let url = format!("/v2/t/a/tags/list?n={n}");
        let followed = all(&registry, &url, "tags");
        findings.check(followed == TAGS_IN_ORDER, || format!("n={n}: {followed:?}"));
    }
}

#[test]
fn pages_of_tags() {
    let (registry, mut findings) = (registry(), Findings::new());
    let list = "/v2/t/a/tags/list";
    let cases: [(&str, &[&str], Option<&str>); 16] = [
        ("n=2", &["10", "2"], Some("last=2&n=2")),
        ("n=2&last=2", &["B", "_1"], Some("last=_1&n=2")),
        ("last=a", &["a.1", "b"], None),
        ("last=a&n=1", &["a.1"], Some("last=a.1&n=1")),
        // A tag that is not there has a place all the same.
        ("last=C", &["_1", "a", "a.1", "b"], None),
        ("last=zzz", &[], None),
        ("last=b", &[], None),
        ("last=%00", &TAGS_IN_ORDER, None),
        ("n=0", &[], None),
        ("n=0&last=a", &[], None),
        ("n=2&last=a", &["a.1", "b"], None),
        ("n=", &TAGS_IN_ORDER, None),
        // More than a page may have: as many as it may.
        ("n=6", &TAGS_IN_ORDER[..5], Some("last=a&n=5")),
        (
            "n=1000000000000000000",
            &TAGS_IN_ORDER[..5],
            Some("last=a&n=5"),
        ),
        (
            "n=99999999999999999999999999",
            &TAGS_IN_ORDER[..5],
            Some("last=a&n=5"),
        ),
        ("n=2&other=x", &["10", "2"], Some("last=2&n=2")),
    ];
    for (query, tags, link) in cases {
        let answer = registry.http().get(&format!("{list}?{query}")).send();
        findings.status(query, &answer, 200);
        let expected = json!({"name": "t/a", "tags": tags});
        findings.check(answer.json() == expected, || format!("{query}: {answer}"));
        let link = link.map(|link| format!("<{list}?{link}>; rel=\"next\""));
        findings.header(query, &answer, "Link", link.as_deref());
    }
}

#[test]
fn pages_of_the_catalog() {
    let (registry, mut findings) = (registry(), Findings::new());
    let cases: [(&str, &[&str], Option<&str>); 10] = [
        ("", &REPOSITORIES, None),
        ("n=5", &REPOSITORIES, None),
        ("n=1", &["a/x"], Some("last=a%2Fx&n=1")),
        ("n=2&last=a%2Fx", &["b", "t-a"], Some("last=t-a&n=2")),
        ("n=2&last=a/x", &["b", "t-a"], Some("last=t-a&n=2")),
        ("last=t", &["t-a", "t/a", "t/a/b"], None),
        ("last=zz", &[], None),
        ("n=0", &[], None),
        ("n=", &REPOSITORIES, None),
        ("last=", &REPOSITORIES, None),
    ];
    for (query, names, link) in cases {
        let answer = registry.http().get(&format!("/v2/_catalog?{query}")).send();
        findings.status(query, &answer, 200);
        findings.header(query, &answer, "Content-Type", Some("application/json"));
        let expected = json!({"repositories": names});
        findings.check(answer.json() == expected, || format!("{query}: {answer}"));
        let link = link.map(|link| format!("</v2/_catalog?{link}>; rel=\"next\""));
        findings.header(query, &answer, "Link", link.as_deref());
    }
    for n in 1..6 {
        let followed = all(&registry, &format!("/v2/_catalog?n={n}"), "repositories");
        findings.check(followed == REPOSITORIES, || format!("n={n}: {followed:?}"));
    }
}

#[test]
fn page_sizes_that_are_none() {
    let (registry, mut findings) = (registry(), Findings::new());
    for list in ["/v2/t/a/tags/list", "/v2/_catalog"] {
        for n in ["-1", "abc", "1.5", "+1", "0x10", "1e3", "%20", "1%00"] {
            let answer = registry.http().get(&format!("{list}?n={n}")).send();
            let case = format!("{list}?n={n}");
            findings.error_about(
                &case,
                &answer,
                400,
                "PAGINATION_NUMBER_INVALID",
                &["\"n\":"],
            );
        }
    }
    // The catalog refuses what tags clamp, as in Distribution.
    for (n, detail) in [
        ("6", json!({"n": 6, "max": 5})),
        (
            "1000000000000000000",
            json!({"n": 1_000_000_000_000_000_000_u64, "max": 5}),
        ),
    ] {
        let answer = registry.http().get(&format!("/v2/_catalog?n={n}")).send();
        findings.error_detail(n, &answer, 400, "PAGINATION_NUMBER_INVALID", &detail);
    }
}

#[test]
fn repositories_that_nobody_pushed() {
    let (registry, mut findings) = (registry(), Findings::new());
    for name in ["none", "t", "only-blobs", "only-session"] {
        for query in ["", "?n=0", "?n=5&last=x"] {
            let answer = registry
                .http()
                .get(&format!("/v2/{name}/tags/list{query}"))
                .send();
            let detail = json!({"name": name});
            findings.error_detail(name, &answer, 404, "NAME_UNKNOWN", &detail);
        }
    }
}

#[test]
fn many_tags_come_without_a_number() {
    let registry = Registry::start();
    let http = registry.http();
    let image = Image::new(510, &[10]);
    http.push_image("many/tags", "v", &image);
    let names: Vec<_> = (0..1200).map(|number| format!("v{number:05}")).collect();
    for hundred in names.chunks(100) {
        let tags: Vec<_> = hundred.iter().map(|name| format!("tag={name}")).collect();
        let digest = &image.manifest.digest;
        let target = format!("/v2/many/tags/manifests/{digest}?{}", tags.join("&"));
        let push = http
            .put(&target)
            .header("Content-Type", image.manifest.media_type);
        let _ = push.body(image.manifest.bytes.clone()).send().expect(201);
    }
    assert_eq!(http.tags("many/tags").len(), 1201);
    let clamped = http
        .get("/v2/many/tags/tags/list?n=5000")
        .send()
        .expect(200);
    assert_eq!(clamped.json()["tags"].as_array().map(Vec::len), Some(1000));
    assert_eq!(
        all(&registry, "/v2/many/tags/tags/list?n=1000", "tags").len(),
        1201
    );
    let empty: Value = http.get("/v2/_catalog").send().expect(200).json();
    assert_eq!(empty, json!({"repositories": ["many/tags"]}));
}
