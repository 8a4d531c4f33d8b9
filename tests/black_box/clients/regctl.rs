//! regctl (regclient): uses as much of the specification as the registry offers.

use holdfast_tests::{Image, Index, PASSWORD, Registry, USER, Workbench, random_bytes};

const SIGNATURE: &str = "application/vnd.example.signature";

/// A home in which `regctl` knows that the registry speaks plain HTTP.
fn bench_for(registry: &Registry) -> Workbench {
    let bench = Workbench::new();
    bench
        .tool("regctl")
        .args([
            "registry",
            "set",
            "--skip-check",
            "--tls",
            "disabled",
            &registry.host(),
        ])
        .run();
    bench
}

#[test]
fn push_copy_list_delete() {
    let registry = Registry::start();
    let bench = bench_for(&registry);
    let regctl = || bench.tool("regctl");
    let image = Image::new(800, &[120_000, 500_000]);
    image.write_layout(&bench.path("source"), "v1");
    let name = registry.image("regctl/app", "v1");

    regctl()
        .args(["image", "copy", "ocidir://source:v1", &name])
        .run();
    assert_eq!(
        regctl().args(["image", "digest", &name]).run().text(),
        image.manifest.digest
    );
    regctl()
        .args(["image", "copy", &name, &registry.image("regctl/copy", "v2")])
        .run();
    regctl()
        .args([
            "image",
            "copy",
            &registry.image("regctl/copy", &image.manifest.digest),
            "ocidir://target:v1",
        ])
        .run();
    for blob in image.blobs().chain([&image.manifest]) {
        let path = bench
            .path("target/blobs")
            .join(blob.digest.replace(':', "/"));
        assert_eq!(std::fs::read(path).expect("a pulled blob"), blob.bytes);
    }
    let layer = &image.layers[0];
    let fetched = regctl()
        .args([
            "blob",
            "get",
            &format!("{}/regctl/app", registry.host()),
            &layer.digest,
        ])
        .run();
    assert_eq!(fetched.stdout, layer.bytes);

    let repositories = regctl().args(["repo", "ls", &registry.host()]).run();
    assert_eq!(repositories.sorted_lines(), ["regctl/app", "regctl/copy"]);
    regctl()
        .args(["image", "copy", &name, &registry.image("regctl/app", "v2")])
        .run();
    let tags = || {
        regctl()
            .args(["tag", "ls", &format!("{}/regctl/app", registry.host())])
            .run()
    };
    assert_eq!(tags().sorted_lines(), ["v1", "v2"]);
    // Where the registry cannot delete a tag, regctl pushes a dummy manifest under it and deletes that.
    regctl()
        .args(["tag", "delete", &registry.image("regctl/app", "v2")])
        .run();
    assert_eq!(tags().sorted_lines(), ["v1"]);
    assert_eq!(
        regctl().args(["image", "digest", &name]).run().text(),
        image.manifest.digest
    );
    regctl()
        .args([
            "manifest",
            "delete",
            &registry.image("regctl/app", &image.manifest.digest),
        ])
        .run();
    regctl().args(["image", "digest", &name]).refused();
}

#[test]
fn index() {
    let registry = Registry::start();
    let bench = bench_for(&registry);
    let index = Index::new(810, 60_000);
    index.write_layout(&bench.path("source"), "v1");
    let name = registry.image("regctl/index", "v1");
    bench
        .tool("regctl")
        .args(["image", "copy", "ocidir://source:v1", &name])
        .run();
    assert_eq!(
        bench
            .tool("regctl")
            .args(["image", "digest", &name])
            .run()
            .text(),
        index.manifest.digest
    );
    for image in &index.images {
        let platform = format!("linux/{}", image.architecture);
        let digest = bench
            .tool("regctl")
            .args(["image", "digest", "--platform", &platform, &name])
            .run();
        assert_eq!(digest.text(), image.manifest.digest, "{platform}");
    }
}

#[test]
fn artifacts_and_referrers() {
    let registry = Registry::start();
    let bench = bench_for(&registry);
    let image = Image::new(820, &[10_000]);
    registry.http().push_image("regctl/signed", "v1", &image);
    let name = registry.image("regctl/signed", "v1");
    let put = ["artifact", "put", "--artifact-type", SIGNATURE, "--subject"];
    bench
        .tool("regctl")
        .args(put)
        .arg(&name)
        .input("signed")
        .run();

    let list = bench
        .tool("regctl")
        .args(["artifact", "list", "--format", "{{json .}}", &name])
        .run()
        .json();
    assert_eq!(
        list["descriptors"].as_array().map(Vec::len),
        Some(1),
        "{list}"
    );
    assert_eq!(list["descriptors"][0]["artifactType"], SIGNATURE, "{list}");
    let other = [
        "artifact",
        "list",
        "--filter-artifact-type",
        "application/vnd.example.other",
        "--format",
        "{{json .}}",
    ];
    let none = bench.tool("regctl").args(other).arg(&name).run().json();
    assert_eq!(
        none["descriptors"].as_array().map_or(0, Vec::len),
        0,
        "{none}"
    );
    let content = bench
        .tool("regctl")
        .args(["artifact", "get", "--subject", &name])
        .run();
    assert_eq!(content.stdout, b"signed");
    if !Registry::is_peer() {
        assert_eq!(
            registry.http().tags("regctl/signed"),
            ["v1"],
            "a fallback tag: the registry knows no referrers"
        );
    }
}

#[test]
fn accounts_over_tls() {
    let registry = Registry::builder().tls().accounts().start();
    let bench = Workbench::new();
    let regctl = || bench.tool("regctl");
    let (host, name) = (registry.host(), registry.image("regctl/private", "v1"));
    let authority = std::fs::read_to_string(&registry.certificates().authority)
        .expect("the authority's certificate");
    regctl()
        .args([
            "registry",
            "set",
            "--skip-check",
            "--cacert",
            &authority,
            &host,
        ])
        .run();
    let content = random_bytes(830, 20_000);
    let put = || {
        regctl()
            .args(["artifact", "put", "--artifact-type", SIGNATURE, &name])
            .input(content.clone())
    };
    let login = || regctl().args(["registry", "login", "--user", USER, "--pass-stdin", &host]);

    put().refused();
    login().input("wrong").refused();
    login().input(PASSWORD).run();
    put().run();
    assert_eq!(
        regctl().args(["artifact", "get", &name]).run().stdout,
        content
    );
    regctl().args(["registry", "logout", &host]).run();
    regctl().args(["artifact", "get", &name]).refused();
}
