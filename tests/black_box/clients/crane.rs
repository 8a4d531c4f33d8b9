//! crane (go-containerregistry, as in ko and kaniko). Over TLS it speaks HTTP/2.

use holdfast_tests::{Command, Image, Index, PASSWORD, Registry, USER, Workbench};

#[test]
fn push_copy_list_delete() {
    let registry = Registry::start();
    let bench = Workbench::new();
    let crane = || bench.tool("crane");
    let image = Image::new(600, &[100_000, 800_000]);
    let source = bench.path("source");
    image.write_layout(&source, "v1");
    let name = registry.image("crane/app", "v1");

    crane().arg("push").arg(&source).arg(&name).run();
    assert_eq!(
        crane().args(["digest", &name]).run().text(),
        image.manifest.digest
    );
    assert_eq!(
        crane().args(["manifest", &name]).run().text().as_bytes(),
        image.manifest.bytes
    );
    crane().args(["validate", "--remote", &name]).run();
    for layer in &image.layers {
        let blob = registry.image("crane/app", &layer.digest);
        assert_eq!(crane().args(["blob", &blob]).run().stdout, layer.bytes);
    }

    crane().args(["tag", &name, "v2"]).run();
    crane()
        .args(["copy", &name, &registry.image("crane/copy", "v1")])
        .run();
    crane()
        .args([
            "copy",
            &registry.image("crane/app", &image.manifest.digest),
            &registry.image("crane/copy", "v3"),
        ])
        .run();
    let list = |repository: &str| {
        crane()
            .args(["ls", &format!("{}/{repository}", registry.host())])
            .run()
    };
    assert_eq!(list("crane/app").sorted_lines(), ["v1", "v2"]);
    assert_eq!(list("crane/copy").sorted_lines(), ["v1", "v3"]);
    assert_eq!(
        crane()
            .args(["catalog", &registry.host()])
            .run()
            .sorted_lines(),
        ["crane/app", "crane/copy"]
    );

    let target = bench.path("pulled");
    crane()
        .args(["pull", "--format", "oci", &name])
        .arg(&target)
        .run();
    for layer in image.blobs().chain([&image.manifest]) {
        let path = target.join("blobs").join(layer.digest.replace(':', "/"));
        assert_eq!(std::fs::read(path).expect("a pulled blob"), layer.bytes);
    }

    crane()
        .args([
            "delete",
            &registry.image("crane/app", &image.manifest.digest),
        ])
        .run();
    crane()
        .args(["digest", &name])
        .refused()
        .mentions("MANIFEST_UNKNOWN");
    crane()
        .args(["digest", &registry.image("crane/copy", "v1")])
        .run();
}

#[test]
fn index() {
    let registry = Registry::start();
    let bench = Workbench::new();
    let index = Index::new(610, 50_000);
    let source = bench.path("source");
    index.write_layout(&source, "v1");
    let name = registry.image("crane/index", "v1");
    bench
        .tool("crane")
        .args(["push", "--index"])
        .arg(&source)
        .arg(&name)
        .run();
    // crane pushes the layout's own index.json, which lists our index.
    bench
        .tool("crane")
        .args(["validate", "--remote", &name])
        .run();
    let inner = registry.image("crane/index", &index.manifest.digest);
    assert_eq!(
        bench
            .tool("crane")
            .args(["manifest", &inner])
            .run()
            .text()
            .as_bytes(),
        index.manifest.bytes
    );
    for image in &index.images {
        let platform = format!("linux/{}", image.architecture);
        let config = bench
            .tool("crane")
            .args(["config", "--platform", &platform, &inner])
            .run();
        assert_eq!(config.text().as_bytes(), image.config.bytes, "{platform}");
    }
}

#[test]
fn accounts_over_tls() {
    let registry = Registry::builder().tls().accounts().start();
    let bench = Workbench::new();
    let authority = registry.certificates().authority.clone();
    let crane = || -> Command { bench.tool("crane").env("SSL_CERT_FILE", &authority) };
    let (image, source, host) = (
        Image::new(620, &[70_000]),
        bench.path("source"),
        registry.host(),
    );
    image.write_layout(&source, "v1");
    let name = registry.image("crane/private", "v1");
    let push = || crane().arg("push").arg(&source).arg(&name);
    let login = |password: &str| {
        crane().args([
            "auth",
            "login",
            &host,
            "--username",
            USER,
            "--password",
            password,
        ])
    };

    push().refused().mentions("UNAUTHORIZED");
    // crane only writes the password down; the registry sees it with the next request.
    login("wrong").run();
    push().refused().mentions("UNAUTHORIZED");
    login(PASSWORD).run();
    push().run();
    assert_eq!(
        crane().args(["digest", &name]).run().text(),
        image.manifest.digest
    );
    crane().args(["auth", "logout", &host]).run();
    crane()
        .args(["digest", &name])
        .refused()
        .mentions("UNAUTHORIZED");
    bench.tool("crane").args(["digest", &name]).refused();
}
