//! Heads, manifests and queries beyond all measure.

use std::time::Duration;

use holdfast_tests::{Findings, Image, Registry};
use serde_json::json;

use super::{OCI_MANIFEST, OCTETS, assert_well, begins_with, exchange};

#[test]
fn heads_without_measure() {
    let registry = Registry::start();
    let (http, mut findings) = (registry.http(), Findings::new());
    let megabyte = "a".repeat(1024 * 1024);
    let many = (0..5000)
        .map(|number| format!("X-{number}: y\r\n"))
        .collect::<String>();
    let thousands = (0..5000)
        .map(|number| format!("&a{number}={number}"))
        .collect::<String>();
    let cases = [
        (
            "a long value",
            format!("GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Long: {megabyte}\r\n\r\n"),
        ),
        (
            "a long name",
            format!("GET /v2/ HTTP/1.1\r\nHost: x\r\n{megabyte}: x\r\n\r\n"),
        ),
        (
            "many headers",
            format!("GET /v2/ HTTP/1.1\r\nHost: x\r\n{many}\r\n"),
        ),
        (
            "a long path",
            format!("GET /v2/{megabyte}/tags/list HTTP/1.1\r\nHost: x\r\n\r\n"),
        ),
        (
            "a path over the limit",
            format!(
                "GET /v2/{}/tags/list HTTP/1.1\r\nHost: x\r\n\r\n",
                &megabyte[..10_000]
            ),
        ),
        (
            "a long query",
            format!("GET /v2/_catalog?last={megabyte} HTTP/1.1\r\nHost: x\r\n\r\n"),
        ),
        (
            "a long method",
            format!("{megabyte} /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"),
        ),
        ("no end", megabyte.repeat(4)),
        (
            "parameters over a line",
            format!(
                "GET /v2/_catalog?n=1{} HTTP/1.1\r\nHost: x\r\n\r\n",
                thousands.repeat(20)
            ),
        ),
    ];
    for (case, bytes) in cases {
        let answer = exchange(&http, bytes.as_bytes());
        let refused = answer.is_empty() || begins_with(&answer, &[400, 404, 414, 431]);
        findings.check(refused, || {
            format!("{case}: {}", String::from_utf8_lossy(&answer))
        });
    }
    // A head has 64 KiB, and what the read that goes beyond it brings.
    for (length, status) in [(60_000, 200), (200_000, 431)] {
        let value = &megabyte[..length];
        let head = format!("GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Long: {value}\r\n\r\n");
        let answer = exchange(&http, head.as_bytes());
        findings.check(begins_with(&answer, &[status]), || {
            format!("{length}: {}", String::from_utf8_lossy(&answer))
        });
    }
    let answer = http.get(&format!("/v2/_catalog?n=1{thousands}")).send();
    let fine = matches!(answer.status, 200 | 400 | 414 | 431);
    findings.check(fine, || {
        format!("thousands of parameters: {}", answer.status)
    });
    for target in ["/v2/_catalog", "/v2/x/y/tags/list"] {
        for query in [
            "n=1000000000000000000".to_owned(),
            format!("last={}", &megabyte[..7000]),
        ] {
            let answer = http.get(&format!("{target}?{query}")).send();
            findings.check(answer.status < 500, || format!("{target}: {answer}"));
        }
    }
    assert_well(&registry);
}

const HUGE: usize = 100 * 1024 * 1024;

#[test]
fn huge_manifests_are_refused_early() {
    let registry = Registry::start();
    let (http, mut findings) = (registry.http(), Findings::new());
    let head = |more: &str| {
        format!(
            "PUT /v2/huge/app/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Type: {OCI_MANIFEST}\r\n{more}\r\n\r\n"
        )
    };
    for more in [
        format!("Content-Length: {HUGE}"),
        format!("Content-Length: {HUGE}\r\nExpect: 100-continue"),
        format!("Content-Length: {}", 1_u64 << 40),
    ] {
        let mut raw = http.open().expect("connecting");
        raw.send(head(&more)).expect("sending a head");
        // Not one byte of the body was sent.
        let answer = raw.answer(false).expect("an answer");
        findings.error(&more, &answer, 413, "MANIFEST_INVALID");
    }
    let memory = registry.resident_bytes();
    let mut raw = http.open().expect("connecting");
    raw.send(head("Transfer-Encoding: chunked"))
        .expect("sending a head");
    let piece = [b"100000\r\n".as_slice(), &[b' '; 0x10_0000], b"\r\n"].concat();
    let mut sent = 0;
    while sent < HUGE
        && !raw.has_answer_within(Duration::from_millis(1))
        && raw.send(&piece).is_ok()
    {
        sent += 0x10_0000;
    }
    findings.check(sent < HUGE / 2, || format!("{sent} bytes were taken"));
    if let Ok(answer) = raw.answer(false) {
        findings.error("chunked", &answer, 413, "MANIFEST_INVALID");
    }
    let grown = registry.resident_bytes().saturating_sub(memory);
    findings.check(grown < HUGE as u64 / 2, || {
        format!("{grown} bytes more memory")
    });
    assert_well(&registry);
}

#[test]
fn manifests_made_to_hurt() {
    let registry = Registry::start();
    let (http, mut findings) = (registry.http(), Findings::new());
    let image = Image::new(1600, &[100]);
    http.push_image("hurt/app", "v1", &image);
    let config = image.config.descriptor();
    let layers: Vec<_> = (0..20_000_u64)
        .map(|number| json!({"mediaType": OCTETS, "digest": format!("sha256:{number:064x}"), "size": 1}))
        .collect();
    let layers = json!({"schemaVersion": 2, "config": config, "layers": layers}).to_string();
    let nested = |open: &str, close: &str| {
        let inner = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        [
            inner.clone(),
            format!("{{\"schemaVersion\":2,\"config\":{config},\"layers\":[],\"x\":{inner}}}"),
            format!(
                "{{\"schemaVersion\":2,\"config\":{config},\"layers\":[],\"annotations\":{inner}}}"
            ),
            format!("{{\"schemaVersion\":2,\"config\":{config},\"layers\":{inner}}}"),
        ]
    };
    let mut cases = vec![
        ("20,000 layers", layers),
        ("an unclosed list", "[".repeat(4_000_000)),
    ];
    cases.extend(nested("[", "]").map(|text| ("nested lists", text)));
    cases.extend(nested("{\"a\":", "}").map(|text| ("nested members", text)));
    cases.push((
        "a number without end",
        format!("{{\"schemaVersion\":{}}}", "9".repeat(1_000_000)),
    ));
    for (case, body) in cases {
        let put = http
            .put("/v2/hurt/app/manifests/bad")
            .header("Content-Type", OCI_MANIFEST);
        let answer = put.body(body).send();
        findings.error(case, &answer, 400, "MANIFEST_INVALID");
    }
    let tags = (0..1500)
        .map(|number| format!("&tag=t{number}"))
        .collect::<String>();
    let target = format!("/v2/hurt/app/manifests/{}?x=y{tags}", image.manifest.digest);
    let put = http.put(&target).header("Content-Type", OCI_MANIFEST);
    let answer = put.body(image.manifest.bytes.clone()).send();
    findings.status("1500 tags", &answer, 414);
    findings.check(http.tags("hurt/app") == ["v1"], || {
        "a refused push sets no tag".into()
    });
    assert_well(&registry);
}
