//! Pushing manifests: every check, and what an accepted push answers.

use std::sync::Arc;

use holdfast_tests::http::{Client, Response};
use holdfast_tests::{Findings, Image, Registry, Shared, sha512_digest};
use serde_json::{Value, json};

use super::{ABSENT, DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, blob, manifest};

static SHARED: Shared = Shared::new();

fn registry() -> Arc<Registry> {
    SHARED.get(|| {
        Registry::builder()
            .section("limits:\n  manifestbytes: 65536\n  tagspermanifestpush: 20")
            .start()
    })
}

/// Puts a manifest, with or without a type.
#[track_caller]
pub(super) fn put(
    http: &Client,
    target: &str,
    content_type: Option<&str>,
    body: &[u8],
) -> Response {
    let request = http.put(target).body(body);
    let request = match content_type {
        Some(kind) => request.header("Content-Type", kind),
        None => request,
    };
    request.send()
}

#[test]
fn an_accepted_push() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let image = Image::new(100, &[100]);
    for part in image.blobs() {
        http.push_blob("push/app", part);
    }
    let digest = image.manifest.digest.as_str();
    let location = format!("{}/v2/push/app/manifests/{digest}", registry.url());
    // Twice the same, by tag and by digest: all are the same success.
    for reference in ["v1", "v1", digest, digest] {
        let target = format!("/v2/push/app/manifests/{reference}");
        let answer = put(&http, &target, Some(OCI_MANIFEST), &image.manifest.bytes);
        findings.status(reference, &answer, 201);
        findings.header(reference, &answer, "Location", Some(&location));
        findings.header(reference, &answer, "Docker-Content-Digest", Some(digest));
        findings.header(reference, &answer, "Content-Length", Some("0"));
        findings.header(reference, &answer, "OCI-Subject", None);
        findings.header(reference, &answer, "OCI-Tag", None);
    }
    let stored = http.get(&location).send();
    findings.check(stored.body == image.manifest.bytes, || format!("{stored}"));

    let other = Image::new(101, &[100]);
    http.push_image("push/app", "v1", &other);
    let moved = http.head("/v2/push/app/manifests/v1").send();
    let digest = Some(other.manifest.digest.as_str());
    findings.header(
        "an overwritten tag",
        &moved,
        "Docker-Content-Digest",
        digest,
    );
}

#[test]
fn tags_in_the_query() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let image = Image::new(110, &[100]);
    for part in image.blobs() {
        http.push_blob("query/app", part);
    }
    let bytes = &image.manifest.bytes;
    let url = |reference: &str| format!("/v2/query/app/manifests/{reference}");
    let target = format!("{}?tag=a&tag=b&tag=a&other=c", url(&image.manifest.digest));
    let answer = put(&http, &target, Some(OCI_MANIFEST), bytes);
    findings.status("two tags", &answer, 201);
    let named: Vec<_> = answer.all("OCI-Tag").collect();
    findings.check(named == ["a", "b"], || format!("two tags: {answer}"));
    findings.check(http.tags("query/app") == ["a", "b"], || {
        "both tags are set".into()
    });

    let answer = put(
        &http,
        &format!("{}?tag=d", url("c")),
        Some(OCI_MANIFEST),
        bytes,
    );
    findings.status("a tag in path and query", &answer, 201);
    findings.check(http.tags("query/app") == ["a", "b", "c", "d"], || {
        "all tags are set".into()
    });

    let many: Vec<_> = (0..20).map(|number| format!("tag=n{number}")).collect();
    let target = format!("{}?{}", url(&image.manifest.digest), many.join("&"));
    findings.status(
        "as many as allowed",
        &put(&http, &target, Some(OCI_MANIFEST), bytes),
        201,
    );
    let answer = put(
        &http,
        &format!("{target}&tag=n20"),
        Some(OCI_MANIFEST),
        bytes,
    );
    findings.error_about("one too many", &answer, 414, "TAG_INVALID", &["20"]);
    findings.check(!http.tags("query/app").contains(&"n20".to_owned()), || {
        "a refused push sets no tag".into()
    });
    let target = format!("{}?tag=e&tag=.bad", url(&image.manifest.digest));
    let answer = put(&http, &target, Some(OCI_MANIFEST), bytes);
    findings.error_about("a bad tag", &answer, 400, "TAG_INVALID", &[".bad"]);
    findings.check(!http.tags("query/app").contains(&"e".to_owned()), || {
        "a refused push sets no tag".into()
    });
}

#[test]
fn sha512() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let image = Image::new(120, &[100]);
    for part in image.blobs() {
        http.push_blob("sha512/app", part);
    }
    let digest = sha512_digest(&image.manifest.bytes);
    let target = format!("/v2/sha512/app/manifests/{digest}?tag=v1");
    let answer = put(&http, &target, Some(OCI_MANIFEST), &image.manifest.bytes);
    findings.status("push", &answer, 201);
    findings.header("push", &answer, "Docker-Content-Digest", Some(&digest));
    for reference in ["v1", &digest] {
        let stored = http
            .get(&format!("/v2/sha512/app/manifests/{reference}"))
            .send();
        findings.status(reference, &stored, 200);
        findings.header(reference, &stored, "Docker-Content-Digest", Some(&digest));
        findings.check(stored.body == image.manifest.bytes, || format!("{stored}"));
    }
    let wrong = format!("sha512:{}", "0".repeat(128));
    let target = format!("/v2/sha512/app/manifests/{wrong}");
    let answer = put(&http, &target, Some(OCI_MANIFEST), &image.manifest.bytes);
    findings.error_about(
        "another digest",
        &answer,
        400,
        "DIGEST_INVALID",
        &[&wrong, &digest],
    );
}

#[test]
fn refusals() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let image = Image::new(130, &[100]);
    http.push_image("refuse/app", "good", &image);
    let (config, layer) = (image.config.descriptor(), image.layers[0].descriptor());
    let good =
        json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]});
    let with = |key: &str, value: Value| {
        let mut changed = good.clone();
        changed[key] = value;
        changed.to_string()
    };
    let without = |key: &str| {
        let mut changed = good.clone();
        changed.as_object_mut().unwrap().remove(key);
        changed.to_string()
    };
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []});
    let with_config = json!({"schemaVersion": 2, "manifests": [], "config": config});
    let with_layers = json!({"schemaVersion": 2, "manifests": [], "layers": []});
    let bad_layer = json!([{"mediaType": "x", "digest": "sha256:zz", "size": 1}]);
    let negative = json!([{"mediaType": "x", "digest": ABSENT, "size": -1}]);
    let two_configs = format!("{{\"schemaVersion\":2,\"config\":{config},\"config\":{config}}}");
    let long_type = json!([{"mediaType": "x".repeat(2000), "digest": ABSENT, "size": 1}]);
    let oci = Some(OCI_MANIFEST);
    let cases: Vec<(&str, Option<&str>, String)> = vec![
        ("no Content-Type", None, good.to_string()),
        (
            "another Content-Type",
            Some("application/json"),
            good.to_string(),
        ),
        ("no media type at all", Some("nonsense"), good.to_string()),
        (
            "schema 1",
            Some("application/vnd.docker.distribution.manifest.v1+prettyjws"),
            good.to_string(),
        ),
        ("the type of an index", Some(OCI_INDEX), good.to_string()),
        ("Docker's type", Some(DOCKER_MANIFEST), good.to_string()),
        (
            "Docker's format without its type",
            Some(DOCKER_MANIFEST),
            without("mediaType"),
        ),
        ("an index as an image", oci, index.to_string()),
        (
            "a manifest with manifests",
            oci,
            with("manifests", json!([])),
        ),
        (
            "an index with a config",
            Some(OCI_INDEX),
            with_config.to_string(),
        ),
        (
            "an index with layers",
            Some(OCI_INDEX),
            with_layers.to_string(),
        ),
        ("schemaVersion 1", oci, with("schemaVersion", json!(1))),
        (
            "schemaVersion as text",
            oci,
            with("schemaVersion", json!("2")),
        ),
        ("no schemaVersion", oci, without("schemaVersion")),
        ("no config", oci, without("config")),
        ("a layer with a bad digest", oci, with("layers", bad_layer)),
        ("a layer of negative size", oci, with("layers", negative)),
        ("layers that are no list", oci, with("layers", json!({}))),
        ("two configs", oci, two_configs),
        ("a media type without end", oci, with("layers", long_type)),
        (
            "a subject that is no descriptor",
            oci,
            with("subject", json!("x")),
        ),
        (
            "annotations that are a list",
            oci,
            with("annotations", json!(["a"])),
        ),
        (
            "an annotation that is no text",
            oci,
            with("annotations", json!({"a": 1})),
        ),
        ("no JSON", oci, "{".to_owned()),
        ("nothing", oci, String::new()),
        ("a list", oci, "[]".to_owned()),
        ("null", oci, "null".to_owned()),
        ("rubbish after it", oci, format!("{good} x")),
    ];
    for (case, content_type, body) in &cases {
        let answer = put(
            &http,
            "/v2/refuse/app/manifests/refused",
            *content_type,
            body.as_bytes(),
        );
        let detail = findings.error(case, &answer, 400, "MANIFEST_INVALID");
        findings.check(!detail.is_null(), || {
            format!("{case}: no detail in {answer}")
        });
    }
    findings.check(http.tags("refuse/app") == ["good"], || {
        "a refused push sets no tag".into()
    });
    // Bytes that are not UTF-8 are no manifest either.
    let answer = put(
        &http,
        "/v2/refuse/app/manifests/refused",
        oci,
        b"{\"\xff\xfe\":1}",
    );
    findings.error("not UTF-8", &answer, 400, "MANIFEST_INVALID");

    let target = format!("/v2/refuse/app/manifests/{ABSENT}");
    let answer = put(&http, &target, oci, &image.manifest.bytes);
    let names = [ABSENT, image.manifest.digest.as_str()];
    findings.error_about("another digest", &answer, 400, "DIGEST_INVALID", &names);
}

#[test]
fn what_is_accepted_although_it_is_unusual() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let image = Image::new(140, &[100]);
    http.push_image("accept/app", "good", &image);
    let (config, layer) = (image.config.descriptor(), image.layers[0].descriptor());
    let mut other_size = layer.clone();
    other_size["size"] = json!(1);
    other_size["mediaType"] = json!("application/x-anything");
    let helm = json!({"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": config["digest"], "size": config["size"]});
    let cases = [
        (
            "parameters of the type",
            "application/vnd.oci.image.manifest.v1+json; charset=utf-8",
            json!({"schemaVersion": 2, "config": config, "layers": [layer]}),
        ),
        (
            "no layers",
            OCI_MANIFEST,
            json!({"schemaVersion": 2, "config": config}),
        ),
        (
            "empty layers",
            OCI_MANIFEST,
            json!({"schemaVersion": 2, "config": config, "layers": []}),
        ),
        (
            "other sizes and types",
            OCI_MANIFEST,
            json!({"schemaVersion": 2, "config": config, "layers": [other_size]}),
        ),
        (
            "the same layer twice",
            OCI_MANIFEST,
            json!({"schemaVersion": 2, "config": config, "layers": [layer, layer]}),
        ),
        (
            "another config type",
            OCI_MANIFEST,
            json!({"schemaVersion": 2, "config": helm, "layers": [layer]}),
        ),
        (
            "members of its own",
            OCI_MANIFEST,
            json!({"schemaVersion": 2, "config": config, "layers": [], "x": {"y": [1]}, "annotations": {"a": "b"}}),
        ),
        (
            "an empty index",
            OCI_INDEX,
            json!({"schemaVersion": 2, "manifests": []}),
        ),
        (
            "an index without a list",
            OCI_INDEX,
            json!({"schemaVersion": 2}),
        ),
        (
            "an empty Docker list",
            DOCKER_LIST,
            json!({"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": []}),
        ),
        // BuildKit keeps its cache as an index over layers.
        (
            "an index over blobs",
            OCI_INDEX,
            json!({"schemaVersion": 2, "manifests": [layer, config]}),
        ),
        (
            "an index over an index",
            OCI_INDEX,
            json!({"schemaVersion": 2, "manifests": [manifest(OCI_INDEX, &json!({"schemaVersion": 2, "manifests": []})).descriptor()]}),
        ),
    ];
    for (case, content_type, value) in cases {
        // White space is part of the content.
        let body = format!(" {value}\n ");
        let answer = put(
            &http,
            "/v2/accept/app/manifests/unusual",
            Some(content_type),
            body.as_bytes(),
        );
        if case == "an index over an index" {
            // Its child was pushed with white space, so it has another digest.
            findings.error(case, &answer, 400, "MANIFEST_BLOB_UNKNOWN");
            continue;
        }
        findings.status(case, &answer, 201);
        let stored = http.get("/v2/accept/app/manifests/unusual").send();
        findings.check(stored.body == body.as_bytes(), || {
            format!("{case}: {stored}")
        });
        let essence = content_type.split(';').next();
        findings.header(case, &stored, "Content-Type", essence);
    }
}

#[test]
fn the_limit_of_a_manifest() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let config = blob(180, 20);
    http.push_blob("large/app", &config);
    let of_length = |length: usize| {
        let value =
            json!({"schemaVersion": 2, "config": config.descriptor(), "layers": [], "x": ""});
        let text = value.to_string();
        let padding = "p".repeat(length - text.len());
        text.replace("\"x\":\"\"", &format!("\"x\":\"{padding}\""))
            .into_bytes()
    };
    let target = "/v2/large/app/manifests/v1";
    for (length, status) in [(65_536, 201), (65_537, 413), (200_000, 413)] {
        let bytes = of_length(length);
        let whole = put(&http, target, Some(OCI_MANIFEST), &bytes);
        let pieces = bytes.chunks(10_000).map(<[u8]>::to_vec);
        let request = http.put(target).header("Content-Type", OCI_MANIFEST);
        let chunked = request.chunks(pieces).send();
        for (how, answer) in [("whole", whole), ("chunked", chunked)] {
            let case = format!("{length} bytes, {how}");
            if status == 413 {
                findings.error_about(&case, &answer, 413, "MANIFEST_INVALID", &["65536"]);
            } else {
                findings.status(&case, &answer, status);
            }
        }
    }
}
