//! Connections that are slow, idle, or too many.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use holdfast_tests::{Blob, Findings, Image, Registry, eventually, random_bytes};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

use super::{ABSENT, OCI_MANIFEST, OCTETS, assert_well, begins_with, open_session};

#[test]
fn headers_that_trickle_in() {
    let registry = Registry::builder()
        .env("REGISTRY_HTTP_HEADERTIMEOUT", "1s")
        .start();
    let http = registry.http();
    let beginnings: [&[u8]; 4] = [
        b"",
        b"G",
        b"GET /v2/ HTTP/1.1\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    ];
    thread::scope(|scope| {
        for beginning in beginnings.iter().cycle().take(32) {
            let http = &http;
            scope.spawn(move || {
                let mut raw = http.open().expect("connecting");
                raw.send(beginning).expect("sending a beginning");
                // Never the end of the head; the pause is the attack, not a wait.
                let slow = !beginning.is_empty();
                eventually("a slow head is cut off", || {
                    raw.has_answer_within(Duration::from_millis(50))
                        || raw.is_closed()
                        || (slow && raw.send("a").is_err())
                });
                let answer = raw.rest();
                assert!(
                    answer.is_empty() || begins_with(&answer, &[400, 408]),
                    "{}",
                    String::from_utf8_lossy(&answer)
                );
            });
        }
        for _ in 0..20 {
            let _ = http.get("/v2/").send().expect(200);
        }
    });
    assert_well(&registry);
}

#[test]
fn bodies_that_stand_still() {
    let registry = Registry::builder()
        .env("REGISTRY_HTTP_IDLETIMEOUT", "1s")
        .start();
    let (http, mut findings) = (registry.http(), Findings::new());
    let session = open_session(&http, "slow/app");
    let half = |head: &str| {
        let mut raw = http.open().expect("connecting");
        raw.send(format!("{head} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nContent-Type: {OCI_MANIFEST}\r\n\r\n0123456789"))
            .expect("sending a part");
        raw
    };
    let mut waiting = [
        half(&format!("PATCH {session}")),
        half("PUT /v2/slow/app/manifests/v1"),
        half(&format!("POST /v2/slow/app/blobs/uploads/?digest={ABSENT}")),
        // Nobody reads this body at all.
        half("GET /v2/"),
    ];
    let _ = http.get("/v2/").send().expect(200);
    for (number, raw) in waiting.iter_mut().enumerate() {
        let answer = raw.rest();
        let fine = answer.is_empty() || begins_with(&answer, &[200, 408]);
        findings.check(fine, || {
            format!("{number}: {}", String::from_utf8_lossy(&answer))
        });
    }
    // What had arrived is kept, and the session goes on.
    let status = http.get(&session).send();
    findings.header("the session", &status, "Range", Some("0-9"));
    let blob = Blob::new(OCTETS, b"0123456789abc".to_vec());
    let target = format!("{session}&digest={}", blob.digest);
    findings.status("the rest", &http.put(&target).body("abc").send(), 201);
    findings.status(
        "no manifest",
        &http.get("/v2/slow/app/manifests/v1").send(),
        404,
    );
    assert_well(&registry);
}

#[test]
fn clients_that_do_not_read() {
    let registry = Registry::builder()
        .env("REGISTRY_HTTP_IDLETIMEOUT", "1s")
        .start();
    let http = registry.http();
    let blob = Blob::new(OCTETS, random_bytes(1400, 40_000_000));
    http.push_blob("unread/app", &blob);
    let idle = registry.open_files();
    let request = format!(
        "GET /v2/unread/app/blobs/{} HTTP/1.1\r\nHost: x\r\n\r\n",
        blob.digest
    );
    let readers: Vec<_> = (0..20)
        .map(|_| {
            let mut raw = http.open().expect("connecting");
            raw.send(&request).expect("sending a request");
            assert!(
                raw.has_answer_within(Duration::from_secs(30)),
                "no answer begins"
            );
            raw
        })
        .collect();
    eventually("connections of clients that do not read are closed", || {
        registry.open_files() <= idle + 4
    });
    drop(readers);
    let whole = http
        .get(&format!("/v2/unread/app/blobs/{}", blob.digest))
        .send()
        .expect(200);
    assert!(whole.body == blob.bytes, "other bytes");
    assert_well(&registry);
}

/// A pull for which no file can be opened can be made again later, and says so.
#[test]
fn no_descriptor_left() {
    let registry = Registry::start();
    let http = registry.http();
    let blob = Blob::new(OCTETS, random_bytes(1401, 1000));
    http.push_blob("full/app", &blob);
    let mut raw = http.open().expect("connecting");
    let request = format!(
        "GET /v2/full/app/blobs/{} HTTP/1.1\r\nHost: x\r\n\r\n",
        blob.digest
    );
    let pid = Pid::from_raw(registry.pid().cast_signed());
    let limit = |limit| prlimit(pid, Resource::Nofile, limit).expect("limiting open files");
    // The connection must be accepted before there is no room for it.
    raw.send("GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("sending a request");
    assert_eq!(raw.answer(false).expect("an answer").status, 200);
    let before = limit(Rlimit {
        current: Some(3),
        maximum: getrlimit(Resource::Nofile).maximum,
    });
    raw.send(&request).expect("sending a request");
    let refused = raw.answer(false).expect("an answer");
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
    assert!(String::from_utf8_lossy(&refused.body).contains("UNAVAILABLE"));
    limit(before);
    raw.send(&request).expect("sending a request");
    let answered = raw.answer(false).expect("an answer");
    assert_eq!(answered.status, 200);
    assert!(answered.body == blob.bytes, "other bytes");
    assert_well(&registry);
}

/// Lets this process, and servers it starts from now on, have as many files open as allowed.
fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("raising the limit of open files");
    limit.maximum.unwrap_or(u64::MAX)
}

#[test]
fn ten_thousand_idle_connections() {
    const WANTED: u64 = 10_000;
    /// Open files for everything else.
    const RESERVE: u64 = 1000;
    /// Far above what idle connections need, far below a buffer for each.
    const MOST_BYTES_EACH: u64 = 64 * 1024;
    let count = WANTED.min(raise_open_files().saturating_sub(RESERVE));
    let registry = Registry::builder()
        .env("REGISTRY_HTTP_HEADERTIMEOUT", "10m")
        .start();
    let http = registry.http();
    http.push_image("idle/app", "v1", &Image::new(1500, &[1000]));
    let (memory, files) = (registry.resident_bytes(), registry.open_files());
    let address = registry.host();
    let idle: Vec<_> = (0..count)
        .map(|_| TcpStream::connect(&address).expect("connecting"))
        .collect();
    // Not counted from what was open before: files of the push may still be closing.
    eventually("all connections are accepted", || {
        registry.open_files() as u64 >= count
    });
    for _ in 0..50 {
        let _ = http.get("/v2/idle/app/manifests/v1").send().expect(200);
    }
    let grown = registry.resident_bytes().saturating_sub(memory);
    println!(
        "{count} idle connections: {} KiB more memory, {} bytes each",
        grown / 1024,
        grown / count.max(1)
    );
    assert!(
        grown < count * MOST_BYTES_EACH,
        "{grown} bytes for {count} connections"
    );
    drop(idle);
    eventually("all connections are closed", || {
        registry.open_files() <= files + 4
    });
    assert_well(&registry);
}

#[test]
fn more_connections_than_allowed_wait() {
    let registry = Registry::builder()
        .env("REGISTRY_HTTP_MAXCONNECTIONS", "4")
        .env("REGISTRY_HTTP_HEADERTIMEOUT", "10m")
        .start();
    let http = registry.http();
    let mut held: Vec<_> = (0..4).map(|_| http.open().expect("connecting")).collect();
    // Each is in its place once it was answered.
    for raw in &mut held {
        raw.send("GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
            .expect("sending");
        let _ = raw.answer(false).expect("an answer").expect(200);
    }
    let mut waiting = http.open().expect("the kernel takes the connection");
    waiting
        .send("GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("sending");
    assert!(
        !waiting.has_answer_within(Duration::from_millis(500)),
        "the limit was not kept"
    );
    held.pop();
    let _ = waiting.answer(false).expect("an answer").expect(200);
    drop(held);
    assert_well(&registry);
}

#[test]
fn connections_that_say_nothing_are_closed() {
    let registry = Registry::builder()
        .env("REGISTRY_HTTP_HEADERTIMEOUT", "1s")
        .env("REGISTRY_HTTP_H2C_ENABLED", "true")
        .start();
    let http = registry.http();
    // Nothing at all, the beginning of the HTTP/2 preface, the beginning of a method that looks like it.
    for said in ["", "PRI", "P", "G"] {
        let mut raw = http.open().expect("connecting");
        raw.send(said).expect("sending nothing much");
        // An HTTP/2 server introduces itself first; what counts is that the connection ends.
        let _ = raw.rest();
    }
    assert_well(&registry);
}

#[test]
fn http2_without_tls_is_spoken_where_it_is_on() {
    for (on, version) in [("true", "2"), ("false", "1.1")] {
        let registry = Registry::builder()
            .env("REGISTRY_HTTP_H2C_ENABLED", on)
            .start();
        registry.http().push_image(
            "clear/app",
            "v1",
            &holdfast_tests::Image::new(1450, &[100_000]),
        );
        let spoken = registry
            .curl()
            .args(["--http2-prior-knowledge", "--output", "/dev/null"])
            .args(["--write-out", "%{http_version} %{http_code}"])
            .arg(format!("{}/v2/clear/app/manifests/v1", registry.url()))
            .finish();
        if on == "true" {
            assert_eq!(spoken.text().trim(), format!("{version} 200"));
        } else {
            assert!(!spoken.status.success());
        }
    }
}
