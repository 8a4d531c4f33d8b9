//! Pulling blobs, in whole and in parts, and deleting them.

use std::sync::Arc;

use holdfast_tests::http::Response;
use holdfast_tests::{Blob, Findings, Image, Registry, Shared};
use serde_json::json;

use super::{ABSENT, OCTETS, blob};

static SHARED: Shared = Shared::new();

fn registry() -> Arc<Registry> {
    SHARED.get(Registry::start)
}

fn url(repository: &str, blob: &Blob) -> String {
    format!("/v2/{repository}/blobs/{}", blob.digest)
}

#[test]
fn get_and_head_have_the_same_headers() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    for length in [0, 1, 5000, 1_000_000] {
        let blob = blob(200 + length as u64, length);
        http.push_blob("blobs/app", &blob);
        let target = url("blobs/app", &blob);
        let (get, head) = (http.get(&target).send(), http.head(&target).send());
        findings.check(get.body == blob.bytes, || format!("{length} other bytes"));
        for answer in [&get, &head] {
            let case = format!("{length} bytes");
            findings.status(&case, answer, 200);
            let (length, etag) = (length.to_string(), format!("\"{}\"", blob.digest));
            for (name, value) in [
                ("Accept-Ranges", "bytes"),
                ("Content-Length", &length),
                ("Content-Type", OCTETS),
                ("Docker-Content-Digest", &blob.digest),
                ("Etag", &etag),
            ] {
                findings.header(&case, answer, name, Some(value));
            }
            let caching = answer.header("Cache-Control").unwrap_or_default();
            findings.check(caching.starts_with("max-age=31536000"), || {
                format!("{answer}")
            });
        }
    }
}

#[test]
fn what_is_not_there() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let image = Image::new(210, &[100]);
    http.push_image("blobs/here", "v1", &image);
    http.push_image("blobs/there", "v1", &Image::new(211, &[100]));
    for (repository, digest) in [
        ("blobs/here", ABSENT),
        ("blobs/none", ABSENT),
        ("blobs/none", &image.config.digest),
        // A blob is seen only through a repository that has it; a manifest is none.
        ("blobs/there", &image.config.digest),
        ("blobs/here", &image.manifest.digest),
    ] {
        let target = format!("/v2/{repository}/blobs/{digest}");
        for method in ["GET", "DELETE"] {
            let answer = http.request(method, &target).send();
            let case = format!("{method} {target}");
            findings.error_detail(&case, &answer, 404, "BLOB_UNKNOWN", &json!(digest));
        }
        findings.status(&target, &http.head(&target).send(), 404);
    }
}

#[test]
fn one_range() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let blob = blob(220, 600_000);
    http.push_blob("ranges/app", &blob);
    let target = url("ranges/app", &blob);
    let cases = [
        ("bytes=0-0", 0..1),
        ("bytes=0-", 0..600_000),
        ("bytes=500-1499", 500..1500),
        ("bytes=599999-", 599_999..600_000),
        ("bytes=100-9999999999", 100..600_000),
        ("bytes=-1", 599_999..600_000),
        ("bytes=-500000", 100_000..600_000),
        ("bytes=-9999999999", 0..600_000),
        ("bytes= 5-6", 5..7),
        ("Bytes=5-6", 5..7),
        // What lies outside is left out when something lies within.
        ("bytes=5-6,700000-800000", 5..7),
    ];
    for (header, range) in cases {
        let get = http.get(&target).header("Range", header).send();
        let head = http.head(&target).header("Range", header).send();
        findings.check(get.body == blob.bytes[range.clone()], || {
            format!("{header}: other bytes")
        });
        let placed = format!("bytes {}-{}/600000", range.start, range.end - 1);
        let length = range.len().to_string();
        for answer in [&get, &head] {
            findings.status(header, answer, 206);
            findings.header(header, answer, "Content-Range", Some(&placed));
            findings.header(header, answer, "Content-Length", Some(&length));
            findings.header(header, answer, "Docker-Content-Digest", Some(&blob.digest));
        }
    }
    for header in [
        "bytes=600000-",
        "bytes=600000-700000",
        "bytes=-0",
        "bytes=500-0",
        "bytes=x",
        "bytes=",
        "bytes=-",
        "bytes=1-2-3",
        "bytes=0-1,x",
        "bytes=99999999999999999999999-",
        "bytes",
    ] {
        let answer = http.get(&target).header("Range", header).send();
        findings.error(header, &answer, 416, "RANGE_INVALID");
        findings.header(header, &answer, "Content-Range", Some("bytes */600000"));
        let head = http.head(&target).header("Range", header).send();
        findings.status(header, &head, 416);
    }
    let many = (0..17)
        .map(|n| format!("{n}-{n}"))
        .collect::<Vec<_>>()
        .join(",");
    for header in ["lines=0-5", &format!("bytes={many}"), "bytes=0-,0-,0-"] {
        let answer = http.get(&target).header("Range", header).send();
        findings.status(header, &answer, 200);
        findings.check(answer.body == blob.bytes, || {
            format!("{header}: not everything")
        });
    }
    let nothing = super::blob(221, 0);
    http.push_blob("ranges/app", &nothing);
    let answer = http
        .get(&url("ranges/app", &nothing))
        .header("Range", "bytes=0-")
        .send();
    findings.error("a range of nothing", &answer, 416, "RANGE_INVALID");
}

/// The parts of a `multipart/byteranges` body: `Content-Range` and bytes.
fn parts(answer: &Response) -> Option<Vec<(String, Vec<u8>)>> {
    let kind = answer.header("Content-Type")?;
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=")?;
    let (mut body, mut parts) = (answer.body.as_slice(), Vec::new());
    let delimiter = format!("\r\n--{boundary}");
    loop {
        body = body.strip_prefix(delimiter.as_bytes())?;
        if body == b"--\r\n" {
            return Some(parts);
        }
        let head_end = body.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8(body[..head_end].to_vec()).ok()?;
        let range = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Range: "))?;
        let (first, rest) = range.strip_prefix("bytes ")?.split_once('-')?;
        let last = rest.split('/').next()?;
        let length = last.parse::<usize>().ok()? - first.parse::<usize>().ok()? + 1;
        let bytes = body.get(head_end + 4..head_end + 4 + length)?;
        parts.push((range.to_owned(), bytes.to_vec()));
        body = &body[head_end + 4 + length..];
    }
}

#[test]
fn several_ranges() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let blob = blob(230, 600_000);
    http.push_blob("ranges/many", &blob);
    let target = url("ranges/many", &blob);
    let header = "bytes=0-9, 300000-599999 ,-5,999999-";
    let answer = http.get(&target).header("Range", header).send();
    findings.status(header, &answer, 206);
    let expected: Vec<_> = [0..10, 300_000..600_000, 599_995..600_000]
        .into_iter()
        .map(|range: std::ops::Range<usize>| {
            let name = format!("bytes {}-{}/600000", range.start, range.end - 1);
            (name, blob.bytes[range].to_vec())
        })
        .collect();
    findings.check(parts(&answer).as_ref() == Some(&expected), || {
        format!("other parts: {:?}", answer.headers)
    });
    let head = http.head(&target).header("Range", header).send();
    findings.status("HEAD", &head, 206);
    let length = answer.body.len().to_string();
    findings.header("HEAD", &head, "Content-Length", Some(&length));
}

/// Bytes of large blobs go from file to socket in pieces of 1 MiB at most, in turns of 256 KiB.
#[test]
fn parts_of_a_large_blob() {
    const LENGTH: usize = 9 * 1024 * 1024 + 4321;
    const PIECE: usize = 1024 * 1024;
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let blob = blob(235, LENGTH);
    http.push_blob("ranges/large", &blob);
    let target = url("ranges/large", &blob);
    let whole = http.get(&target).send();
    findings.status("the whole", &whole, 200);
    findings.check(whole.body == blob.bytes, || "other bytes".into());
    let ranges = [
        0..65_535,
        0..65_536,
        1..65_538,
        PIECE - 1..PIECE + 1,
        5..PIECE + 5,
        5..PIECE + 6,
        PIECE..2 * PIECE,
        3..LENGTH,
        LENGTH - 70_000..LENGTH,
    ];
    for range in &ranges {
        let header = format!("bytes={}-{}", range.start, range.end - 1);
        let answer = http.get(&target).header("Range", &header).send();
        findings.status(&header, &answer, 206);
        findings.check(answer.body == blob.bytes[range.clone()], || {
            format!("{header}: other bytes")
        });
    }
    let header = format!("bytes=1-100000,{PIECE}-{},-200000", 2 * PIECE);
    let answer = http.get(&target).header("Range", &header).send();
    let found = parts(&answer).unwrap_or_default();
    let expected = [1..100_001, PIECE..2 * PIECE + 1, LENGTH - 200_000..LENGTH];
    findings.check(found.len() == expected.len(), || {
        format!("{header}: {} parts", found.len())
    });
    for ((name, bytes), range) in found.iter().zip(expected) {
        findings.check(*bytes == blob.bytes[range], || {
            format!("{name}: other bytes")
        });
    }
}

#[test]
fn conditions() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let blob = blob(240, 1000);
    http.push_blob("blobs/if", &blob);
    let target = url("blobs/if", &blob);
    let (ours, weak) = (
        format!("\"{}\"", blob.digest),
        format!("W/\"{}\"", blob.digest),
    );
    let list = format!("\"x\", {ours}");
    let cases: [(&str, &str, u16); 10] = [
        ("If-None-Match", &ours, 304),
        ("If-None-Match", &weak, 304),
        ("If-None-Match", &list, 304),
        ("If-None-Match", "*", 304),
        ("If-None-Match", "\"x\"", 200),
        ("If-Match", &ours, 200),
        ("If-Match", &list, 200),
        ("If-Match", "*", 200),
        ("If-Match", "\"x\"", 412),
        ("If-Modified-Since", "Wed, 21 Oct 2099 07:28:00 GMT", 200),
    ];
    for (name, value, status) in cases {
        for method in ["GET", "HEAD"] {
            let case = format!("{method} {name}: {value}");
            let answer = http.request(method, &target).header(name, value).send();
            findings.status(&case, &answer, status);
            if status == 304 {
                findings.header(&case, &answer, "Content-Length", None);
                findings.header(&case, &answer, "Etag", Some(&ours));
            }
        }
    }
    for (condition, status) in [
        (ours.as_str(), 206),
        ("\"x\"", 200),
        // Ranges need a strong match (RFC 9110 section 13.1.5); there are no dates here.
        (&weak, 200),
        ("Wed, 21 Oct 2099 07:28:00 GMT", 200),
    ] {
        let request = http.get(&target).header("Range", "bytes=0-9");
        let answer = request.header("If-Range", condition).send();
        findings.status(&format!("If-Range: {condition}"), &answer, status);
        let length = if status == 206 { 10 } else { 1000 };
        findings.check(answer.body.len() == length, || {
            format!("If-Range: {condition}")
        });
    }
    // A failed condition counts before a range.
    let request = http.get(&target).header("Range", "bytes=5000-");
    let answer = request.header("If-None-Match", &ours).send();
    findings.status("a condition and a range", &answer, 304);
}

#[test]
fn deletes() {
    let (registry, mut findings) = (registry(), Findings::new());
    let http = registry.http();
    let image = Image::new(250, &[100]);
    http.push_image("blobs/delete", "v1", &image);
    http.push_blob("blobs/keep", &image.layers[0]);
    let layer = url("blobs/delete", &image.layers[0]);

    let answer = http.delete(&layer).send();
    let names = [
        image.layers[0].digest.as_str(),
        image.manifest.digest.as_str(),
    ];
    findings.status("in use", &answer, 409);
    let body = answer.json();
    findings.check(body["errors"][0]["code"] == "DENIED", || {
        format!("in use: {answer}")
    });
    let detail = body["errors"][0]["detail"].to_string();
    findings.check(names.iter().all(|name| detail.contains(name)), || {
        format!("in use: {answer}")
    });
    findings.status("still there", &http.get(&layer).send(), 200);

    let manifest = format!("/v2/blobs/delete/manifests/{}", image.manifest.digest);
    findings.status("the manifest", &http.delete(&manifest).send(), 202);
    let answer = http.delete(&layer).send();
    findings.status("no longer in use", &answer, 202);
    findings.header("no longer in use", &answer, "Content-Length", Some("0"));
    findings.status("gone", &http.get(&layer).send(), 404);
    findings.status("gone", &http.head(&layer).send(), 404);
    let again = http.delete(&layer).send();
    findings.error("again", &again, 404, "BLOB_UNKNOWN");
    let kept = http.get(&url("blobs/keep", &image.layers[0])).send();
    findings.check(kept.body == image.layers[0].bytes, || {
        format!("elsewhere: {}", kept.status)
    });
    http.push_blob("blobs/delete", &image.layers[0]);
    findings.status("pushed again", &http.get(&layer).send(), 200);
}
