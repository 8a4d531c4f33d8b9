//! Pulling manifests: headers, `Accept`, conditions, and what is not there.

use std::sync::Arc;

use holdfast_tests::{Blob, Findings, Image, Index, Registry, Shared};
use serde_json::json;

use super::{ABSENT, DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, manifest};

static SHARED: Shared = Shared::new();

fn registry() -> Arc<Registry> {
    SHARED.get(Registry::start)
}

/// The same image as Docker's own format has it.
fn as_docker(image: &Image) -> Blob {
    let mut config = image.config.descriptor();
    config["mediaType"] = json!("application/vnd.docker.container.image.v1+json");
    let layers: Vec<_> = image.layers.iter().map(Blob::descriptor).collect();
    manifest(
        DOCKER_MANIFEST,
        &json!({"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config, "layers": layers}),
    )
}

fn docker_list(children: &[(&Blob, &str)]) -> Blob {
    let entries: Vec<_> = children
        .iter()
        .map(|(child, architecture)| {
            let mut entry = child.descriptor();
            entry["platform"] = json!({"architecture": architecture, "os": "linux"});
            entry
        })
        .collect();
    manifest(
        DOCKER_LIST,
        &json!({"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": entries}),
    )
}

#[test]
fn get_and_head_have_the_same_headers() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let image = Image::new(10, &[100]);
    http.push_image("pull/app", "v1", &image);
    let digest = image.manifest.digest.as_str();
    for reference in ["v1", digest] {
        let target = format!("/v2/pull/app/manifests/{reference}");
        let get = http.get(&target).header("Accept", OCI_MANIFEST).send();
        let head = http.head(&target).header("Accept", OCI_MANIFEST).send();
        findings.check(get.body == image.manifest.bytes, || format!("{get}"));
        findings.check(head.body.is_empty(), || format!("{head}"));
        let length = image.manifest.bytes.len().to_string();
        for answer in [&get, &head] {
            findings.status(reference, answer, 200);
            for (name, value) in [
                ("Content-Type", OCI_MANIFEST),
                ("Content-Length", &length),
                ("Docker-Content-Digest", digest),
                ("Etag", &format!("\"{digest}\"")),
            ] {
                findings.header(reference, answer, name, Some(value));
            }
        }
    }
}

#[test]
fn accept() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let index = Index::new(20, 100);
    for image in &index.images {
        http.push_image("accept/app", image.architecture, image);
    }
    let docker: Vec<_> = index.images.iter().map(as_docker).collect();
    for child in &docker {
        http.push_manifest("accept/app", &child.digest, child);
    }
    let list = docker_list(&[(&docker[1], "arm64"), (&docker[0], "amd64")]);
    let foreign_list = docker_list(&[(&docker[1], "arm64")]);
    let image = &index.images[0].manifest;
    let stored = [
        ("image", image),
        ("index", &index.manifest),
        ("docker", &docker[0]),
        ("list", &list),
        ("foreign", &foreign_list),
    ];
    for (tag, content) in stored {
        http.push_manifest("accept/app", tag, content);
    }
    let nothing: &[&str] = &[];
    let docker_types: &[&str] = &[DOCKER_MANIFEST, DOCKER_LIST];
    let cases: [(&str, &[&str], Option<&Blob>); 22] = [
        ("image", nothing, Some(image)),
        ("image", &["*/*"], Some(image)),
        ("image", &["application/*"], Some(image)),
        ("image", &["text/html, */*;q=0.1"], Some(image)),
        ("image", &[OCI_MANIFEST], Some(image)),
        ("image", &[DOCKER_MANIFEST, OCI_MANIFEST], Some(image)),
        (
            "image",
            &["application/vnd.oci.image.manifest.v1+json;q=0.5"],
            Some(image),
        ),
        (
            "image",
            &["application/json, application/vnd.oci.image.manifest.v1+json"],
            Some(image),
        ),
        ("image", docker_types, None),
        ("image", &["text/html"], None),
        ("index", nothing, Some(&index.manifest)),
        ("index", &[OCI_INDEX], Some(&index.manifest)),
        ("index", docker_types, Some(&index.manifest)),
        ("docker", nothing, Some(&docker[0])),
        ("docker", &[OCI_MANIFEST], Some(&docker[0])),
        ("docker", docker_types, Some(&docker[0])),
        ("list", nothing, Some(&list)),
        ("list", &["*/*"], Some(&list)),
        ("list", docker_types, Some(&list)),
        // A client of images only gets the usual platform out of a list, under the image's own digest.
        ("list", &[DOCKER_MANIFEST], Some(&docker[0])),
        ("foreign", &[DOCKER_MANIFEST], None),
        ("foreign", nothing, Some(&foreign_list)),
    ];
    for (tag, accepted, expected) in cases {
        let case = format!("{tag}, accepting {accepted:?}");
        let request = http.get(&format!("/v2/accept/app/manifests/{tag}"));
        let request = accepted
            .iter()
            .fold(request, |request, line| request.header("Accept", line));
        let answer = request.send();
        match expected {
            Some(content) => {
                findings.status(&case, &answer, 200);
                findings.header(&case, &answer, "Content-Type", Some(content.media_type));
                findings.header(
                    &case,
                    &answer,
                    "Docker-Content-Digest",
                    Some(&content.digest),
                );
                findings.check(answer.body == content.bytes, || {
                    format!("{case}: other bytes in {answer}")
                });
            }
            None => {
                findings.error(&case, &answer, 404, "MANIFEST_UNKNOWN");
            }
        }
    }
    // By digest a list is served as it is, whoever asks.
    let answer = http
        .get(&format!("/v2/accept/app/manifests/{}", list.digest))
        .header("Accept", DOCKER_MANIFEST)
        .send();
    findings.check(answer.body == list.bytes, || format!("by digest: {answer}"));
}

#[test]
fn conditions() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let image = Image::new(30, &[100]);
    http.push_image("if/app", "v1", &image);
    let digest = image.manifest.digest.as_str();
    let same = [
        format!("\"{digest}\""),
        digest.to_owned(),
        format!("W/\"{digest}\""),
        format!("\"{ABSENT}\", \"{digest}\""),
        "*".to_owned(),
    ];
    for reference in ["v1", digest] {
        let target = format!("/v2/if/app/manifests/{reference}");
        for condition in &same {
            for method in ["GET", "HEAD"] {
                let case = format!("{method} {reference} unless {condition}");
                let answer = http
                    .request(method, &target)
                    .header("If-None-Match", condition)
                    .send();
                findings.status(&case, &answer, 304);
                findings.header(&case, &answer, "Content-Type", None);
                findings.header(&case, &answer, "Content-Length", None);
                findings.header(&case, &answer, "Etag", Some(&format!("\"{digest}\"")));
            }
        }
        for condition in [ABSENT, "\"x\"", ""] {
            let answer = http.get(&target).header("If-None-Match", condition).send();
            findings.status(condition, &answer, 200);
        }
    }
    // Who has the content needs no form of it.
    let answer = http
        .get("/v2/if/app/manifests/v1")
        .header("Accept", DOCKER_MANIFEST)
        .header("If-None-Match", digest)
        .send();
    findings.status("the condition comes before Accept", &answer, 304);
}

#[test]
fn what_is_not_there() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let image = Image::new(40, &[100]);
    http.push_image("unknown/app", "v1", &image);
    http.push_image("unknown/other", "v1", &Image::new(41, &[100]));
    let layer = image.layers[0].digest.as_str();
    for (repository, reference) in [
        ("unknown/app", "v2"),
        ("unknown/app", ABSENT),
        ("unknown/app", layer),
        ("unknown/none", "v1"),
        ("unknown/none", ABSENT),
        // What another repository has is not known here.
        ("unknown/other", image.manifest.digest.as_str()),
    ] {
        let target = format!("/v2/{repository}/manifests/{reference}");
        let detail = if reference.contains(':') {
            format!("unknown manifest name={repository} revision={reference}")
        } else {
            format!("unknown tag={reference}")
        };
        for method in ["GET", "DELETE"] {
            let answer = http.request(method, &target).send();
            let case = format!("{method} {target}");
            findings.error_detail(&case, &answer, 404, "MANIFEST_UNKNOWN", &json!(detail));
        }
        let answer = http.head(&target).send();
        findings.status(&target, &answer, 404);
    }
}

#[test]
fn deletes() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let (image, other) = (Image::new(50, &[100]), Image::new(51, &[100]));
    http.push_image("delete/app", "v1", &image);
    http.push_image("delete/app", "v2", &image);
    http.push_image("delete/app", "other", &other);
    let url = |reference: &str| format!("/v2/delete/app/manifests/{reference}");
    let digest = image.manifest.digest.as_str();

    let answer = http.delete(&url("v1")).send();
    findings.status("a tag", &answer, 202);
    findings.header("a tag", &answer, "Content-Length", Some("0"));
    findings.check(http.tags("delete/app") == ["other", "v2"], || {
        "only the tag goes".into()
    });
    findings.status("its manifest", &http.head(&url(digest)).send(), 200);

    http.push_manifest("delete/app", "v1", &image.manifest);
    findings.status("a digest", &http.delete(&url(digest)).send(), 202);
    findings.check(http.tags("delete/app") == ["other"], || {
        "all its tags go".into()
    });
    for reference in [digest, "v1", "v2"] {
        findings.status(reference, &http.head(&url(reference)).send(), 404);
        let again = http.delete(&url(reference)).send();
        findings.error("again", &again, 404, "MANIFEST_UNKNOWN");
    }

    findings.status(
        "the last",
        &http.delete(&url(&other.manifest.digest)).send(),
        202,
    );
    let emptied = http.get("/v2/delete/app/tags/list").send();
    findings.status("an emptied repository", &emptied, 200);
    let expected = json!({"name": "delete/app", "tags": []});
    findings.check(emptied.json() == expected, || format!("emptied: {emptied}"));
    http.push_image("delete/app", "v1", &image);
    findings.check(http.tags("delete/app") == ["v1"], || {
        "it can be filled again".into()
    });
}

#[test]
fn a_child_of_an_index_may_go_before_it() {
    let registry = registry();
    let http = registry.http();
    let index = Index::new(60, 100);
    for image in &index.images {
        http.push_image("delete/index", &image.manifest.digest, image);
    }
    http.push_manifest("delete/index", "v1", &index.manifest);
    let child = format!(
        "/v2/delete/index/manifests/{}",
        index.images[0].manifest.digest
    );
    let _ = http.delete(&child).send().expect(202);
    let _ = http.get(&child).send().expect(404);
    let stored = http.get("/v2/delete/index/manifests/v1").send().expect(200);
    assert_eq!(stored.body, index.manifest.bytes);
}
