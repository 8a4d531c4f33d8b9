//! Mounts: a blob of one repository becomes visible in another.

use holdfast_tests::{Findings, Image, Registry};

use super::blob;
use super::uploads::{assert_stored, finish};

#[test]
fn mounts() {
    let (registry, mut findings) = (Registry::start(), Findings::new());
    let http = registry.http();
    let image = Image::new(370, &[100]);
    http.push_image("mount/source", "v1", &image);
    let layer = &image.layers[0];
    let post = |repository: &str, query: &str| {
        let target = format!("/v2/{repository}/blobs/uploads/?{query}");
        http.post(&target).body("").send()
    };
    for (case, repository, from) in [
        ("with a source", "mount/one", "&from=mount/source"),
        (
            "with an escaped source",
            "mount/two",
            "&from=mount%2Fsource",
        ),
        ("from anywhere", "mount/three", ""),
        ("onto itself", "mount/source", "&from=mount/source"),
        ("again", "mount/one", "&from=mount/source"),
    ] {
        let answer = post(repository, &format!("mount={}{from}", layer.digest));
        findings.status(case, &answer, 201);
        let location = format!("{}/v2/{repository}/blobs/{}", registry.url(), layer.digest);
        findings.header(case, &answer, "Location", Some(&location));
        findings.header(case, &answer, "Docker-Content-Digest", Some(&layer.digest));
        assert_stored(&http, repository, &layer.digest, &layer.bytes);
    }
    let missing = |number: u64| blob(371 + number, 500);
    let cases = [
        (
            "a blob the source lacks",
            format!("mount={}&from=mount/source", missing(0).digest),
        ),
        (
            "an unknown source",
            format!("mount={}&from=mount/none", layer.digest),
        ),
        ("no source anywhere", format!("mount={}", missing(2).digest)),
        (
            "a malformed source",
            format!("mount={}&from=Bad!", layer.digest),
        ),
        (
            "a malformed digest",
            "mount=rubbish&from=mount/source".to_owned(),
        ),
    ];
    for (number, (case, query)) in (0..).zip(cases) {
        let missing = missing(number);
        let answer = post("mount/four", &query);
        findings.status(case, &answer, 202);
        // It goes on as a plain upload.
        let answer = finish(&http, answer.location(), &missing.digest, &missing.bytes);
        findings.status(case, &answer, 201);
        let layer = http
            .head(&format!("/v2/mount/four/blobs/{}", layer.digest))
            .send();
        findings.status(case, &layer, 404);
    }
}
