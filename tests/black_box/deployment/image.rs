//! The container image in a real engine, in place of `registry:2`. One engine serves all steps.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use holdfast_tests::{Blob, DockerEngine, Image, Registry, eventually, random_bytes};
use serde_json::json;

use super::{IMAGE, answering, build, deploy, engine_with_image, pull, push_and_pull};

const ADDRESS: &str = "127.0.0.1:5000";

#[test]
fn image() {
    if Registry::is_peer() {
        return;
    }
    let engine = engine_with_image();
    what_it_says_about_itself(&engine);
    in_place_of_registry_2(&engine);
    confined(&engine);
    words_behind_the_name(&engine);
    configurations_of_both_images(&engine);
    a_stop_lets_an_upload_end(&engine);
    a_volume_of_root(&engine);
    names_and_authorities(&engine);
    with_a_shell(&engine);
}

/// Starts a container in the background.
fn run(engine: &DockerEngine, options: &[&str], arguments: &[&str]) {
    engine
        .docker()
        .args(["run", "--detach", "--name", "registry"])
        .args(options)
        .arg(IMAGE)
        .args(arguments)
        .run();
}

/// Runs a container to its end.
fn once(engine: &DockerEngine, options: &[&str], arguments: &[&str]) -> holdfast_tests::Command {
    engine
        .docker()
        .args(["run", "--rm"])
        .args(options)
        .arg(IMAGE)
        .args(arguments)
}

fn remove(engine: &DockerEngine) {
    engine.docker().args(["rm", "--force", "registry"]).run();
}

fn state(engine: &DockerEngine, format: &str) -> String {
    let inspected = engine
        .docker()
        .args(["inspect", "--format", format, "registry"])
        .run();
    inspected.text().to_owned()
}

fn what_it_says_about_itself(engine: &DockerEngine) {
    let config = engine
        .docker()
        .args(["image", "inspect", "--format", "{{json .Config}}", IMAGE])
        .run()
        .json();
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Volumes"], json!({ "/var/lib/registry": {} }));
    assert_eq!(config["ExposedPorts"], json!({ "5000/tcp": {} }));
    assert_eq!(config["Entrypoint"], json!(["/entrypoint.sh"]));
    assert_eq!(config["Cmd"], json!(["/etc/docker/registry/config.yml"]));
    assert_eq!(config["StopSignal"], "SIGTERM");
    assert_eq!(
        config["Healthcheck"]["Test"],
        json!(["CMD", "/bin/holdfast", "healthcheck"])
    );
}

/// The command that everybody knows, with another image; then a restart, and another container on the same volume.
fn in_place_of_registry_2(engine: &DockerEngine) {
    let options = [
        "--publish=5000:5000",
        "--restart=always",
        "--volume=registry-data:/var/lib/registry",
        "--env=REGISTRY_STORAGE_DELETE_ENABLED=true",
        "--health-interval=1s",
    ];
    run(engine, &options, &[]);
    let client = answering(ADDRESS);
    let image = Image::new(900, &[300_000, 10]);
    let name = "localhost:5000/first/app:v1";
    push_and_pull(engine, &image, name);
    eventually("its health check passes", || {
        state(engine, "{{.State.Health.Status}}") == "healthy"
    });
    engine
        .docker()
        .args(["exec", "registry", "bin/registry", "garbage-collect"])
        .arg("/etc/docker/registry/config.yml")
        .run()
        .mentions("4 blobs marked, 0 blobs and 0 manifests eligible for deletion");

    engine.docker().args(["restart", "registry"]).run();
    let _ = answering(ADDRESS);
    pull(engine, &image, name);
    engine
        .docker()
        .args(["kill", "--signal=KILL", "registry"])
        .run();
    engine.docker().args(["start", "registry"]).finish();
    let _ = answering(ADDRESS);
    remove(engine);
    run(engine, &options, &[]);
    let _ = answering(ADDRESS);
    pull(engine, &image, name);
    let tagged = client.get("/v2/first/app/manifests/v1").send().expect(200);
    let digest = tagged
        .header("Docker-Content-Digest")
        .expect("the digest of a tag");
    let path = format!("/v2/first/app/manifests/{digest}");
    let _ = client.delete(&path).send().expect(202);
    remove(engine);
}

/// What hardened hosts and clusters demand: nothing but the volume can be written, and there are no privileges.
fn confined(engine: &DockerEngine) {
    let options = [
        "--publish=5000:5000",
        "--read-only",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--tmpfs=/var/lib/registry:uid=65532,gid=65532",
    ];
    run(engine, &options, &[]);
    let client = answering(ADDRESS);
    client.push_image("confined/app", "v1", &Image::new(901, &[2_000_000]));
    let pid = state(engine, "{{.State.Pid}}");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1))
            .unwrap_or_else(|| panic!("no {name} in {status}"))
    };
    assert_eq!(field("Uid:"), "65532");
    assert_eq!(field("Gid:"), "65532");
    assert_eq!(field("CapEff:"), "0000000000000000");
    assert_eq!(field("CapBnd:"), "0000000000000000");
    remove(engine);
}

fn words_behind_the_name(engine: &DockerEngine) {
    for words in [&["--version"][..], &["registry", "--version"]] {
        once(engine, &[], words).run().mentions("registry holdfast");
    }
    let line = once(engine, &[], &["htpasswd", "-Bbn", "ann", "secret"]).run();
    assert!(line.text().starts_with("ann:$2"), "{line}");
    let line = once(
        engine,
        &["--entrypoint=htpasswd"],
        &["-Bbn", "ann", "secret"],
    )
    .run();
    assert!(line.text().starts_with("ann:$2"), "{line}");
    let absent = once(engine, &[], &["no-such-program"]).refused();
    assert_eq!(absent.status.code(), Some(127), "{absent}");
    run(
        engine,
        &["--publish=5000:5000"],
        &["/bin/registry", "serve", "/etc/distribution/config.yml"],
    );
    let _ = answering(ADDRESS);
    remove(engine);
}

/// Mounted where the images of Distribution 2 or 3 look, as a file or with its directory.
fn configurations_of_both_images(engine: &DockerEngine) {
    let text = "version: 0.1\nstorage: {inmemory: {}}\nhttp: {addr: ':5017'}\n";
    let file = engine.home().file("mounted/config.yml", text);
    let directory = file.parent().expect("a file in a directory");
    for mount in [
        format!("{}:/etc/docker/registry/config.yml:ro", file.display()),
        format!("{}:/etc/distribution/config.yml:ro", file.display()),
        format!("{}:/etc/docker/registry:ro", directory.display()),
        format!("{}:/etc/distribution:ro", directory.display()),
    ] {
        run(
            engine,
            &["--publish=5000:5017", &format!("--volume={mount}")],
            &[],
        );
        let _ = answering(ADDRESS);
        // The check asks where this configuration listens.
        engine
            .docker()
            .args(["exec", "registry", "/bin/holdfast", "healthcheck"])
            .run();
        remove(engine);
    }
}

fn a_stop_lets_an_upload_end(engine: &DockerEngine) {
    // Connections to the container itself: a proxy in between would accept them when nobody listens.
    run(
        engine,
        &["--network=host", "--env=REGISTRY_HTTP_DRAINTIMEOUT=60s"],
        &[],
    );
    let client = answering(ADDRESS);
    let blob = Blob::new("application/octet-stream", random_bytes(902, 3_000_000));
    let session = client
        .post("/v2/stop/app/blobs/uploads/")
        .body("")
        .send()
        .expect(202);
    let target = session
        .location()
        .replacen(&format!("http://{ADDRESS}"), "", 1);
    let (first, second) = blob.bytes.split_at(blob.bytes.len() / 2);
    let mut stream = TcpStream::connect(ADDRESS).expect("connecting");
    let head = format!(
        "PUT {target}&digest={} HTTP/1.1\r\nHost: {ADDRESS}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        blob.digest,
        blob.bytes.len()
    );
    stream.write_all(head.as_bytes()).expect("sending a head");
    stream.write_all(first).expect("sending half a body");
    engine
        .docker()
        .args(["kill", "--signal=TERM", "registry"])
        .run();
    eventually("new connections are refused", || {
        TcpStream::connect(ADDRESS).is_err()
    });
    stream.write_all(second).expect("sending the other half");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("reading the answer");
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    let code = engine.docker().args(["wait", "registry"]).run();
    assert_eq!(code.text(), "0");
    remove(engine);
}

/// A directory that `registry:2` filled as root: the image says what to do, and both ways work.
fn a_volume_of_root(engine: &DockerEngine) {
    let mut old = Registry::builder().program("docker-registry").start();
    let image = Image::new(903, &[50_000]);
    old.http().push_image("old/app", "v1", &image);
    old.terminate();
    let volume = format!("--volume={}:/var/lib/registry", old.data().display());
    let refused = once(engine, &[&volume], &[]).refused();
    assert_eq!(refused.status.code(), Some(1), "{refused}");
    refused.mentions("belongs to user 0, and this process runs as user 65532");
    refused.mentions("chown -R 65532:65532 /var/lib/registry");

    run(engine, &["--publish=5000:5000", "--user=0:0", &volume], &[]);
    let client = answering(ADDRESS);
    assert_eq!(client.tags("old/app"), ["v1"]);
    client.push_image("old/app", "v2", &Image::new(904, &[50_000]));
    remove(engine);

    engine
        .home()
        .tool("chown")
        .args(["--recursive", "65532:65532"])
        .arg(old.data())
        .run();
    run(engine, &["--publish=5000:5000", &volume], &[]);
    let client = answering(ADDRESS);
    client.push_image("old/app", "v3", &Image::new(905, &[50_000]));
    let mut tags = client.tags("old/app");
    tags.sort();
    assert_eq!(tags, ["v1", "v2", "v3"]);
    remove(engine);
}

/// The static program finds other machines by name, from a file and from a name server, and knows whom to trust.
fn names_and_authorities(engine: &DockerEngine) {
    engine.docker().args(["network", "create", "names"]).run();
    run(engine, &["--network=names"], &[]);
    // The engine's name server answers for containers.
    let url = "--url=http://registry:5000/healthz";
    eventually("the registry is found by its name", || {
        once(engine, &["--network=names"], &["healthcheck", url])
            .finish()
            .status
            .success()
    });
    let unknown = "--url=http://no-such-name.invalid:5000/healthz";
    once(engine, &["--network=names"], &["healthcheck", unknown]).refused();
    remove(engine);
    run(engine, &["--network=host"], &[]);
    let _ = answering(ADDRESS);
    let url = "--url=http://by-file:5000/healthz";
    once(
        engine,
        &["--network=host", "--add-host=by-file:127.0.0.1"],
        &["healthcheck", url],
    )
    .run();
    remove(engine);

    let upstream = Registry::builder().tls().start();
    // Under the name of this machine an import would not ask for TLS.
    let source = upstream
        .host()
        .replace("localhost", "docker://registry.test");
    let import = ["import", &source, "--dry-run"];
    let host = ["--network=host", "--add-host=registry.test:127.0.0.1"];
    once(engine, &host, &import)
        .refused()
        .mentions("certificate");
    let authority = format!(
        "--volume={}:/etc/ssl/certs/ca-certificates.crt:ro",
        upstream.certificates().authority.display()
    );
    once(engine, &[host[0], host[1], &authority], &import).run();
}

fn with_a_shell(engine: &DockerEngine) {
    build(engine, &["--shell"], "holdfast:shell");
    let config = engine
        .docker()
        .args(["run", "--rm", "holdfast:shell", "cat"])
        .arg("/etc/docker/registry/config.yml")
        .run();
    let expected = fs::read_to_string(deploy("image/config.yml")).expect("the configuration");
    assert_eq!(config.text(), expected.trim());
}
