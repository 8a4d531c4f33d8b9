//! Upload sessions, whole pushes and mounts.

use std::sync::Arc;

use holdfast_tests::http::{Client, Response};
use holdfast_tests::{Blob, Findings, Registry, Shared, random_bytes, sha512_digest};

use super::{ABSENT, OCTETS, blob, open_session, with_query};

static SHARED: Shared = Shared::new();

fn registry() -> Arc<Registry> {
    SHARED.get(Registry::start)
}

fn path(location: &str) -> &str {
    location.split('?').next().unwrap_or_default()
}

#[track_caller]
pub(super) fn finish(http: &Client, location: &str, digest: &str, bytes: &[u8]) -> Response {
    http.put(&with_query(location, &format!("digest={digest}")))
        .body(bytes)
        .send()
}

#[track_caller]
pub(super) fn assert_stored(http: &Client, repository: &str, digest: &str, bytes: &[u8]) {
    let stored = http.get(&format!("/v2/{repository}/blobs/{digest}")).send();
    assert_eq!(stored.expect(200).body, bytes);
}

#[test]
fn the_answers_of_a_session() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let bytes = random_bytes(300, 30_000);
    let digest = holdfast_tests::digest(&bytes);
    let started = http.post("/v2/up/app/blobs/uploads/").body("").send();
    let id = started
        .header("Docker-Upload-Uuid")
        .unwrap_or_default()
        .to_owned();
    let begins = format!("{}/v2/up/app/blobs/uploads/{id}?_state=", registry.url());
    let session = |findings: &mut Findings, case: &str, answer: &Response, status, range: &str| {
        findings.status(case, answer, status);
        findings.header(case, answer, "Range", Some(range));
        findings.header(case, answer, "Docker-Upload-Uuid", Some(&id));
        let location = answer.header("Location").unwrap_or_default();
        findings.check(location.starts_with(&begins), || {
            format!("{case}: {answer}")
        });
        let length = if status == 204 { None } else { Some("0") };
        findings.header(case, answer, "Content-Length", length);
    };
    session(&mut findings, "POST", &started, 202, "0-0");
    let location = started.location().to_owned();
    let status = |method| http.request(method, path(&location)).send();
    session(
        &mut findings,
        "GET without _state",
        &status("GET"),
        204,
        "0-0",
    );
    session(&mut findings, "HEAD", &status("HEAD"), 204, "0-0");

    let answer = http.patch(&location).body(&bytes[..10_000]).send();
    session(&mut findings, "PATCH", &answer, 202, "0-9999");
    // No Content-Type, no Content-Range, no length: as docker sends it.
    let pieces = bytes[10_000..20_000].chunks(999).map(<[u8]>::to_vec);
    let answer = http.patch(answer.location()).chunks(pieces).send();
    session(&mut findings, "PATCH in pieces", &answer, 202, "0-19999");
    session(&mut findings, "GET", &status("GET"), 204, "0-19999");
    let empty = http.patch(&location).body("").send();
    session(&mut findings, "an empty PATCH", &empty, 202, "0-19999");

    let answer = finish(&http, answer.location(), &digest, &bytes[20_000..]);
    findings.status("PUT", &answer, 201);
    let blob = format!("{}/v2/up/app/blobs/{digest}", registry.url());
    findings.header("PUT", &answer, "Location", Some(&blob));
    findings.header("PUT", &answer, "Docker-Content-Digest", Some(&digest));
    findings.header("PUT", &answer, "Content-Length", Some("0"));
    assert_stored(&http, "up/app", &digest, &bytes);
    for method in ["GET", "PATCH", "PUT", "DELETE"] {
        let target = with_query(&location, &format!("digest={digest}"));
        let answer = http.request(method, &target).send();
        let case = format!("{method} on a finished session");
        findings.error(&case, &answer, 404, "BLOB_UPLOAD_UNKNOWN");
    }
}

#[test]
fn ways_to_push() {
    let registry = registry();
    let http = registry.http();
    let sizes = [0_usize, 1, 4096, 300_000, 2_000_001];
    for (seed, length) in (310..).zip(sizes) {
        let blob = blob(seed, length);
        let (digest, bytes) = (blob.digest.as_str(), blob.bytes.as_slice());
        // Each way in its own repository, so that none finds what another left.
        let location = open_session(&http, "ways/post-put");
        let _ = finish(&http, &location, digest, bytes).expect(201);
        assert_stored(&http, "ways/post-put", digest, bytes);

        let location = open_session(&http, "ways/patch-put");
        let patched = http
            .patch(&location)
            .header("Content-Type", OCTETS)
            .body(bytes);
        let patched = patched.send().expect(202);
        let _ = finish(&http, patched.location(), digest, b"").expect(201);
        assert_stored(&http, "ways/patch-put", digest, bytes);

        let location = open_session(&http, "ways/chunked-put");
        let pieces = bytes.chunks(100_000).map(<[u8]>::to_vec);
        let target = with_query(&location, &format!("digest={digest}"));
        let _ = http.put(&target).chunks(pieces).send().expect(201);
        assert_stored(&http, "ways/chunked-put", digest, bytes);

        // One POST, the digest percent-encoded as many clients have it.
        let encoded = digest.replace(':', "%3A");
        let target = format!("/v2/ways/post/blobs/uploads/?digest={encoded}");
        let answer = http
            .post(&target)
            .header("Content-Type", OCTETS)
            .body(bytes);
        let answer = answer.send().expect(201);
        assert_eq!(answer.header("Docker-Content-Digest"), Some(digest));
        assert_stored(&http, "ways/post", digest, bytes);

        // What is there already can be pushed again.
        http.push_blob("ways/post", &blob);
        let sha512 = sha512_digest(bytes);
        for (repository, algorithm) in [
            ("ways/sha512", "?digest-algorithm=sha512"),
            ("ways/late-sha512", ""),
        ] {
            let opened = http.post(&format!("/v2/{repository}/blobs/uploads/{algorithm}"));
            let opened = opened.body("").send().expect(202);
            let patched = http
                .patch(opened.location())
                .body(&bytes[..length / 2])
                .send()
                .expect(202);
            let answer =
                finish(&http, patched.location(), &sha512, &bytes[length / 2..]).expect(201);
            assert_eq!(
                answer.header("Docker-Content-Digest"),
                Some(sha512.as_str())
            );
            assert!(answer.location().ends_with(&sha512), "{answer}");
            let stored = http.get(answer.location()).send().expect(200);
            assert_eq!(
                stored.header("Docker-Content-Digest"),
                Some(sha512.as_str())
            );
            assert_eq!(stored.body, bytes);
        }
    }
}

#[test]
fn content_range() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let bytes = random_bytes(320, 300);
    let digest = holdfast_tests::digest(&bytes);
    for form in [
        "0-99",
        "bytes 0-99",
        "bytes=0-99",
        "bytes 0-99/300",
        "bytes 0-99/*",
        " 0-99 ",
    ] {
        let location = open_session(&http, "range/forms");
        let answer = http
            .patch(&location)
            .header("Content-Range", form)
            .body(&bytes[..100])
            .send();
        findings.status(form, &answer, 202);
        findings.header(form, &answer, "Range", Some("0-99"));
    }
    let location = open_session(&http, "range/app");
    let refused = |findings: &mut Findings, form: &str, stored: &str| {
        let target = with_query(&location, &format!("digest={digest}"));
        for method in ["PATCH", "PUT"] {
            let case = format!("{method} {form} after {stored}");
            let request = http.request(method, &target).header("Content-Range", form);
            let answer = request.body(&bytes[100..200]).send();
            findings.error(&case, &answer, 416, "RANGE_INVALID");
            // The session lives, and says how far it is.
            let status = http.get(&location).send();
            findings.status(&case, &status, 204);
            findings.header(&case, &status, "Range", Some(stored));
        }
    };
    for form in [
        "100-199",
        "1-100",
        "200-299",
        "9-0",
        "x",
        "-5",
        "5-",
        "0-1-2",
        "99999999999999999999-1",
        "",
    ] {
        refused(&mut findings, form, "0-0");
    }
    let answer = http
        .patch(&location)
        .header("Content-Range", "0-99")
        .body(&bytes[..100])
        .send();
    findings.status("the first", &answer, 202);
    for form in ["0-99", "99-198", "101-200", "200-299"] {
        refused(&mut findings, form, "0-99");
    }
    for (form, length) in [("100-199", 99), ("100-199", 101), ("100-100", 100)] {
        let request = http.patch(&location).header("Content-Range", form);
        let answer = request.body(&bytes[100..100 + length]).send();
        let case = format!("{length} bytes as {form}");
        findings.error(&case, &answer, 400, "SIZE_INVALID");
    }
    let pieces = bytes[100..200].chunks(7).map(<[u8]>::to_vec);
    let answer = http
        .patch(&location)
        .header("Content-Range", "100-199")
        .chunks(pieces)
        .send();
    findings.status("without a length", &answer, 202);
    let target = with_query(&location, &format!("digest={digest}"));
    let request = http.put(&target).header("Content-Range", "200-299");
    findings.status(
        "the last, in the PUT",
        &request.body(&bytes[200..]).send(),
        201,
    );
    assert_stored(&http, "range/app", &digest, &bytes);
}

#[test]
fn the_state_belongs_to_the_session() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let bytes = random_bytes(330, 100);
    let digest = holdfast_tests::digest(&bytes);
    let (location, other) = (
        open_session(&http, "state/app"),
        open_session(&http, "state/app"),
    );
    let foreign = open_session(&http, "state/other");
    let state = |location: &str| location.split_once('?').unwrap().1.to_owned();
    let forged = format!("{}x", &state(&location)[..state(&location).len() - 1]);
    let forged_first = state(&location).replacen("_state=", "_state=x", 1);
    for (case, query) in [
        ("missing", String::new()),
        ("empty", "_state=".to_owned()),
        ("rubbish", "_state=%00%ff%2e%2e".to_owned()),
        ("forged at the front", forged_first),
        ("of another session", state(&other)),
        ("of another repository", state(&foreign)),
    ] {
        let target = format!("{}?{query}", path(&location));
        for method in ["PATCH", "PUT", "DELETE"] {
            let target = with_query(&target, &format!("digest={digest}"));
            let answer = http.request(method, &target).body(bytes.clone()).send();
            let case = format!("{method}, state {case}");
            findings.error(&case, &answer, 404, "BLOB_UPLOAD_INVALID");
        }
    }
    // The last letter of base64 may hold unused bits; a changed one must not count either.
    let target = with_query(
        &format!("{}?{forged}", path(&location)),
        &format!("digest={digest}"),
    );
    let changed = forged != state(&location);
    let answer = http.patch(&target).body("x").send();
    findings.check(!changed || answer.status == 404, || {
        format!("a forged end: {answer}")
    });

    let elsewhere = path(&location).replace("state/app", "state/other");
    let answer = http.get(&elsewhere).send();
    findings.error("another repository", &answer, 404, "BLOB_UPLOAD_UNKNOWN");
    for id in [
        "x",
        "..",
        "5f0c1f2e-0000-4000-8000-000000000000",
        "5F0C1F2E-0000-4000-8000-000000000000",
    ] {
        let target = format!("/v2/state/app/blobs/uploads/{id}");
        let answer = http.get(&target).send();
        findings.error(id, &answer, 404, "BLOB_UPLOAD_UNKNOWN");
        findings.status(id, &http.head(&target).send(), 404);
    }
    findings.status(
        "the true one",
        &finish(&http, &location, &digest, &bytes),
        201,
    );
}

#[test]
fn every_location_stays_good() {
    let registry = registry();
    let http = registry.http();
    let bytes = random_bytes(340, 3000);
    let first = open_session(&http, "location/app");
    for piece in bytes.chunks(1000) {
        let _ = http.patch(&first).body(piece).send().expect(202);
    }
    let _ = finish(&http, &first, &holdfast_tests::digest(&bytes), b"").expect(201);
}

#[test]
fn a_wrong_digest_ends_the_session() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let bytes = random_bytes(350, 5000);
    let actual = holdfast_tests::digest(&bytes);
    let sha512 = format!("sha512:{}", "0".repeat(128));
    for wrong in [ABSENT, sha512.as_str()] {
        let location = open_session(&http, "wrong/app");
        let answer = finish(&http, &location, wrong, &bytes);
        findings.error_about(wrong, &answer, 400, "DIGEST_INVALID", &[wrong]);
        let after = http.get(&location).send();
        findings.error("the session", &after, 404, "BLOB_UPLOAD_UNKNOWN");
        let target = format!("/v2/wrong/app/blobs/uploads/?digest={wrong}");
        let answer = http.post(&target).body(bytes.clone()).send();
        findings.error_about("one POST", &answer, 400, "DIGEST_INVALID", &[wrong]);
        for digest in [wrong, &actual] {
            let answer = http.head(&format!("/v2/wrong/app/blobs/{digest}")).send();
            findings.status(digest, &answer, 404);
        }
    }
    let location = open_session(&http, "wrong/app");
    let answer = http.put(&location).body(bytes.clone()).send();
    findings.error_about(
        "no digest",
        &answer,
        400,
        "DIGEST_INVALID",
        &["digest missing"],
    );
    for text in ["", "x", "sha256:", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
        let answer = finish(&http, &location, text, &bytes);
        findings.error(text, &answer, 400, "DIGEST_INVALID");
        let target = format!("/v2/wrong/app/blobs/uploads/?digest-algorithm={text}");
        let answer = http.post(&target).body("").send();
        findings.check(answer.status == 400 || text.is_empty(), || {
            format!("{target}: {answer}")
        });
    }
    findings.status(
        "asked rightly",
        &finish(&http, &location, &actual, &bytes),
        201,
    );
}

#[test]
fn kinds_of_body() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    for (kind, good) in [
        ("application/octet-stream", true),
        ("APPLICATION/octet-stream", true),
        ("application/vnd.oci.image.layer.v1.tar+gzip", true),
        ("multipart/form-data; boundary=x", false),
        ("application/x-www-form-urlencoded", false),
    ] {
        let location = open_session(&http, "kinds/app");
        let answer = http
            .patch(&location)
            .header("Content-Type", kind)
            .body("x")
            .send();
        if good {
            findings.status(kind, &answer, 202);
        } else {
            findings.error_about(kind, &answer, 400, "BLOB_UPLOAD_INVALID", &["Content-Type"]);
        }
    }
}

#[test]
fn cancel() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let blob = blob(360, 5000);
    let location = open_session(&http, "cancel/app");
    let _ = http
        .patch(&location)
        .body(blob.bytes.clone())
        .send()
        .expect(202);
    let staged = registry
        .data()
        .join("holdfast/uploads")
        .join(path(&location).rsplit('/').next().unwrap());
    findings.check(staged.exists(), || "a session has a staging file".into());
    let answer = http.delete(&location).send();
    findings.status("cancel", &answer, 204);
    findings.check(answer.header("Docker-Upload-Uuid").is_some(), || {
        format!("{answer}")
    });
    findings.check(!staged.exists(), || {
        "a cancelled session left its staging file".into()
    });
    for method in ["DELETE", "GET", "PATCH"] {
        let answer = http.request(method, &location).send();
        findings.error(method, &answer, 404, "BLOB_UPLOAD_UNKNOWN");
    }
    let answer = http
        .head(&format!("/v2/cancel/app/blobs/{}", blob.digest))
        .send();
    findings.status("its content", &answer, 404);
}

#[test]
fn a_post_with_a_digest_and_no_body_opens_a_session() {
    let registry = registry();
    let http = registry.http();
    let blob = blob(380, 500);
    let target = format!("/v2/later/app/blobs/uploads/?digest={}", blob.digest);
    let opened = http.post(&target).body("").send().expect(202);
    let _ = finish(&http, opened.location(), &blob.digest, &blob.bytes).expect(201);
    assert_stored(&http, "later/app", &blob.digest, &blob.bytes);
}

#[test]
fn open_sessions_have_a_limit() {
    let registry = Registry::builder()
        .section("limits:\n  uploadsessions: 3")
        .start();
    let (http, mut findings) = (registry.http(), Findings::new());
    let sessions: Vec<_> = (0..3).map(|_| open_session(&http, "limit/app")).collect();
    let answer = http.post("/v2/limit/other/blobs/uploads/").body("").send();
    findings.error_about("one too many", &answer, 429, "TOOMANYREQUESTS", &["3"]);
    findings.check(answer.header("Retry-After").is_some(), || {
        format!("{answer}")
    });
    findings.status("cancel one", &http.delete(&sessions[0]).send(), 204);
    let blob: Blob = blob(390, 10);
    http.push_blob("limit/other", &blob);
}
