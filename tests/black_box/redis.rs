//! Payloads in Redis, which nodes share, and which may be flushed, killed, halted and lied to.

use holdfast_tests::http::Client;
use holdfast_tests::{Blob, Image, Postgres, RedisServer, Registry, eventually, free_port};
use serde_json::{Value, json};

const REPOSITORY: &str = "shared/app";
const CONNECTED: &str = "holdfast_redis_connected";
const REQUESTS: &str = "registry_storage_cache_requests_total";
const HITS: &str = "registry_storage_cache_hits_total";
const ERRORS: &str = "registry_storage_cache_errors_total";
const WRONG: &str = "holdfast_redis_wrong_values_total";

/// A node on PostgreSQL with this section `redis`, and a manifest that is worth keeping there.
struct Node {
    registry: Registry,
    debug: Client,
    manifest: Blob,
    key: String,
}

impl Node {
    /// `TAGS` tags point to the manifest: what was never asked for is asked for as on a node that just started.
    fn start(seed: u64, redis: &str) -> Node {
        let debug = format!("127.0.0.1:{}", free_port());
        let database = Postgres::shared().database();
        let registry = Registry::builder()
            .section(&format!(
                "metadata: {{postgres: {{url: '{}'}}}}",
                database.url()
            ))
            .section(&format!("redis: {redis}"))
            .env("REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR", "redis")
            .env("REGISTRY_HTTP_DEBUG_ADDR", &debug)
            .env("REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED", "true")
            .start();
        let image = Image::new(seed, &[10]);
        let mut text: Value =
            serde_json::from_slice(&image.manifest.bytes).expect("a manifest is JSON");
        text["annotations"] = json!({ "org.example.long": "x".repeat(50_000) });
        let manifest = Blob::new(image.manifest.media_type, text.to_string().into_bytes());
        for blob in image.blobs() {
            registry.http().push_blob(REPOSITORY, blob);
        }
        let node = Node {
            registry,
            debug: Client::tcp(&debug),
            key: format!("holdfast:manifest:{}", manifest.digest),
            manifest,
        };
        for number in 0..TAGS {
            let tag = format!("v{number}");
            node.registry
                .http()
                .push_manifest(REPOSITORY, &tag, &node.manifest);
        }
        node
    }

    /// Pulls by a tag; whatever Redis does, the answer is the manifest.
    #[track_caller]
    fn pull(&self, number: usize) {
        assert!(number < TAGS);
        let target = format!("/v2/{REPOSITORY}/manifests/v{number}");
        let answer = self.registry.http().get(&target).send().expect(200);
        assert!(answer.body == self.manifest.bytes, "another manifest");
        let digest = answer.header("Docker-Content-Digest");
        assert_eq!(digest, Some(self.manifest.digest.as_str()));
    }

    fn number(&self, series: &str) -> u64 {
        let page = self.debug.get("/metrics").send().expect(200).text();
        let value = page
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value
            .expect("the series is on the page")
            .parse()
            .expect("a number")
    }

    #[track_caller]
    fn wait_for(&self, connected: u64) {
        eventually("Redis is asked, or is not", || {
            self.number(CONNECTED) == connected
        });
    }

    #[track_caller]
    fn wait_until_kept(&self, redis: &RedisServer) {
        let size = self.manifest.bytes.len().to_string();
        eventually("the payload is in Redis", || {
            redis.ask(&["STRLEN", &self.key]) == size
        });
    }
}

const TAGS: usize = 12;

#[test]
fn what_one_fetched_others_have_from_redis_until_it_is_flushed() {
    let redis = RedisServer::start();
    let mut node = Node::start(
        7100,
        &format!("{{addr: '{}', clientname: holdfast-test}}", redis.host()),
    );
    node.wait_for(1);
    assert!(
        redis
            .ask(&["CLIENT", "LIST"])
            .contains("name=holdfast-test")
    );
    node.pull(0);
    node.wait_until_kept(&redis);
    assert_eq!((node.number(REQUESTS), node.number(HITS)), (1, 0));
    let lives: i64 = redis.ask(&["TTL", &node.key]).parse().unwrap();
    assert!(lives > 0, "it ends by itself: {lives}");
    node.pull(1);
    assert_eq!((node.number(REQUESTS), node.number(HITS)), (2, 1));

    // A node that just started knows nothing by itself.
    node.registry.restart();
    node.wait_for(1);
    node.pull(0);
    assert_eq!((node.number(REQUESTS), node.number(HITS)), (1, 1));
    // What it knows, it does not ask for.
    node.pull(0);
    assert_eq!(node.number(REQUESTS), 1);

    redis.tell(&["FLUSHALL"]);
    node.pull(1);
    assert_eq!((node.number(REQUESTS), node.number(HITS)), (2, 1));
    node.wait_until_kept(&redis);
    node.pull(2);
    assert_eq!(node.number(HITS), 2);

    // Redis has it still, and it is gone all the same.
    let (http, digest) = (node.registry.http(), &node.manifest.digest);
    http.delete(&format!("/v2/{REPOSITORY}/manifests/{digest}"))
        .send()
        .expect(202);
    for reference in ["v0", "v9", digest] {
        http.get(&format!("/v2/{REPOSITORY}/manifests/{reference}"))
            .send()
            .expect(404);
    }
    assert_ne!(redis.ask(&["STRLEN", &node.key]), "0");
    assert_eq!((node.number(ERRORS), node.number(WRONG)), (0, 0));
}

#[test]
fn wrong_values_are_ignored_and_overwritten() {
    let redis = RedisServer::start();
    let node = Node::start(
        7200,
        &format!("{{addrs: ['{}'], protocol: 3}}", redis.host()),
    );
    node.wait_for(1);
    let other = "y".repeat(node.manifest.bytes.len());
    redis.tell(&["SET", &node.key, &other]);
    node.pull(0);
    assert_eq!((node.number(WRONG), node.number(HITS)), (1, 0));
    // It is told by its bytes, since the length is the same.
    eventually("the payload is put right", || {
        redis.ask(&["GETRANGE", &node.key, "0", "0"]) == "{"
    });
    node.pull(1);
    assert_eq!((node.number(WRONG), node.number(HITS)), (1, 1));

    // Shorter, and longer by far than anything that is kept there.
    for (pulled, command) in [
        (2, ["SET", &node.key, "short"].as_slice()),
        (3, &["SETRANGE", &node.key, "100000000", "x"]),
    ] {
        redis.tell(command);
        node.pull(pulled);
        assert_eq!(node.number(WRONG), pulled as u64);
        node.wait_until_kept(&redis);
    }
    // No text at all: Redis says so, and the connection goes on.
    redis.tell(&["DEL", &node.key]);
    redis.tell(&["LPUSH", &node.key, "x"]);
    node.pull(4);
    node.wait_until_kept(&redis);
    assert_eq!((node.number(ERRORS), node.number(CONNECTED)), (1, 1));
    // A server that is full takes nothing, which hurts nobody.
    redis.tell(&["FLUSHALL"]);
    redis.tell(&["CONFIG", "SET", "maxmemory", "1"]);
    node.pull(5);
    eventually("Redis refuses the value", || node.number(ERRORS) == 2);
    node.pull(6);
    eventually("Redis refuses the value again", || node.number(ERRORS) == 3);
    assert_eq!(node.number(CONNECTED), 1);
}

#[test]
fn a_server_that_is_killed_hangs_or_comes_late_disturbs_nobody() {
    let mut redis = RedisServer::start();
    let section = format!(
        "{{addr: '{}', readtimeout: 50ms, maxretrybackoff: 200ms}}",
        redis.host()
    );
    let mut node = Node::start(7300, &section);
    node.wait_for(1);
    node.pull(0);
    node.wait_until_kept(&redis);

    redis.hang();
    node.pull(1);
    node.wait_for(0);
    // From now on nobody asks, so nobody waits.
    let (requests, errors) = (node.number(REQUESTS), node.number(ERRORS));
    assert_eq!((requests, errors), (2, 1));
    (2..5).for_each(|number| node.pull(number));
    assert_eq!(
        (node.number(REQUESTS), node.number(ERRORS)),
        (requests, errors)
    );
    redis.wake();
    node.wait_for(1);
    node.pull(5);
    assert_eq!(node.number(HITS), 1);

    redis.kill();
    node.pull(6);
    node.wait_for(0);
    node.pull(7);
    // It starts and serves without.
    node.registry.restart();
    node.pull(8);
    assert_eq!(node.number(REQUESTS), 0);
    redis.resume();
    node.wait_for(1);
    node.pull(9);
    node.wait_until_kept(&redis);
    node.pull(10);
    assert_eq!((node.number(REQUESTS), node.number(HITS)), (2, 1));
    let log = node.registry.log();
    assert!(
        log.contains("cannot connect to Redis; the database answers alone"),
        "{log}"
    );
}

#[test]
fn tls_with_a_certificate_and_a_password() {
    let (redis, files) = RedisServer::start_with_tls("hunter2");
    let tls = |authority: &std::path::Path| {
        let (certificate, key) = (files.client.display(), files.client_key.display());
        format!(
            "{{addr: '{}', password: hunter2, tls: {{certificate: {certificate}, key: {key}, rootcas: [{}]}}}}",
            redis.host(),
            authority.display()
        )
    };
    let node = Node::start(7400, &tls(&files.authority));
    node.wait_for(1);
    node.pull(0);
    node.wait_until_kept(&redis);
    node.pull(1);
    assert_eq!(node.number(HITS), 1);
    drop(node);

    // Whoever cannot prove its name is not told the password; the node serves without it.
    let (_other, others) = RedisServer::start_with_tls("x");
    let node = Node::start(7500, &tls(&others.authority));
    eventually("the certificate is refused", || {
        node.registry.log().contains("cannot connect to Redis")
    });
    node.pull(0);
    assert_eq!((node.number(CONNECTED), node.number(REQUESTS)), (0, 0));
    let log = node.registry.log();
    assert!(!log.contains("hunter2"), "{log}");
}

#[test]
fn sentinels_lead_to_the_new_master() {
    let mut master = RedisServer::start();
    let replica = master.replica();
    eventually("the replica follows", || {
        master
            .ask(&["INFO", "replication"])
            .contains("state=online")
    });
    let sentinel = master.sentinel("main");
    eventually("the sentinel knows both", || {
        sentinel
            .ask(&["SENTINEL", "REPLICAS", "main"])
            .contains("slave-priority")
    });
    let section = format!(
        "{{addrs: ['{}'], mastername: main, maxretrybackoff: 200ms}}",
        sentinel.host()
    );
    let node = Node::start(7600, &section);
    node.wait_for(1);
    node.pull(0);
    node.wait_until_kept(&master);
    node.wait_until_kept(&replica);
    master.kill();
    node.pull(1);
    node.wait_for(0);
    node.wait_for(1);
    // What the old master took, the new one has; and it takes more.
    node.pull(2);
    assert_eq!(node.number(HITS), 1);
    replica.tell(&["FLUSHALL"]);
    node.pull(3);
    node.wait_until_kept(&replica);
}

#[test]
fn a_cluster_keeps_each_payload_where_its_key_belongs() {
    let mut nodes = RedisServer::cluster();
    let section = format!(
        "{{addrs: ['{}', '{}'], readonly: true, maxretrybackoff: 200ms}}",
        nodes[0].host(),
        nodes[1].host()
    );
    let node = Node::start(7700, &section);
    node.wait_for(1);
    let mut keys = vec![node.key.clone()];
    node.pull(0);
    for number in 0..8 {
        let mut text: Value = serde_json::from_slice(&node.manifest.bytes).unwrap();
        text["annotations"]["org.example.number"] = json!(number.to_string());
        let manifest = Blob::new(node.manifest.media_type, text.to_string().into_bytes());
        let http = node.registry.http();
        http.push_manifest(REPOSITORY, "other", &manifest);
        http.get(&format!("/v2/{REPOSITORY}/manifests/{}", manifest.digest))
            .send()
            .expect(200);
        keys.push(format!("holdfast:manifest:{}", manifest.digest));
    }
    let held = |server: &RedisServer| server.ask(&["DBSIZE"]).parse::<usize>().unwrap_or(0);
    eventually("all payloads are in the cluster", || {
        nodes.iter().map(held).sum::<usize>() == keys.len()
    });
    assert!(nodes.iter().filter(|server| held(server) > 0).count() > 1);
    node.pull(1);
    assert_eq!((node.number(HITS), node.number(ERRORS)), (1, 0));

    // The one that has the payload dies, and no other may take its place.
    let size = node.manifest.bytes.len().to_string();
    let holder = nodes
        .iter()
        .position(|server| server.ask(&["STRLEN", &node.key]) == size);
    nodes[holder.expect("one has it")].kill();
    node.pull(2);
    node.pull(3);
    assert_eq!(node.number(HITS), 1);
    assert!(node.number(ERRORS) > 0);
}
