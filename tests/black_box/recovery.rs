//! A database that is gone, damaged, or was copied from under a running server.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;

use holdfast_tests::{
    Command, Daemon, Image, ObjectServer, Registry, Service, Workbench, eventually,
};

use crate::storm::{Storm, assert_served};

fn database(registry: &Registry) -> PathBuf {
    registry.data().join("holdfast/metadata.db")
}

fn remove_database(registry: &Registry) {
    for suffix in ["", "-wal", "-shm"] {
        let path = format!("{}{suffix}", database(registry).display());
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
    }
}

/// How often the server put its metadata together so far; its log goes on over restarts.
fn recoveries(registry: &Registry) -> usize {
    registry.log().matches("put the metadata together").count()
}

/// What SQLite itself says of a database that nobody uses.
#[track_caller]
fn assert_sound(database: &Path) {
    let connection = rusqlite::Connection::open(database).expect("opening the database");
    let verdict: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("checking the database");
    assert_eq!(verdict, "ok");
}

#[test]
fn a_database_that_is_gone_or_damaged_comes_back_with_every_push() {
    for snapshots in ["interval: 1h", "interval: 100ms"] {
        let mut registry = Registry::builder()
            .section(&format!(
                "metadata: {{snapshots: {{{snapshots}, keep: 3}}}}"
            ))
            .start();
        let mut all = Vec::new();
        for (number, damage) in [
            "gone after a kill",
            "gone after a stop",
            "not a database",
            "gone again",
        ]
        .into_iter()
        .enumerate()
        {
            let storm = Storm::start(&registry, 2, 10 + number as u64);
            storm.wait_for(10);
            if damage == "gone after a stop" {
                let pushed = storm.stop();
                all.extend(pushed);
                registry.terminate();
            } else {
                all.extend(storm.stop());
                registry.kill();
            }
            if damage == "not a database" {
                fs::write(database(&registry), "this is no database ".repeat(1000))
                    .expect("damage");
                let _ = fs::remove_file(format!("{}-wal", database(&registry).display()));
            } else {
                remove_database(&registry);
            }
            registry.restart();
            assert_served(&registry.http(), &all, &all);
            assert!(
                registry.log().contains("put the metadata together"),
                "{damage}"
            );
        }
        // And it goes on from there.
        let before = recoveries(&registry);
        registry.restart();
        assert_eq!(recoveries(&registry), before);
        assert_served(&registry.http(), &all, &all);
        registry.terminate();
        assert_sound(&database(&registry));
    }
}

#[test]
fn an_older_database_copied_over_the_present_one_after_a_kill_loses_no_push() {
    let mut registry = Registry::builder()
        .section("metadata: {snapshots: {interval: 1h}}")
        .start();
    let mut all = Vec::new();
    let mut older = Vec::new();
    for round in 0..3 {
        let storm = Storm::start(&registry, 2, 40 + round);
        storm.wait_for(10);
        all.extend(storm.stop());
        if round < 2 {
            registry.terminate();
        } else {
            registry.kill();
        }
        if round == 0 {
            older = fs::read(database(&registry)).expect("reading the database");
        }
        if round == 2 {
            // As `cp` does it: the file stays the same one.
            fs::write(database(&registry), &older).expect("overwriting the database");
        }
        let before = recoveries(&registry);
        registry.restart();
        assert_eq!(recoveries(&registry), before + usize::from(round == 2));
        assert_served(&registry.http(), &all, &all);
    }
    registry.terminate();
    assert_sound(&database(&registry));
}

/// Damages pages of the database that a start does not read, as a bad disk does it: without any sign.
fn damage(registry: &Registry) {
    let path = database(registry);
    let modified = fs::metadata(&path).and_then(|found| found.modified());
    let file = fs::File::options()
        .write(true)
        .open(&path)
        .expect("opening the database");
    let length = file.metadata().expect("its length").len();
    file.write_all_at(&[0x5a; 8 * 4096], length - 8 * 4096)
        .expect("damaging it");
    file.set_modified(modified.expect("its time"))
        .expect("setting its time");
}

#[test]
fn damage_inside_the_database_is_repaired_by_the_next_start() {
    let mut registry = Registry::builder()
        .section("metadata: {snapshots: {interval: 1h}}")
        .start();
    let storm = Storm::start(&registry, 2, 50);
    storm.wait_for(20);
    let all = storm.stop();
    registry.terminate();
    damage(&registry);
    registry.restart();
    let report = registry.manage(&["check"]).finish();
    assert_eq!(report.status.code(), Some(3), "{report:?}");
    report.mentions("database-file");
    // Until the next start nothing is answered that may be wrong.
    let _ = registry.http().get("/v2/").send().expect(503);
    registry.kill();
    registry.restart();
    assert_eq!(recoveries(&registry), 1);
    assert_served(&registry.http(), &all, &all);
    registry.terminate();
    assert_sound(&database(&registry));
}

#[test]
fn a_tar_of_a_running_server_has_every_push_acknowledged_before_it() {
    // Snapshots and their logs change all the time; fewer are made during one tar than are kept.
    for (round, interval) in ["200ms", "1h", "200ms"].into_iter().enumerate() {
        let registry = Registry::builder()
            .section(&format!(
                "metadata: {{snapshots: {{interval: {interval}, keep: 500}}}}"
            ))
            .start();
        let storm = Storm::start(&registry, 8, 100 + round as u64);
        storm.wait_for(100);
        let before = storm.pushed();
        let elsewhere = Workbench::new();
        let archive = elsewhere.path("data.tar");
        let packed = Command::new("tar")
            .arg("-C")
            .arg(registry.data())
            .arg("-cf")
            .arg(&archive)
            .arg(".")
            .finish();
        // 1: some file changed while it was read.
        assert!(matches!(packed.status.code(), Some(0 | 1)), "{packed:?}");
        storm.wait_for(10);
        let all = storm.stop();
        drop(registry);

        let mut restored = Registry::builder().start_on(|data| {
            fs::create_dir(data).expect("making a directory");
            Command::new("tar")
                .arg("-C")
                .arg(data)
                .arg("-xf")
                .arg(&archive)
                .run();
        });
        assert_eq!(recoveries(&restored), 1);
        assert_served(&restored.http(), &before, &all);
        // It is a registry like any other.
        restored
            .http()
            .push_image("after/restore", "v1", &Image::new(7000, &[1000]));
        restored.restart();
        assert_eq!(recoveries(&restored), 1);
        assert_served(&restored.http(), &before, &all);
        assert_eq!(restored.http().tags("after/restore"), ["v1"]);
        restored.terminate();
        assert_sound(&database(&restored));
    }
}

/// Takes database and snapshots away, and asserts that the server refuses what is left until it is told to accept it.
/// It serves again afterwards.
#[track_caller]
fn lose_all_metadata(registry: &mut Registry, snapshots: &Path) -> Daemon {
    registry.kill();
    remove_database(registry);
    fs::remove_dir_all(snapshots).expect("removing the snapshots");
    let config = registry.config_file();
    let refused = Registry::command().arg("serve").arg(config).refused();
    refused.mentions("--accept-empty");
    assert!(
        !database(registry).exists(),
        "a refusal leaves nothing behind"
    );

    let log = registry.home().join("accepting.log");
    let mut serve = process::Command::new(Registry::program());
    serve.args(["serve", "--accept-empty"]).arg(config);
    let daemon = Daemon::start("the registry", &mut serve, &log);
    eventually("an answer", || {
        registry.http().get("/v2/").try_send().is_ok()
    });
    daemon
}

#[test]
fn without_any_snapshot_a_full_store_is_not_taken_for_an_empty_one() {
    let bucket = Arc::new(ObjectServer::start(Service::Versity));
    for mut registry in [
        Registry::start(),
        Registry::builder().store(&bucket).start(),
    ] {
        let image = Image::new(7100, &[1000]);
        let http = registry.http();
        http.push_image("lost/app", "v1", &image);
        let snapshots = match registry.data().join("holdfast/snapshots") {
            directory if directory.exists() => directory,
            _ => bucket.files().join("holdfast/snapshots"),
        };
        let _daemon = lose_all_metadata(&mut registry, &snapshots);
        let _ = http.get("/v2/lost/app/tags/list").send().expect(404);
        http.push_image("lost/app", "v1", &image);
        assert_eq!(http.tags("lost/app"), ["v1"]);
    }
}

/// The links of the old tree know nothing of what was pushed and deleted since.
#[test]
fn without_any_snapshot_a_tree_that_was_taken_over_is_not_taken_over_anew() {
    let mut registry = Registry::builder().program("docker-registry").start();
    let (old, new) = (Image::new(7101, &[1000]), Image::new(7102, &[1000]));
    registry.http().push_image("lost/app", "old", &old);
    registry.take_over();
    let http = registry.http();
    http.push_image("lost/app", "new", &new);
    let snapshots = registry.data().join("holdfast/snapshots");
    let _daemon = lose_all_metadata(&mut registry, &snapshots);
    assert_eq!(http.tags("lost/app"), ["old"]);
}
