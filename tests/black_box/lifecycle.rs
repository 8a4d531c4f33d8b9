//! Starting and stopping: sockets that systemd passes, stops with and without draining, certificates that
//! change while the server runs.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Command as Process, Stdio};

use holdfast_tests::{
    Blob, Certificates, Daemon, Image, Registry, Workbench, eventually, http, random_bytes,
};
use rustix::process::{Pid, Signal, kill_process};

fn ask_to_end(registry: &Registry) {
    let pid =
        Pid::from_raw(registry.pid().try_into().expect("a process id")).expect("a process id");
    kill_process(pid, Signal::TERM).expect("sending SIGTERM");
}

/// Opens a session, announces the whole blob in a PUT and sends its first half.
fn half_an_upload(registry: &Registry, blob: &Blob) -> (TcpStream, String) {
    let session = registry
        .http()
        .post("/v2/life/cycle/blobs/uploads/")
        .body("")
        .send()
        .expect(202);
    let target = session.location().replacen(&registry.url(), "", 1);
    let mut stream = TcpStream::connect(registry.host()).expect("connecting");
    let head = format!(
        "PUT {target}&digest={} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        blob.digest,
        registry.host(),
        blob.bytes.len()
    );
    stream.write_all(head.as_bytes()).expect("sending a head");
    stream
        .write_all(&blob.bytes[..blob.bytes.len() / 2])
        .expect("sending half a body");
    (stream, target)
}

#[test]
fn a_drained_stop_lets_an_upload_end() {
    let mut registry = Registry::builder()
        .env("REGISTRY_HTTP_DRAINTIMEOUT", "60s")
        .start();
    let blob = Blob::new("application/octet-stream", random_bytes(700, 4_000_000));
    let (mut stream, _) = half_an_upload(&registry, &blob);
    ask_to_end(&registry);
    eventually("new connections are refused", || {
        TcpStream::connect(registry.host()).is_err()
    });
    stream
        .write_all(&blob.bytes[blob.bytes.len() / 2..])
        .expect("sending the other half");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("reading the answer");
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert_eq!(
        registry.terminate().and_then(|status| status.code()),
        Some(0)
    );
    registry.restart();
    let stored = registry
        .http()
        .get(&format!("/v2/life/cycle/blobs/{}", blob.digest))
        .send()
        .expect(200);
    assert_eq!(stored.body, blob.bytes);
}

#[test]
fn a_stop_at_once_keeps_what_arrived() {
    let mut registry = Registry::start();
    let blob = Blob::new("application/octet-stream", random_bytes(710, 4_000_000));
    let (stream, target) = half_an_upload(&registry, &blob);
    let status = registry.terminate().expect("ended by SIGTERM");
    assert_eq!(status.code(), Some(143));
    drop(stream);
    registry.restart();
    let http = registry.http();
    let session = http.get(&target).send().expect(204);
    let (_, last) = session
        .header("Range")
        .expect("a range")
        .split_once('-')
        .expect("two ends");
    let last: usize = last.parse().expect("a number");
    let arrived = if last == 0 { 0 } else { last + 1 };
    assert!(arrived <= blob.bytes.len() / 2);
    let target = format!("{target}&digest={}", blob.digest);
    let _ = http
        .put(&target)
        .body(&blob.bytes[arrived..])
        .send()
        .expect(201);
    let stored = http
        .get(&format!("/v2/life/cycle/blobs/{}", blob.digest))
        .send()
        .expect(200);
    assert_eq!(stored.body, blob.bytes);
}

#[test]
fn a_socket_that_systemd_passes_is_used() {
    let home = Workbench::new();
    let data = home.path("data");
    let config = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: '127.0.0.1:1'\n",
        data.display()
    );
    let config = home.file("config.yml", config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("binding");
    let address = listener.local_addr().expect("an address").to_string();
    // The protocol of sd_listen_fds(3): the first socket is descriptor 3, and LISTEN_PID names the process.
    let mut process = Process::new("/bin/sh");
    process
        .args([
            "-c",
            "exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" serve \"$1\"",
        ])
        .arg(Registry::program())
        .arg(config)
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)));
    let mut daemon =
        Daemon::start_with_input("the registry", &mut process, &home.path("registry.log"));
    let client = http::Client::tcp(&address);
    daemon.wait_until(|| client.get("/v2/").try_send().is_ok());
    client.push_image("socket/app", "v1", &Image::new(720, &[100]));
    assert_eq!(client.tags("socket/app"), ["v1"]);
}

#[test]
fn a_service_manager_is_told_when_it_is_ready_and_when_it_ends() {
    let manager = Workbench::new();
    let path = manager.path("notify");
    let socket = UnixDatagram::bind(&path).expect("binding");
    let heard = || {
        let mut buffer = [0; 200];
        let length = socket.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let mut registry = Registry::builder()
        .env("NOTIFY_SOCKET", path.to_str().expect("a path in UTF-8"))
        .env("REGISTRY_HTTP_DRAINTIMEOUT", "100s")
        .start();
    assert_eq!(heard(), "READY=1");
    registry.terminate();
    // The time for draining, and twice that for the last writes.
    assert_eq!(heard(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=120000000");
}

#[test]
fn a_renewed_certificate_is_served_without_a_restart() {
    let registry = Registry::builder().tls().start();
    let files = registry.certificates().clone();
    let other = Workbench::new();
    let renewed = Certificates::generate(other.root());
    let trusted = |authority: &std::path::Path| {
        let curl = registry
            .curl()
            .arg("--cacert")
            .arg(authority)
            .arg(format!("{}/v2/", registry.url()));
        curl.finish().status.success()
    };
    assert!(trusted(&files.authority));
    assert!(!trusted(&renewed.authority));
    // A key that does not fit its certificate yet must not take the server down.
    std::fs::copy(&renewed.server_key, &files.server_key).expect("replacing the key");
    std::fs::copy(&renewed.server, &files.server).expect("replacing the certificate");
    eventually("the new certificate is served", || {
        trusted(&renewed.authority)
    });
    assert!(!trusted(&files.authority));
}
