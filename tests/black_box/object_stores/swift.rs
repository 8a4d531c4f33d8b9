//! OpenStack Swift: a real one with its own authentication, and the same one behind a stub of Keystone that takes
//! what its documentation describes and nothing else.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use holdfast_storage::cloud::{
    AuthVersion, Common, EndpointType, SwiftIdentity, SwiftSettings, TemporaryUrlSettings,
};
use holdfast_storage::{BlobStore, Cloud, suite};
use holdfast_tests::{
    Blob, Image, ObjectServer, Registry, Service, eventually, http, random_bytes,
};
use serde_json::{Value, json};

use super::driver::{common, random, runtime};

const MIB: usize = 1024 * 1024;

/// The container as its owner sees it.
struct Owner {
    client: http::Client,
    account: String,
    token: String,
}

impl Owner {
    fn of(server: &ObjectServer) -> Owner {
        let client = http::Client::tcp(&server.address());
        let (user, key) = server.keys();
        let granted = client
            .get("/auth/v1.0")
            .header("X-Auth-User", user)
            .header("X-Auth-Key", key)
            .send()
            .expect(200);
        let header = |name: &str| granted.header(name).expect("it is told").to_owned();
        let (url, token) = (header("X-Storage-Url"), header("X-Auth-Token"));
        let start = format!("http://{}", server.address());
        let account = url.strip_prefix(&start).expect("it is there").to_owned();
        Owner {
            client,
            account,
            token,
        }
    }

    /// Names that begin with `prefix`.
    fn names(&self, container: &str, prefix: &str) -> Vec<String> {
        let path = format!("{}/{container}?prefix={prefix}", self.account);
        let listed = self.client.get(&path).header("X-Auth-Token", &self.token);
        let listed = listed.send();
        assert!([200, 204].contains(&listed.status), "{}", listed.status);
        let text = String::from_utf8(listed.body).expect("names are text");
        text.lines().map(str::to_owned).collect()
    }
}

fn settings(server: &ObjectServer, redirect: bool) -> SwiftSettings {
    let (user, key) = server.keys();
    SwiftSettings {
        identity: SwiftIdentity {
            auth_url: format!("http://{}/auth/v1.0", server.address()),
            version: AuthVersion::V1,
            username: user.to_owned(),
            password: key.to_owned(),
            tenant: None,
            tenant_id: None,
            domain: None,
            domain_id: None,
            tenant_domain: None,
            tenant_domain_id: None,
            trust_id: None,
            region: None,
            endpoint_type: EndpointType::Public,
        },
        container: server.bucket().to_owned(),
        temporary_urls: TemporaryUrlSettings {
            key: Some("tests".to_owned()),
            ..TemporaryUrlSettings::default()
        },
        common: Common {
            redirect,
            ..common()
        },
    }
}

#[test]
fn swift_keeps_every_promise() {
    let server = ObjectServer::start(Service::Swift);
    let settings = settings(&server, true);
    runtime().block_on(async {
        let open = async || {
            let opened = Cloud::swift(&settings, random).await;
            opened.expect("the container opens")
        };
        suite::run(async || open().await as Arc<dyn BlobStore>).await;
        let left = open().await.unfinished(1).await;
        let left = left.expect("uploads are listed");
        assert_eq!(left, [], "no multipart upload is left");
    });
}

#[test]
fn clients_are_sent_to_swift() {
    let server = Arc::new(ObjectServer::start(Service::Swift));
    let registry = Registry::builder().store(&server).redirect().start();
    let image = Image::new(940, &[70_000, 11 * MIB]);
    registry.http().push_image("cloud/app", "v1", &image);
    let there = http::Client::tcp(&server.address());
    let start = format!("http://{}", server.address());
    for layer in image.blobs() {
        let path = format!("/v2/cloud/app/blobs/{}", layer.digest);
        let sent = registry.http().get(&path).send().expect(307);
        let place = sent.location().strip_prefix(&start).expect("the server");
        let got = there.get(place).send().expect(200);
        assert!(got.body == layer.bytes);
        let part = there.get(place).header("Range", "bytes=5-9").send();
        assert_eq!(part.expect(206).body, layer.bytes[5..10]);
        // Whoever changes the URL gets nothing.
        let other = place.replace(".w", ".v").replace(".m", ".v");
        assert_eq!(there.get(&other).send().status, 401);
    }
}

#[test]
fn deleted_content_leaves_swift() {
    let server = Arc::new(ObjectServer::start(Service::Swift));
    let registry = Registry::builder().store(&server).start();
    let image = Image::new(944, &[70_000, 11 * MIB]);
    registry.http().push_image("cloud/app", "v1", &image);
    let owner = Owner::of(&server);
    let container = server.bucket();
    assert_eq!(owner.names(container, "files/holdfast/blobs/").len(), 3);
    assert_eq!(owner.names(container, "holdfast-segments/").len(), 3);
    let path = format!("/v2/cloud/app/manifests/{}", image.manifest.digest);
    registry.http().delete(&path).send().expect(202);
    registry.manage(&["gc", "run", "--grace", "0s"]).run();
    let none = Vec::<String>::new();
    assert_eq!(owner.names(container, "files/holdfast/blobs/"), none);
    assert_eq!(owner.names(container, "holdfast-segments/"), none);
}

#[test]
fn an_upload_to_swift_goes_on_in_another_process() {
    let server = Arc::new(ObjectServer::start(Service::Swift));
    let mut registry = Registry::builder()
        .store(&server)
        .section("gc: {interval: 100ms}")
        .start();
    let layer = Blob::new("application/octet-stream", random_bytes(941, 19 * MIB + 5));
    let client = registry.http();
    let opened = client.post("/v2/cloud/app/blobs/uploads/").body("").send();
    let opened = opened.expect(202);
    let patch = |registry: &Registry, location: &str, bytes: &[u8]| {
        let sent = registry.http().patch(location).body(bytes).send();
        sent.expect(202).location().to_owned()
    };
    let offset = 8 * MIB;
    let location = patch(&registry, opened.location(), &layer.bytes[..offset]);
    registry.kill();
    registry.restart();
    // Killed while segments are on their way, which no record will name.
    let rest = &layer.bytes[offset..];
    let target = &location[location.find("/v2/").expect("a path of the registry")..];
    let mut client = registry.http().open().expect("connecting");
    let head = format!(
        "PATCH {target} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
        registry.http().host(),
        rest.len()
    );
    client.send(head).expect("a head is sent");
    client
        .send(&rest[..7 * MIB])
        .expect("a part of a body is sent");
    let owner = Owner::of(&server);
    let sent = || owner.names(server.bucket(), "holdfast-segments/").len();
    eventually("a segment is stored that no record names", || sent() > 1);
    registry.kill();
    registry.restart();
    let state = registry.http().get(&location).send().expect(204);
    let range = format!("0-{}", offset - 1);
    assert_eq!(state.header("Range"), Some(range.as_str()));
    let location = patch(&registry, &location, rest);
    let separator = if location.contains('?') { '&' } else { '?' };
    let finish = format!("{location}{separator}digest={}", layer.digest);
    registry.http().put(&finish).body("").send().expect(201);

    let path = format!("/v2/cloud/app/blobs/{}", layer.digest);
    let got = registry.http().get(&path).send().expect(200);
    assert!(got.body == layer.bytes);
    // The blob has every segment that is left, and the one without a record is gone.
    let left = |prefix: &str| owner.names(server.bucket(), prefix).len();
    eventually("nothing is left but the blob", || {
        (left("files/holdfast/blobs/"), left("holdfast-segments/")) == (1, 4)
    });
    let got = registry.http().get(&path).send().expect(200);
    assert!(got.body == layer.bytes);
}

#[test]
fn a_container_of_distribution_is_taken_over() {
    let server = Arc::new(ObjectServer::start(Service::Swift));
    // The larger layer is a dynamic large object of several segments there.
    let image = Image::new(942, &[70_000, 12 * MIB]);
    let builder = || Registry::builder().store(&server);
    let peer = builder().program("docker-registry").start();
    peer.http().push_image("old/app", "v1", &image);
    drop(peer);
    let owner = Owner::of(&server);
    let segments = || owner.names(server.bucket(), "segments/").len();
    assert!(segments() >= 3, "{}", segments());

    let registry = builder().start();
    let client = registry.http();
    let manifest = client.get("/v2/old/app/manifests/v1").send().expect(200);
    assert_eq!(manifest.body, image.manifest.bytes);
    for layer in image.blobs() {
        let path = format!("/v2/old/app/blobs/{}", layer.digest);
        let got = client.get(&path).send().expect(200);
        assert!(got.body == layer.bytes);
        let part = client.get(&path).header("Range", "bytes=100-299").send();
        assert_eq!(part.expect(206).body, layer.bytes[100..300]);
    }
    eventually("the container is adopted", || {
        client.tags("old/app") == ["v1"]
    });
    let more = Image::new(943, &[1000, 6 * MIB]);
    client.push_image("old/app", "v2", &more);
    registry.manage(&["check", "--read-data"]).run();

    for image in [&image, &more] {
        let path = format!("/v2/old/app/manifests/{}", image.manifest.digest);
        client.delete(&path).send().expect(202);
    }
    registry.manage(&["gc", "run", "--grace", "0s"]).run();
    assert_eq!(segments(), 0, "they go with the blob that has them");
    let ours = owner.names(server.bucket(), "holdfast-segments/");
    assert_eq!(ours, Vec::<String>::new());
}

/// Keystone, as far as it gives tokens: those of a Swift that has its own.
struct Keystone {
    address: SocketAddr,
    /// Tokens given so far.
    given: Arc<AtomicUsize>,
}

impl Keystone {
    /// `life` is that of every token in minutes, and the first of them is one that Swift does not know.
    fn start(swift: &ObjectServer, life: u64) -> Keystone {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let given = Arc::new(AtomicUsize::new(0));
        let owner = Arc::new(Mutex::new(Owner::of(swift)));
        let (swift, count) = (swift.address(), Arc::clone(&given));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let owner = owner.lock().expect("nobody panicked with it");
                let url = format!("http://{swift}{}", owner.account);
                answer(&client, &owner.token, &url, life, &count);
            }
        });
        Keystone { address, given }
    }

    fn settings(&self, server: &ObjectServer, version: AuthVersion) -> SwiftSettings {
        let mut settings = settings(server, false);
        let path = if version == AuthVersion::V2 {
            "v2.0"
        } else {
            "v3"
        };
        settings.identity = SwiftIdentity {
            auth_url: format!("http://{}/{path}", self.address),
            version,
            username: "u".to_owned(),
            password: "p".to_owned(),
            tenant: Some("t".to_owned()),
            region: Some("right".to_owned()),
            endpoint_type: EndpointType::Internal,
            ..settings.identity
        };
        settings
    }
}

/// Answers one request for a token.
fn answer(client: &TcpStream, token: &str, swift: &str, life: u64, given: &AtomicUsize) {
    let mut reader = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).expect("a request") == 0 {
            return;
        }
    }
    let lower = head.to_ascii_lowercase();
    let length = lower.split("content-length: ").nth(1).expect("a length");
    let length = length.lines().next().expect("a line").parse();
    let mut body = vec![0; length.expect("a length")];
    reader.read_exact(&mut body).expect("a body");
    assert!(
        lower.contains("content-type: application/json\r\n"),
        "{head}"
    );
    let asked: Value = serde_json::from_slice(&body).expect("it is JSON");
    let number = given.fetch_add(1, Ordering::Relaxed);
    let token = if number == 0 {
        "unknown to Swift"
    } else {
        token
    };
    let ends = format!("2026-01-01T{:02}:{:02}:00Z", life / 60, life % 60);
    // Nobody answers at the wrong address.
    let wrong = "http://127.0.0.1:9/v1/AUTH_wrong";
    let (target, status, header, text) = if head.starts_with("POST /v2.0/tokens ") {
        let user = json!({"username": "u", "password": "p"});
        let known = json!({"auth": {"passwordCredentials": user, "tenantName": "t"}});
        let catalog = json!([
            {"type": "identity", "endpoints": [{"region": "right", "internalURL": wrong}]},
            {"type": "object-store", "endpoints": [
                {"region": "wrong", "publicURL": wrong, "internalURL": wrong},
                {"region": "right", "publicURL": wrong, "internalURL": swift}]},
        ]);
        let token =
            json!({"id": token, "issued_at": "2026-01-01T00:00:00.000000", "expires": ends});
        let text = json!({"access": {"token": token, "serviceCatalog": catalog}});
        (known, "200 OK", String::new(), text)
    } else if head.starts_with("POST /v3/auth/tokens ") {
        let domain = json!({"id": "default"});
        let user = json!({"name": "u", "password": "p", "domain": domain});
        let known = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": {"name": "t", "domain": domain}},
        }});
        let endpoint = |region: &str, interface: &str, url: &str| json!({"id": "e", "region": region, "region_id": region, "interface": interface, "url": url});
        let catalog = json!([
            {"type": "identity", "id": "i", "endpoints": [endpoint("right", "internal", wrong)]},
            {"type": "object-store", "id": "o", "endpoints": [
                endpoint("wrong", "internal", wrong),
                endpoint("right", "public", wrong),
                endpoint("right", "internal", swift)]},
        ]);
        let text = json!({"token": {
            "issued_at": "2026-01-01T00:00:00.000000Z", "expires_at": ends, "catalog": catalog,
        }});
        let header = format!("X-Subject-Token: {token}\r\n");
        (known, "201 Created", header, text)
    } else {
        panic!("no such request: {head}");
    };
    let (status, header, text) = if asked == target {
        (status, header, text.to_string())
    } else {
        ("401 Unauthorized", String::new(), asked.to_string())
    };
    let mut writer = client;
    let answered = write!(
        writer,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{header}\r\n{text}",
        text.len()
    );
    answered.expect("an answer is sent");
}

#[test]
fn keystone_says_who_we_are_and_where_swift_is() {
    let server = ObjectServer::start(Service::Swift);
    for version in [AuthVersion::V2, AuthVersion::V3] {
        let keystone = Keystone::start(&server, 60);
        let settings = keystone.settings(&server, version);
        let given = || keystone.given.load(Ordering::Relaxed);
        runtime().block_on(async {
            let store = Cloud::swift(&settings, random).await.expect("it opens");
            // Swift did not know the first one.
            assert_eq!(given(), 2, "{version:?}");
            store.probe().await.expect("the container is listed");
            assert_eq!(given(), 2, "{version:?}: a token that is good is kept");
        });

        // Tokens that end at once are never used twice.
        let keystone = Keystone::start(&server, 0);
        let settings = keystone.settings(&server, version);
        let given = || keystone.given.load(Ordering::Relaxed);
        runtime().block_on(async {
            let store = Cloud::swift(&settings, random).await.expect("it opens");
            let before = given();
            for more in 1..=3 {
                store.probe().await.expect("the container is listed");
                assert_eq!(given(), before + more, "{version:?}");
            }
        });
    }
}

#[test]
fn what_the_identity_service_refuses_is_told() {
    let server = ObjectServer::start(Service::Swift);
    let keystone = Keystone::start(&server, 60);
    let refused = |change: fn(&mut SwiftSettings)| {
        let mut settings = keystone.settings(&server, AuthVersion::V3);
        change(&mut settings);
        let opened = runtime().block_on(Cloud::swift(&settings, random));
        let mut error: &dyn std::error::Error = match &opened {
            Ok(_) => panic!("it opens"),
            Err(error) => error,
        };
        let mut text = error.to_string();
        while let Some(source) = error.source() {
            text = format!("{text}: {source}");
            error = source;
        }
        text
    };
    let text = refused(|settings| settings.identity.password = "wrong".to_owned());
    assert!(text.contains("401 Unauthorized"), "{text}");
    let text = refused(|settings| settings.identity.region = Some("none".to_owned()));
    assert!(
        text.contains(r#"in "none"; it has: Internal in "wrong""#),
        "{text}"
    );
    let text = refused(|settings| settings.identity.endpoint_type = EndpointType::Admin);
    assert!(text.contains("of type Admin"), "{text}");
}
