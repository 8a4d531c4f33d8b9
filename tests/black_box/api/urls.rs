//! URLs that the registry hands out, its prefix, and headers of the operator's choice.

use holdfast_tests::{Findings, Image, Registry, eventually};

/// The `Location` of a new session, up to the repository.
fn base(registry: &Registry, prefix: &str, headers: &[(&str, &str)]) -> String {
    let http = registry.http();
    let request = http
        .post(&format!("{prefix}/v2/urls/app/blobs/uploads/"))
        .body("");
    let request = headers.iter().fold(request, |request, (name, value)| {
        request.header(name, value)
    });
    let answer = request.send().expect(202);
    let location = answer.location();
    let end = location.find("/v2/urls/app/blobs/uploads/");
    location[..end.unwrap_or_else(|| panic!("{location}"))].to_owned()
}

#[test]
fn what_the_request_says() {
    let (registry, mut findings) = (Registry::start(), Findings::new());
    let own = registry.url();
    let host = registry.host();
    let forwarded = "for=192.0.2.60;proto=https;host=\"front.example:8443\", proto=http;host=x";
    let cases: Vec<(Vec<(&str, &str)>, String)> = vec![
        (vec![], own.clone()),
        (
            vec![("Host", "other.example:5000")],
            "http://other.example:5000".into(),
        ),
        (vec![("Host", "[::1]:5000")], "http://[::1]:5000".into()),
        (
            vec![("X-Forwarded-Proto", "https")],
            format!("https://{host}"),
        ),
        (
            vec![("X-Forwarded-Host", "front.example")],
            "http://front.example".into(),
        ),
        (
            vec![
                ("X-Forwarded-Proto", "https"),
                ("X-Forwarded-Host", "front.example, inner"),
            ],
            "https://front.example".into(),
        ),
        (
            vec![("Forwarded", forwarded)],
            "https://front.example:8443".into(),
        ),
        // When it is there, the others do not count.
        (
            vec![("Forwarded", "proto=https"), ("X-Forwarded-Host", "x")],
            format!("https://{host}"),
        ),
        (
            vec![("Forwarded", "rubbish"), ("X-Forwarded-Proto", "https")],
            own.clone(),
        ),
        (
            vec![("X-Forwarded-Port", "1"), ("X-Forwarded-Prefix", "/x")],
            own.clone(),
        ),
        // What is no scheme, or no host, becomes no part of a URL.
        (vec![("X-Forwarded-Proto", "javascript")], own.clone()),
        (vec![("X-Forwarded-Host", "a/b")], String::new()),
        (vec![("X-Forwarded-Host", "a\"><script>")], String::new()),
        (vec![("Host", "user@evil.example")], String::new()),
    ];
    for (headers, expected) in cases {
        let found = base(&registry, "", &headers);
        findings.check(found == expected, || {
            format!("{headers:?}: expected {expected:?}, found {found:?}")
        });
    }
}

#[test]
fn what_the_configuration_says() {
    let cases = [
        (
            vec![("HTTP_HOST", "https://registry.example")],
            "",
            "https://registry.example",
        ),
        (
            vec![("HTTP_HOST", "https://registry.example:8443/")],
            "",
            "https://registry.example:8443",
        ),
        // Without a scheme it is ignored, as in Distribution.
        (vec![("HTTP_HOST", "registry.example")], "", "<own>"),
        (vec![("HTTP_RELATIVEURLS", "true")], "", ""),
        (
            vec![("HTTP_PREFIX", "/some/where/")],
            "/some/where",
            "<own>/some/where",
        ),
        (
            vec![("HTTP_PREFIX", "/some/where")],
            "/some/where",
            "<own>/some/where",
        ),
        (
            vec![("HTTP_PREFIX", "/p/"), ("HTTP_RELATIVEURLS", "true")],
            "/p",
            "/p",
        ),
    ];
    let mut findings = Findings::new();
    for (variables, prefix, expected) in cases {
        let mut builder = Registry::builder();
        for (name, value) in &variables {
            builder = builder.env(&format!("REGISTRY_{name}"), value);
        }
        let registry = builder.start();
        let expected = expected.replace("<own>", &registry.url());
        let found = base(&registry, prefix, &[]);
        findings.check(found == expected, || {
            format!("{variables:?}: expected {expected:?}, found {found:?}")
        });
    }
}

#[test]
fn a_prefix_holds_for_every_route() {
    let registry = Registry::builder()
        .env("REGISTRY_HTTP_PREFIX", "/a/b/")
        .env("REGISTRY_HTTP_RELATIVEURLS", "true")
        .start();
    let (http, mut findings) = (registry.http(), Findings::new());
    let image = Image::new(800, &[100]);
    for part in image.blobs() {
        let opened = http
            .post("/a/b/v2/app/blobs/uploads/")
            .body("")
            .send()
            .expect(202);
        let target = format!("{}&digest={}", opened.location(), part.digest);
        let stored = http
            .put(&target)
            .body(part.bytes.clone())
            .send()
            .expect(201);
        let expected = format!("/a/b/v2/app/blobs/{}", part.digest);
        findings.header("a blob", &stored, "Location", Some(&expected));
    }
    for tag in ["v1", "v2"] {
        let put = http.put(&format!("/a/b/v2/app/manifests/{tag}"));
        let put = put.header("Content-Type", image.manifest.media_type);
        findings.status(tag, &put.body(image.manifest.bytes.clone()).send(), 201);
    }
    let answer = http.get("/a/b/v2/app/tags/list?n=1").send();
    let link = "</a/b/v2/app/tags/list?last=v1&n=1>; rel=\"next\"";
    findings.header("Link", &answer, "Link", Some(link));
    let answer = http.get("/a/b/v2").send();
    findings.header("a slash", &answer, "Location", Some("/a/b/v2/"));
    for target in ["/a/b/v2/", "/a/b/v2/_catalog", "/a/b/v2/app/manifests/v1"] {
        findings.status(target, &http.get(target).send(), 200);
    }
    for target in [
        "/v2/",
        "/v2/app/manifests/v1",
        "/a/v2/",
        "/a/b/",
        "/A/b/v2/",
        "/a/b/../b/v2/",
        "/a/b/c/v2/",
    ] {
        let answer = http.get(target).send();
        findings.error(target, &answer, 404, "NOT_FOUND");
    }
    findings.status("/", &http.get("/").send(), 200);
}

#[test]
fn headers_of_the_operator() {
    let registry = Registry::builder()
        .env(
            "REGISTRY_HTTP_HEADERS",
            "{X-Content-Type-Options: [nosniff], Access-Control-Allow-Origin: ['*'], X-Two: [one, two], ETag: [no]}",
        )
        .start();
    let (http, mut findings) = (registry.http(), Findings::new());
    http.push_image("headers/app", "v1", &Image::new(810, &[10]));
    for (target, status) in [
        ("/v2/", 200),
        ("/v2", 301),
        ("/v2/x", 404),
        ("/v2/headers/app/manifests/v1", 200),
        ("/v2/headers/app/manifests/v2", 404),
    ] {
        let answer = http.get(target).send();
        findings.status(target, &answer, status);
        findings.header(target, &answer, "X-Content-Type-Options", Some("nosniff"));
        findings.header(target, &answer, "Access-Control-Allow-Origin", Some("*"));
        let two: Vec<_> = answer.all("X-Two").collect();
        findings.check(two == ["one", "two"], || format!("{target}: {answer}"));
    }
    // What an answer says of its content is not the operator's to change.
    let answer = http.get("/v2/headers/app/manifests/v1").send();
    findings.check(answer.header("Etag") != Some("no"), || format!("{answer}"));
    findings.header("/", &http.get("/").send(), "X-Two", None);

    // What a browser asks before it asks.
    let answer = http
        .request("OPTIONS", "/v2/headers/app/manifests/v1")
        .header("Origin", "https://ui.example")
        .header("Access-Control-Request-Method", "DELETE")
        .send();
    findings.status("preflight", &answer, 204);
    let methods = answer
        .header("Access-Control-Allow-Methods")
        .unwrap_or_default();
    findings.check(methods.contains("DELETE"), || {
        format!("preflight: {answer}")
    });
    let allowed = answer
        .header("Access-Control-Allow-Headers")
        .unwrap_or_default();
    findings.check(allowed.contains("Authorization"), || {
        format!("preflight: {answer}")
    });
}

#[test]
fn headers_count_from_trusted_proxies_only() {
    const CLIENT: &str = "203.0.113.9";
    let cases = [
        (None, true, true),
        (Some("[127.0.0.0/8, '::1']"), true, true),
        (Some("[192.0.2.0/24]"), false, false),
        (Some("[]"), false, false),
    ];
    for (trusted, named, addressed) in cases {
        let mut builder = Registry::builder();
        if let Some(trusted) = trusted {
            builder = builder.env("REGISTRY_HTTP_TRUSTEDPROXIES", trusted);
        }
        let registry = builder.start();
        let headers = [
            ("X-Forwarded-Host", "front.example"),
            ("X-Forwarded-For", "192.0.2.1, 203.0.113.9"),
        ];
        let found = base(&registry, "", &headers);
        assert_eq!(
            found == "http://front.example",
            named,
            "{trusted:?}: {found}"
        );
        let peer = if addressed { CLIENT } else { "127.0.0.1" };
        eventually("the request is in the log", || {
            let log = registry.log();
            let mut lines = log.lines().filter(|line| line.contains("urls/app"));
            lines.any(|line| line.contains("remoteaddr") && line.contains(peer))
        });
        assert!(!registry.log().contains("192.0.2.1"), "{trusted:?}");
    }
}
