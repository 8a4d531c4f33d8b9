//! Pulls without a login from a registry that has users, by clients that never try without being told how.

use holdfast_tests::{DockerEngine, Image, PASSWORD, Registry, USER, Workbench};

fn registry(image: &Image) -> Registry {
    let registry = Registry::builder()
        .accounts()
        .section("access:\n  anonymouspull: true")
        .start();
    let user = registry.http().with_password(USER, PASSWORD);
    user.push_image("public/app", "v1", image);
    registry
}

#[test]
fn docker() {
    let image = Image::new(990, &[50_000, 300_000]);
    let registry = registry(&image);
    let engine = DockerEngine::start();
    let (host, name) = (registry.host(), registry.image("public/app", "v1"));
    engine.docker().args(["pull", &name]).run();
    assert_eq!(engine.image_id(&name), image.config.digest);
    let mine = registry.image("public/mine", "v1");
    engine.docker().args(["tag", &name, &mine]).run();
    engine.docker().args(["push", &mine]).refused();
    let login = |password: &str| {
        engine
            .docker()
            .args(["login", "--username", USER, "--password-stdin", &host])
            .input(password)
    };
    login("wrong").refused();
    login(PASSWORD).run();
    engine.docker().args(["push", &mine]).run();
    engine.docker().args(["logout", &host]).run();
    engine
        .docker()
        .args(["push", &registry.image("public/mine", "v1")])
        .refused();
    engine.remove_all_images();
    engine.docker().args(["pull", &mine]).run();
    assert_eq!(engine.image_id(&mine), image.config.digest);
}

#[test]
fn skopeo_podman_crane_and_oras() {
    let image = Image::new(991, &[40_000]);
    let registry = registry(&image);
    let bench = Workbench::new();
    let name = registry.image("public/app", "v1");
    let inspected = bench
        .tool("skopeo")
        .args(["inspect", "--tls-verify=false", "--format", "{{.Digest}}"])
        .arg(format!("docker://{name}"))
        .run();
    assert_eq!(inspected.text().trim(), image.manifest.digest);
    let podman = bench
        .tool("podman")
        .args([
            "--storage-driver=vfs",
            "--cgroup-manager=cgroupfs",
            "--events-backend=none",
        ])
        .arg("--root")
        .arg(bench.path("images"))
        .arg("--runroot")
        .arg(bench.path("run"))
        .arg("--tmpdir")
        .arg(bench.path("tmp"));
    podman.args(["pull", "--tls-verify=false", &name]).run();
    let digest = bench
        .tool("crane")
        .args(["digest", "--insecure", &name])
        .run();
    assert_eq!(digest.text().trim(), image.manifest.digest);
    let fetched = bench
        .tool("oras")
        .args(["manifest", "fetch", "--plain-http", &name])
        .run();
    assert_eq!(fetched.text().as_bytes(), image.manifest.bytes);
}
