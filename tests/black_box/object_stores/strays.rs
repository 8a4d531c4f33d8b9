//! What killed nodes leave in a bucket: found by `check`, given up by its repair, and nothing else is.

use std::fs::{File, FileTimes};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use holdfast_model::{Algorithm, UploadId};
use holdfast_storage::{BlobStore as _, Cloud};
use holdfast_tests::http::{Request, Response};
use holdfast_tests::{Blob, Image, ObjectServer, Registry, Service, eventually, random_bytes};
use serde_json::Value;

use super::driver;

const MIB: usize = 1024 * 1024;
/// As old as what is taken for a stray.
const OLD: Duration = Duration::from_secs(7200);

/// The exit code of a check, and what it found: kind, outcome, detail.
fn check(registry: &Registry, arguments: &[&str]) -> (i32, Vec<(String, String, String)>) {
    let output = Registry::command()
        .args(["check", "--json", "--config"])
        .arg(registry.config_file())
        .args(arguments)
        .finish();
    let lines = output.text().lines();
    let lines: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    let text = |line: &Value, name: &str| line[name].as_str().expect("a text").to_owned();
    let found = lines
        .iter()
        .filter(|line| line["event"] == "finding")
        .map(|line| {
            (
                text(line, "kind"),
                text(line, "outcome"),
                text(line, "detail"),
            )
        })
        .collect();
    (output.status.code().expect("an exit code"), found)
}

fn set_age(path: &Path, age: Duration) {
    if let Ok(file) = File::options().append(true).open(path) {
        let times = FileTimes::new().set_modified(SystemTime::now() - age);
        // It may have been deleted meanwhile.
        let _ = file.set_times(times);
    }
}

/// Files of all objects that are named after uploads.
fn files(server: &ObjectServer) -> Vec<PathBuf> {
    let directory = server.files().join("holdfast/blobs");
    let below = std::fs::read_dir(directory).into_iter().flatten();
    below
        .flatten()
        .filter_map(|entry| std::fs::read_dir(entry.path()).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .collect()
}

/// Puts an object beside the others, as an upload of this id would; its key.
fn stray(server: &ObjectServer, id: &str, name: &str, age: Duration) -> String {
    let key = format!("holdfast/blobs/{}/{id}.{name}", &id[..2]);
    let path = server.files().join(&key);
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("making a directory");
    std::fs::write(&path, "left behind").expect("writing");
    set_age(&path, age);
    key
}

#[test]
fn a_check_finds_what_killed_nodes_left_and_its_repair_gives_it_up() {
    let server = Arc::new(ObjectServer::start(Service::Versity));
    let mut registry = Registry::builder()
        .store(&server)
        .section("gc: {grace: 1s, interval: 50ms}")
        .start();
    let http = registry.http();
    let image = Image::new(940, &[70_000, 6 * MIB, 10, 20]);
    http.push_image("cloud/app", "v1", &image);
    // While every object is a blob: the session below has one, too.
    let blob = files(&server).pop().expect("an object");
    let session = http.post("/v2/cloud/app/blobs/uploads/").body("").send();
    let session = session.expect(202).location().to_owned();
    let pending = http.patch(&session).body(vec![7; 1000]).send();
    let session = pending.expect(202).location().to_owned();
    for file in files(&server) {
        set_age(&file, OLD);
    }
    assert_eq!(check(&registry, &[]), (0, Vec::new()));

    // Another object of an upload that became a blob; one of an upload that nobody knows; a fresh one.
    let blob = blob.file_name().expect("a name").to_string_lossy();
    let (id, _) = blob.split_once('.').expect("an id");
    let hash = "0123456789abcdef0123456789abcdef";
    let beside = stray(&server, id, &format!("t{hash}x1000"), OLD);
    let unknown = "6f0c1f7a-9d5c-4f0e-8a43-5d2f6f1b2c3d";
    let alone = stray(&server, unknown, &format!("w{hash}"), OLD);
    let fresh = "5e0c1f7a-9d5c-4f0e-8a43-5d2f6f1b2c3d";
    let fresh = stray(&server, fresh, &format!("w{hash}"), Duration::ZERO);
    let finding = |detail: &String, outcome: &str| {
        let kind = "object-orphan".to_owned();
        (kind, outcome.to_owned(), detail.clone())
    };
    let mut strays = [&beside, &alone];
    strays.sort();
    let found = strays.map(|key| finding(key, "found"));
    assert_eq!(check(&registry, &[]), (1, found.to_vec()));
    let repaired = strays.map(|key| finding(key, "repaired"));
    assert_eq!(check(&registry, &["--repair"]), (0, repaired.to_vec()));
    assert_eq!(check(&registry, &[]), (0, Vec::new()));
    eventually("they are deleted", || {
        strays.iter().all(|key| !server.files().join(key).exists())
    });
    assert!(server.files().join(fresh).exists());

    // With the server stopped it is the same.
    registry.terminate();
    let alone = stray(&server, unknown, &format!("w{hash}"), OLD);
    assert_eq!(check(&registry, &[]), (1, vec![finding(&alone, "found")]));
    registry.restart();

    let separator = if session.contains('?') { '&' } else { '?' };
    let digest = holdfast_tests::digest(&vec![7; 1000]);
    let finish = format!("{session}{separator}digest={digest}");
    registry.http().put(&finish).body("").send().expect(201);
    for blob in image.blobs() {
        let path = format!("/v2/cloud/app/blobs/{}", blob.digest);
        let got = registry.http().get(&path).send().expect(200);
        assert!(got.body == blob.bytes);
    }
}

#[test]
fn a_multipart_upload_without_a_session_is_ended() {
    let server = Arc::new(ObjectServer::start(Service::Versity));
    let registry = Registry::builder().store(&server).start();
    let http = registry.http();
    http.push_image("cloud/app", "v1", &Image::new(950, &[1000, 2000]));
    let bytes = random_bytes(951, 6 * MIB);
    let session = http.post("/v2/cloud/app/blobs/uploads/").body("").send();
    let session = session.expect(202).location().to_owned();
    let pending = http.patch(&session).body(&bytes[..]).send().expect(202);
    let kept = pending.header("Docker-Upload-UUID").expect("an id");
    assert_eq!(check(&registry, &[]), (0, Vec::new()));

    // A node whose session is gone: nothing but the bucket knows of what it sends.
    let mut settings = driver::s3(&server);
    settings.common.root_directory = String::new();
    let runtime = driver::runtime();
    let bucket = runtime.block_on(async { Cloud::s3(&settings, driver::random) });
    let bucket = bucket.expect("the bucket opens");
    let lost = UploadId::from_random(driver::random());
    runtime.block_on(async {
        let writer = bucket.resume_upload(lost, None, Algorithm::Sha256).await;
        let mut writer = writer.expect("the upload begins");
        let written = writer.write(bytes.clone().into()).await;
        written.expect("bytes are sent");
        let _ = writer.suspend().await.expect("a part is stored");
    });

    // Its tail has just been written, so only what was never completed is found.
    let (code, found) = check(&registry, &[]);
    let [(kind, _, detail)] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!((code, kind.as_str()), (1, "staging-orphan"));
    assert!(detail.contains(&lost.to_string()), "{detail}");
    let (code, found) = check(&registry, &["--repair"]);
    assert_eq!((code, found[0].1.as_str()), (0, "repaired"), "{found:?}");
    assert_eq!(check(&registry, &[]), (0, Vec::new()));
    let left = runtime.block_on(bucket.unfinished(10));
    let left = left.expect("uploads are listed");
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].key.as_str().contains(kept), "{left:?}");

    // The other goes on.
    let session = pending.location();
    let separator = if session.contains('?') { '&' } else { '?' };
    let finish = format!(
        "{session}{separator}digest={}",
        holdfast_tests::digest(&bytes)
    );
    registry.http().put(&finish).body("").send().expect(201);
}

/// Its parts are an object under the name of an upload before they are copied to where snapshots are.
#[test]
fn a_snapshot_of_several_parts_leaves_nothing_but_itself() {
    let server = Arc::new(ObjectServer::start(Service::Versity));
    let registry = Registry::builder()
        .store(&server)
        .env("REGISTRY_METADATA_SNAPSHOTS_INTERVAL", "100ms")
        .start();
    let http = registry.http();
    let image = Image::new(955, &[1000]);
    http.push_image("cloud/app", "v1", &image);
    let blobs = files(&server).len();
    for number in 0..4 {
        let bytes = random_bytes(956 + number, 1_500 * 1024);
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut manifest: Value =
            serde_json::from_slice(&image.manifest.bytes).expect("a manifest is JSON");
        manifest["annotations"] = serde_json::json!({ "random": text });
        let manifest = manifest.to_string().into_bytes();
        let manifest = Blob::new(image.manifest.media_type, manifest);
        http.push_manifest("cloud/app", &format!("large{number}"), &manifest);
    }
    let snapshots = server.files().join("holdfast/snapshots");
    eventually("a snapshot of more than a part is taken", || {
        let entries = std::fs::read_dir(&snapshots).into_iter().flatten();
        let sizes = entries.flatten().filter_map(|entry| entry.metadata().ok());
        sizes.into_iter().any(|found| found.len() > 5 * MIB as u64)
    });
    eventually("only blobs are named after uploads", || {
        files(&server).len() == blobs
    });
}

/// All objects look old, so that nothing but the order of the looks tells those that are being pushed from strays.
#[test]
fn a_repair_beside_pushes_takes_nothing() {
    const PUSHERS: u64 = 4;
    const BLOBS: u64 = 60;
    let server = Arc::new(ObjectServer::start(Service::Versity));
    let registry = Registry::builder()
        .store(&server)
        .section("gc: {interval: 20ms}")
        .start();
    registry
        .http()
        .push_image("cloud/app", "v1", &Image::new(960, &[1000, 2000]));
    let stop = AtomicBool::new(false);
    let pushed: Vec<Image> = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for file in files(&server) {
                    set_age(&file, OLD);
                }
            }
        });
        let pushers: Vec<_> = (0..PUSHERS)
            .map(|pusher| {
                let registry = &registry;
                scope.spawn(move || {
                    let repository = format!("beside/{pusher}");
                    let images =
                        (0..BLOBS).map(|number| push(registry, &repository, pusher, number));
                    images.collect::<Vec<_>>()
                })
            })
            .collect();
        let checker = scope.spawn(|| {
            let mut checks = 0;
            while !stop.load(Ordering::Relaxed) || checks == 0 {
                let found = check(&registry, &["--repair"]);
                assert_eq!(found, (0, Vec::new()));
                checks += 1;
            }
        });
        let images = pushers.into_iter().map(|pusher| pusher.join());
        let images: Vec<_> = images.collect();
        stop.store(true, Ordering::Relaxed);
        checker.join().expect("checks find nothing");
        images
            .into_iter()
            .flat_map(|images| images.expect("pushes succeed"))
            .collect()
    });
    for (number, image) in pushed.iter().enumerate() {
        let repository = format!("beside/{}", number as u64 / BLOBS);
        for blob in image.blobs() {
            let path = format!("/v2/{repository}/blobs/{}", blob.digest);
            assert!(registry.http().get(&path).send().expect(200).body == blob.bytes);
        }
    }
}

/// Pushes an image as docker does, and gives up a session beside it.
fn push(registry: &Registry, repository: &str, pusher: u64, number: u64) -> Image {
    let http = registry.http();
    let begin = || {
        let url = format!("/v2/{repository}/blobs/uploads/");
        let session = persist(|| http.post(&url).body("")).expect(202);
        session.location().to_owned()
    };
    let append = |session: &str, bytes: &[u8]| {
        let sent = persist(|| http.patch(session).body(bytes)).expect(202);
        sent.location().to_owned()
    };
    let image = Image::new(1_000_000 + pusher * 1000 + number, &[3000, 400]);
    let blobs: Vec<&Blob> = image.blobs().collect();
    for blob in &blobs {
        let session = append(&begin(), &blob.bytes[..blob.bytes.len() / 2]);
        let session = append(&session, &blob.bytes[blob.bytes.len() / 2..]);
        let separator = if session.contains('?') { '&' } else { '?' };
        let finish = format!("{session}{separator}digest={}", blob.digest);
        persist(|| http.put(&finish).body("")).expect(201);
    }
    let given_up = append(&begin(), b"given up");
    // The session is gone then, whatever becomes of its bytes.
    let _ = http.delete(&given_up).send();
    http.push_manifest(repository, &format!("v{number}"), &image.manifest);
    image
}

/// Sends a request until the gateway, which misses directories that are made and removed side by side, has taken part.
fn persist<'c>(request: impl Fn() -> Request<'c>) -> Response {
    let mut answer = request().send();
    for _ in 0..20 {
        if answer.status != 503 {
            break;
        }
        answer = request().send();
    }
    answer
}
