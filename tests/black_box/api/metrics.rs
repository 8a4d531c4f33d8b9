//! Metrics on the debug server.

use std::collections::BTreeMap;

use holdfast_tests::http::Client;
use holdfast_tests::{Findings, Image, Registry, RegistryBuilder, eventually};

use super::health::free_address;
use super::{ABSENT, open_session};

/// What was collected, and that nothing waits.
#[test]
fn the_collector_counts() {
    let address = free_address();
    let registry = with_metrics(&address)
        .section("gc: {enabled: false}")
        .start();
    let (http, image) = (registry.http(), Image::new(31, &[4000]));
    http.push_image("metrics/gc", "v1", &image);
    let target = format!("/v2/metrics/gc/manifests/{}", image.manifest.digest);
    http.delete(&target).send().expect(202);
    let debug = Client::tcp(&address);
    let before = samples(&debug, "/metrics");
    assert_eq!(before["holdfast_gc_queue_waiting{queue=\"links\"}"], 2.0);
    assert_eq!(before["holdfast_gc_last_success_timestamp_seconds"], 0.0);
    registry.manage(&["gc", "run", "--grace", "0s"]).run();
    let after = samples(&debug, "/metrics");
    let bytes: usize = image.blobs().map(|blob| blob.bytes.len()).sum();
    for (series, value) in [
        ("holdfast_gc_freed_bytes_total", bytes as f64),
        ("holdfast_gc_objects_deleted_total", 2.0),
        ("holdfast_gc_links_removed_total", 2.0),
        (
            "holdfast_gc_manifests_deleted_total{reason=\"untagged\"}",
            0.0,
        ),
        ("holdfast_gc_queue_waiting{queue=\"links\"}", 0.0),
        ("holdfast_gc_queue_overdue_seconds{queue=\"objects\"}", 0.0),
    ] {
        assert_eq!(after[series], value, "{series}");
    }
    assert!(after["holdfast_gc_last_success_timestamp_seconds"] > 0.0);
}

fn with_metrics(debug: &str) -> RegistryBuilder {
    Registry::builder()
        .env("REGISTRY_HTTP_DEBUG_ADDR", debug)
        .env("REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED", "true")
}

/// Every sample of a page, by its name and labels. A line that is none fails the test.
fn samples(debug: &Client, path: &str) -> BTreeMap<String, f64> {
    let answer = debug.get(path).send().expect(200);
    assert_eq!(
        answer.header("Content-Type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let text = answer.text();
    let mut families = Vec::new();
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("# TYPE ") {
            let (name, kind) = head.split_once(' ').expect("a name and a kind");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            families.push(name.to_owned());
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').expect("a series and a value");
            let family = families.last().expect("a family before its samples");
            assert!(series.starts_with(family.as_str()), "{line} in {family}");
            let value = value.parse().expect("a number");
            assert!(samples.insert(series.to_owned(), value).is_none(), "{line}");
        }
    }
    let distinct: std::collections::BTreeSet<_> = families.iter().collect();
    assert_eq!(distinct.len(), families.len(), "each family stands once");
    samples
}

#[test]
fn requests_are_counted_by_handler_method_and_code() {
    let debug = free_address();
    let registry = with_metrics(&debug).accounts().start();
    let stranger = registry.http();
    let http = registry
        .http()
        .with_password(holdfast_tests::USER, holdfast_tests::PASSWORD);
    let debug = Client::tcp(&debug);
    let image = Image::new(1100, &[200_000]);
    http.push_image("m/app", "v1", &image);
    let requests = |code: u16, handler: &str, method: &str| {
        format!(
            "registry_http_requests_total{{code=\"{code}\",handler=\"{handler}\",method=\"{method}\"}}"
        )
    };
    let before = samples(&debug, "/metrics");
    let manifest = "/v2/m/app/manifests/v1";
    let blob = format!("/v2/m/app/blobs/{}", image.layers[0].digest);
    for _ in 0..3 {
        let _ = http.get(manifest).send().expect(200);
        let _ = http.get(&blob).send().expect(200);
    }
    let _ = http.head(&blob).send().expect(200);
    let _ = http.get("/v2/m/app/manifests/v2").send().expect(404);
    let _ = http.get("/v2/m/app/tags/list").send().expect(200);
    let _ = http.get("/v2/_catalog").send().expect(200);
    let _ = http
        .get(&format!("/v2/m/app/referrers/{ABSENT}"))
        .send()
        .expect(200);
    let _ = http.get(&open_session(&http, "m/app")).send().expect(204);
    let _ = http.request("PURGE", manifest).send().expect(405);
    let _ = http.get("/v2/nothing").send().expect(404);
    let _ = http.get("/elsewhere").send().expect(404);
    let _ = http.get("/healthz").send().expect(200);
    // Refused before anybody looks what is asked.
    let _ = stranger.get("/v2/").send().expect(401);
    let _ = stranger.put(manifest).body("{}").send().expect(401);

    let wanted = [
        (200, "manifest", "get", 3.0),
        (404, "manifest", "get", 1.0),
        (200, "blob", "get", 3.0),
        (200, "blob", "head", 1.0),
        (200, "tags", "get", 1.0),
        (200, "catalog", "get", 1.0),
        (200, "referrers", "get", 1.0),
        (202, "blob_upload", "post", 1.0),
        (204, "blob_upload_chunk", "get", 1.0),
        (405, "manifest", "unknown", 1.0),
        (401, "base", "get", 1.0),
        (401, "manifest", "put", 1.0),
    ];
    let grown = |after: &BTreeMap<String, f64>, series: &str| {
        after.get(series).unwrap_or(&0.0) - before.get(series).unwrap_or(&0.0)
    };
    // A blob ends after its client has all of it.
    eventually("the pulls have ended", || {
        grown(&samples(&debug, "/metrics"), &requests(200, "blob", "get")) == 3.0
    });
    let after = samples(&debug, "/metrics");
    let mut findings = Findings::new();
    for (code, handler, method, count) in wanted {
        let series = requests(code, handler, method);
        let grown = grown(&after, &series);
        findings.check(grown == count, || format!("{series} grew by {grown}"));
    }
    let total = |samples: &BTreeMap<String, f64>| -> f64 {
        let counted = samples
            .iter()
            .filter(|(series, _)| series.starts_with("registry_http_requests_total"));
        counted.map(|(_, count)| count).sum()
    };
    let sum: f64 = wanted.iter().map(|(.., count)| count).sum();
    findings.check(total(&after) - total(&before) == sum, || {
        "something else was counted".into()
    });
    for (series, count) in &after {
        if series.starts_with("registry_http_in_flight_requests") {
            findings.check(*count == 0.0, || format!("{series} is {count}"));
        }
    }
    // The buckets of a histogram only grow, and the last has all.
    let name = "registry_http_request_duration_seconds";
    let labels = "handler=\"blob\",method=\"get\"";
    let buckets: Vec<f64> = [
        "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "25", "60",
        "+Inf",
    ]
    .map(|end| after[&format!("{name}_bucket{{{labels},le=\"{end}\"}}")])
    .to_vec();
    findings.check(buckets.is_sorted(), || format!("{buckets:?}"));
    let count = after[&format!("{name}_count{{{labels}}}")];
    findings.check(buckets.last() == Some(&count), || format!("{count}"));
    let took = after[&format!("{name}_sum{{{labels}}}")];
    findings.check(took > 0.0 && took < 60.0 * count, || format!("{took}"));
}

#[test]
fn a_pull_is_in_flight_until_its_last_byte() {
    let debug = free_address();
    let registry = with_metrics(&debug).start();
    let http = registry.http();
    let debug = Client::tcp(&debug);
    let image = Image::new(1110, &[32 << 20]);
    http.push_image("m/slow", "v1", &image);
    let in_flight =
        || samples(&debug, "/metrics")["registry_http_in_flight_requests{handler=\"blob\"}"];
    eventually("the push has ended", || in_flight() == 0.0);
    // More than the sockets hold between the two, and the client reads nothing.
    let mut raw = http.open().expect("a connection");
    let target = format!("/v2/m/slow/blobs/{}", image.layers[0].digest);
    let head = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", http.host());
    raw.send(head).expect("sending a request");
    eventually("the pull is in flight", || in_flight() == 1.0);
    drop(raw);
    eventually("the pull has ended", || in_flight() == 0.0);
}

#[test]
fn the_process_and_the_database() {
    let debug = free_address();
    let registry = with_metrics(&debug)
        .env("REGISTRY_HTTP_DEBUG_PROMETHEUS_PATH", "/numbers")
        .start();
    let (http, debug) = (registry.http(), Client::tcp(&debug));
    let mut findings = Findings::new();
    let before = samples(&debug, "/numbers");
    http.push_image("m/app", "v1", &Image::new(1120, &[100]));
    let after = samples(&debug, "/numbers");
    for (series, at_least) in [
        ("process_cpu_seconds_total", 0.001),
        ("process_resident_memory_bytes", 1e6),
        ("process_virtual_memory_bytes", 1e6),
        ("process_threads", 2.0),
        ("process_open_fds", 5.0),
        ("process_max_fds", 5.0),
        // 2020: it started after this was written.
        ("process_start_time_seconds", 1_577_836_800.0),
    ] {
        let value = after.get(series).copied().unwrap_or(-1.0);
        findings.check(value >= at_least, || format!("{series} is {value}"));
    }
    for series in [
        "holdfast_metadata_commits_total",
        "holdfast_metadata_changes_total",
    ] {
        findings.check(after[series] > before[series], || series.to_owned());
    }
    findings.check(after["holdfast_metadata_changes_waiting"] == 0.0, || {
        "waiting".into()
    });
    let version = after
        .keys()
        .find(|series| series.starts_with("holdfast_build_info{"));
    findings.check(
        version.is_some_and(|one| one.contains("version=\"v")),
        || format!("{version:?}"),
    );
    // Nowhere else, and for readers only.
    findings.status("main", &http.get("/numbers").send(), 404);
    findings.status("debug", &debug.get("/metrics").send(), 404);
    findings.status("debug", &debug.post("/numbers").body("").send(), 404);
    findings.status("debug", &debug.get("/debug/health").send(), 200);
}

#[test]
fn what_the_scrub_read_and_what_is_damaged_is_counted() {
    let debug = free_address();
    let registry = with_metrics(&debug)
        .section("scrub:\n  interval: 1s\n  rate: 1000000000\n")
        .start();
    let debug = Client::tcp(&debug);
    let image = Image::new(1190, &[20_000]);
    registry.http().push_image("m/app", "v1", &image);
    let count = |name: &str| samples(&debug, "/metrics")[name];
    eventually("the scrub has read both blobs", || {
        count("holdfast_scrub_blobs_total") >= 2.0 && count("holdfast_scrub_bytes_total") > 20_000.0
    });
    for name in [
        "holdfast_scrub_unread_total",
        "holdfast_damaged_blobs_total",
    ] {
        assert!(count(name) < 1.0, "{name}");
    }
    let digest = &image.layers[0].digest;
    let hex = digest.trim_start_matches("sha256:");
    let blobs = registry.data().join("docker/registry/v2/blobs/sha256");
    std::fs::write(blobs.join(&hex[..2]).join(hex).join("data"), "other").expect("damaging a blob");
    eventually("the damage is counted", || {
        count("holdfast_damaged_blobs_total") > 0.0
    });
}
