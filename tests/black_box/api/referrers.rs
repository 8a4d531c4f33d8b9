//! The referrers of a manifest.

use std::collections::BTreeSet;
use std::sync::Arc;

use holdfast_tests::{Blob, Findings, Image, Registry, Shared};
use serde_json::{Value, json};

use super::{ABSENT, OCI_INDEX, OCI_MANIFEST, blob, manifest};

static SHARED: Shared = Shared::new();

fn registry() -> Arc<Registry> {
    SHARED.get(Registry::start)
}

fn list(registry: &Registry, target: &str) -> (holdfast_tests::http::Response, Vec<Value>) {
    let answer = registry.http().get(target).send();
    let body = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
    let manifests = body["manifests"].as_array().cloned().unwrap_or_default();
    (answer, manifests)
}

#[test]
fn nothing_is_an_empty_index() {
    let (registry, mut findings) = (registry(), Findings::new());
    registry
        .http()
        .push_image("ref/empty", "v1", &Image::new(600, &[10]));
    for repository in ["ref/empty", "ref/never"] {
        let (answer, _) = list(&registry, &format!("/v2/{repository}/referrers/{ABSENT}"));
        findings.status(repository, &answer, 200);
        findings.header(repository, &answer, "Content-Type", Some(OCI_INDEX));
        findings.header(repository, &answer, "OCI-Filters-Applied", None);
        let expected = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []});
        findings.check(answer.json() == expected, || {
            format!("{repository}: {answer}")
        });
    }
}

#[test]
fn types_annotations_and_filters() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let image = Image::new(610, &[10]);
    http.push_image("ref/app", "v1", &image);
    let subject = image.manifest.descriptor();
    let config = image.config.descriptor();
    let mut sbom_config = config.clone();
    sbom_config["mediaType"] = json!("application/x.sbom");
    let annotated = json!({"org.example/a": "1", "ü": "\u{1f600} <>&\""});
    // What is pushed, and the artifact type it is listed with.
    let pushed: Vec<(Blob, Option<&str>, Option<Value>)> = vec![
        (
            manifest(
                OCI_MANIFEST,
                &json!({"schemaVersion": 2, "artifactType": "application/x.signature", "config": config, "layers": [], "subject": subject, "annotations": annotated}),
            ),
            Some("application/x.signature"),
            Some(annotated.clone()),
        ),
        (
            manifest(
                OCI_MANIFEST,
                &json!({"schemaVersion": 2, "config": sbom_config, "layers": [], "subject": subject}),
            ),
            Some("application/x.sbom"),
            None,
        ),
        (
            manifest(
                OCI_MANIFEST,
                &json!({"schemaVersion": 2, "artifactType": "", "config": sbom_config, "layers": [], "subject": subject, "x": 1}),
            ),
            Some("application/x.sbom"),
            None,
        ),
        (
            manifest(
                OCI_INDEX,
                &json!({"schemaVersion": 2, "manifests": [], "subject": subject}),
            ),
            None,
            None,
        ),
        (
            manifest(
                OCI_INDEX,
                &json!({"schemaVersion": 2, "artifactType": "application/x.signature", "manifests": [], "subject": subject, "annotations": {}}),
            ),
            Some("application/x.signature"),
            Some(json!({})),
        ),
    ];
    for (content, _, _) in &pushed {
        let target = format!("/v2/ref/app/manifests/{}", content.digest);
        let request = http.put(&target).header("Content-Type", content.media_type);
        let answer = request.body(content.bytes.clone()).send();
        findings.status(&target, &answer, 201);
        findings.header(
            &target,
            &answer,
            "OCI-Subject",
            Some(&image.manifest.digest),
        );
    }
    // One of another subject, and none at all, are not listed.
    let other = json!({"schemaVersion": 2, "manifests": [], "subject": {"mediaType": OCI_MANIFEST, "digest": ABSENT, "size": 3}});
    http.push_manifest("ref/app", "other", &manifest(OCI_INDEX, &other));

    let expected = |kind: Option<&str>| {
        let mut entries: Vec<_> = pushed
            .iter()
            .filter(|(_, artifact, _)| kind.is_none() || *artifact == kind)
            .map(|(content, artifact, annotations)| {
                let mut entry = content.descriptor();
                if let Some(artifact) = artifact {
                    entry["artifactType"] = json!(artifact);
                }
                if let Some(annotations) = annotations {
                    entry["annotations"] = annotations.clone();
                }
                entry
            })
            .collect();
        entries.sort_by_key(|entry| entry["digest"].to_string());
        entries
    };
    let url = format!("/v2/ref/app/referrers/{}", image.manifest.digest);
    let (answer, entries) = list(&registry, &url);
    findings.status("all", &answer, 200);
    findings.check(entries == expected(None), || format!("all: {answer}"));
    for kind in [
        "application/x.signature",
        "application/x.sbom",
        "application/x.none",
    ] {
        let encoded = kind.replace('/', "%2F");
        for query in [kind, &encoded] {
            let (answer, entries) = list(&registry, &format!("{url}?artifactType={query}"));
            findings.status(query, &answer, 200);
            findings.header(query, &answer, "OCI-Filters-Applied", Some("artifactType"));
            findings.check(entries == expected(Some(kind)), || {
                format!("{query}: {answer}")
            });
        }
    }
    let (answer, entries) = list(&registry, &format!("{url}?artifactType="));
    findings.header("an empty filter", &answer, "OCI-Filters-Applied", None);
    findings.check(entries.len() == pushed.len(), || {
        format!("an empty filter: {answer}")
    });

    let (_, before) = list(&registry, &format!("/v2/ref/app/referrers/{ABSENT}"));
    findings.check(before.len() == 1, || "a subject need not exist".into());
    let gone = &pushed[0].0.digest;
    findings.status(
        "delete",
        &http.delete(&format!("/v2/ref/app/manifests/{gone}")).send(),
        202,
    );
    let (answer, entries) = list(&registry, &url);
    findings.check(entries.len() == pushed.len() - 1, || {
        format!("after a delete: {answer}")
    });
    let (answer, entries) = list(
        &registry,
        &format!("/v2/ref/elsewhere/referrers/{}", image.manifest.digest),
    );
    findings.check(entries.is_empty(), || {
        format!("another repository: {answer}")
    });
}

#[test]
fn more_than_a_page() {
    const REFERRERS: usize = 1203;
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let config = blob(620, 10);
    http.push_blob("ref/many", &config);
    let mut pushed = BTreeSet::new();
    for number in 0..REFERRERS {
        let kind = format!("application/x.{}", number % 100 == 0);
        let value = json!({"schemaVersion": 2, "artifactType": kind, "config": config.descriptor(), "layers": [], "subject": {"mediaType": OCI_MANIFEST, "digest": ABSENT, "size": 3}, "number": number});
        let content = manifest(OCI_MANIFEST, &value);
        http.push_manifest("ref/many", &content.digest, &content);
        pushed.insert(content.digest);
    }
    let first = format!("/v2/ref/many/referrers/{ABSENT}");
    let (answer, page) = list(&registry, &first);
    findings.check(page.len() == 1000, || {
        format!("{} on the first page", page.len())
    });
    let mut found: BTreeSet<_> = page
        .iter()
        .map(|entry| entry["digest"].as_str().unwrap().to_owned())
        .collect();
    let link = answer.header("Link").unwrap_or_default();
    let next = link
        .strip_prefix('<')
        .and_then(|link| link.strip_suffix(">; rel=\"next\""));
    findings.check(next.is_some(), || format!("no next page: {link:?}"));
    let (answer, page) = list(&registry, next.unwrap_or(&first));
    findings.check(page.len() == REFERRERS - 1000, || {
        format!("{} on the last page", page.len())
    });
    findings.header("the last page", &answer, "Link", None);
    found.extend(
        page.iter()
            .map(|entry| entry["digest"].as_str().unwrap().to_owned()),
    );
    findings.check(found == pushed, || "the pages are not all referrers".into());
    let (answer, page) = list(
        &registry,
        &format!("{first}?artifactType=application%2Fx.true"),
    );
    findings.check(page.len() == 13, || format!("{} of a type", page.len()));
    findings.header("of a type", &answer, "Link", None);
    let (answer, page) = list(
        &registry,
        &format!("{first}?artifactType=application%2Fx.false"),
    );
    let link = answer.header("Link").unwrap_or_default().to_owned();
    findings.check(page.len() == 1000 && link.contains("artifactType="), || {
        format!("the filter is in the link: {link}")
    });
}
