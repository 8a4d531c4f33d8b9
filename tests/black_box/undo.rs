//! Undoing deletions and changes of tags, by command and by API.

use holdfast_tests::{Findings, Image, Index, Registry};
use serde_json::json;

/// A digest of nothing that any test pushes.
const ABSENT: &str = "sha256:00000000000000000000000000000000000000000000000000000000000000aa";

/// What the tag points at, as a client sees it.
fn target(registry: &Registry, repository: &str, tag: &str) -> Option<String> {
    let answer = registry
        .http()
        .head(&format!("/v2/{repository}/manifests/{tag}"))
        .send();
    (answer.status == 200).then(|| {
        let digest = answer.header("Docker-Content-Digest");
        digest.expect("the digest of a manifest").to_owned()
    })
}

/// Asserts that everything of an image can be pulled.
#[track_caller]
fn assert_whole(registry: &Registry, repository: &str, image: &Image) {
    let http = registry.http();
    let target = format!("/v2/{repository}/manifests/{}", image.manifest.digest);
    let manifest = http.get(&target).send().expect(200);
    assert_eq!(manifest.body, image.manifest.bytes);
    for blob in image.blobs() {
        let target = format!("/v2/{repository}/blobs/{}", blob.digest);
        assert_eq!(http.get(&target).send().expect(200).body, blob.bytes);
    }
}

#[test]
fn a_tag_goes_back_and_forth() {
    let mut registry = Registry::start();
    let http = registry.http();
    let images = [1200, 1201].map(|seed| Image::new(seed, &[100]));
    let digests = images.each_ref().map(|image| image.manifest.digest.clone());
    for image in &images {
        http.push_image("undo/app", "v1", image);
    }
    let first = registry.manage(&["tag", "restore", "undo/app:v1"]).run();
    assert_eq!(
        first.text(),
        format!("now {}, was {}", digests[0], digests[1])
    );
    assert_eq!(
        target(&registry, "undo/app", "v1").as_ref(),
        Some(&digests[0])
    );
    registry.manage(&["tag", "restore", "undo/app:v1"]).run();
    assert_eq!(
        target(&registry, "undo/app", "v1").as_ref(),
        Some(&digests[1])
    );
    // Without a server, and after the tag went.
    let _ = http.delete("/v2/undo/app/manifests/v1").send().expect(202);
    registry.terminate();
    registry
        .manage(&["tag", "restore", "undo/app:v1", "--to", &digests[0]])
        .run();
    let history = registry.manage(&["tag", "history", "undo/app:v1"]).run();
    let changes: Vec<Vec<&str>> = history
        .text()
        .lines()
        .map(|line| line.split(' ').skip(1).collect())
        .collect();
    let [one, two] = digests.each_ref().map(String::as_str);
    assert_eq!(
        changes,
        [
            ["restore", "-", one],
            ["delete", two, "-"],
            ["restore", one, two],
            ["restore", two, one],
            ["push", one, two],
            ["push", "-", one],
        ]
    );
    let newest = registry
        .manage(&["tag", "history", "-n", "1", "undo/app:v1"])
        .run();
    assert_eq!(newest.text().lines().count(), 1, "{newest}");
    registry.restart();
    assert_eq!(target(&registry, "undo/app", "v1").as_deref(), Some(one));
}

#[test]
fn a_deleted_image_comes_back_with_its_tag() {
    let registry = Registry::start();
    let http = registry.http();
    let image = Image::new(1210, &[100, 200_000]);
    let digest = image.manifest.digest.as_str();
    http.push_image("undo/app", "v1", &image);
    let manifest = format!("/v2/undo/app/manifests/{digest}");
    let _ = http.delete(&manifest).send().expect(202);
    assert_eq!(target(&registry, "undo/app", "v1"), None);
    let trash = registry.manage(&["manifest", "trash", "undo/app"]).run();
    assert!(trash.text().starts_with(&format!("{digest} ")), "{trash}");
    assert_eq!(trash.text().lines().count(), 1, "{trash}");

    let done = registry.manage(&["tag", "restore", "undo/app:v1"]).run();
    assert_eq!(done.text(), format!("restored {digest}\nnow {digest}"));
    assert_eq!(target(&registry, "undo/app", "v1").as_deref(), Some(digest));
    assert_whole(&registry, "undo/app", &image);
    let trash = registry.manage(&["manifest", "trash", "undo/app"]).run();
    assert_eq!(trash.text(), "");

    // The manifest alone.
    let _ = http.delete(&manifest).send().expect(202);
    let name = format!("undo/app@{digest}");
    registry.manage(&["manifest", "restore", &name]).run();
    assert_eq!(target(&registry, "undo/app", "v1"), None);
    assert_whole(&registry, "undo/app", &image);
    // A blob that was deleted as well, and that another repository still has.
    let _ = http.delete(&manifest).send().expect(202);
    http.push_image("undo/copy", "v1", &image);
    let blob = format!("/v2/undo/app/blobs/{}", image.layers[1].digest);
    let _ = http.delete(&blob).send().expect(202);
    registry.manage(&["manifest", "restore", &name]).run();
    assert_whole(&registry, "undo/app", &image);
}

#[test]
fn an_index_comes_back_with_its_images() {
    let registry = Registry::start();
    let http = registry.http();
    let index = Index::new(1220, 100);
    for image in &index.images {
        http.push_image("undo/multi", &image.manifest.digest, image);
    }
    http.push_manifest("undo/multi", "all", &index.manifest);
    let parts = index.images.iter().map(|image| &image.manifest);
    for manifest in [&index.manifest].into_iter().chain(parts) {
        let target = format!("/v2/undo/multi/manifests/{}", manifest.digest);
        let _ = http.delete(&target).send().expect(202);
    }
    let done = registry.manage(&["tag", "restore", "undo/multi:all"]).run();
    assert_eq!(
        done.text().lines().count(),
        index.images.len() + 2,
        "{done}"
    );
    assert_eq!(
        target(&registry, "undo/multi", "all").as_ref(),
        Some(&index.manifest.digest)
    );
    for image in &index.images {
        assert_whole(&registry, "undo/multi", image);
    }
}

/// The collector looked while the image was deleted, and looks again after it came back.
#[test]
fn what_is_back_is_not_collected_and_what_is_collected_is_named() {
    let registry = Registry::start();
    let http = registry.http();
    let [kept, lost] = [1250, 1260].map(|seed| Image::new(seed, &[100]));
    for (tag, image) in [("kept", &kept), ("lost", &lost)] {
        http.push_image("undo/gc", tag, image);
        let target = format!("/v2/undo/gc/manifests/{}", image.manifest.digest);
        let _ = http.delete(&target).send().expect(202);
    }
    registry.manage(&["gc", "run"]).run();
    registry.manage(&["tag", "restore", "undo/gc:kept"]).run();
    let blob = format!("/v2/undo/gc/blobs/{}", lost.layers[0].digest);
    let _ = http.delete(&blob).send().expect(202);
    registry.manage(&["gc", "run"]).run();
    let refused = registry.manage(&["tag", "restore", "undo/gc:lost"]);
    let refused = refused.refused();
    refused.mentions(&lost.layers[0].digest);
    assert_eq!(target(&registry, "undo/gc", "lost"), None);
    // Pushed again, it is all that was missing.
    http.push_blob("undo/gc", &lost.layers[0]);
    registry.manage(&["tag", "restore", "undo/gc:lost"]).run();
    registry.manage(&["gc", "run", "--grace", "0s"]).run();
    for image in [&kept, &lost] {
        assert_whole(&registry, "undo/gc", image);
    }
    // Past its time, a deleted manifest is gone for good.
    let target = format!("/v2/undo/gc/manifests/{}", kept.manifest.digest);
    let _ = http.delete(&target).send().expect(202);
    registry.manage(&["gc", "run", "--grace", "0s"]).run();
    let trash = registry.manage(&["manifest", "trash", "undo/gc"]).run();
    assert_eq!(trash.text(), "");
    let gone = registry.manage(&["tag", "restore", "undo/gc:kept"]);
    gone.refused().mentions("manifest unknown");
    registry.assert_calm();
}

#[test]
fn what_cannot_be_undone_says_why() {
    let registry = Registry::start();
    let http = registry.http();
    http.push_image("undo/app", "v1", &Image::new(1230, &[100]));
    for (arguments, about) in [
        (["tag", "restore", "undo/app:v1"], "pointed at nothing"),
        (["tag", "restore", "undo/app:v2"], "pointed at nothing"),
        (
            ["tag", "restore", "undo/none:v1"],
            "repository name not known",
        ),
        (
            ["tag", "history", "undo/none:v1"],
            "repository name not known",
        ),
        (
            ["manifest", "trash", "undo/none"],
            "repository name not known",
        ),
        (["tag", "restore", "undo/app"], "<repository>:<tag>"),
        (["tag", "restore", "undo/app:a b"], "a tag is"),
        (
            ["manifest", "restore", "undo/app:v1"],
            "<repository>@<digest>",
        ),
    ] {
        registry.manage(&arguments).refused().mentions(about);
    }
    let absent = format!("undo/app@{ABSENT}");
    let refused = registry.manage(&["manifest", "restore", &absent]).refused();
    refused.mentions("manifest unknown");
    let to = ["tag", "restore", "undo/app:v1", "--to", ABSENT];
    registry.manage(&to).refused().mentions("manifest unknown");
    let history = registry.manage(&["tag", "history", "undo/app:v2"]).run();
    assert_eq!(history.text(), "");
    registry.assert_calm();
}

#[test]
fn the_api() {
    let registry = Registry::start();
    let (http, control, mut findings) = (registry.http(), registry.control(), Findings::new());
    let images = [1240, 1241, 1242].map(|seed| Image::new(seed, &[100]));
    for image in &images {
        http.push_image("undo/app", "v1", image);
    }
    let page = |query: &str| control.get(&format!("/api/v1/{query}")).send();
    let history = "tags/history?repository=undo/app&tag=v1&limit=2";
    let first = page(history).expect(200).json();
    let new = |change: &serde_json::Value| change["new"].as_str().unwrap().to_owned();
    let changes = first["changes"].as_array().unwrap();
    assert_eq!(
        changes.iter().map(new).collect::<Vec<_>>(),
        [&images[2], &images[1]].map(|image| image.manifest.digest.clone())
    );
    let second = page(&format!("{history}&before={}", first["next"]));
    let second = second.expect(200).json();
    assert_eq!(second["changes"].as_array().unwrap().len(), 1);
    assert_eq!(second["next"], json!(null));
    assert_eq!(second["changes"][0]["old"], json!(null));

    for image in &images {
        let target = format!("/v2/undo/app/manifests/{}", image.manifest.digest);
        let _ = http.delete(&target).send().expect(202);
    }
    let trash = "manifests/trash?repository=undo/app&limit=2";
    let first = page(trash).expect(200).json();
    assert_eq!(first["manifests"].as_array().unwrap().len(), 2);
    let second = page(&format!(
        "{trash}&after={}",
        first["next"].as_str().unwrap()
    ));
    let second = second.expect(200).json();
    let last = &second["manifests"][0];
    assert_eq!(second["next"], json!(null));
    let restore = |path: &str, body: serde_json::Value| {
        let target = format!("/api/v1/{path}/restore");
        control.post(&target).body(body.to_string()).send()
    };
    let digest = images[0].manifest.digest.as_str();
    let wish = json!({"repository": "undo/app", "tag": "v9", "to": digest});
    let done = restore("tags", wish).expect(200).json();
    assert_eq!(
        done,
        json!({"digest": digest, "old": null, "restored": [digest]})
    );
    let wish = json!({"repository": "undo/app", "digest": digest});
    let again = restore("manifests", wish).expect(200).json();
    assert_eq!(
        again,
        json!({"digest": digest, "old": null, "restored": []})
    );
    assert!(last["kept_until"].as_str() > last["deleted_at"].as_str());

    for (query, status) in [
        ("tags/history?repository=undo/app", 400),
        ("tags/history?repository=undo/app&tag=a%20b", 400),
        ("tags/history?repository=undo/app&tag=v1&limit=0", 400),
        ("tags/history?repository=undo/app&tag=v1&limit=1001", 400),
        ("tags/history?repository=undo/app&tag=v1&before=x", 400),
        ("tags/history?repository=UPPER&tag=v1", 400),
        ("manifests/trash", 400),
        ("manifests/trash?repository=undo/app&after=x", 400),
        ("manifests/trash?repository=undo/none", 404),
        ("tags/restore", 405),
    ] {
        findings.status(query, &page(query), status);
    }
    for (path, wish, status) in [
        ("tags", json!({"repository": "undo/app"}), 400),
        (
            "tags",
            json!({"repository": "undo/app", "tag": "v1", "to": "x"}),
            400,
        ),
        (
            "manifests",
            json!({"repository": "undo/app", "digest": "x"}),
            400,
        ),
        (
            "manifests",
            json!({"repository": "undo/app", "digest": ABSENT}),
            404,
        ),
    ] {
        let case = format!("{path} {wish}");
        findings.status(&case, &restore(path, wish), status);
    }
}
