//! A disk without room: pushes are refused, pulls go on, nothing is damaged, and freed space is used again.
//!
//! These tests mount a small tmpfs, so they run as root.

use std::path::Path;

use holdfast_tests::http::{Client, Response};
use holdfast_tests::{Blob, Findings, Image, Registry, SmallDisk, random_bytes};
use serde_json::json;

const OCTETS: &str = "application/octet-stream";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DISK_MEBIBYTES: u32 = 24;
const BALLAST: &str = "ballast";

fn registry(root: &Path) -> Registry {
    Registry::builder()
        .env(
            "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY",
            &root.display().to_string(),
        )
        .start()
}

fn blob(seed: u64, length: usize) -> Blob {
    Blob::new(OCTETS, random_bytes(seed, length))
}

/// Tries to push by POST and PUT; the answer of the request that decided.
fn try_push(http: &Client, repository: &str, blob: &Blob) -> Response {
    let opened = http
        .post(&format!("/v2/{repository}/blobs/uploads/"))
        .body("")
        .send();
    if opened.status != 202 {
        return opened;
    }
    let target = format!("{}&digest={}", opened.location(), blob.digest);
    http.put(&target).body(blob.bytes.clone()).send()
}

/// An index of its own for each number, about 100 KiB long.
fn large_index(number: u64) -> Blob {
    let text: String = random_bytes(number, 50_000)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let value = json!({"schemaVersion": 2, "manifests": [], "annotations": {"text": text}});
    Blob::new(OCI_INDEX, value.to_string().into_bytes())
}

fn put_index(http: &Client, tag: &str, index: &Blob) -> Response {
    http.put(&format!("/v2/full/app/manifests/{tag}"))
        .header("Content-Type", OCI_INDEX)
        .body(index.bytes.clone())
        .send()
}

/// The refusal for want of space.
fn refused(findings: &mut Findings, case: &str, answer: &Response) {
    findings.error(case, answer, 507, "UNAVAILABLE");
}

/// All of an image comes back as it was pushed.
fn intact(findings: &mut Findings, case: &str, http: &Client, image: &Image) {
    let manifest = http.get("/v2/full/app/manifests/v1").send();
    findings.check(manifest.body == image.manifest.bytes, || {
        format!("{case}: {manifest}")
    });
    for blob in image.blobs() {
        let stored = http
            .get(&format!("/v2/full/app/blobs/{}", blob.digest))
            .send();
        findings.check(stored.body == blob.bytes, || {
            format!("{case}: {} {}", blob.digest, stored.status)
        });
    }
    findings.check(http.tags("full/app").contains(&"v1".to_owned()), || {
        format!("{case}: no tag")
    });
}

fn stored_bytes(http: &Client, location: &str) -> usize {
    let status = http.get(location).send().expect(204);
    let range = status.header("Range").unwrap_or_default().to_owned();
    let last: usize = range
        .strip_prefix("0-")
        .and_then(|last| last.parse().ok())
        .expect("a range");
    last + 1
}

#[test]
fn no_room_for_blobs() {
    let disk = SmallDisk::mount(DISK_MEBIBYTES);
    let mut registry = registry(&disk.path("data"));
    let (http, mut findings) = (registry.http(), Findings::new());
    let image = Image::new(1200, &[500_000, 300_000]);
    http.push_image("full/app", "v1", &image);
    let large = blob(1210, 6_000_000);
    let opened = http
        .post("/v2/full/app/blobs/uploads/")
        .body("")
        .send()
        .expect(202);
    let location = opened.location().to_owned();
    let _ = http
        .patch(&location)
        .body(&large.bytes[..1_000_000])
        .send()
        .expect(202);

    disk.fill(BALLAST);
    let rest = http.patch(&location).body(&large.bytes[1_000_000..]).send();
    refused(&mut findings, "PATCH", &rest);
    for (seed, length) in [(1220, 1_000_000), (1221, 100_000), (1222, 4_000_000)] {
        let blob = blob(seed, length);
        refused(
            &mut findings,
            "POST and PUT",
            &try_push(&http, "full/app", &blob),
        );
        let target = format!("/v2/full/app/blobs/uploads/?digest={}", blob.digest);
        let single = http.post(&target).body(blob.bytes.clone()).send();
        refused(&mut findings, "one POST", &single);
        for method in ["GET", "HEAD"] {
            let target = format!("/v2/full/app/blobs/{}", blob.digest);
            let seen = http.request(method, &target).send();
            findings.status("a refused blob is not seen", &seen, 404);
        }
    }
    intact(&mut findings, "while full", &http, &image);
    registry.assert_calm();

    registry.restart();
    intact(&mut findings, "restarted while full", &http, &image);
    registry.kill();
    registry.restart();
    intact(
        &mut findings,
        "killed and restarted while full",
        &http,
        &image,
    );
    let late = blob(1230, 1_000_000);
    refused(
        &mut findings,
        "still full",
        &try_push(&http, "full/app", &late),
    );

    disk.remove(BALLAST);
    let from = stored_bytes(&http, &location);
    findings.check((1_000_000..6_000_000).contains(&from), || {
        format!("{from} bytes are stored")
    });
    let target = format!("{location}&digest={}", large.digest);
    let range = format!("{from}-{}", large.bytes.len() - 1);
    let resumed = http
        .put(&target)
        .header("Content-Range", &range)
        .body(&large.bytes[from..])
        .send();
    findings.status("the interrupted session", &resumed, 201);
    let stored = http
        .get(&format!("/v2/full/app/blobs/{}", large.digest))
        .send();
    findings.check(stored.body == large.bytes, || {
        format!("the resumed blob: {}", stored.status)
    });
    findings.status("a new push", &try_push(&http, "full/app", &late), 201);
    intact(&mut findings, "with room again", &http, &image);
    registry.assert_calm();
}

#[test]
fn no_room_for_metadata() {
    let disk = SmallDisk::mount(DISK_MEBIBYTES);
    let mut registry = registry(&disk.path("data"));
    let (http, mut findings) = (registry.http(), Findings::new());
    let image = Image::new(1300, &[10_000]);
    http.push_image("full/app", "v1", &image);
    disk.fill(BALLAST);
    // Some may still fit into what the database has in hand; the disk is full, so not all can.
    let indexes: Vec<_> = (0..300).map(|number| large_index(1310 + number)).collect();
    let mut pushed = 0;
    let refusal = indexes.iter().find_map(|index| {
        let answer = put_index(&http, &format!("i{pushed}"), index);
        if answer.status == 201 {
            pushed += 1;
        }
        (answer.status != 201).then_some(answer)
    });
    let refusal = refusal.expect("300 manifests of 100 KiB do not fit on a full disk");
    refused(&mut findings, "a manifest", &refusal);
    let check = |findings: &mut Findings, case: &str| {
        intact(findings, case, &http, &image);
        for (number, index) in indexes[..pushed].iter().enumerate() {
            let stored = http
                .get(&format!("/v2/full/app/manifests/i{number}"))
                .send();
            findings.check(stored.body == index.bytes, || {
                format!("{case}: i{number} {}", stored.status)
            });
        }
        let lost = http
            .get(&format!("/v2/full/app/manifests/i{pushed}"))
            .send();
        findings.status("a refused manifest is not seen", &lost, 404);
        findings.check(http.tags("full/app").len() == pushed + 1, || {
            format!("{case}: other tags")
        });
    };
    check(&mut findings, "while full");
    refused(
        &mut findings,
        "a second manifest",
        &put_index(&http, "again", &large_index(2000)),
    );
    registry.kill();
    registry.restart();
    check(&mut findings, "killed and restarted while full");
    refused(
        &mut findings,
        "a third manifest",
        &put_index(&http, "again", &large_index(2001)),
    );

    disk.remove(BALLAST);
    findings.status(
        "with room again",
        &put_index(&http, "after", &indexes[pushed]),
        201,
    );
    http.push_blob("full/app", &blob(1390, 1_000_000));
    let digest = format!("/v2/full/app/manifests/{}", indexes[pushed].digest);
    findings.status("a delete", &http.delete(&digest).send(), 202);
    check(&mut findings, "with room again");
    registry.assert_calm();
}

/// Leaves a little more room each time, so that the disk is full at another step of the push.
#[test]
fn room_that_ends_at_any_step() {
    const STEP_BYTES: usize = 24 * 1024;
    const STEPS: usize = 32;
    let disk = SmallDisk::mount(DISK_MEBIBYTES);
    let registry = registry(&disk.path("data"));
    let (http, mut findings) = (registry.http(), Findings::new());
    let image = Image::new(1400, &[10_000]);
    http.push_image("full/app", "v1", &image);
    let (mut stored, mut refusals) = (0, 0);
    for step in 0..STEPS {
        std::fs::write(disk.path("room"), vec![0; step * STEP_BYTES]).expect("making room");
        disk.fill(BALLAST);
        disk.remove("room");
        let number = step as u64;
        let (large, index) = (blob(1410 + number, 300_000), large_index(3000 + number));
        let pushed = try_push(&http, "full/app", &large);
        let put = put_index(&http, &format!("s{step}"), &index);
        let read = |target: String, bytes: &[u8], answer: &Response, findings: &mut Findings| {
            let seen = http.get(&target).send();
            if answer.status == 201 {
                findings.check(seen.body == bytes, || format!("{target}: {}", seen.status));
            } else {
                refused(findings, &target, answer);
                findings.status(&target, &seen, 404);
            }
        };
        read(
            format!("/v2/full/app/blobs/{}", large.digest),
            &large.bytes,
            &pushed,
            &mut findings,
        );
        read(
            format!("/v2/full/app/manifests/s{step}"),
            &index.bytes,
            &put,
            &mut findings,
        );
        for answer in [&pushed, &put] {
            stored += usize::from(answer.status == 201);
            refusals += usize::from(answer.status != 201);
        }
        intact(&mut findings, "at a step", &http, &image);
        disk.remove(BALLAST);
        let _ = http
            .delete(&format!("/v2/full/app/blobs/{}", large.digest))
            .send();
    }
    println!("{stored} pushes fitted, {refusals} did not");
    findings.check(stored > 0 && refusals > 0, || {
        format!("{stored} fitted, {refusals} did not")
    });
    findings.status(
        "in the end",
        &try_push(&http, "full/app", &blob(1490, 300_000)),
        201,
    );
    registry.assert_calm();
}
