//! What a pushed manifest refers to: it must be there, as far as the configuration wants it so.

use holdfast_tests::http::Response;
use holdfast_tests::{Blob, Findings, Image, Index, Registry};
use serde_json::json;

use super::manifest_push::put;
use super::{ABSENT, OCI_INDEX, OCI_MANIFEST, blob, manifest};

#[test]
fn missing_content_is_named() {
    let (registry, mut findings) = (Registry::start(), Findings::new());
    let http = registry.http();
    let (image, elsewhere) = (Image::new(150, &[100, 200]), Image::new(151, &[100]));
    let app = "/v2/missing/app/manifests/v1";
    let unknown = |answer: &Response| -> Vec<String> {
        let entries = answer.json()["errors"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let mut digests: Vec<_> = entries
            .iter()
            .filter(|entry| entry["code"] == "MANIFEST_BLOB_UNKNOWN")
            .map(|entry| entry["detail"].as_str().unwrap_or_default().to_owned())
            .collect();
        digests.sort();
        digests
    };
    let sorted = |blobs: &[&Blob]| {
        let mut digests: Vec<_> = blobs.iter().map(|blob| blob.digest.clone()).collect();
        digests.sort();
        digests
    };
    let push = |content: &Blob| put(&http, app, Some(content.media_type), &content.bytes);

    let answer = push(&image.manifest);
    findings.error("nothing is there", &answer, 400, "MANIFEST_BLOB_UNKNOWN");
    let all = sorted(&[&image.config, &image.layers[0], &image.layers[1]]);
    findings.check(unknown(&answer) == all, || {
        format!("one entry each: {answer}")
    });

    http.push_blob("missing/app", &image.config);
    http.push_blob("missing/app", &image.layers[1]);
    // Another repository's blob does not count.
    http.push_blob("missing/other", &image.layers[0]);
    let answer = push(&image.manifest);
    findings.error(
        "one layer is elsewhere",
        &answer,
        400,
        "MANIFEST_BLOB_UNKNOWN",
    );
    let one = sorted(&[&image.layers[0]]);
    findings.check(unknown(&answer) == one, || {
        format!("the missing one: {answer}")
    });
    findings.status("nothing was stored", &http.get(app).send(), 404);

    http.push_blob("missing/app", &image.layers[0]);
    findings.status("all is there", &push(&image.manifest), 201);

    let index = Index::of(vec![image, elsewhere]);
    let answer = push(&index.manifest);
    findings.error("a child of an index", &answer, 400, "MANIFEST_BLOB_UNKNOWN");
    let child = sorted(&[&index.images[1].manifest]);
    findings.check(unknown(&answer) == child, || {
        format!("the missing child: {answer}")
    });
    let subject = json!({"schemaVersion": 2, "manifests": [], "subject": {"mediaType": OCI_MANIFEST, "digest": ABSENT, "size": 1}});
    let answer = push(&manifest(OCI_INDEX, &subject));
    findings.status("a subject may be missing", &answer, 201);
    findings.header("a subject", &answer, "OCI-Subject", Some(ABSENT));
}

/// What the configuration allows of layer URLs and of what is not there.
#[test]
fn validation() {
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let nondistributable = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    let plain = "application/vnd.oci.image.layer.v1.tar+gzip";
    let (good, bad) = ("https://layers.example/a", "https://other.example/a");
    // Layer type, is it pushed, its URLs; then the statuses by default, with checks off, with an allow
    // list, and with a deny list.
    let cases: [(&str, bool, &[&str], [u16; 4]); 13] = [
        (foreign, false, &[], [400, 400, 400, 400]),
        (foreign, false, &[good], [400, 201, 201, 201]),
        (foreign, false, &[bad], [400, 201, 400, 400]),
        (foreign, false, &[good, bad], [400, 201, 400, 400]),
        (nondistributable, false, &[], [400, 400, 400, 400]),
        (nondistributable, false, &[good], [400, 201, 201, 201]),
        (nondistributable, true, &[], [201, 201, 201, 201]),
        (plain, true, &[], [201, 201, 201, 201]),
        (plain, true, &[good], [400, 201, 201, 201]),
        (plain, true, &[bad], [400, 201, 400, 400]),
        (plain, false, &[good], [400, 400, 400, 400]),
        (
            foreign,
            false,
            &["https://layers.example/a#x"],
            [400, 201, 400, 400],
        ),
        ("application/x", true, &["ftp://any/"], [201, 201, 201, 201]),
    ];
    let sections = [
        "",
        "validation:\n  disabled: true",
        "validation:\n  manifests:\n    urls:\n      allow:\n        - ^https://layers\\.example/",
        "validation:\n  manifests:\n    urls:\n      deny:\n        - ^https://other\\.example/",
    ];
    let mut findings = Findings::new();
    for (number, section) in sections.into_iter().enumerate() {
        let registry = Registry::builder().section(section).start();
        let http = registry.http();
        let (config, stored) = (blob(160, 20), blob(161, 30));
        http.push_blob("urls/app", &config);
        http.push_blob("urls/app", &stored);
        for (kind, pushed, urls, statuses) in &cases {
            let digest = if *pushed {
                stored.digest.as_str()
            } else {
                ABSENT
            };
            let mut layer = json!({"mediaType": kind, "digest": digest, "size": 30});
            if !urls.is_empty() {
                layer["urls"] = json!(urls);
            }
            let value =
                json!({"schemaVersion": 2, "config": config.descriptor(), "layers": [layer]});
            let content = manifest(OCI_MANIFEST, &value);
            let answer = put(
                &http,
                "/v2/urls/app/manifests/v1",
                Some(OCI_MANIFEST),
                &content.bytes,
            );
            let case = format!("{section:?}: {kind} {urls:?}, pushed: {pushed}");
            findings.status(&case, &answer, statuses[number]);
        }
    }
}

#[test]
fn indexes_may_be_sparse() {
    let index = Index::new(170, 10);
    let sections = [
        (
            "validation:\n  manifests:\n    indexes:\n      platforms: all",
            [400, 400],
        ),
        (
            "validation:\n  manifests:\n    indexes:\n      platforms: none",
            [201, 201],
        ),
        (
            "validation:\n  manifests:\n    indexes:\n      platforms: list\n      platformlist:\n        - architecture: amd64\n          os: linux",
            [400, 201],
        ),
        ("validation:\n  disabled: true", [201, 201]),
    ];
    let mut findings = Findings::new();
    for (section, statuses) in sections {
        let registry = Registry::builder().section(section).start();
        let http = registry.http();
        let push = || {
            put(
                &http,
                "/v2/sparse/app/manifests/v1",
                Some(OCI_INDEX),
                &index.manifest.bytes,
            )
        };
        findings.status(&format!("{section}: no child"), &push(), statuses[0]);
        http.push_image("sparse/app", "amd64", &index.images[0]);
        findings.status(&format!("{section}: amd64"), &push(), statuses[1]);
        http.push_image("sparse/app", "arm64", &index.images[1]);
        findings.status(&format!("{section}: all"), &push(), 201);
    }
    let optional = "validation:\n  manifests:\n    references: optional";
    let registry = Registry::builder().section(optional).start();
    let image = &index.images[0].manifest;
    let answer = put(
        &registry.http(),
        "/v2/sparse/app/manifests/v1",
        Some(OCI_MANIFEST),
        &image.bytes,
    );
    findings.status("layers that are optional", &answer, 201);
}
