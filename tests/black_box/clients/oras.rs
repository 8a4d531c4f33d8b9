//! oras: artifacts of any kind, and what refers to them.

use holdfast_tests::{PASSWORD, Registry, USER, Workbench, random_bytes};

const KIND: &str = "application/vnd.example.report";
const SIGNATURE: &str = "application/vnd.example.signature";

#[test]
fn artifacts_and_referrers() {
    let registry = Registry::start();
    let bench = Workbench::new();
    let oras = || bench.tool("oras");
    let content = random_bytes(700, 300_000);
    bench.file("report.bin", &content);
    let name = registry.image("oras/report", "v1");
    oras()
        .args([
            "push",
            "--plain-http",
            "--artifact-type",
            KIND,
            &name,
            "report.bin:application/octet-stream",
        ])
        .run();
    let digest = oras()
        .args(["resolve", "--plain-http", &name])
        .run()
        .text()
        .to_owned();
    oras()
        .args(["pull", "--plain-http", "--output", "by-tag", &name])
        .run();
    oras()
        .args([
            "pull",
            "--plain-http",
            "--output",
            "by-digest",
            &registry.image("oras/report", &digest),
        ])
        .run();
    for directory in ["by-tag", "by-digest"] {
        let pulled =
            std::fs::read(bench.path(directory).join("report.bin")).expect("a pulled file");
        assert_eq!(pulled, content, "{directory}");
    }

    // Two referrers, of which one is asked for by its type.
    bench.file("signature.txt", "signed");
    bench.file("bill.json", "{}");
    oras()
        .args([
            "attach",
            "--plain-http",
            "--artifact-type",
            SIGNATURE,
            &name,
            "signature.txt",
        ])
        .run();
    oras()
        .args([
            "attach",
            "--plain-http",
            "--artifact-type",
            "application/vnd.example.sbom",
            &name,
            "bill.json",
        ])
        .run();
    let discover = || oras().args(["discover", "--plain-http", "--format", "json"]);
    let all = discover().arg(&name).run().json();
    assert_eq!(all["manifests"].as_array().map(Vec::len), Some(2), "{all}");
    let signed = discover()
        .args(["--artifact-type", SIGNATURE, &name])
        .run()
        .json();
    assert_eq!(
        signed["manifests"].as_array().map(Vec::len),
        Some(1),
        "{signed}"
    );
    assert_eq!(
        signed["manifests"][0]["artifactType"], SIGNATURE,
        "{signed}"
    );
    if !Registry::is_peer() {
        assert_eq!(
            registry.http().tags("oras/report"),
            ["v1"],
            "a fallback tag: the registry knows no referrers"
        );
    }

    // A recursive copy takes the referrers along.
    let copy = registry.image("oras/copy", "v1");
    oras()
        .args([
            "copy",
            "--recursive",
            "--from-plain-http",
            "--to-plain-http",
            &name,
            &copy,
        ])
        .run();
    let copied = discover().arg(&copy).run().json();
    assert_eq!(
        copied["manifests"].as_array().map(Vec::len),
        Some(2),
        "{copied}"
    );

    oras()
        .args(["tag", "--plain-http", &name, "v2", "v3"])
        .run();
    let tags = oras().args(["repo", "tags", "--plain-http", "--exclude-digest-tags"]);
    assert_eq!(
        tags.arg(format!("{}/oras/report", registry.host()))
            .run()
            .sorted_lines(),
        ["v1", "v2", "v3"]
    );
    let repositories = oras()
        .args(["repo", "ls", "--plain-http", &registry.host()])
        .run();
    assert_eq!(repositories.sorted_lines(), ["oras/copy", "oras/report"]);

    oras()
        .args([
            "manifest",
            "delete",
            "--plain-http",
            "--force",
            &registry.image("oras/report", &digest),
        ])
        .run();
    oras().args(["resolve", "--plain-http", &name]).refused();
    oras().args(["resolve", "--plain-http", &copy]).run();
}

#[test]
fn blobs() {
    let registry = Registry::start();
    let bench = Workbench::new();
    let content = random_bytes(710, 100_000);
    bench.file("blob.bin", &content);
    let digest = holdfast_tests::digest(&content);
    let name = registry.image("oras/blobs", &digest);
    bench
        .tool("oras")
        .args(["blob", "push", "--plain-http", &name, "blob.bin"])
        .run();
    let fetched = bench
        .tool("oras")
        .args(["blob", "fetch", "--plain-http", "--output", "-", &name])
        .run();
    assert_eq!(fetched.stdout, content);
    bench
        .tool("oras")
        .args(["blob", "delete", "--plain-http", "--force", &name])
        .run();
    bench
        .tool("oras")
        .args(["blob", "fetch", "--plain-http", "--descriptor", &name])
        .refused();
}

#[test]
fn accounts_over_tls_with_client_certificates() {
    let registry = Registry::builder().client_certificates().accounts().start();
    let bench = Workbench::new();
    let files = registry.certificates();
    let host = registry.host();
    // oras takes localhost for a plain HTTP registry unless told otherwise.
    let tls = |command: holdfast_tests::Command| {
        let command = command
            .arg("--plain-http=false")
            .arg("--ca-file")
            .arg(&files.authority);
        command
            .arg("--cert-file")
            .arg(&files.client)
            .arg("--key-file")
            .arg(&files.client_key)
    };
    let oras = |arguments: &[&str]| tls(bench.tool("oras").args(arguments));
    let login = || oras(&["login", "--username", USER, "--password-stdin", &host]);
    bench.file("file.bin", random_bytes(720, 50_000));
    let name = registry.image("oras/private", "v1");

    oras(&["push", &name, "file.bin"]).refused();
    login().input("wrong").refused();
    login().input(PASSWORD).run();
    oras(&["push", &name, "file.bin"]).run();
    oras(&["pull", "--output", "pulled", &name]).run();
    let pulled = std::fs::read(bench.path("pulled/file.bin")).expect("a pulled file");
    assert_eq!(pulled, random_bytes(720, 50_000));
    bench
        .tool("oras")
        .args(["pull", "--plain-http=false", &name, "--ca-file"])
        .arg(&files.authority)
        .refused();
    bench.tool("oras").args(["logout", &host]).run();
    oras(&["resolve", &name]).refused();
}
