//! skopeo: copies between layouts on disk and the registry, without changing a byte.

use std::fs;
use std::path::Path;

use holdfast_tests::{Command, Image, Index, PASSWORD, Registry, USER, Workbench};

/// `skopeo copy` with the bytes kept as they are.
fn copy(bench: &Workbench) -> Command {
    bench.tool("skopeo").args(["copy", "--preserve-digests"])
}

fn layout(path: &Path, tag: &str) -> String {
    format!("oci:{}:{tag}", path.display())
}

/// Asserts that a layout holds these bytes under their digests.
#[track_caller]
fn assert_holds<'a>(directory: &Path, blobs: impl Iterator<Item = &'a holdfast_tests::Blob>) {
    for blob in blobs {
        let path = directory.join("blobs").join(blob.digest.replace(':', "/"));
        assert_eq!(
            fs::read(&path).ok().as_ref(),
            Some(&blob.bytes),
            "{}",
            path.display()
        );
    }
}

#[test]
fn push_pull_list_delete() {
    let registry = Registry::start();
    let bench = Workbench::new();
    let image = Image::new(200, &[70_000, 900_000]);
    let source = bench.path("source");
    image.write_layout(&source, "v1");
    let plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    let remote =
        |repository, reference: &str| format!("docker://{}", registry.image(repository, reference));

    copy(&bench)
        .args(plain)
        .args([layout(&source, "v1"), remote("skopeo/app", "v1")])
        .run();
    copy(&bench)
        .args(plain)
        .args([remote("skopeo/app", "v1"), remote("skopeo/app", "v2")])
        .run();
    for (number, reference) in ["v1", "v2", &image.manifest.digest].into_iter().enumerate() {
        let target = bench.path(&format!("pulled-{number}"));
        copy(&bench)
            .args(plain)
            .args([remote("skopeo/app", reference), layout(&target, "v1")])
            .run();
        assert_holds(&target, image.blobs().chain([&image.manifest]));
    }

    // Another repository of the same registry: the blobs are mounted.
    copy(&bench)
        .args(plain)
        .args([remote("skopeo/app", "v1"), remote("skopeo/other", "v1")])
        .run();
    let inspect = ["inspect", "--raw", "--tls-verify=false"];
    let raw = bench
        .tool("skopeo")
        .args(inspect)
        .arg(remote("skopeo/other", "v1"))
        .run();
    assert_eq!(raw.stdout, image.manifest.bytes);

    let repository = format!("docker://{}/skopeo/app", registry.host());
    let listed = bench
        .tool("skopeo")
        .args(["list-tags", "--tls-verify=false", &repository])
        .run()
        .json();
    assert_eq!(listed["Tags"], serde_json::json!(["v1", "v2"]));

    bench
        .tool("skopeo")
        .args(["delete", "--tls-verify=false"])
        .arg(remote("skopeo/app", "v1"))
        .run();
    bench
        .tool("skopeo")
        .args(inspect)
        .arg(remote("skopeo/app", &image.manifest.digest))
        .refused();
    bench
        .tool("skopeo")
        .args(inspect)
        .arg(remote("skopeo/other", "v1"))
        .run();
}

#[test]
fn index() {
    let registry = Registry::start();
    let bench = Workbench::new();
    let index = Index::new(210, 40_000);
    let (source, target) = (bench.path("source"), bench.path("target"));
    index.write_layout(&source, "v1");
    let remote = format!("docker://{}", registry.image("skopeo/index", "v1"));
    copy(&bench)
        .args(["--all", "--dest-tls-verify=false"])
        .args([layout(&source, "v1"), remote.clone()])
        .run();
    copy(&bench)
        .args(["--all", "--src-tls-verify=false"])
        .args([remote.clone(), layout(&target, "v1")])
        .run();
    assert_holds(&target, [&index.manifest].into_iter());
    for image in &index.images {
        assert_holds(&target, image.blobs().chain([&image.manifest]));
    }

    // Converted to Docker's own format on the way: other digests, the same two platforms.
    let converted = format!("docker://{}", registry.image("skopeo/index", "docker"));
    let source = layout(&source, "v1");
    let convert = ["copy", "--all", "--format=v2s2", "--dest-tls-verify=false"];
    bench
        .tool("skopeo")
        .args(convert)
        .args([&source, &converted])
        .run();
    let list = bench
        .tool("skopeo")
        .args(["inspect", "--raw", "--tls-verify=false", &converted])
        .run()
        .json();
    assert_eq!(
        list["mediaType"],
        "application/vnd.docker.distribution.manifest.list.v2+json"
    );
    assert_eq!(list["manifests"].as_array().map(Vec::len), Some(2));
}

#[test]
fn accounts_over_tls() {
    let registry = Registry::builder().tls().accounts().start();
    let bench = Workbench::new();
    let (image, source, host) = (
        Image::new(220, &[60_000]),
        bench.path("source"),
        registry.host(),
    );
    image.write_layout(&source, "v1");
    let trusted = bench.path("trusted");
    registry.certificates().fill_directory(&trusted, false);
    let trusted = trusted.display();
    let remote = format!("docker://{}", registry.image("skopeo/private", "v1"));
    let push = || {
        copy(&bench)
            .arg(format!("--dest-cert-dir={trusted}"))
            .args([layout(&source, "v1"), remote.clone()])
    };
    let inspect = || {
        bench
            .tool("skopeo")
            .args(["inspect", "--raw"])
            .arg(format!("--cert-dir={trusted}"))
            .arg(&remote)
    };
    let login = || {
        let command = bench
            .tool("skopeo")
            .args(["login", "--username", USER, "--password-stdin"]);
        command.arg(format!("--cert-dir={trusted}")).arg(&host)
    };

    push().refused().mentions("unauthorized");
    login()
        .input("wrong")
        .refused()
        .mentions("invalid username/password");
    login().input(PASSWORD).run();
    push().run();
    assert_eq!(inspect().run().stdout, image.manifest.bytes);
    bench.tool("skopeo").args(["logout", &host]).run();
    inspect().refused().mentions("unauthorized");
    // Without the authority's certificate there is no connection.
    bench
        .tool("skopeo")
        .args(["inspect", &remote])
        .refused()
        .mentions("certificate");
}

#[test]
fn client_certificates() {
    let registry = Registry::builder().client_certificates().start();
    let bench = Workbench::new();
    let (image, source) = (Image::new(230, &[60_000]), bench.path("source"));
    image.write_layout(&source, "v1");
    let (with, without) = (bench.path("with"), bench.path("without"));
    registry.certificates().fill_directory(&with, true);
    registry.certificates().fill_directory(&without, false);
    let remote = format!("docker://{}", registry.image("skopeo/mtls", "v1"));
    let push = |directory: &Path| {
        let certificates = format!("--dest-cert-dir={}", directory.display());
        copy(&bench).args([certificates, layout(&source, "v1"), remote.clone()])
    };
    push(&without).refused();
    push(&with).run();
    let certificates = format!("--cert-dir={}", with.display());
    let raw = bench
        .tool("skopeo")
        .args(["inspect", "--raw", &certificates, &remote])
        .run();
    assert_eq!(raw.stdout, image.manifest.bytes);
}
