//! Docker Engine and the `docker` command. One engine serves all steps: starting it is the slow part.

use holdfast_tests::{DockerEngine, Image, Index, PASSWORD, Registry, USER};

#[test]
fn docker() {
    let engine = DockerEngine::start();
    push_and_pull(&engine);
    all_tags(&engine);
    index(&engine);
    accounts_over_tls(&engine);
    client_certificates(&engine);
}

/// Loads an image into the engine under these names.
fn load(engine: &DockerEngine, image: &Image, names: &[&str]) {
    let archive = engine.home().path("image.tar");
    image.write_docker_archive(&archive, names);
    engine.docker().args(["load", "--input"]).arg(archive).run();
    for name in names {
        assert_eq!(
            engine.image_id(name),
            image.config.digest,
            "after docker load of {name}"
        );
    }
}

/// Pushes, and returns the digest that the registry gave the manifest.
fn push(engine: &DockerEngine, name: &str) -> String {
    let output = engine.docker().args(["push", name]).run();
    let digest = output
        .text()
        .split_whitespace()
        .skip_while(|word| *word != "digest:")
        .nth(1);
    digest
        .unwrap_or_else(|| panic!("no digest in: {output}"))
        .to_owned()
}

/// Pulls into an engine that has nothing yet, and compares.
fn pull(engine: &DockerEngine, name: &str, image: &Image) {
    engine.remove_all_images();
    engine.docker().args(["pull", name]).run();
    assert_eq!(
        engine.image_id(name),
        image.config.digest,
        "after docker pull of {name}"
    );
}

fn push_and_pull(engine: &DockerEngine) {
    let registry = Registry::start();
    let image = Image::new(120, &[100_000, 2_000_000, 1]);
    let name = registry.image("docker/app", "v1");
    load(engine, &image, &[&name]);
    let digest = push(engine, &name);
    pull(engine, &name, &image);
    pull(engine, &registry.image("docker/app", &digest), &image);

    // The same layers into a second repository are mounted or found, not sent again.
    let other = registry.image("docker/other", "v1");
    engine
        .docker()
        .args(["tag", &registry.image("docker/app", &digest), &other])
        .run();
    assert_eq!(push(engine, &other), digest);
    pull(engine, &other, &image);
    engine
        .docker()
        .args(["pull", &registry.image("docker/app", "absent")])
        .refused()
        .mentions("manifest unknown");
}

fn all_tags(engine: &DockerEngine) {
    let registry = Registry::start();
    let image = Image::new(121, &[20_000]);
    let names = ["v1", "v2", "latest"].map(|tag| registry.image("docker/tags", tag));
    load(engine, &image, &names.each_ref().map(String::as_str));
    let repository = format!("{}/docker/tags", registry.host());
    engine
        .docker()
        .args(["push", "--all-tags", &repository])
        .run();

    let mut tags = registry.http().tags("docker/tags");
    tags.sort();
    assert_eq!(tags, ["latest", "v1", "v2"]);
    engine.remove_all_images();
    engine
        .docker()
        .args(["pull", "--all-tags", &repository])
        .run();
    for name in &names {
        assert_eq!(
            engine.image_id(name),
            image.config.digest,
            "after docker pull --all-tags of {name}"
        );
    }
}

fn index(engine: &DockerEngine) {
    let registry = Registry::start();
    let platforms = Index::new(122, 30_000);
    let list = registry.image("docker/index", "all");
    let mut names = Vec::new();
    for image in &platforms.images {
        let name = registry.image("docker/index", image.architecture);
        load(engine, image, &[&name]);
        push(engine, &name);
        names.push(name);
    }
    engine
        .docker()
        .args(["manifest", "create", "--insecure", &list])
        .args(&names)
        .run();
    for (name, image) in names.iter().zip(&platforms.images) {
        engine
            .docker()
            .args([
                "manifest",
                "annotate",
                "--arch",
                image.architecture,
                &list,
                name,
            ])
            .run();
    }
    engine
        .docker()
        .args(["manifest", "push", "--insecure", &list])
        .run();

    let inspected = engine
        .docker()
        .args(["manifest", "inspect", "--insecure", &list])
        .run()
        .json();
    assert_eq!(
        inspected["manifests"].as_array().map(Vec::len),
        Some(2),
        "{inspected}"
    );
    for image in &platforms.images {
        engine.remove_all_images();
        let platform = format!("linux/{}", image.architecture);
        engine
            .docker()
            .args(["pull", "--platform", &platform, &list])
            .run();
        assert_eq!(
            engine.image_id(&list),
            image.config.digest,
            "after docker pull --platform {platform}"
        );
    }
}

fn accounts_over_tls(engine: &DockerEngine) {
    let registry = Registry::builder().tls().accounts().ipv6().start();
    let host = registry.host();
    let image = Image::new(123, &[40_000]);
    let name = registry.image("docker/private", "v1");
    load(engine, &image, &[&name]);

    engine
        .docker()
        .args(["push", &name])
        .refused()
        .mentions("certificate");
    engine.trust(&host, registry.certificates(), false);
    engine
        .docker()
        .args(["push", &name])
        .refused()
        .mentions("no basic auth credentials");
    let login = || {
        engine
            .docker()
            .args(["login", "--username", USER, "--password-stdin", &host])
    };
    login().input("wrong").refused().mentions("unauthorized");
    login().input(PASSWORD).run().mentions("login succeeded");
    push(engine, &name);
    pull(engine, &name, &image);
    engine.docker().args(["logout", &host]).run();
    engine
        .docker()
        .args(["pull", &name])
        .refused()
        .mentions("no basic auth credentials");
}

fn client_certificates(engine: &DockerEngine) {
    let registry = Registry::builder().client_certificates().ipv6().start();
    let image = Image::new(124, &[40_000]);
    let name = registry.image("docker/mtls", "v1");
    load(engine, &image, &[&name]);
    engine.trust(&registry.host(), registry.certificates(), false);
    engine
        .docker()
        .args(["push", &name])
        .refused()
        .mentions("certificate");
    engine.trust(&registry.host(), registry.certificates(), true);
    push(engine, &name);
    pull(engine, &name, &image);
}
