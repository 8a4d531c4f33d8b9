//! What a registry wrote is served from the first request on, and stays what it was.

use std::fs;

use holdfast_tests::{Image, Index, Registry, Workbench, eventually};
use serde_json::json;

use super::{
    OTHERS, adopted, assert_manifest, assert_pulls, catalog, problems, push_index, status, tree,
};

#[test]
fn what_the_other_registry_wrote_is_served_at_once_and_after() {
    for other in OTHERS {
        let mut registry = Registry::builder().program(other).start();
        let (first, second) = (Image::new(1, &[30_000]), Image::new(2, &[500, 600_000]));
        let index = Index::new(3, 20_000);
        let http = registry.http();
        http.push_image("team/app", "v1", &first);
        http.push_image("team/app", "latest", &first);
        http.push_image("team/app", "latest", &second);
        http.push_image("team/app/nested", "V2.0_rc-1", &second);
        push_index(&registry, "multi", "all", &index);
        http.push_image("untagged", &first.manifest.digest, &first);
        let before = catalog(&registry);
        assert_eq!(
            before,
            json!(["multi", "team/app", "team/app/nested", "untagged"])
        );

        registry.take_over();
        for round in ["at once", "after the walk", "after a restart"] {
            assert_eq!(catalog(&registry), before, "{other}, {round}");
            assert_pulls(&registry, "team/app", "v1", &first);
            assert_pulls(&registry, "team/app", "latest", &second);
            assert_pulls(&registry, "team/app/nested", "V2.0_rc-1", &second);
            assert_pulls(&registry, "untagged", &first.manifest.digest, &first);
            assert_manifest(&registry, "multi", "all", &index.manifest);
            for image in &index.images {
                assert_pulls(&registry, "multi", &image.manifest.digest, image);
            }
            assert_eq!(registry.http().tags("team/app"), ["latest", "v1"]);
            let _ = registry
                .http()
                .get("/v2/nowhere/tags/list")
                .send()
                .expect(404);
            let _ = registry
                .http()
                .get("/v2/team/app/manifests/v9")
                .send()
                .expect(404);
            let of = adopted(&registry);
            assert_eq!(of["problems"], 0, "{other}: {:?}", problems(&registry));
            assert_eq!(of["tags"], 4);
            assert_eq!(of["manifests"], 7, "{of}");
            if round == "after the walk" {
                registry.restart();
            }
        }
        registry.assert_calm();
    }
}

#[test]
fn a_client_pulls_what_the_other_registry_had() {
    let mut registry = Registry::builder().program("docker-registry").start();
    let bench = Workbench::new();
    let index = Index::new(10, 50_000);
    let source = bench.path("source");
    index.write_layout(&source, "v1");
    let copy = |from: String, to: String| {
        let plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
        let command = bench
            .tool("skopeo")
            .args(["copy", "--all", "--preserve-digests"]);
        command.args(plain).args([from, to]).run();
    };
    let layout = |path: &std::path::Path| format!("oci:{}:v1", path.display());
    let remote = format!("docker://{}", registry.image("old/app", "v1"));
    copy(layout(&source), remote.clone());
    registry.take_over();
    let target = bench.path("pulled");
    copy(remote, layout(&target));
    for image in &index.images {
        for blob in image.blobs().chain([&image.manifest, &index.manifest]) {
            let path = target.join("blobs").join(blob.digest.replace(':', "/"));
            assert!(fs::read(path).expect("a pulled blob") == blob.bytes);
        }
    }
}

#[test]
fn a_push_works_while_its_repository_waits() {
    let mut registry = Registry::builder().program("docker-registry").start();
    let (old, new) = (Image::new(20, &[10_000, 20_000]), Image::new(21, &[5_000]));
    registry.http().push_image("app", "latest", &old);
    registry.http().push_image("app", "v1", &old);
    registry.http().push_image("other", "v1", &old);
    registry.take_over();
    // Nothing waits for the walk: not a push over an old tag, not one that rests on an old layer, not a mount.
    registry.http().push_image("app", "latest", &new);
    let layer = &old.layers[1];
    let mount = format!("/v2/third/blobs/uploads/?mount={}&from=other", layer.digest);
    let _ = registry.http().post(&mount).body("").send().expect(201);
    registry.http().push_manifest("app", "again", &old.manifest);
    adopted(&registry);
    assert_pulls(&registry, "app", "latest", &new);
    assert_pulls(&registry, "app", "v1", &old);
    assert_pulls(&registry, "app", "again", &old);
    assert_eq!(registry.http().tags("app"), ["again", "latest", "v1"]);
}

#[test]
fn what_was_deleted_stays_deleted() {
    let mut registry = Registry::builder().program("docker-registry").start();
    let (one, two) = (Image::new(30, &[10_000]), Image::new(31, &[20_000]));
    for tag in ["a", "b"] {
        registry.http().push_image("app", tag, &one);
    }
    registry.http().push_image("app", "c", &two);
    registry.take_over();
    let manifest = |reference: &str| format!("/v2/app/manifests/{reference}");
    let _ = registry.http().delete(&manifest("a")).send().expect(202);
    let _ = registry
        .http()
        .delete(&manifest(&two.manifest.digest))
        .send()
        .expect(202);
    for round in 0..3 {
        adopted(&registry);
        for gone in ["a", "c", &two.manifest.digest] {
            let _ = registry.http().get(&manifest(gone)).send().expect(404);
        }
        assert_pulls(&registry, "app", "b", &one);
        match round {
            0 => registry.restart(),
            _ => {
                registry.manage(&["import", "--rescan"]).run();
            }
        }
    }
}

#[test]
fn a_kill_in_the_middle_of_the_walk_loses_nothing() {
    const REPOSITORIES: usize = 40;
    let mut registry = Registry::builder().program("docker-registry").start();
    let image = Image::new(40, &[1_000]);
    for number in 0..REPOSITORIES {
        registry
            .http()
            .push_image(&format!("r{number}"), "v1", &image);
    }
    registry.take_over();
    let mut kills = 0;
    while status(&registry)["stage"] != "done" {
        registry.kill();
        registry.restart();
        kills += 1;
        // At once the walk could never end.
        if kills > 20 {
            adopted(&registry);
        }
    }
    println!("killed {kills} times");
    let of = adopted(&registry);
    assert_eq!(
        (&of["repositories"], &of["repositories_done"]),
        (&json!(40), &json!(40))
    );
    assert_eq!((&of["tags"], &of["problems"]), (&json!(40), &json!(0)));
    for number in 0..REPOSITORIES {
        assert_pulls(&registry, &format!("r{number}"), "v1", &image);
    }
}

#[test]
fn another_registry_that_writes_afterwards_is_noticed_and_taken_over_again() {
    let mut registry = Registry::builder().program("docker-registry").start();
    let (one, two) = (Image::new(50, &[10_000]), Image::new(51, &[20_000]));
    registry.http().push_image("app", "v1", &one);
    registry.http().push_image("app", "gone", &one);
    registry.take_over();
    adopted(&registry);
    let _ = registry
        .http()
        .delete("/v2/app/manifests/gone")
        .send()
        .expect(202);
    registry.restart();
    assert!(!registry.log().contains("another registry has written"));

    registry.hand_over("docker-registry");
    registry.http().push_image("app", "v1", &two);
    registry.http().push_image("new", "v1", &two);
    registry.take_over();
    eventually("it is told", || {
        registry.log().contains("another registry has written")
    });
    assert_pulls(&registry, "app", "v1", &one);
    // What nobody here knows of is theirs.
    let check = registry.manage(&["check", "--repair"]).finish();
    assert_eq!(check.status.code(), Some(1), "{check:?}");
    check.mentions("none is given up before `holdfast import --rescan`");
    let report = registry.manage(&["import", "--rescan"]).run();
    report.mentions("2/2 repositories");
    assert_pulls(&registry, "app", "v1", &two);
    assert_pulls(&registry, "new", "v1", &two);
    let _ = registry
        .http()
        .get("/v2/app/manifests/gone")
        .send()
        .expect(404);
}

#[test]
fn the_tree_alone_is_enough_to_begin_anew() {
    let mut registry = Registry::builder().program("docker-registry").start();
    let image = Image::new(60, &[10_000]);
    registry.http().push_image("app", "v1", &image);
    registry.take_over();
    adopted(&registry);
    registry.kill();
    for file in fs::read_dir(registry.data().join("holdfast")).expect("listing our files") {
        let path = file.expect("an entry").path();
        if path.is_file() {
            fs::remove_file(path).expect("removing the database");
        }
    }
    registry.restart();
    adopted(&registry);
    assert_pulls(&registry, "app", "v1", &image);
    assert_eq!(registry.http().tags("app"), ["v1"]);
}

#[test]
fn the_other_registry_can_go_on_with_what_it_had() {
    let mut registry = Registry::builder().program("docker-registry").start();
    let image = Image::new(70, &[10_000]);
    registry.http().push_image("app", "v1", &image);
    registry.take_over();
    adopted(&registry);
    assert!(tree(&registry, "repositories/app/_manifests").exists());
    registry.hand_over("docker-registry");
    assert_pulls(&registry, "app", "v1", &image);
}
