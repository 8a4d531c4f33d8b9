//! Bytes that are no request, several requests at once, and connections that end early.

use std::time::Duration;

use holdfast_tests::{Findings, Image, Registry, eventually, random_bytes};

use super::{ABSENT, OCI_MANIFEST, assert_well, begins_with, converse, exchange, open_session};

#[test]
fn bytes_that_are_no_request() {
    let registry = Registry::start();
    let (http, mut findings) = (registry.http(), Findings::new());
    let old = converse(&http, b"GET /v2/ HTTP/1.0\r\n\r\n");
    findings.check(begins_with(&old, &[200]) && old.ends_with(b"{}"), || {
        format!("HTTP/1.0: {}", String::from_utf8_lossy(&old))
    });
    let garbage = random_bytes(1900, 100_000);
    let cases: [(&str, &[u8]); 16] = [
        ("random bytes", &garbage),
        ("nothing", b""),
        ("empty lines", b"\r\n\r\n\r\n\r\n"),
        ("zeros", &[0; 5000]),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
        ("HTTP/0.9", b"GET /v2/\r\n\r\n"),
        ("HTTP/3.0", b"GET /v2/ HTTP/3.0\r\nHost: x\r\n\r\n"),
        ("no version", b"GET /v2/\r\nHost: x\r\n\r\n"),
        ("a folded header", b"GET /v2/ HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n"),
        ("a space before the colon", b"GET /v2/ HTTP/1.1\r\nHost : x\r\n\r\n"),
        ("two lengths", b"PUT /v2/a/manifests/v HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        ("a negative length", b"PUT /v2/a/manifests/v HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"),
        ("a length in letters", b"PUT /v2/a/manifests/v HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n"),
        ("a bad chunk", b"PUT /v2/a/manifests/v HTTP/1.1\r\nHost: x\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        ("a chunk without end", b"PUT /v2/a/manifests/v HTTP/1.1\r\nHost: x\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n"),
    ];
    for (case, bytes) in cases {
        let answer = exchange(&http, bytes);
        let refused = answer.is_empty()
            || (!begins_with(&answer, &[500, 502]) && !answer.windows(4).any(|w| w == b" 201"));
        findings.check(refused, || {
            format!("{case}: {}", String::from_utf8_lossy(&answer))
        });
    }
    for target in [
        "*",
        "http://evil.example/v2/",
        "//v2/",
        "v2/",
        "/v2/#x",
        "/v2/?",
        "/v2/?&&=&%",
    ] {
        let bytes = exchange(
            &http,
            format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
        );
        findings.check(!begins_with(&bytes, &[500]), || {
            format!("{target}: {}", String::from_utf8_lossy(&bytes))
        });
    }
    assert_well(&registry);
}

#[test]
fn requests_in_one_breath() {
    let registry = Registry::start();
    let (http, mut findings) = (registry.http(), Findings::new());
    let image = Image::new(2000, &[3000]);
    http.push_image("pipe/app", "v1", &image);
    let layer = &image.layers[0];
    let targets = [
        ("/v2/".to_owned(), 200),
        (format!("/v2/pipe/app/blobs/{}", layer.digest), 200),
        ("/v2/none/tags/list".to_owned(), 404),
        ("/v2/pipe/app/manifests/v1".to_owned(), 200),
        ("/v2".to_owned(), 301),
    ];
    let all = targets.iter().cycle().take(200);
    let requests: String = all
        .clone()
        .map(|(target, _)| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"))
        .collect();
    let mut raw = http.open().expect("connecting");
    raw.send(&requests).expect("sending");
    for (target, status) in all {
        let answer = raw.answer(false).expect("an answer");
        findings.status(target, &answer, *status);
        if target.contains("/blobs/") {
            findings.check(answer.body == layer.bytes, || "other bytes".into());
        }
    }
    // The body of a refused request is never read as the next request.
    let smuggled = "DELETE /v2/pipe/app/manifests/v1 HTTP/1.1\r\nHost: x\r\n\r\n";
    for target in [
        "/v2/Bad!/manifests/v1",
        "/v2/pipe/app/blobs/x",
        "/v2/nothing",
        "/v2/",
        "/",
    ] {
        for body in [
            smuggled.to_owned(),
            format!("{}{smuggled}", " ".repeat(100_000)),
        ] {
            let request = format!(
                "PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let answers = converse(&http, request.as_bytes());
            let count = answers
                .windows(9)
                .filter(|window| window == b"HTTP/1.1 ")
                .count();
            findings.check(count <= 2, || {
                format!("{target}: {}", String::from_utf8_lossy(&answers))
            });
        }
    }
    findings.check(http.tags("pipe/app") == ["v1"], || {
        "a smuggled request was obeyed".into()
    });
    assert_well(&registry);
}

#[test]
fn connections_that_end_early() {
    let registry = Registry::start();
    let http = registry.http();
    let image = Image::new(2100, &[400_000]);
    http.push_image("early/app", "v1", &image);
    let idle = registry.open_files();
    let session = open_session(&http, "early/app");
    let bytes = random_bytes(2101, 30_000);
    let request = |head: &str, body: &[u8]| {
        let head = format!(
            "{head} HTTP/1.1\r\nHost: x\r\nContent-Type: {OCI_MANIFEST}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    let layer = format!("GET /v2/early/app/blobs/{}", image.layers[0].digest);
    let requests = [
        request(&format!("PATCH {session}"), &bytes),
        request(&format!("PUT {session}&digest={ABSENT}"), &bytes[..100]),
        request(
            &format!("POST /v2/early/app/blobs/uploads/?digest={ABSENT}"),
            &bytes,
        ),
        request("PUT /v2/early/app/manifests/v2", &image.manifest.bytes),
        request(&layer, b""),
        request("GET /v2/early/app/manifests/v1", b""),
    ];
    for whole in &requests {
        let lengths = (0..12)
            .map(|part| whole.len() * part / 12)
            .chain([whole.len() - 1, whole.len()]);
        for length in lengths {
            for wait in [false, true] {
                let mut raw = http.open().expect("connecting");
                let _ = raw.send(&whole[..length]);
                if wait && length == whole.len() {
                    // Gone when the answer has begun.
                    let _ = raw.has_answer_within(Duration::from_secs(30));
                }
            }
        }
    }
    eventually("the server closes what clients left", || {
        registry.open_files() <= idle + 8
    });
    let layer = http
        .get(&format!("/v2/early/app/blobs/{}", image.layers[0].digest))
        .send()
        .expect(200);
    assert!(layer.body == image.layers[0].bytes, "other bytes");
    let _ = http
        .get(&format!("/v2/early/app/blobs/{ABSENT}"))
        .send()
        .expect(404);
    assert_well(&registry);
}
