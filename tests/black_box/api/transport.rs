//! How messages are framed: connections that stay open, answers without a body, and `Expect`.

use std::time::Duration;

use holdfast_tests::{Findings, Image, Registry};

use super::{blob, open_session, with_query};

#[test]
fn one_connection_for_everything() {
    let registry = Registry::start();
    let (http, mut findings) = (registry.http(), Findings::new());
    let image = Image::new(2600, &[300_000]);
    http.push_image("frame/app", "v1", &image);
    let layer = &image.layers[0];
    let url = format!("/v2/frame/app/blobs/{}", layer.digest);
    let etag = format!("If-None-Match: \"{}\"\r\n", layer.digest);
    // Each answer must end exactly where the next begins.
    let cases: Vec<(&str, &str, &str, u16)> = vec![
        ("HEAD", &url, "", 200),
        ("GET", &url, "", 200),
        ("GET", &url, &etag, 304),
        ("HEAD", &url, &etag, 304),
        ("HEAD", &url, "Range: bytes=0-99\r\n", 206),
        ("GET", &url, "Range: bytes=0-99,200-299\r\n", 206),
        ("GET", &url, "Range: bytes=900000-\r\n", 416),
        ("HEAD", &url, "Range: bytes=900000-\r\n", 416),
        ("HEAD", "/v2/none/manifests/x", "", 404),
        ("HEAD", "/v2/", "", 200),
        ("OPTIONS", "/v2/frame/app/tags/list", "", 204),
        ("HEAD", "/v2/frame/app/tags/list", "", 405),
        ("HEAD", "/healthz", "", 200),
        ("DELETE", &url, "", 409),
        ("GET", "/v2/", "", 200),
    ];
    let mut raw = http.open().expect("connecting");
    for (method, target, headers, status) in cases {
        raw.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n"
        ))
        .expect("the connection stays open");
        let case = format!("{method} {target} {headers}");
        match raw.answer(method == "HEAD") {
            Ok(answer) => findings.status(&case, &answer, status),
            Err(error) => panic!("{case}: {error}"),
        }
    }
}

#[test]
fn a_body_may_wait_for_permission() {
    let registry = Registry::start();
    let http = registry.http();
    let blob = blob(2610, 100_000);
    let location = open_session(&http, "expect/app");
    let target = with_query(&location, &format!("digest={}", blob.digest));
    let target = target.trim_start_matches(&registry.url());
    let mut raw = http.open().expect("connecting");
    raw.send(format!(
        "PUT {target} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        blob.bytes.len()
    ))
    .expect("sending a head");
    assert!(
        raw.has_answer_within(Duration::from_secs(30)),
        "no permission came"
    );
    raw.send(&blob.bytes).expect("sending a body");
    // The reader passes over the 100 before the answer.
    let _ = raw.answer(false).expect("an answer").expect(201);
    let stored = http.get(&format!("/v2/expect/app/blobs/{}", blob.digest));
    assert!(stored.send().expect(200).body == blob.bytes, "other bytes");
}

#[test]
fn content_that_was_lost_or_cut_is_an_error_and_no_answer() {
    let registry = Registry::start();
    let (http, mut findings) = (registry.http(), Findings::new());
    for (seed, what) in [(2620, "lost"), (2621, "cut")] {
        let blob = blob(seed, 100_000);
        http.push_blob("lost/app", &blob);
        let hex = blob.digest.trim_start_matches("sha256:");
        let file = format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
        let file = registry.data().join(file);
        if what == "lost" {
            std::fs::remove_file(&file).expect("the blob lies where Distribution has it");
        } else {
            std::fs::write(&file, &blob.bytes[..50_000]).expect("cutting a blob");
        }
        let url = format!("/v2/lost/app/blobs/{}", blob.digest);
        for range in [None, Some("bytes=0-9")] {
            let request = http.get(&url);
            let request = match range {
                Some(range) => request.header("Range", range),
                None => request,
            };
            let answer = request.send();
            findings.check((500..600).contains(&answer.status), || {
                format!("{what}: {answer}")
            });
            let text = answer.text();
            let own = text.contains(&registry.data().display().to_string());
            findings.check(!own, || format!("{what}: a path of the server in {text}"));
        }
    }
    let image = Image::new(2630, &[1000]);
    http.push_image("lost/other", "v1", &image);
    registry.assert_calm();
}
