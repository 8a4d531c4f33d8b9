//! How many requests a push and a pull cost, beside Distribution 3 on the same server: requests are what one pays for.

use std::sync::Arc;

use holdfast_tests::{Image, ObjectServer, Registry, RegistryBuilder, Service, Workbench, http};

const MIB: usize = 1024 * 1024;

/// Requests of a push by crane and of a pull.
fn counted(setup: RegistryBuilder, server: &ObjectServer, image: &Image) -> (usize, usize) {
    let registry = setup.start();
    let bench = Workbench::new();
    let source = bench.path("source");
    image.write_layout(&source, "v1");
    let name = registry.image("counted/app", "v1");
    let made = || {
        let log = server.log();
        let requests = log.lines().filter(|line| line.contains("| vgw |"));
        requests.count()
    };
    let before = made();
    let push = bench.tool("crane").arg("push").arg(&source).arg(&name);
    push.run();
    let pushed = made();
    let client = registry.http();
    let manifest = client
        .get("/v2/counted/app/manifests/v1")
        .header("Accept", image.manifest.media_type)
        .send();
    assert_eq!(manifest.expect(200).body, image.manifest.bytes);
    // crane follows no redirection from a name to an address of this machine.
    let there = http::Client::tcp(&server.address());
    let start = format!("http://{}", server.address());
    for blob in image.blobs() {
        let path = format!("/v2/counted/app/blobs/{}", blob.digest);
        let sent = client.get(&path).send().expect(307);
        let place = sent.location().strip_prefix(&start);
        let got = there.get(place.expect("the server")).send().expect(200);
        assert!(got.body == blob.bytes);
    }
    (pushed - before, made() - pushed)
}

#[test]
fn a_push_costs_at_most_half_of_distributions() {
    // Twelve layers, most of them small, as images are.
    let layers = [6 * MIB, 12 * MIB, 24 * MIB].into_iter();
    let layers: Vec<usize> = layers
        .chain((1..10).map(|number| number * 30_000))
        .collect();
    let image = Image::new(910, &layers);
    let server = Arc::new(ObjectServer::start(Service::Versity));
    let quiet = "health: {storagedriver: {enabled: false}}\n";
    let setup = || Registry::builder().store(&server).redirect().section(quiet);
    let (push, pull) = counted(setup(), &server, &image);
    let (peer_push, peer_pull) = counted(setup().program("distribution-v3"), &server, &image);
    println!(
        "push: {push} requests, Distribution {peer_push}; pull: {pull}, Distribution {peer_pull}"
    );
    assert!(
        push * 2 <= peer_push,
        "push: {push}, Distribution {peer_push}"
    );
    assert!(pull <= peer_pull, "pull: {pull}, Distribution {peer_pull}");
}
