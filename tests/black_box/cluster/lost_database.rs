//! A node that is given another database than the bucket's.

use holdfast_tests::{Daemon, Image, Registry, eventually};

use super::Cluster;

#[test]
fn an_empty_database_is_not_taken_for_that_of_a_full_bucket() {
    let mut cluster = Cluster::start(1, "");
    let image = Image::new(7700, &[20_000]);
    cluster.nodes[0].http().push_image("lost/app", "v1", &image);
    cluster.nodes[0].terminate();
    let wrong = cluster.postgres.database();
    let url = "REGISTRY_METADATA_POSTGRES_URL";
    let config = cluster.nodes[0].config_file().to_owned();
    // A refusal leaves nothing behind that would let the next start pass.
    for _ in 0..2 {
        let serve = Registry::command().arg("serve").arg(&config);
        let refused = serve.env(url, wrong.url()).refused();
        refused.mentions("--accept-empty");
    }
    let status = cluster.nodes[0].manage(&["gc", "status"]);
    let refused = status.env(url, wrong.url()).refused();
    refused.mentions("is empty, but blobs are stored");

    // Once accepted, it is the registry's database.
    let http = cluster.nodes[0].http();
    for extra in [&["--accept-empty"][..], &[]] {
        let log = cluster.nodes[0].home().join("accepting.log");
        let mut serve = std::process::Command::new(Registry::program());
        serve.arg("serve").args(extra).arg(&config);
        serve.env(url, wrong.url());
        let _daemon = Daemon::start("the registry", &mut serve, &log);
        eventually("an answer", || http.get("/v2/").try_send().is_ok());
        if !extra.is_empty() {
            let _ = http.get("/v2/lost/app/tags/list").send().expect(404);
            http.push_image("lost/app", "v2", &image);
        }
        assert_eq!(http.tags("lost/app"), ["v2"]);
    }
    cluster.nodes[0].restart();
    assert_eq!(cluster.nodes[0].http().tags("lost/app"), ["v1"]);
}

#[test]
fn a_database_is_not_used_over_another_place_than_its_own() {
    let mut cluster = Cluster::start(2, "");
    let image = Image::new(7702, &[20_000]);
    cluster.nodes[0]
        .http()
        .push_image("bound/app", "v1", &image);
    let root = "REGISTRY_STORAGE_S3_ROOTDIRECTORY";
    let config = cluster.nodes[0].config_file().to_owned();
    let elsewhere = || {
        Registry::command()
            .arg("serve")
            .arg(&config)
            .env(root, "elsewhere")
    };
    elsewhere()
        .refused()
        .mentions("not the one that the metadata database knows");
    // Nor over that of another registry.
    let other = cluster.postgres.database();
    let node = Registry::builder()
        .store(&cluster.store)
        .env(root, "elsewhere")
        .section(&format!(
            "metadata: {{postgres: {{url: '{}'}}}}",
            other.url()
        ))
        .start();
    node.http().push_image("bound/app", "v1", &image);
    elsewhere()
        .refused()
        .mentions("not the one that the metadata database knows");
    for node in &mut cluster.nodes {
        node.restart();
        node.http().push_image("bound/app", "v2", &image);
        node.manage(&["check"]).run();
    }
}

/// Its own bucket, Distribution's, and one with nothing in it are no reason to refuse.
#[test]
fn nodes_begin_together_with_the_bucket_of_another_registry() {
    let cluster = Cluster::start(0, "");
    let image = Image::new(7701, &[20_000]);
    let peer = Registry::builder()
        .store(&cluster.store)
        .program("distribution-v3")
        .start();
    peer.http().push_image("old/app", "v1", &image);
    drop(peer);
    let url = cluster.database.url();
    std::thread::scope(|scope| {
        let begin = || {
            let node = cluster.node(&url, "");
            let manifest = node.http().get("/v2/old/app/manifests/v1").send();
            assert_eq!(manifest.expect(200).body, image.manifest.bytes);
        };
        for _ in 0..3 {
            scope.spawn(begin);
        }
    });
}
