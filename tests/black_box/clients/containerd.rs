//! containerd, by its own `ctr`: imports, pushes, and pulls into an empty content store.

use std::fs;
use std::path::{Path, PathBuf};

use holdfast_tests::{Blob, Containerd, Image, Index, PASSWORD, Registry, USER};

#[test]
fn containerd() {
    let containerd = Containerd::start();
    push_and_pull(&containerd);
    index(&containerd);
    accounts_over_tls_with_client_certificates(&containerd);
}

/// Imports an image layout, which `ctr` wants as a tar archive, with this repository before its tag.
fn import(containerd: &Containerd, write_layout: impl FnOnce(&Path), repository: &str) {
    let bench = containerd.home();
    let (layout, archive) = (bench.path("layout"), bench.path("layout.tar"));
    write_layout(&layout);
    bench
        .tool("tar")
        .arg("--create")
        .arg("--file")
        .arg(&archive)
        .arg("--directory")
        .arg(&layout)
        .arg(".")
        .run();
    fs::remove_dir_all(layout).expect("removing a layout");
    let import = [
        "images",
        "import",
        "--all-platforms",
        "--no-unpack",
        "--base-name",
        repository,
    ];
    containerd.ctr().args(import).arg(archive).run();
}

/// Forgets all images; containerd then removes their content.
fn forget(containerd: &Containerd) {
    let images = containerd.ctr().args(["images", "list", "--quiet"]).run();
    containerd
        .ctr()
        .args(["images", "remove", "--sync"])
        .args(images.sorted_lines())
        .run();
    assert_eq!(
        containerd
            .ctr()
            .args(["content", "list", "--quiet"])
            .run()
            .text(),
        "",
        "content left behind"
    );
}

#[track_caller]
fn assert_holds<'a>(containerd: &Containerd, blobs: impl Iterator<Item = &'a Blob>) {
    for blob in blobs {
        assert_eq!(
            containerd
                .ctr()
                .args(["content", "get", &blob.digest])
                .run()
                .stdout,
            blob.bytes
        );
    }
}

const PULL: [&str; 4] = ["images", "pull", "--snapshotter", "native"];

fn push_and_pull(containerd: &Containerd) {
    let registry = Registry::start();
    let image = Image::new(500, &[90_000, 600_000]);
    let repository = format!("{}/containerd/app", registry.host());
    let name = format!("{repository}:v1");
    import(
        containerd,
        |path| image.write_layout(path, "v1"),
        &repository,
    );
    containerd
        .ctr()
        .args(["images", "push", "--plain-http", &name])
        .run();
    for name in [
        &name,
        &registry.image("containerd/app", &image.manifest.digest),
    ] {
        forget(containerd);
        containerd
            .ctr()
            .args(PULL)
            .args(["--plain-http", name])
            .run();
        assert_holds(containerd, image.blobs().chain([&image.manifest]));
    }
    forget(containerd);
    assert_eq!(registry.http().tags("containerd/app"), ["v1"]);
}

fn index(containerd: &Containerd) {
    let registry = Registry::start();
    let index = Index::new(510, 30_000);
    let repository = format!("{}/containerd/index", registry.host());
    let name = format!("{repository}:v1");
    import(
        containerd,
        |path| index.write_layout(path, "v1"),
        &repository,
    );
    containerd
        .ctr()
        .args(["images", "push", "--plain-http", &name])
        .run();
    forget(containerd);
    containerd
        .ctr()
        .args(PULL)
        .args(["--plain-http", "--all-platforms", &name])
        .run();
    for image in &index.images {
        assert_holds(
            containerd,
            image.blobs().chain([&image.manifest, &index.manifest]),
        );
    }
    forget(containerd);
}

/// Writes containerd's registry configuration; without it, `localhost` is spoken to in plain HTTP.
fn trust(containerd: &Containerd, registry: &Registry) -> PathBuf {
    let files = registry.certificates();
    let (authority, client, key) = (
        files.authority.display(),
        files.client.display(),
        files.client_key.display(),
    );
    let url = registry.url();
    let settings = format!(
        r#"server = "{url}"
[host."{url}"]
  ca = "{authority}"
  client = [["{client}", "{key}"]]
"#
    );
    containerd
        .home()
        .file(&format!("hosts/{}/hosts.toml", registry.host()), settings);
    containerd.home().path("hosts")
}

fn accounts_over_tls_with_client_certificates(containerd: &Containerd) {
    let registry = Registry::builder().client_certificates().accounts().start();
    let image = Image::new(520, &[50_000]);
    let repository = format!("{}/containerd/private", registry.host());
    let name = format!("{repository}:v1");
    import(
        containerd,
        |path| image.write_layout(path, "v1"),
        &repository,
    );
    let hosts = trust(containerd, &registry);
    let account = |password: &str| format!("{USER}:{password}");
    let push = |user: &str| {
        let command = containerd
            .ctr()
            .args(["images", "push", "--hosts-dir"])
            .arg(&hosts);
        command.args(["--user", user, &name])
    };
    push(&account("wrong")).refused();
    push(&account(PASSWORD)).run();
    forget(containerd);
    let pull = || containerd.ctr().args(PULL).arg("--hosts-dir").arg(&hosts);
    pull().arg(&name).refused();
    pull().args(["--user", &account(PASSWORD), &name]).run();
    assert_holds(containerd, image.blobs().chain([&image.manifest]));
}
