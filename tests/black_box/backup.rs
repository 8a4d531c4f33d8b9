//! Backups beside a running server, and the way back.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use holdfast_tests::{Image, Output, Registry, Workbench};

use crate::storm::{Storm, assert_served};

fn backup(registry: &Registry, directory: &Path, more: &[&str]) -> Output {
    let directory = directory.to_str().expect("a path of text");
    registry
        .manage(&[&["backup", directory], more].concat())
        .run()
}

/// The names of the whole backups in a directory.
fn backups(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("listing a directory");
    let paths = entries.map(|entry| entry.expect("listing a directory").path());
    let mut found: Vec<_> = paths
        .filter(|path| path.join("backup.json").exists())
        .collect();
    found.sort();
    found
}

/// The file that a directory of backups has for a digest.
fn blob_file(directory: &Path, digest: &str) -> PathBuf {
    let (algorithm, hex) = digest.split_once(':').expect("a digest");
    directory
        .join("blobs")
        .join(algorithm)
        .join(&hex[..2])
        .join(hex)
}

/// A registry that was never started before, on what a backup gives it.
fn restored(directory: &Path, more: &[&str]) -> Registry {
    Registry::builder().start_on(|data| {
        let home = data.parent().expect("the home of a registry");
        let config = home.join("restore.yml");
        let text = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: ':0'}}\n",
            data.display()
        );
        fs::write(&config, text).expect("writing a configuration");
        let restore = Registry::command().arg("restore").arg(directory).args(more);
        restore.arg("--config").arg(config).run();
    })
}

#[test]
fn a_backup_during_pushes_has_every_push_acknowledged_before_it() {
    for more in [&[][..], &["--copy"]] {
        let registry = Registry::start();
        let bench = Workbench::new();
        let directory = bench.path("backups");
        let storm = Storm::start(&registry, 8, 700 + more.len() as u64);
        storm.wait_for(60);
        let before = storm.pushed();
        backup(&registry, &directory, more).mentions("backup 2");
        let all = storm.stop();
        let registry = restored(&directory, &[]);
        assert_served(&registry.http(), &before, &all);
        let _ = registry.manage(&["check", "--read-data"]).run();
    }
}

#[test]
fn a_second_backup_writes_what_is_new_and_old_ones_go() {
    let registry = Registry::start();
    let bench = Workbench::new();
    let directory = bench.path("backups");
    let (first, second) = (
        Image::new(6500, &[30_000, 2_000_000]),
        Image::new(6501, &[500]),
    );
    let http = registry.http();
    http.push_image("team/app", "v1", &first);
    backup(&registry, &directory, &[]).mentions("3 blobs with");
    let kept = blob_file(&directory, &first.layers[1].digest);
    assert_eq!(
        fs::read(&kept).expect("reading a blob"),
        first.layers[1].bytes
    );
    // On the same file system it is one file with two names.
    assert_eq!(fs::metadata(&kept).expect("looking at a blob").nlink(), 2);

    let url = format!("/v2/team/app/manifests/{}", first.manifest.digest);
    let _ = http.delete(&url).send().expect(202);
    registry.manage(&["gc", "run", "--grace", "0s"]).run();
    http.push_image("team/app", "v2", &second);
    backup(&registry, &directory, &["--copy"]).mentions("2 blobs with");
    assert_eq!(backups(&directory).len(), 2);
    // The first still is what it was, though the registry has deleted all of it.
    let old = backups(&directory)[0].clone();
    let name = old.file_name().expect("a name").to_str().expect("text");
    let verified = registry.manage(&[
        "restore",
        directory.to_str().expect("text"),
        "--verify",
        "--backup",
        name,
    ]);
    verified.run().mentions("is whole");
    let back = restored(&directory, &["--backup", name]);
    assert_eq!(back.http().tags("team/app"), ["v1"]);
    let layer = format!("/v2/team/app/blobs/{}", first.layers[1].digest);
    assert_eq!(
        back.http().get(&layer).send().expect(200).body,
        first.layers[1].bytes
    );

    // One that was cut short is none, and the next removes it.
    let cut = directory.join("unfinished-20200101T000000.000Z");
    fs::create_dir(&cut).expect("making a directory");
    backup(&registry, &directory, &["--keep", "1"]).mentions("deleted backup");
    assert!(!cut.exists() && !kept.exists());
    assert_eq!(backups(&directory).len(), 1);
    assert!(blob_file(&directory, &second.layers[0].digest).exists());
    assert_eq!(restored(&directory, &[]).http().tags("team/app"), ["v2"]);
}

#[test]
fn what_is_wrong_with_a_backup_is_said() {
    let registry = Registry::start();
    let bench = Workbench::new();
    let directory = bench.path("backups");
    let image = Image::new(6600, &[30_000, 2_000_000]);
    registry.http().push_image("team/app", "v1", &image);
    backup(&registry, &directory, &["--copy"]);
    let place = directory.to_str().expect("text");
    // Where a registry is nothing is restored.
    let refused = registry.manage(&["restore", place]).refused();
    refused.mentions("is there already");
    // Damaged bytes are named, not restored.
    let file = blob_file(&directory, &image.layers[1].digest);
    let mut bytes = fs::read(&file).expect("reading a blob");
    bytes[1000] ^= 1;
    fs::write(&file, bytes).expect("damaging a blob");
    let verified = registry.manage(&["restore", place, "--verify"]).refused();
    verified.mentions(&image.layers[1].digest);
    fs::remove_file(&file).expect("removing a blob");
    let verified = registry.manage(&["restore", place, "--verify"]).refused();
    verified.mentions(&image.layers[1].digest);
    let database = backups(&directory)[0].join("metadata.db");
    let mut bytes = fs::read(&database).expect("reading the database");
    bytes[5000] ^= 1;
    fs::write(&database, bytes).expect("damaging the database");
    let verified = registry.manage(&["restore", place, "--verify"]).refused();
    verified.mentions("metadata.db is damaged");
    let nowhere = bench.path("nowhere");
    fs::create_dir(&nowhere).expect("making a directory");
    let nowhere = nowhere.to_str().expect("text");
    let refused = registry.manage(&["restore", nowhere, "--verify"]).refused();
    refused.mentions("no whole backup");
}

#[test]
fn one_repository_comes_back_from_a_backup() {
    let registry = Registry::start();
    let bench = Workbench::new();
    let directory = bench.path("backups");
    let place = directory.to_str().expect("text");
    let images: Vec<_> = (0..3)
        .map(|seed| Image::new(6700 + seed, &[20_000]))
        .collect();
    let http = registry.http();
    http.push_image("team/app", "v1", &images[0]);
    http.push_image("team/app", "moving", &images[1]);
    http.push_image("other", "v1", &images[2]);
    backup(&registry, &directory, &[]);
    for image in &images[..2] {
        let url = format!("/v2/team/app/manifests/{}", image.manifest.digest);
        let _ = http.delete(&url).send().expect(202);
    }
    registry.manage(&["gc", "run", "--grace", "0s"]).run();
    http.push_image("team/app", "moving", &images[2]);

    let restore = ["restore", place, "--repository", "team/app"];
    let said = registry.manage(&restore).run();
    said.mentions("4 blobs, 2 manifests, 1 tags");
    said.mentions("tag moving points elsewhere");
    registry
        .manage(&restore)
        .run()
        .mentions("0 blobs, 0 manifests, 0 tags");
    let manifest = |repository: &str, tag: &str| {
        let url = format!("/v2/{repository}/manifests/{tag}");
        let accept = images[0].manifest.media_type;
        http.get(&url)
            .header("Accept", accept)
            .send()
            .expect(200)
            .body
    };
    assert_eq!(manifest("team/app", "v1"), images[0].manifest.bytes);
    assert_eq!(manifest("team/app", "moving"), images[2].manifest.bytes);
    registry
        .manage(&[&restore[..], &["--move-tags"]].concat())
        .run();
    assert_eq!(manifest("team/app", "moving"), images[1].manifest.bytes);
    registry
        .manage(&["restore", place, "--repository", "other", "--as", "copy/of"])
        .run();
    assert_eq!(manifest("copy/of", "v1"), images[2].manifest.bytes);
    let refused = registry
        .manage(&["restore", place, "--repository", "nowhere"])
        .refused();
    refused.mentions("nowhere");
}
