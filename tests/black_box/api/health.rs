//! Health: the checks of the configuration, the probes, and the debug server.

use std::fs;
use std::net::TcpListener;

use holdfast_tests::http::Client;
use holdfast_tests::{Findings, Image, Registry, Workbench, eventually};
use serde_json::{Value, json};

const PATHS: [&str; 5] = [
    "/",
    "/v2/",
    "/v2/_catalog",
    "/v2/health/app/manifests/v1",
    "/nothing/here",
];

/// An address that was free a moment ago.
pub(super) fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("the address of a listener");
    address.to_string()
}

#[test]
fn probes_answer_without_credentials() {
    let registry = Registry::builder().accounts().start();
    let (http, mut findings) = (registry.http(), Findings::new());
    for target in ["/healthz", "/livez", "/readyz"] {
        let get = http.get(target).send();
        findings.status(target, &get, 200);
        findings.check(get.body == b"ok\n", || format!("{get}"));
        findings.header(target, &get, "Cache-Control", Some("no-store"));
        findings.status(target, &http.head(target).send(), 200);
    }
}

#[test]
fn a_failing_check_refuses_every_path_and_recovers() {
    let bench = Workbench::new();
    let file = bench.path("maintenance");
    let debug = free_address();
    let section = format!(
        "health:\n  file:\n    - file: {}\n      interval: 20ms\n  storagedriver:\n    enabled: true\n    interval: 20ms\n",
        file.display()
    );
    let registry = Registry::builder()
        .section(&section)
        .env("REGISTRY_HTTP_DEBUG_ADDR", &debug)
        .start();
    let (http, mut findings) = (registry.http(), Findings::new());
    http.push_image("health/app", "v1", &Image::new(1000, &[10]));
    let debug = Client::tcp(&debug);
    let state = || debug.get("/debug/health").send();
    let well = state();
    findings.status("well", &well, 200);
    findings.header("well", &well, "Content-Type", Some("application/json"));
    findings.check(well.json() == json!({}), || format!("well: {well}"));

    fs::write(&file, "").unwrap();
    eventually("the check fails", || http.get("/v2/").send().status == 503);
    let detail: Value = json!("health check failed: please see /debug/health");
    for target in PATHS {
        let answer = http.get(target).send();
        findings.error_detail(target, &answer, 503, "UNAVAILABLE", &detail);
    }
    for (target, status) in [("/livez", 200), ("/healthz", 503), ("/readyz", 503)] {
        findings.status(target, &http.get(target).send(), status);
    }
    let ill = state();
    findings.status("ill", &ill, 503);
    let expected = json!({file.display().to_string(): "file exists"});
    findings.check(ill.json() == expected, || format!("ill: {ill}"));
    let probe = Registry::command()
        .arg("healthcheck")
        .arg(registry.config_file())
        .finish();
    findings.check(probe.status.code() == Some(1), || format!("{probe}"));

    fs::remove_file(&file).unwrap();
    eventually("the check recovers", || {
        http.get("/v2/").send().status == 200
    });
    findings.status("recovered", &state(), 200);
    findings.status(
        "recovered",
        &http.get("/v2/health/app/manifests/v1").send(),
        200,
    );
    for target in ["/", "/v2/", "/metrics", "/debug/pprof/"] {
        findings.status(target, &debug.get(target).send(), 404);
    }
    // The storage check leaves nothing behind that a reader of the tree would meet.
    let blobs = registry.data().join("docker/registry/v2/blobs");
    let names = fs::read_dir(&blobs).map(|entries| entries.count());
    findings.check(names.as_ref().is_ok_and(|count| *count <= 2), || {
        format!("{names:?}")
    });
}

#[test]
fn a_check_of_another_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let section = format!(
        "health:\n  tcp:\n    - addr: {address}\n      interval: 20ms\n      timeout: 1s\n      threshold: 2\n"
    );
    let registry = Registry::builder().section(&section).start();
    let http = registry.http();
    let _ = http.get("/v2/").send().expect(200);
    drop(listener);
    eventually("the check fails", || http.get("/v2/").send().status == 503);
    let _listener = TcpListener::bind(&address).unwrap();
    eventually("the check recovers", || {
        http.get("/v2/").send().status == 200
    });
}

#[test]
fn the_healthcheck_command() {
    let mut registry = Registry::start();
    let check = || Registry::command().arg("healthcheck");
    let well = check().arg(registry.config_file()).run();
    assert_eq!(well.text(), "healthy");
    check()
        .arg("--url")
        .arg(format!("{}/healthz", registry.url()))
        .run();
    let wrong = check()
        .arg("--url")
        .arg(format!("{}/v2/x", registry.url()))
        .refused();
    assert_eq!(wrong.status.code(), Some(1), "{wrong}");
    registry.kill();
    let down = check().arg(registry.config_file()).refused();
    assert_eq!(down.status.code(), Some(1), "{down}");
    down.mentions("unhealthy");

    let socket = Registry::builder().unix_socket().start();
    check().arg(socket.config_file()).run();
    let secure = Registry::builder().tls().start();
    check().arg(secure.config_file()).run();
    // It has no certificate to show, and asks through the control socket.
    let strict = Registry::builder().client_certificates().start();
    check().arg(strict.config_file()).run();
}
