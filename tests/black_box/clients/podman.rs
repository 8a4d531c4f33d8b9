//! podman, with its own storage and no containers.

use std::path::Path;

use holdfast_tests::{Command, Image, Index, PASSWORD, Registry, USER, Workbench};

/// A `podman` command whose images are in the workbench.
fn podman(bench: &Workbench) -> Command {
    let storage = [
        ("--root", "images"),
        ("--runroot", "run"),
        ("--tmpdir", "tmp"),
    ];
    let command = bench.tool("podman").args([
        "--storage-driver=vfs",
        "--cgroup-manager=cgroupfs",
        "--events-backend=none",
    ]);
    storage
        .into_iter()
        .fold(command, |command, (option, name)| {
            command.arg(option).arg(bench.path(name))
        })
}

/// Loads an image under this name.
fn load(bench: &Workbench, image: &Image, name: &str) {
    let archive = bench.path("image.tar");
    image.write_docker_archive(&archive, &[name]);
    podman(bench).args(["load", "--input"]).arg(archive).run();
}

/// The digests of an image's uncompressed layers, which no copy may change.
fn layers(bench: &Workbench, name: &str) -> String {
    podman(bench)
        .args(["image", "inspect", "--format", "{{.RootFS.Layers}}", name])
        .run()
        .text()
        .to_owned()
}

/// Pulls into a storage without images, and returns the layers.
#[track_caller]
fn pull_afresh(bench: &Workbench, options: &[&str], name: &str) -> String {
    podman(bench).args(["rmi", "--all", "--force"]).run();
    podman(bench).arg("pull").args(options).arg(name).run();
    layers(bench, name)
}

#[test]
fn push_and_pull() {
    let registry = Registry::start();
    let bench = Workbench::new();
    let image = Image::new(300, &[80_000, 700_000]);
    let name = registry.image("podman/app", "v1");
    load(&bench, &image, &name);
    let expected = layers(&bench, &name);
    let digest_file = bench.path("digest");
    podman(&bench)
        .args(["push", "--tls-verify=false", "--digestfile"])
        .arg(&digest_file)
        .arg(&name)
        .run();
    let digest = std::fs::read_to_string(digest_file).expect("podman writes the digest");

    let plain = ["--tls-verify=false"];
    assert_eq!(pull_afresh(&bench, &plain, &name), expected);
    assert_eq!(
        pull_afresh(&bench, &plain, &registry.image("podman/app", digest.trim())),
        expected
    );
    let repository = format!("{}/podman/app", registry.host());
    let listed = podman(&bench)
        .args(["search", "--list-tags", "--tls-verify=false", &repository])
        .run();
    let rows: Vec<Vec<_>> = listed
        .text()
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows, [["NAME", "TAG"], [&repository, "v1"]]);
    podman(&bench)
        .args([
            "pull",
            "--tls-verify=false",
            &registry.image("podman/app", "absent"),
        ])
        .refused();
}

#[test]
fn index() {
    let registry = Registry::start();
    let bench = Workbench::new();
    let platforms = Index::new(310, 30_000);
    let source = bench.path("source");
    podman(&bench).args(["manifest", "create", "list"]).run();
    for image in &platforms.images {
        let tag = image.architecture;
        let path = source.join(tag);
        image.write_layout(&path, tag);
        podman(&bench)
            .args(["manifest", "add", "list"])
            .arg(format!("oci:{}:{tag}", path.display()))
            .run();
    }
    let name = registry.image("podman/index", "v1");
    let push = ["manifest", "push", "--all", "--tls-verify=false", "list"];
    podman(&bench)
        .args(push)
        .arg(format!("docker://{name}"))
        .run();
    for image in &platforms.images {
        podman(&bench)
            .args([
                "pull",
                "--tls-verify=false",
                "--arch",
                image.architecture,
                &name,
            ])
            .run();
        let id = podman(&bench)
            .args(["image", "inspect", "--format", "{{.Id}}", &name])
            .run();
        assert_eq!(
            format!("sha256:{}", id.text()),
            image.config.digest,
            "{}",
            image.architecture
        );
    }
}

#[test]
fn accounts_over_tls() {
    let registry = Registry::builder().tls().accounts().start();
    let bench = Workbench::new();
    let (host, name) = (registry.host(), registry.image("podman/private", "v1"));
    load(&bench, &Image::new(320, &[50_000]), &name);
    let expected = layers(&bench, &name);
    let trusted = bench.path("trusted");
    registry.certificates().fill_directory(&trusted, false);
    let certificates = format!("--cert-dir={}", trusted.display());
    let login = || {
        podman(&bench).args([
            "login",
            &certificates,
            "--username",
            USER,
            "--password-stdin",
            &host,
        ])
    };

    podman(&bench)
        .args(["push", &certificates, &name])
        .refused()
        .mentions("unauthorized");
    login()
        .input("wrong")
        .refused()
        .mentions("invalid username/password");
    login().input(PASSWORD).run();
    podman(&bench).args(["push", &certificates, &name]).run();
    assert_eq!(pull_afresh(&bench, &[&certificates], &name), expected);
    podman(&bench).args(["logout", &host]).run();
    podman(&bench)
        .args(["pull", &certificates, &name])
        .refused()
        .mentions("unauthorized");
}

#[test]
fn client_certificates() {
    let registry = Registry::builder().client_certificates().start();
    let bench = Workbench::new();
    let name = registry.image("podman/mtls", "v1");
    load(&bench, &Image::new(330, &[50_000]), &name);
    let expected = layers(&bench, &name);
    let option = |directory: &Path| format!("--cert-dir={}", directory.display());
    let (with, without) = (bench.path("with"), bench.path("without"));
    registry.certificates().fill_directory(&with, true);
    registry.certificates().fill_directory(&without, false);
    podman(&bench)
        .args(["push", &option(&without), &name])
        .refused();
    podman(&bench).args(["push", &option(&with), &name]).run();
    assert_eq!(pull_afresh(&bench, &[&option(&with)], &name), expected);
}
