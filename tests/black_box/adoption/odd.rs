//! Trees that nobody meant to be so: whatever is in them, the walk comes to its end.

use std::fs;
use std::path::Path;

use holdfast_tests::{Command, Image, Registry};

use super::{adopted, assert_pulls, data_file, hex, tree};

fn directory(path: &Path) {
    fs::create_dir_all(path).expect("making directories");
}

fn pipe(path: &Path) {
    directory(path.parent().expect("a parent"));
    Command::new("mkfifo").arg(path).run();
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
