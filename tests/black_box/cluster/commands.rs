//! Commands beside nodes that serve: there is no control socket, so each works on database and bucket itself.

use holdfast_tests::{Image, Registry};

use super::Cluster;

/// Leaves everything to the command.
const BY_HAND: &str = "gc: {enabled: false}";

/// Nobody at the command's machine knows whether a node serves, so what a push was promised stays.
#[test]
fn garbage_collect_keeps_what_a_push_at_a_node_was_promised() {
    let cluster = Cluster::start(1, BY_HAND);
    let node = &cluster.nodes[0];
    let http = node.http();
    let (pushing, deleted) = (Image::new(78, &[20_000]), Image::new(79, &[30_000]));
    for blob in pushing.blobs() {
        http.push_blob("gc/app", blob);
    }
    http.push_image("gc/app", "deleted", &deleted);
    let target = format!("/v2/gc/app/manifests/{}", deleted.manifest.digest);
    let _ = http.delete(&target).send().expect(202);
    let collect = |flags: &[&str]| {
        Registry::command()
            .arg("garbage-collect")
            .args(flags)
            .arg(node.config_file())
            .run()
    };
    for flags in [&["--dry-run"][..], &[]] {
        collect(flags).mentions("0 blobs and 0 manifests eligible for deletion");
    }
    http.push_manifest("gc/app", "pushed", &pushing.manifest);
    let subject = format!("gc/app@{}", deleted.manifest.digest);
    node.manage(&["manifest", "restore", &subject]).run();
    for image in [&pushing, &deleted] {
        for blob in image.blobs() {
            let target = format!("/v2/gc/app/blobs/{}", blob.digest);
            assert_eq!(http.get(&target).send().expect(200).body, blob.bytes);
        }
    }

    // Who asks for it has everything unused gone.
    let _ = http.delete(&target).send().expect(202);
    collect(&["--grace", "0s"]).mentions("2 blobs and 0 manifests eligible for deletion");
}
