//! Garbage collection from outside: space comes back while the registry serves, what is needed stays, and
//! the commands and scripts written for `registry:2` work.

use std::collections::BTreeSet;
use std::path::Path;
use std::process;

use holdfast_tests::{Findings, Image, Index, Registry, eventually, random_bytes};
use serde_json::json;

/// Collects by itself, and leaves a push enough time between its first blob and its manifest.
const EAGER: &str = "gc: {grace: 5s, interval: 20ms}";
/// Leaves everything to the commands.
const BY_HAND: &str = "gc: {enabled: false}";

/// The digests that have a file, whatever its name.
pub(crate) fn stored(registry: &Registry) -> BTreeSet<String> {
    fn walk(directory: &Path, found: &mut BTreeSet<String>) {
        let Ok(entries) = directory.read_dir() else {
            return;
        };
        for entry in entries.map(|entry| entry.expect("reading a directory").path()) {
            if entry.is_dir() {
                walk(&entry, found);
            } else if let Some(hex) = entry.parent().and_then(Path::file_name) {
                found.insert(format!("sha256:{}", hex.display()));
            }
        }
    }
    let mut found = BTreeSet::new();
    let blobs = registry.data().join("docker/registry/v2/blobs/sha256");
    walk(&blobs, &mut found);
    found
}

fn blobs(images: &[&Image]) -> BTreeSet<String> {
    images
        .iter()
        .flat_map(|image| image.blobs())
        .map(|blob| blob.digest.clone())
        .collect()
}

fn delete(registry: &Registry, repository: &str, reference: &str) {
    let target = format!("/v2/{repository}/manifests/{reference}");
    registry.http().delete(&target).send().expect(202);
}

#[test]
fn space_of_deleted_images_comes_back_while_the_registry_serves() {
    let registry = Registry::builder().section(EAGER).start();
    let http = registry.http();
    let (one, two) = (Image::new(1, &[50_000, 70_000]), Image::new(2, &[60_000]));
    for repository in ["gc/a", "gc/b"] {
        http.push_image(repository, "one", &one);
    }
    http.push_image("gc/a", "two", &two);
    delete(&registry, "gc/a", &one.manifest.digest);
    delete(&registry, "gc/a", &two.manifest.digest);
    eventually("the space of one image is given back", || {
        stored(&registry) == blobs(&[&one])
    });
    let held = http.get(&format!("/v2/gc/b/blobs/{}", one.layers[0].digest));
    assert_eq!(held.send().expect(200).body, one.layers[0].bytes);
    let gone = format!("/v2/gc/a/blobs/{}", two.layers[0].digest);
    http.get(&gone).send().expect(404);
    // What is pushed again is there again.
    http.push_image("gc/a", "two", &two);
    assert_eq!(stored(&registry), blobs(&[&one, &two]));
    delete(&registry, "gc/b", &one.manifest.digest);
    eventually("the last user of the image is gone", || {
        stored(&registry) == blobs(&[&two])
    });
    registry.assert_calm();
}

#[test]
fn blobs_that_no_manifest_came_for_and_abandoned_sessions_go() {
    let registry = Registry::builder()
        .section(EAGER)
        .env("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_AGE", "10ms")
        .env(
            "REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_INTERVAL",
            "10ms",
        )
        .env("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_DRYRUN", "false")
        .start();
    let image = Image::new(3, &[10_000]);
    registry.http().push_blob("gc/a", &image.layers[0]);
    let http = registry.http();
    let opened = http.post("/v2/gc/a/blobs/uploads/").body("");
    let location = opened.send().expect(202).location().to_owned();
    let _ = registry
        .http()
        .patch(&location)
        .body(random_bytes(4, 5000))
        .send();
    let uploads = registry.data().join("holdfast/uploads");
    eventually("nothing is left", || {
        stored(&registry).is_empty()
            && uploads
                .read_dir()
                .expect("the directory of uploads")
                .count()
                == 0
    });
}

/// `registry:2` destroys images of several platforms and signatures here.
#[test]
fn delete_untagged_spares_children_and_referrers() {
    let registry = Registry::builder().section(BY_HAND).start();
    let http = registry.http();
    let index = Index::new(5, 20_000);
    for image in &index.images {
        for blob in image.blobs() {
            http.push_blob("gc/multi", blob);
        }
        http.push_manifest("gc/multi", &image.manifest.digest, &image.manifest);
    }
    http.push_manifest("gc/multi", "all", &index.manifest);
    let (old, new) = (Image::new(6, &[30_000]), Image::new(7, &[30_000]));
    http.push_image("gc/multi", "latest", &old);
    http.push_image("gc/multi", "latest", &new);
    let config = holdfast_tests::Blob::new("application/vnd.oci.empty.v1+json", b"{}".to_vec());
    http.push_blob("gc/multi", &config);
    let subject = &index.images[0].manifest;
    let signature = json!({
        "schemaVersion": 2, "mediaType": new.manifest.media_type, "artifactType": "application/x-signature",
        "config": config.descriptor(), "layers": [], "subject": subject.descriptor(),
    });
    let signature =
        holdfast_tests::Blob::new(new.manifest.media_type, signature.to_string().into_bytes());
    http.push_manifest("gc/multi", &signature.digest, &signature);

    // Without -m nothing is without use.
    let kept = registry.manage(&["gc", "run", "--grace", "0s"]).run();
    kept.mentions("0 objects deleted");
    let dry = registry
        .manage(&["gc", "run", "-m", "--grace", "0s", "--dry-run"])
        .run();
    dry.mentions(&format!("manifest gc/multi@{}", old.manifest.digest));
    assert_eq!(
        dry.text()
            .lines()
            .filter(|line| line.starts_with("manifest"))
            .count(),
        1
    );
    registry.manage(&["gc", "run", "-m", "--grace", "0s"]).run();

    let mut expected = blobs(&[&index.images[0], &index.images[1], &new]);
    expected.insert(config.digest.clone());
    assert_eq!(stored(&registry), expected);
    for reference in [&index.manifest, subject, &signature, &new.manifest] {
        let target = format!("/v2/gc/multi/manifests/{}", reference.digest);
        http.get(&target).send().expect(200);
    }
    let target = format!("/v2/gc/multi/manifests/{}", old.manifest.digest);
    http.get(&target).send().expect(404);
}

/// The seeds' `garbage-collect --dry-run config | grep "blob eligible for deletion" | awk '{sum+=$7}'`.
fn eligible_bytes(output: &str) -> u64 {
    let eligible = output
        .lines()
        .filter(|line| line.contains("blob eligible for deletion"));
    eligible
        .map(|line| {
            let field = line.split_whitespace().nth(6).expect("a seventh field");
            field.parse::<u64>().expect("bytes in the seventh field")
        })
        .sum()
}

#[test]
fn garbage_collect_prints_distributions_lines_and_frees_what_it_says() {
    let mut registry = Registry::builder().section(BY_HAND).start();
    let http = registry.http();
    let (stays, goes) = (Image::new(8, &[11_000]), Image::new(9, &[22_000, 33_000]));
    http.push_image("gc/a", "stays", &stays);
    http.push_image("gc/a", "goes", &goes);
    delete(&registry, "gc/a", &goes.manifest.digest);
    let bytes: u64 = goes.blobs().map(|blob| blob.bytes.len() as u64).sum();
    let config = registry.config_file().to_owned();
    let collect = |flags: &[&str]| {
        Registry::command()
            .arg("garbage-collect")
            .args(flags)
            .arg(&config)
            .run()
    };

    // Beside the running server a push may be under way, so the grace counts.
    let online = collect(&["--dry-run"]);
    assert_eq!(eligible_bytes(online.text()), 0, "{online}");
    assert_eq!(
        eligible_bytes(collect(&["-d", "--grace", "0s"]).text()),
        bytes
    );

    registry.terminate();
    let mut findings = Findings::new();
    // On PostgreSQL another node may serve.
    let alone: &[&str] = match Registry::is_on_postgres() {
        true => &["--grace", "0s"],
        false => &[],
    };
    for flags in [&["--dry-run"][..], &["-d", "-v"], &["-v"]] {
        let output = collect(&[flags, alone].concat());
        let mut lines = vec![
            "gc/a".to_owned(),
            format!("gc/a: marking manifest {}", stays.manifest.digest),
        ];
        lines.extend(
            stays
                .blobs()
                .map(|blob| format!("gc/a: marking blob {}", blob.digest)),
        );
        lines.push("3 blobs marked, 3 blobs and 0 manifests eligible for deletion".to_owned());
        for blob in goes.blobs() {
            lines.push(format!(
                "blob eligible for deletion: {} size: {}",
                blob.digest,
                blob.bytes.len()
            ));
            lines.push(format!(
                "gc/a: layer link eligible for deletion: {}",
                blob.digest
            ));
        }
        let printed: BTreeSet<&str> = output.text().lines().map(str::trim_end).collect();
        for line in &lines {
            findings.check(printed.contains(line.as_str()), || {
                format!("{flags:?}: no `{line}` in {output}")
            });
        }
        findings.check(eligible_bytes(output.text()) == bytes, || {
            output.to_string()
        });
    }
    assert_eq!(stored(&registry), blobs(&[&stays]));
    let again = collect(&["-q"]);
    assert_eq!(again.text(), "");
    registry.restart();
    let target = format!("/v2/gc/a/manifests/{}", stays.manifest.digest);
    registry.http().get(&target).send().expect(200);
}

/// `registry garbage-collect` and `registry gc` in a container: other name, default configuration.
#[test]
fn the_name_registry_and_the_environment_find_the_configuration() {
    let registry = Registry::builder().section(BY_HAND).start();
    let link = registry.home().join("registry");
    std::os::unix::fs::symlink(Registry::program(), &link).expect("a link to the program");
    for verb in ["garbage-collect", "gc"] {
        let mut command = process::Command::new(&link);
        command
            .arg(verb)
            .env("REGISTRY_CONFIGURATION_PATH", registry.config_file());
        let output = command.output().expect("running the program");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("0 blobs marked"),
            "{output:?}"
        );
    }
    let mut absent = process::Command::new(&link);
    let output = absent
        .args(["garbage-collect", "/nowhere.yml"])
        .output()
        .expect("running");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn status_and_reasons() {
    let registry = Registry::builder().section(BY_HAND).start();
    let http = registry.http();
    let image = Image::new(10, &[5000]);
    http.push_image("gc/a", "v1", &image);
    let why = |digest: &str| registry.manage(&["gc", "why", &format!("gc/a@{digest}")]);
    why(&image.manifest.digest)
        .run()
        .mentions("the tag v1 points at");
    why(&image.layers[0].digest)
        .run()
        .mentions(&format!("{} needs the blob", image.manifest.digest));
    let absent = why(&format!("sha256:{}", "0".repeat(64))).refused();
    absent.mentions("neither manifest nor blob");
    why("nonsense").refused().mentions("invalid value");

    delete(&registry, "gc/a", &image.manifest.digest);
    why(&image.manifest.digest)
        .refused()
        .mentions("can be restored until");
    let status = registry
        .control()
        .get("/api/v1/gc")
        .send()
        .expect(200)
        .json();
    assert_eq!(status["queues"][1]["waiting"], 2, "{status}");
    registry.manage(&["gc", "run", "--grace", "0s"]).run();
    let status = registry.manage(&["gc", "status"]).run();
    status.mentions("2 blobs, 2 objects");
    let control = registry.control();
    let answer = control.post("/api/v1/gc/run").body("{\"dryrun\": true}");
    answer.send().expect(400);
}
