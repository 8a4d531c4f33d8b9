//! buildah: builds an image from nothing, without running anything in it, and pushes it.

use holdfast_tests::{Command, PASSWORD, Registry, USER, Workbench, random_bytes};

/// A `buildah` command whose images are in the workbench.
fn buildah(bench: &Workbench) -> Command {
    let command = bench.tool("buildah").arg("--storage-driver=vfs");
    command
        .arg("--root")
        .arg(bench.path("images"))
        .arg("--runroot")
        .arg(bench.path("run"))
}

/// Builds an image with one file and commits it in this format.
fn build(bench: &Workbench, format: &str, seed: u64, name: &str) {
    let content = bench.file("content.bin", random_bytes(seed, 400_000));
    let container = buildah(bench).args(["from", "scratch"]).run();
    let container = container.text();
    buildah(bench)
        .args(["copy", container])
        .arg(content)
        .arg("/content.bin")
        .run();
    buildah(bench)
        .args(["commit", "--rm", "--format", format, container, name])
        .run();
}

fn image_id(bench: &Workbench, name: &str) -> String {
    buildah(bench)
        .args(["images", "--no-trunc", "--format", "{{.ID}}", name])
        .run()
        .text()
        .to_owned()
}

/// Pulls into a storage without images and compares the image id.
#[track_caller]
fn pull(bench: &Workbench, option: &str, name: &str, expected: &str) {
    buildah(bench).args(["rmi", "--all", "--force"]).run();
    buildah(bench).args(["pull", option, name]).run();
    assert_eq!(image_id(bench, name), expected, "after buildah pull {name}");
}

#[test]
fn build_push_pull() {
    let registry = Registry::start();
    let bench = Workbench::new();
    for (seed, format) in [(400, "oci"), (401, "docker")] {
        let name = registry.image("buildah/app", format);
        build(&bench, format, seed, &name);
        let id = image_id(&bench, &name);
        let digest_file = bench.path("digest");
        buildah(&bench)
            .args(["push", "--tls-verify=false", "--digestfile"])
            .arg(&digest_file)
            .arg(&name)
            .run();
        let digest = std::fs::read_to_string(digest_file).expect("buildah writes the digest");
        pull(&bench, "--tls-verify=false", &name, &id);
        pull(
            &bench,
            "--tls-verify=false",
            &registry.image("buildah/app", digest.trim()),
            &id,
        );
    }
    let mut tags = registry.http().tags("buildah/app");
    tags.sort();
    assert_eq!(tags, ["docker", "oci"]);
}

#[test]
fn index() {
    let registry = Registry::start();
    let bench = Workbench::new();
    buildah(&bench).args(["manifest", "create", "list"]).run();
    for (seed, architecture) in [(410, "amd64"), (411, "arm64")] {
        let name = format!("localhost/part:{architecture}");
        build(&bench, "oci", seed, &name);
        buildah(&bench)
            .args(["manifest", "add", "--arch", architecture, "list", &name])
            .run();
    }
    let name = registry.image("buildah/index", "v1");
    let push = ["manifest", "push", "--all", "--tls-verify=false", "list"];
    buildah(&bench)
        .args(push)
        .arg(format!("docker://{name}"))
        .run();
    let http = registry.http();
    let index = http.get("/v2/buildah/index/manifests/v1");
    let index = index
        .header("Accept", "application/vnd.oci.image.index.v1+json")
        .send()
        .expect(200)
        .json();
    assert_eq!(
        index["manifests"].as_array().map(Vec::len),
        Some(2),
        "{index}"
    );
}

#[test]
fn accounts_over_tls() {
    let registry = Registry::builder().tls().accounts().start();
    let bench = Workbench::new();
    let (host, name) = (registry.host(), registry.image("buildah/private", "v1"));
    build(&bench, "oci", 420, &name);
    let id = image_id(&bench, &name);
    let trusted = bench.path("trusted");
    registry.certificates().fill_directory(&trusted, false);
    let certificates = format!("--cert-dir={}", trusted.display());
    let login = || {
        buildah(&bench).args([
            "login",
            &certificates,
            "--username",
            USER,
            "--password-stdin",
            &host,
        ])
    };

    buildah(&bench)
        .args(["push", &certificates, &name])
        .refused()
        .mentions("unauthorized");
    login()
        .input("wrong")
        .refused()
        .mentions("invalid username/password");
    login().input(PASSWORD).run();
    buildah(&bench).args(["push", &certificates, &name]).run();
    pull(&bench, &certificates, &name, &id);
    buildah(&bench).args(["logout", &host]).run();
    buildah(&bench)
        .args(["pull", "--policy=always", &certificates, &name])
        .refused()
        .mentions("unauthorized");
}
