//! curl: the transports, one by one.

use holdfast_tests::{Blob, Command, Image, PASSWORD, Registry, USER, Workbench};

fn layer(image: &Image) -> &Blob {
    image.layers.first().expect("the image has a layer")
}

/// Pushes a blob by POST and PUT with `curl`, and returns its URL.
fn push_blob(curl: &dyn Fn() -> Command, base: &str, repository: &str, blob: &Blob) -> String {
    let bench = Workbench::new();
    let file = bench.file("blob", &blob.bytes);
    let headers = curl()
        .args(["--request", "POST", "--dump-header", "-"])
        .arg(format!("{base}/v2/{repository}/blobs/uploads/"))
        .run();
    let location = headers
        .text()
        .lines()
        .find_map(|line| {
            line.split_once(": ")
                .filter(|(name, _)| name.eq_ignore_ascii_case("location"))
        })
        .map(|(_, value)| value.trim().to_owned())
        .unwrap_or_else(|| panic!("no Location: {headers}"));
    let location = if location.starts_with('/') {
        format!("{base}{location}")
    } else {
        location
    };
    let separator = if location.contains('?') { '&' } else { '?' };
    let status = curl()
        .args([
            "--write-out",
            "%{http_code}",
            "--header",
            "Content-Type: application/octet-stream",
            "--upload-file",
        ])
        .arg(file)
        .arg(format!("{location}{separator}digest={}", blob.digest))
        .run();
    assert_eq!(status.text(), "201", "{status}");
    format!("{base}/v2/{repository}/blobs/{}", blob.digest)
}

#[test]
fn http2_over_tls() {
    let registry = Registry::builder().tls().accounts().start();
    let base = registry.url();
    let curl = || {
        registry
            .curl()
            .arg("--http2")
            .arg("--user")
            .arg(format!("{USER}:{PASSWORD}"))
    };

    let image = Image::new(110, &[300_000]);
    let url = push_blob(&curl, &base, "curl/http2", layer(&image));
    let version = curl()
        .args([
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_version}",
            &url,
        ])
        .run();
    assert_eq!(version.text(), "2", "{version}");
    assert_eq!(curl().arg(&url).run().stdout, layer(&image).bytes);

    let old = curl()
        .args([
            "--http1.1",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_version}",
            &url,
        ])
        .run();
    assert_eq!(old.text(), "1.1", "{old}");
    let version = format!("{base}/v2/");
    registry.curl().arg(&version).refused().mentions("401");
    registry
        .curl()
        .args(["--user", "alice:wrong", &version])
        .refused()
        .mentions("401");
}

#[test]
fn tls_refuses_strangers_and_plain_text() {
    let registry = Registry::builder().tls().start();
    let url = format!("{}/v2/", registry.url());
    // 60: the certificate is signed by an authority that the client does not know.
    let unknown = Command::new("curl")
        .args(["--silent", "--show-error", &url])
        .refused();
    assert_eq!(unknown.status.code(), Some(60), "{unknown}");
    registry.curl().arg(&url).run();
    registry
        .curl()
        .arg(url.replace("https:", "http:"))
        .refused();
}

#[test]
fn client_certificates() {
    let registry = Registry::builder().client_certificates().start();
    let base = registry.url();
    let files = registry.certificates();
    let curl = || {
        registry
            .curl()
            .arg("--cert")
            .arg(&files.client)
            .arg("--key")
            .arg(&files.client_key)
    };

    let image = Image::new(111, &[50_000]);
    let url = push_blob(&curl, &base, "curl/mtls", layer(&image));
    assert_eq!(curl().arg(&url).run().stdout, layer(&image).bytes);
    registry.curl().arg(&url).refused();

    let stranger = Workbench::new();
    let strange = holdfast_tests::Certificates::generate(stranger.root());
    registry
        .curl()
        .arg("--cert")
        .arg(&strange.client)
        .arg("--key")
        .arg(&strange.client_key)
        .arg(&url)
        .refused();
}

#[test]
fn unix_socket() {
    let registry = Registry::builder().unix_socket().start();
    let curl = || registry.curl().arg("--unix-socket").arg(registry.socket());
    let image = Image::new(112, &[50_000]);
    let url = push_blob(&curl, "http://localhost", "curl/unix", layer(&image));
    assert_eq!(curl().arg(&url).run().stdout, layer(&image).bytes);

    registry.http().push_image("curl/unix", "v1", &image);
    assert_eq!(registry.http().tags("curl/unix"), ["v1"]);
}
