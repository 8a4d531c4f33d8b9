//! The compose files: read by docker-compose, and run by it as far as their images can be made here.

use std::fs;
use std::path::Path;

use holdfast_tests::{
    Certificates, Command, DockerEngine, Image, PASSWORD, Registry, USER, Workbench,
};
use serde_json::Value;

use super::{IMAGE, answering, deploy, engine_with_image, helm, pull, push_and_pull};

fn compose(engine: &DockerEngine, file: &Path) -> Command {
    engine
        .used_by(Command::new("docker-compose"))
        .env("HOLDFAST_IMAGE", IMAGE)
        .args(["--no-ansi", "--project-name=registry", "--file"])
        .arg(file)
}

#[test]
fn compose_files() {
    if Registry::is_peer() {
        return;
    }
    let engine = engine_with_image();
    every_registry_is_confined(&engine);
    single(&engine);
    tls_and_passwords(&engine);
}

fn every_registry_is_confined(engine: &DockerEngine) {
    for (name, registries) in [("single", 1), ("tls-htpasswd", 1), ("cluster", 3)] {
        let file = deploy(&format!("compose/{name}.yml"));
        let read = compose(engine, &file)
            .env("POSTGRES_PASSWORD", "secret")
            .env("S3_SECRET_KEY", "secret")
            .arg("config")
            .run();
        let [read]: [Value; 1] = helm::documents(&read.stdout)
            .try_into()
            .expect("one document");
        let services = read["services"].as_object().expect("services");
        let ours: Vec<_> = services
            .values()
            .filter(|service| service["image"] == IMAGE)
            .collect();
        assert_eq!(ours.len(), registries, "{name}: {read}");
        for service in ours {
            assert_eq!(service["read_only"], true, "{name}");
            assert_eq!(service["cap_drop"][0], "ALL", "{name}");
            assert_eq!(service["stop_grace_period"], "75s", "{name}");
            assert_eq!(
                service["environment"]["REGISTRY_HTTP_DRAINTIMEOUT"], "60s",
                "{name}"
            );
        }
    }
}

/// What every node of the cluster is started with, by the variables that the compose file sets.
#[test]
fn the_configuration_of_a_node() {
    let file = deploy("compose/cluster/config.yml");
    let check = |variables: &[&str]| {
        variables
            .iter()
            .fold(Registry::command(), |command, name| {
                command.env(name, "secret")
            })
            .args(["config", "check"])
            .arg(&file)
    };
    let keys = [
        "REGISTRY_METADATA_POSTGRES_PASSWORD",
        "REGISTRY_STORAGE_S3_ACCESSKEY",
        "REGISTRY_STORAGE_S3_SECRETKEY",
    ];
    check(&keys).run();
    check(&keys[..2]).refused().mentions("secretkey");
    let compose = fs::read_to_string(deploy("compose/cluster.yml")).expect("the file");
    for key in keys {
        assert!(compose.contains(&format!(" {key}: ")), "no {key}");
    }
}

#[test]
fn the_configuration_of_nginx() {
    let home = Workbench::new();
    let text = fs::read_to_string(deploy("compose/cluster/nginx.conf")).expect("the file");
    // Debian's nginx is older than the one in the compose file, and asks for every name at once.
    let text = ["node1", "node2", "node3"]
        .iter()
        .fold(text.replace(" resolve ", " "), |text, node| {
            text.replace(node, "127.0.0.1")
        });
    let file = home.file("nginx.conf", text);
    home.tool("nginx")
        .args(["-t", "-q", "-g", "pid nginx.pid;", "-p"])
        .arg(home.root())
        .arg("-c")
        .arg(file)
        .run();
}

/// What a client says of how it was forwarded would count as the proxy's own word.
#[test]
fn no_nginx_passes_on_how_a_client_was_forwarded() {
    for path in [
        "compose/cluster/nginx.conf",
        "../docs/how-to/cluster.md",
        "../docs/how-to/reverse-proxy.md",
    ] {
        let text = fs::read_to_string(deploy(path)).expect("the file");
        for header in [
            "Forwarded \"\"",
            "X-Forwarded-Host $http_host",
            "X-Forwarded-Proto $scheme",
            "X-Forwarded-For $remote_addr",
        ] {
            let line = format!("proxy_set_header {header};");
            assert!(text.contains(&line), "{path}: {line}");
        }
    }
}

/// Up, away, and up again: the volume stays.
fn single(engine: &DockerEngine) {
    let file = deploy("compose/single.yml");
    let image = Image::new(910, &[100_000]);
    let name = "localhost:5000/compose/app:v1";
    compose(engine, &file).args(["up", "--detach"]).run();
    let _ = answering("127.0.0.1:5000");
    push_and_pull(engine, &image, name);
    compose(engine, &file).arg("down").run();
    compose(engine, &file).args(["up", "--detach"]).run();
    let _ = answering("127.0.0.1:5000");
    pull(engine, &image, name);
    compose(engine, &file).args(["down", "--volumes"]).run();
}

/// As its comment says: certificates and passwords beside the file, a login, a push.
fn tls_and_passwords(engine: &DockerEngine) {
    let home = engine.home();
    let text = fs::read_to_string(deploy("compose/tls-htpasswd.yml")).expect("the file");
    let file = home.file("tls/tls-htpasswd.yml", text);
    for directory in ["tls/certs", "tls/auth"] {
        fs::create_dir_all(home.path(directory)).expect("making a directory");
    }
    let certificates = Certificates::generate(home.root());
    fs::copy(&certificates.server, home.path("tls/certs/tls.crt")).expect("a certificate");
    fs::copy(&certificates.server_key, home.path("tls/certs/tls.key")).expect("a key");
    let line = engine
        .docker()
        .args(["run", "--rm", IMAGE, "htpasswd", "-Bbn", USER, PASSWORD])
        .run();
    home.file("tls/auth/htpasswd", line.stdout);
    home.tool("chown")
        .arg("65532")
        .args(["tls/certs/tls.key", "tls/auth/htpasswd"])
        .run();
    compose(engine, &file).args(["up", "--detach"]).run();

    // The engine takes 127.0.0.1 for insecure, so it is called by its other name.
    let host = "registry.test";
    engine.trust(host, &certificates, false);
    let login = || {
        let login = engine.docker().args(["login", "--username", USER]);
        login.args(["--password-stdin", host])
    };
    holdfast_tests::eventually("a login succeeds", || {
        login().input(PASSWORD).finish().status.success()
    });
    login().input("wrong").refused().mentions("unauthorized");
    login().input(PASSWORD).run();
    let name = format!("{host}/private/app:v1");
    push_and_pull(engine, &Image::new(911, &[100_000]), &name);
    engine.docker().args(["logout", host]).run();
    engine
        .docker()
        .args(["pull", &name])
        .refused()
        .mentions("no basic auth credentials");
    compose(engine, &file).args(["down", "--volumes"]).run();
}
