//! `middleware.storage`: where clients are sent for blobs.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holdfast_tests::{
    Findings, ObjectServer, Registry, RegistryBuilder, Service, Workbench, eventually,
};

use super::blob;

/// A registry with this middleware of storage.
fn with(storage: &str) -> RegistryBuilder {
    Registry::builder().section(&format!("middleware:\n  storage:\n    - {storage}\n"))
}

#[test]
fn redirect_sends_clients_to_the_key_below_a_url() {
    if Registry::is_peer() {
        return;
    }
    let registry =
        with("{name: redirect, options: {baseurl: 'https://cdn.example.com/base/'}}").start();
    let (http, mut findings) = (registry.http(), Findings::new());
    let blob = blob(1400, 1000);
    http.push_blob("sent/away", &blob);
    let target = format!("/v2/sent/away/blobs/{}", blob.digest);
    let hex = blob.digest.trim_start_matches("sha256:");
    let key = format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
    assert!(registry.data().join(&key).is_file(), "no {key}");
    let expected = format!("https://cdn.example.com/base/{key}");
    let plain = http.get(&target).send();
    let range = http.get(&target).header("Range", "bytes=5-9").send();
    for answer in [&plain, &range] {
        findings.status(&target, answer, 307);
        findings.header(&target, answer, "Location", Some(&expected));
        findings.header(&target, answer, "Cache-Control", Some("no-store"));
        findings.header(&target, answer, "Docker-Content-Digest", Some(&blob.digest));
    }
    // From metadata alone, and what is not there is not redirected to.
    let head = http.head(&target).send();
    findings.status("HEAD", &head, 200);
    findings.header("HEAD", &head, "Content-Length", Some("1000"));
    let elsewhere = format!("/v2/other/repository/blobs/{}", blob.digest);
    findings.status("elsewhere", &http.get(&elsewhere).send(), 404);
}

#[test]
fn redirects_can_be_turned_off() {
    if Registry::is_peer() {
        return;
    }
    let registry = with("{name: redirect, options: {baseurl: 'https://cdn.example.com'}}")
        .env("REGISTRY_STORAGE_REDIRECT_DISABLE", "true")
        .start();
    let http = registry.http();
    let blob = blob(1402, 1000);
    http.push_blob("stays/here", &blob);
    let answer = http
        .get(&format!("/v2/stays/here/blobs/{}", blob.digest))
        .send()
        .expect(200);
    assert_eq!(answer.body, blob.bytes);
}

#[test]
fn what_stands_in_the_wrong_place_takes_effect_all_the_same() {
    if Registry::is_peer() {
        return;
    }
    let section = "middleware:\n  registry:\n    - {name: redirect, options: {baseurl: 'https://cdn.example.com'}}\n";
    let registry = Registry::builder().section(section).start();
    assert!(
        registry
            .log()
            .contains("write them under middleware.storage"),
        "{}",
        registry.log()
    );
    let http = registry.http();
    let blob = blob(1403, 10);
    http.push_blob("sent/away", &blob);
    let target = format!("/v2/sent/away/blobs/{}", blob.digest);
    let _ = http.get(&target).send().expect(307);
}

/// A key for nothing else: the one whose signatures the unit tests compare with those of openssl.
fn signing_key() -> PathBuf {
    let path = "../crates/holdfast/src/middleware/test-key.pem";
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A registry on S3 that sends clients to CloudFront, with further options.
fn on_cloudfront(server: &Arc<ObjectServer>, options: &str) -> Registry {
    let key = signing_key().display().to_string();
    let entry = format!(
        "{{name: cloudfront, options: {{baseurl: d111.cloudfront.net, privatekey: '{key}', keypairid: APKA1{options}}}}}"
    );
    with(&entry)
        .store(server)
        .redirect()
        .env("REGISTRY_STORAGE_S3_ROOTDIRECTORY", "/the/root")
        .start()
}

#[test]
fn cloudfront_gets_signed_urls_of_the_keys_in_the_bucket() {
    if Registry::is_peer() {
        return;
    }
    let server = Arc::new(ObjectServer::start(Service::Versity));
    let registry = on_cloudfront(&server, ", duration: 3000s");
    let http = registry.http();
    let blob = blob(1404, 10_000);
    http.push_blob("sent/away", &blob);
    let target = format!("/v2/sent/away/blobs/{}", blob.digest);
    let answer = http.get(&target).send().expect(307);
    let (url, query) = answer.location().split_once('?').expect("a query");
    let key = url
        .strip_prefix("https://d111.cloudfront.net/the/root/")
        .unwrap_or_else(|| panic!("{answer}"));
    let stored = server.files().join("the/root").join(key);
    assert_eq!(fs::read(stored).expect("the object"), blob.bytes);

    let mut parts = query.split('&').map(|part| {
        let (name, value) = part.split_once('=').expect("a value");
        (name, value.to_owned())
    });
    let mut next = |expected: &str| {
        let (name, value) = parts.next().expect("a parameter");
        assert_eq!(name, expected, "{query}");
        value
    };
    let expires = next("Expires");
    let signature = next("Signature");
    assert_eq!(next("Key-Pair-Id"), "APKA1");
    // What openssl says of it, with the policy that CloudFront puts together itself.
    let home = Workbench::new();
    let policy = format!(
        r#"{{"Statement":[{{"Resource":"{url}","Condition":{{"DateLessThan":{{"AWS:EpochTime":{expires}}}}}}}]}}"#
    );
    let signature = signature
        .replace('-', "+")
        .replace('_', "=")
        .replace('~', "/");
    let signature = STANDARD.decode(signature).expect("base64");
    home.tool("openssl")
        .args(["rsa", "-pubout", "-out", "public.pem", "-in"])
        .arg(signing_key())
        .run();
    home.tool("openssl")
        .args(["dgst", "-sha1", "-verify", "public.pem", "-signature"])
        .arg(home.file("signature", signature))
        .arg(home.file("policy", policy))
        .run()
        .mentions("Verified OK");
}

/// Answers every request with this list of Amazon's addresses, until the test ends.
fn publish(list: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                list.len()
            );
            let _ = stream.write_all((head + list).as_bytes());
        }
    });
    format!("http://{address}/ip-ranges.json")
}

#[test]
fn clients_at_amazon_are_sent_to_the_bucket() {
    if Registry::is_peer() {
        return;
    }
    let list = publish(
        r#"{"prefixes": [{"ip_prefix": "203.0.113.0/25", "region": "us-east-1"},
            {"ip_prefix": "203.0.113.128/25", "region": "eu-west-1"}], "ipv6_prefixes": []}"#,
    );
    let blob = blob(1405, 100);
    let target = format!("/v2/sent/away/blobs/{}", blob.digest);
    for (filter, far) in [
        ("ipfilteredby: aws", "198.51.100.1"),
        (
            "ipfilteredby: awsregion, awsregion: 'US-East-1, nowhere'",
            "203.0.113.200",
        ),
    ] {
        let server = Arc::new(ObjectServer::start(Service::Versity));
        let registry = on_cloudfront(&server, &format!(", {filter}, iprangesurl: '{list}'"));
        let http = registry.http();
        http.push_blob("sent/away", &blob);
        let sent = |address: &str| {
            let asked = http.get(&target).header("X-Forwarded-For", address);
            asked.send().expect(307).location().to_owned()
        };
        eventually("the addresses are read", || {
            sent(far).starts_with("https://d111.cloudfront.net/")
        });
        let near = sent("203.0.113.7");
        assert!(
            near.starts_with(&format!("http://{}/", server.address())),
            "{near}"
        );
    }
}
