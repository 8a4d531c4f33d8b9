//! A bucket that Distribution wrote is served in place.

use std::sync::Arc;

use holdfast_tests::{Image, ObjectServer, Registry, Service, eventually};

#[test]
fn a_bucket_of_distribution_is_taken_over() {
    for service in [Service::Versity, Service::Moto, Service::Azurite] {
        let server = Arc::new(ObjectServer::start(service));
        let images = [
            ("old/app", "v1", Image::new(920, &[70_000, 6 * 1024 * 1024])),
            ("old/app", "V2.0", Image::new(921, &[1000])),
            ("other", "latest", Image::new(922, &[1000, 2000])),
        ];
        let builder = || Registry::builder().store(&server);
        let peer = builder().program("distribution-v3").start();
        for (repository, tag, image) in &images {
            peer.http().push_image(repository, tag, image);
        }
        drop(peer);

        let registry = builder().start();
        for (repository, tag, image) in &images {
            let path = format!("/v2/{repository}/manifests/{tag}");
            let manifest = registry.http().get(&path).send().expect(200);
            assert_eq!(manifest.body, image.manifest.bytes, "{service:?}");
            for layer in image.blobs() {
                let path = format!("/v2/{repository}/blobs/{}", layer.digest);
                let got = registry.http().get(&path).send().expect(200);
                assert!(got.body == layer.bytes, "{service:?}");
            }
        }
        eventually("the bucket is adopted", || {
            registry.http().tags("old/app") == ["V2.0", "v1"]
        });
        let more = Image::new(923, &[1000, 3000]);
        registry.http().push_image("old/app", "v3", &more);
        registry.manage(&["check"]).run();

        // Started once more, the other registry pushes to a repository that is known here.
        let late = Image::new(925, &[1000, 4000]);
        let peer = builder().program("distribution-v3").start();
        peer.http().push_image("old/app", "v4", &late);
        drop(peer);
        let check = registry.manage(&["check", "--repair"]).finish();
        assert_eq!(check.status.code(), Some(1), "{check:?}");
        check.mentions("`holdfast import --rescan` takes it over");
        registry.manage(&["import", "--rescan"]).run();
        let manifest = registry.http().get("/v2/old/app/manifests/v4").send();
        assert_eq!(manifest.expect(200).body, late.manifest.bytes);
        for layer in late.blobs() {
            let path = format!("/v2/old/app/blobs/{}", layer.digest);
            let got = registry.http().get(&path).send().expect(200);
            assert!(got.body == layer.bytes, "{service:?}");
        }
        registry.manage(&["check", "--repair"]).run();
    }
}
