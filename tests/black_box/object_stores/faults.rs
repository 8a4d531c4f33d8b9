//! A bucket that cannot always be reached: pushes and pulls succeed, or fail so that they may be tried again.

use std::sync::Arc;

use holdfast_tests::{Blob, Image, ObjectServer, Registry, Service, random_bytes};

use super::relay::{Relay, Weather};

const MIB: usize = 1024 * 1024;

fn outlasts_bad_weather(service: Service) {
    for weather in [
        Weather::SlowDown,
        Weather::CutSending(100),
        Weather::CutSending(2 * MIB),
        Weather::CutReceiving(10),
        Weather::CutReceiving(2 * MIB),
    ] {
        let server = Arc::new(ObjectServer::start(service));
        let relay = Relay::start(server.address(), weather, 2);
        let registry = Registry::builder()
            .store(&server)
            .store_at(&relay.address())
            .start();
        let image = Image::new(930, &[1000, 12 * MIB, 30_000, 6 * MIB]);
        for round in 0..3 {
            let repository = format!("weather/{round}");
            registry.http().push_image(&repository, "v1", &image);
            for layer in image.blobs() {
                let path = format!("/v2/{repository}/blobs/{}", layer.digest);
                let got = registry.http().get(&path).send().expect(200);
                assert!(got.body == layer.bytes, "{weather:?}");
            }
        }
        assert!(relay.hit() > 0, "{weather:?}");
    }
}

#[test]
fn pushes_and_pulls_outlast_bad_weather() {
    outlasts_bad_weather(Service::Versity);
}

#[test]
fn pushes_and_pulls_outlast_bad_weather_on_the_way_to_swift() {
    outlasts_bad_weather(Service::Swift);
}

#[test]
fn without_its_bucket_a_registry_says_so_and_loses_nothing() {
    let server = Arc::new(ObjectServer::start(Service::Versity));
    let relay = Relay::start(server.address(), Weather::CutSending(0), 0);
    let registry = Registry::builder()
        .store(&server)
        .store_at(&relay.address())
        .start();
    let kept = Blob::new("application/octet-stream", random_bytes(931, 6 * MIB));
    registry.http().push_blob("outage", &kept);
    let lost = Blob::new("application/octet-stream", random_bytes(932, 1000));
    let client = registry.http();
    let session = client.post("/v2/outage/blobs/uploads/").body("").send();
    let session = session.expect(202);

    relay.hit_all();
    let patch = client.patch(session.location()).body(&lost.bytes[..]);
    let _ = patch.send().expect(503);
    assert!(relay.hit() > 0);

    relay.hit_none();
    let path = format!("/v2/outage/blobs/{}", kept.digest);
    let got = registry.http().get(&path).send().expect(200);
    assert!(got.body == kept.bytes);
    registry.http().push_blob("outage", &lost);
}
