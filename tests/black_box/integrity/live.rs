//! A check of a registry in use.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use holdfast_tests::{Image, Registry, eventually};

use super::Stock;

#[test]
fn a_check_beside_pushes_deletions_and_the_collector_finds_nothing() {
    /// Longer than the grace period, so that what is deleted at the beginning is collected.
    const WHILE: Duration = Duration::from_secs(10);
    let registry = Registry::builder()
        .section("gc: {grace: 5s, interval: 20ms}")
        .start();
    let stock = Stock::of(registry, 20_000);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for worker in 0..3_u64 {
            let (registry, stop) = (&stock.registry, &stop);
            scope.spawn(move || {
                let http = registry.http();
                let mut round = 0;
                while !stop.load(Ordering::Relaxed) {
                    // Few contents: they are pushed, deleted and pushed again, each client in a repository of
                    // its own, so that none takes from another what its manifest is about to need.
                    let image = Image::new(20_100 + (worker + round) % 4, &[20_000, 400]);
                    let repository = format!("busy/{worker}");
                    http.push_image(&repository, "latest", &image);
                    let url = format!("/v2/{repository}/manifests/{}", image.manifest.digest);
                    let _ = http.delete(&url).send();
                    for blob in image.blobs() {
                        let url = format!("/v2/{repository}/blobs/{}", blob.digest);
                        let _ = http.delete(&url).send();
                    }
                    let started = http.post(&format!("/v2/{repository}/blobs/uploads/"));
                    let session = started.body("").send().expect(202).location().to_owned();
                    let _ = http.patch(&session).body(vec![7; 5000]).send();
                    let _ = http.delete(&session).send();
                    round += 1;
                }
            });
        }
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let started = Instant::now();
            for round in 0.. {
                if round >= 8 && started.elapsed() > WHILE {
                    return;
                }
                let arguments: &[&str] = if round % 2 == 0 {
                    &[]
                } else {
                    &["--read-data"]
                };
                stock.check(arguments).assert_clean("beside pushes");
            }
        }));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = checked {
            std::panic::resume_unwind(panic);
        }
    });
    stock.registry.assert_calm();
}

#[test]
fn a_registry_that_takes_no_writes_is_checked_and_not_repaired() {
    let mut stock = Stock::new(21_000);
    stock.registry.terminate();
    let text = std::fs::read_to_string(stock.registry.config_file()).expect("reading");
    let text = text.replace(
        "storage:\n",
        "storage:\n  maintenance:\n    readonly:\n      enabled: true\n",
    );
    std::fs::write(stock.registry.config_file(), text).expect("writing");
    stock.registry.restart();
    stock.check(&[]).assert_clean("read-only");
    let refused = stock.check(&["--repair"]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.errors.contains("read-only"), "{refused:?}");
}

#[test]
fn the_report_for_people_names_images() {
    let stock = Stock::new(22_000);
    std::fs::remove_file(stock.file(&stock.layer().digest)).expect("removing a blob");
    let output = Registry::command()
        .args(["check", "--config"])
        .arg(stock.registry.config_file())
        .finish();
    assert_eq!(output.status.code(), Some(1));
    output.mentions("affects stock/app:latest stock/app:v1");
    output.mentions("1 found, 0 repaired, 0 could not be checked");
}

#[test]
fn the_scrub_finds_what_changed_on_disk_and_a_push_heals_it() {
    let registry = Registry::builder()
        .section("scrub:\n  interval: 1s\n  rate: 1000000000\n")
        .start();
    let stock = Stock::of(registry, 23_000);
    let http = stock.registry.http();
    let layer = stock.layer();
    let url = format!("/v2/stock/app/blobs/{}", layer.digest);
    // In memory, as pulls see it.
    assert_eq!(http.get(&url).send().expect(200).body, layer.bytes);
    let mut bytes = layer.bytes.clone();
    bytes[12_345] ^= 32;
    std::fs::write(stock.file(&layer.digest), bytes).expect("changing a blob");
    eventually("the scrub finds it", || {
        http.head(&url).send().status == 404
    });
    let refused = http.get(&url).send().expect(502).json();
    assert_eq!(refused["errors"][0]["code"], "UNKNOWN");
    let range = http.get(&url).header("Range", "bytes=0-9").send();
    let _ = range.expect(502);
    eventually("the log names the tags", || {
        let log = stock.registry.log();
        let mut lines = log.lines();
        lines.any(|line| {
            line.contains("not what their digest says")
                && line.contains("stock/app:latest, stock/app:v1")
        })
    });
    assert_eq!(stock.check(&[]).kinds(), ["blob-damaged"]);

    http.push_image("stock/app", "v1", &stock.image);
    assert_eq!(http.get(&url).send().expect(200).body, layer.bytes);
    stock.check(&["--read-data"]).assert_clean("healed");
    stock.registry.assert_calm();
}
