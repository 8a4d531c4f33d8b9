//! Trees that nobody meant to be so: whatever is in them, the walk comes to its end.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use holdfast_tests::{Command, Image, Registry};

use super::{adopted, assert_pulls, catalog, data_file, hex, problems, tree};

fn directory(path: &Path) {
    fs::create_dir_all(path).expect("making directories");
}

fn file(path: &Path, text: &str) {
    directory(path.parent().expect("a parent"));
    fs::write(path, text).expect("writing a file");
}

fn pipe(path: &Path) {
    directory(path.parent().expect("a parent"));
    Command::new("mkfifo").arg(path).run();
}

#[test]
fn files_where_directories_belong_stop_nothing() {
    let mut registry = Registry::builder().program("docker-registry").start();
    let good = Image::new(300, &[10_000]);
    for name in ["good", "revisions", "tags", "layers", "uploads", "zgood"] {
        registry.http().push_image(name, "v1", &good);
    }
    registry.kill();
    for (name, part) in [
        ("revisions", "_manifests/revisions"),
        ("tags", "_manifests/tags"),
        ("layers", "_layers"),
        ("uploads", "_uploads"),
    ] {
        let place = tree(&registry, &format!("repositories/{name}/{part}"));
        fs::remove_dir_all(&place).expect("removing a directory");
        file(&place, "not a directory");
    }
    file(&tree(&registry, "blobs/sha256/zz"), "not a directory");
    file(&tree(&registry, "blobs/sha1"), "not a directory");
    registry.take_over();
    adopted(&registry);
    for name in ["good", "uploads", "zgood"] {
        assert_pulls(&registry, name, "v1", &good);
    }
    let names = catalog(&registry).to_string();
    assert!(names.contains("zgood"), "{names}");
    for (name, kind) in [
        ("revisions", "unreadable"),
        ("tags", "unreadable"),
        ("layers", "unreadable"),
    ] {
        let found = problems(&registry);
        assert!(
            found
                .iter()
                .any(|problem| problem["repository"] == name && problem["kind"] == kind),
            "{name}: {found:#?}"
        );
    }
    let _ = registry
        .http()
        .get("/v2/tags/manifests/v1")
        .send()
        .expect(404);
    let _ = registry
        .http()
        .delete("/v2/tags/manifests/v1")
        .send()
        .expect(404);
}

#[test]
fn links_that_lead_in_circles_end() {
    let mut registry = Registry::builder().program("docker-registry").start();
    let good = Image::new(310, &[10_000]);
    registry.http().push_image("good", "v1", &good);
    registry.http().push_image("circles/app", "v1", &good);
    registry.kill();
    for name in ["one", "two"] {
        let place = tree(&registry, &format!("repositories/circles/{name}"));
        symlink("..", place).expect("making a link");
    }
    symlink("self", tree(&registry, "repositories/self")).expect("making a link");
    registry.take_over();
    adopted(&registry);
    assert_eq!(
        catalog(&registry),
        serde_json::json!(["circles/app", "good"])
    );
    assert_pulls(&registry, "circles/app", "v1", &good);
}

#[test]
fn pipes_keep_nobody_waiting() {
    let mut registry = Registry::builder().program("docker-registry").start();
    let (good, bad) = (Image::new(320, &[10_000]), Image::new(321, &[10_000]));
    registry.http().push_image("app", "good", &good);
    registry.http().push_image("app", "bad", &bad);
    registry.kill();
    let manifest = data_file(&registry, &bad.manifest.digest);
    fs::remove_file(&manifest).expect("removing a manifest");
    pipe(&manifest);
    pipe(&tree(
        &registry,
        "repositories/app/_uploads/11111111-1111-1111-1111-111111111111/startedat",
    ));
    pipe(&tree(
        &registry,
        &format!(
            "repositories/app/_layers/sha256/{}/link",
            hex(&bad.manifest.digest)
        ),
    ));
    registry.take_over();
    adopted(&registry);
    assert_pulls(&registry, "app", "good", &good);
    let _ = registry
        .http()
        .get("/v2/app/manifests/bad")
        .send()
        .expect(404);
}

/// What a clock that was wrong, or a copy, has left of times says nothing about which of two is newer.
#[test]
fn a_tag_that_was_pushed_stays_though_the_tree_is_of_the_future() {
    let mut registry = Registry::builder().program("docker-registry").start();
    let (old, new) = (Image::new(330, &[10_000]), Image::new(331, &[20_000]));
    registry.http().push_image("app", "v1", &old);
    registry.kill();
    // Held up by so many others, the walk comes to it after the push.
    for number in 0..300 {
        directory(&tree(
            &registry,
            &format!("repositories/a{number}/_manifests/tags/x"),
        ));
    }
    let link = tree(
        &registry,
        "repositories/app/_manifests/tags/v1/current/link",
    );
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    File::options()
        .write(true)
        .open(link)
        .and_then(|link| link.set_modified(tomorrow))
        .expect("setting a time");
    registry.take_over();
    registry.http().push_image("app", "v1", &new);
    adopted(&registry);
    assert_pulls(&registry, "app", "v1", &new);
    registry.manage(&["import", "--rescan"]).run();
    assert_pulls(&registry, "app", "v1", &new);
    // Nor does one come back that was deleted from just what the tree says.
    registry.http().push_image("app", "v1", &old);
    let tag = "/v2/app/manifests/v1";
    let _ = registry.http().delete(tag).send().expect(202);
    registry.manage(&["import", "--rescan"]).run();
    let _ = registry.http().get(tag).send().expect(404);
}

/// What nobody could read may need anything: without a look at it, nothing is garbage.
#[test]
fn what_could_not_be_read_is_not_collected() {
    let mut registry = Registry::builder()
        .program("docker-registry")
        .section("gc: {grace: 10ms, interval: 10ms}")
        .start();
    let images = [340, 341, 342].map(|seed| Image::new(seed, &[10_000]));
    let names = ["open", "shut", "half"];
    for (name, image) in names.iter().zip(&images) {
        registry.http().push_image(name, "v1", image);
    }
    registry.kill();
    // As with a disk that fails, or files of another user.
    let home = registry.home().to_owned();
    let hidden =
        ["repositories/shut", "repositories/half/_layers"].map(|path| tree(&registry, path));
    for (number, path) in hidden.iter().enumerate() {
        fs::rename(path, home.join(number.to_string())).expect("hiding a directory");
        symlink(path, path).expect("making a link that leads nowhere");
    }
    registry.take_over();
    adopted(&registry);
    let held = registry.manage(&["gc", "run", "--grace", "0s"]).refused();
    held.mentions("import --rescan");
    registry.manage(&["check", "--repair"]).finish();
    for (number, path) in hidden.iter().enumerate() {
        fs::remove_file(path).expect("removing a link");
        fs::rename(home.join(number.to_string()), path).expect("showing a directory");
    }
    registry.manage(&["import", "--rescan"]).run();
    registry.manage(&["gc", "run", "--grace", "0s"]).run();
    for (name, image) in names.iter().zip(&images) {
        assert_pulls(&registry, name, "v1", image);
    }
}
