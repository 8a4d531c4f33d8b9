//! A registry with its content in a bucket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdfast_tests::{
    Blob, Image, ObjectServer, Registry, Service, digest, eventually, http, random_bytes,
};

const MIB: usize = 1024 * 1024;

fn blob(seed: u64, length: usize) -> Blob {
    Blob::new("application/octet-stream", random_bytes(seed, length))
}

/// Opens an upload; where its bytes go.
fn begin(registry: &Registry) -> String {
    let opened = registry
        .http()
        .post("/v2/cloud/app/blobs/uploads/")
        .body("")
        .send();
    opened.expect(202).location().to_owned()
}

/// Paths of all objects below a directory of the bucket.
fn objects(server: &ObjectServer, directory: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![server.files().join(directory)];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten() {
            let path = entry.expect("an entry of a directory").path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let below = path.strip_prefix(server.files()).expect("it is below");
                found.push(below.display().to_string());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn clients_are_sent_to_the_bucket() {
    for service in [Service::Versity, Service::Moto, Service::Azurite] {
        let server = Arc::new(ObjectServer::start(service));
        let registry = Registry::builder().store(&server).redirect().start();
        let image = Image::new(900, &[70_000, 6 * MIB]);
        registry.http().push_image("cloud/app", "v1", &image);
        for layer in image.blobs() {
            let path = format!("/v2/cloud/app/blobs/{}", layer.digest);
            let head = registry.http().head(&path).send().expect(200);
            let length = layer.bytes.len().to_string();
            assert_eq!(head.header("Content-Length"), Some(length.as_str()));

            let sent = registry.http().get(&path).send().expect(307);
            assert_eq!(
                sent.header("Docker-Content-Digest"),
                Some(layer.digest.as_str())
            );
            let there = http::Client::tcp(&server.address());
            let start = format!("http://{}", server.address());
            let place = sent.location().strip_prefix(&start).expect("the server");
            let got = there.get(place).send().expect(200);
            assert!(got.body == layer.bytes, "{service:?}");
            let part = there.get(place).header("Range", "bytes=5-9").send();
            assert_eq!(part.expect(206).body, layer.bytes[5..10], "{service:?}");
            // Whoever changes the URL gets nothing.
            if service != Service::Moto {
                let other = place.replace(".w", ".v").replace(".m", ".v");
                assert_ne!(there.get(&other).send().status, 200, "{service:?}");
            }
        }
        let manifest = registry.http().get("/v2/cloud/app/manifests/v1").send();
        assert_eq!(manifest.expect(200).body, image.manifest.bytes);
    }
}

#[test]
fn a_configuration_for_oss_works_on_a_server_of_s3() {
    let server = Arc::new(ObjectServer::start(Service::Versity));
    let (id, secret) = server.keys();
    // The server takes signatures of one region only, which is not one of OSS.
    let section = format!(
        "oss: {{bucket: {}, region: us-east-1, endpoint: '{}', secure: false, accesskeyid: {id}, \
         accesskeysecret: '{secret}', chunksize: 5242880, rootdirectory: /images}}",
        server.bucket(),
        server.address()
    );
    let registry = Registry::builder()
        .store(&server)
        .driver(&section)
        .redirect()
        .start();
    let image = Image::new(906, &[70_000, 11 * MIB]);
    registry.http().push_image("cloud/app", "v1", &image);
    let there = http::Client::tcp(&server.address());
    let start = format!("http://{}", server.address());
    for layer in image.blobs() {
        let path = format!("/v2/cloud/app/blobs/{}", layer.digest);
        let sent = registry.http().get(&path).send().expect(307);
        let place = sent.location().strip_prefix(&start).expect("the server");
        let got = there.get(place).send().expect(200);
        assert!(got.body == layer.bytes);
    }
    assert_eq!(objects(&server, "images/holdfast/blobs").len(), 3);
}

#[test]
fn blobs_come_through_the_registry_where_clients_cannot_go() {
    let registry = Registry::builder()
        .store(&Arc::new(ObjectServer::start(Service::Versity)))
        .start();
    let layer = blob(901, 7 * MIB);
    registry.http().push_blob("cloud/app", &layer);
    let path = format!("/v2/cloud/app/blobs/{}", layer.digest);
    let got = registry.http().get(&path).send().expect(200);
    assert!(got.body == layer.bytes);
    let client = registry.http();
    let ranged = client.get(&path).header("Range", "bytes=100-299").send();
    assert_eq!(ranged.expect(206).body, layer.bytes[100..300]);
    let several = client
        .get(&path)
        .header("Range", "bytes=0-9,6000000-6000009");
    let several = several.send().expect(206);
    for piece in [&layer.bytes[..10], &layer.bytes[6_000_000..6_000_010]] {
        assert!(several.body.windows(10).any(|window| window == piece));
    }
}

#[test]
fn an_upload_goes_on_in_another_process() {
    let server = Arc::new(ObjectServer::start(Service::Versity));
    let mut registry = Registry::builder()
        .store(&server)
        .section("gc: {interval: 100ms}")
        .start();
    let layer = blob(902, 19 * MIB + 5);
    let session = begin(&registry);
    let mut location = session;
    let mut offset = 0;
    for end in [1000, 8 * MIB] {
        let sent = registry
            .http()
            .patch(&location)
            .body(&layer.bytes[offset..end])
            .send()
            .expect(202);
        location = sent.location().to_owned();
        offset = end;
        registry.kill();
        registry.restart();
    }
    // Killed while parts are on their way, which no record will name.
    let rest = &layer.bytes[offset..];
    registry
        .http()
        .patch(&location)
        .body(rest)
        .send_part(7 * MIB);
    registry.kill();
    registry.restart();
    let state = registry.http().get(&location).send().expect(204);
    let range = format!("0-{}", offset - 1);
    assert_eq!(state.header("Range"), Some(range.as_str()));
    let sent = registry
        .http()
        .patch(&location)
        .body(rest)
        .send()
        .expect(202);
    let separator = if sent.location().contains('?') {
        '&'
    } else {
        '?'
    };
    let finish = format!("{}{separator}digest={}", sent.location(), layer.digest);
    registry.http().put(&finish).body("").send().expect(201);

    let path = format!("/v2/cloud/app/blobs/{}", layer.digest);
    let got = registry.http().get(&path).send().expect(200);
    assert!(got.body == layer.bytes);
    eventually("nothing is left but the blob", || {
        objects(&server, "holdfast/blobs").len() == 1
    });
    let got = registry.http().get(&path).send().expect(200);
    assert!(got.body == layer.bytes);
}

#[test]
fn a_cancelled_upload_leaves_nothing() {
    let server = Arc::new(ObjectServer::start(Service::Versity));
    let registry = Registry::builder().store(&server).start();
    for length in [0, 1000, 12 * MIB] {
        let session = begin(&registry);
        let bytes = random_bytes(903, length);
        let sent = registry.http().patch(&session).body(bytes).send();
        let location = sent.expect(202).location().to_owned();
        registry.http().delete(&location).send().expect(204);
        registry.http().get(&location).send().expect(404);
    }
    let wrong = digest(b"something else");
    for length in [1000, 12 * MIB] {
        let bytes = random_bytes(904, length);
        let session = begin(&registry);
        let separator = if session.contains('?') { '&' } else { '?' };
        let finish = format!("{}{separator}digest={wrong}", session);
        registry.http().put(&finish).body(bytes).send().expect(400);
    }
    assert_eq!(objects(&server, "holdfast/blobs"), Vec::<String>::new());
}

#[test]
fn one_database_belongs_to_one_process() {
    let registry = Registry::builder()
        .store(&Arc::new(ObjectServer::start(Service::Versity)))
        .start();
    let second = Registry::command()
        .arg("serve")
        .arg(registry.config_file())
        .refused();
    second.mentions("the metadata database is in use by another process");
}

#[test]
fn deleted_content_leaves_the_bucket() {
    let server = Arc::new(ObjectServer::start(Service::Versity));
    let registry = Registry::builder().store(&server).start();
    let image = Image::new(905, &[70_000, 6 * MIB]);
    registry.http().push_image("cloud/app", "v1", &image);
    assert_eq!(objects(&server, "holdfast/blobs").len(), 3);
    let path = format!("/v2/cloud/app/manifests/{}", image.manifest.digest);
    registry.http().delete(&path).send().expect(202);
    registry.manage(&["gc", "run", "--grace", "0s"]).run();
    assert_eq!(objects(&server, "holdfast/blobs"), Vec::<String>::new());
}

/// A part takes all the memory that there is for parts here, and its client sends too little to fill it and too much
/// to be taken for gone.
#[test]
fn a_client_that_trickles_does_not_keep_others_from_pushing() {
    let server = Arc::new(ObjectServer::start(Service::Versity));
    let registry = Registry::builder()
        .store(&server)
        .env("REGISTRY_STORAGE_S3_CHUNKSIZE", "536870912")
        .start();
    let http = registry.http();
    let blob = blob(906, 3 * MIB);
    let session = begin(&registry);
    let mut slow = http.open().expect("connecting");
    let head = format!(
        "PATCH {} HTTP/1.1\r\nHost: {}\r\nContent-Length: 1000000000\r\n\r\n",
        session.trim_start_matches(&registry.url()),
        registry.host()
    );
    slow.send(head).expect("sending");
    slow.send(&blob.bytes[..2 * MIB]).expect("sending");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..3000 {
                if stop.load(Ordering::Relaxed) || slow.send("a").is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        http.push_blob("cloud/app", &blob);
        stop.store(true, Ordering::Relaxed);
    });
    let answer = slow.answer(false).or_else(|_still_there| {
        // It came later than the push, on a busy machine.
        http.push_blob("cloud/app", &self::blob(907, 3 * MIB));
        slow.answer(false)
    });
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("Retry-After").is_some());
    // What it sent is kept.
    let state = registry.http().get(&session).send().expect(204);
    let range = state.header("Range").expect("a range");
    let (_, last) = range.split_once('-').expect("two numbers");
    assert!(last.parse::<usize>().expect("a number") >= 2 * MIB - 1);
}
