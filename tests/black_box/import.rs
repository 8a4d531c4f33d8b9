//! `holdfast import` from other registries, image layouts and archives.

use std::process::Command as Process;

use holdfast_tests::{Blob, Image, Index, PASSWORD, Registry, USER, Workbench};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn other(program: &str) -> Registry {
    Registry::builder().program(program).start()
}

fn source(registry: &Registry, rest: &str) -> String {
    format!("docker://{}{rest}", registry.host())
}

#[track_caller]
fn assert_manifest(registry: &Registry, repository: &str, reference: &str, manifest: &Blob) {
    let url = format!("/v2/{repository}/manifests/{reference}");
    let got = registry
        .http()
        .get(&url)
        .header("Accept", "*/*")
        .send()
        .expect(200);
    assert!(got.body == manifest.bytes, "{url}");
    assert_eq!(got.header("Content-Type"), Some(manifest.media_type));
}

#[track_caller]
fn assert_pulls(registry: &Registry, repository: &str, reference: &str, image: &Image) {
    assert_manifest(registry, repository, reference, &image.manifest);
    for blob in image.blobs() {
        let url = format!("/v2/{repository}/blobs/{}", blob.digest);
        assert!(
            registry.http().get(&url).send().expect(200).body == blob.bytes,
            "{url}"
        );
    }
}

/// An artifact about a manifest.
fn signature(subject: &Blob, note: &str) -> (Blob, Blob) {
    let config = Blob::new("application/vnd.oci.empty.v1+json", b"{}".to_vec());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/x.signature",
        "config": config.descriptor(), "layers": [], "subject": subject.descriptor(),
        "annotations": { "note": note },
    });
    (
        config,
        Blob::new(MANIFEST, manifest.to_string().into_bytes()),
    )
}

fn referrers(registry: &Registry, repository: &str, subject: &str) -> Vec<String> {
    let url = format!("/v2/{repository}/referrers/{subject}");
    let list = registry.http().get(&url).send().expect(200).json();
    let manifests = list["manifests"].as_array().expect("a list");
    manifests
        .iter()
        .map(|entry| entry["digest"].as_str().expect("a digest").to_owned())
        .collect()
}

/// The last line that `--json` printed.
fn sums(text: &str) -> Value {
    let last: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["what"], "done");
    last["totals"].clone()
}

#[test]
fn all_of_another_registry() {
    for program in ["docker-registry", "distribution-v3"] {
        let (there, here) = (other(program), Registry::start());
        let (one, two, index) = (
            Image::new(1, &[70_000]),
            Image::new(2, &[5, 900_000]),
            Index::new(3, 9_000),
        );
        there.http().push_image("team/app", "v1", &one);
        there.http().push_image("team/app", "v2", &two);
        there.http().push_image("other", "v1", &one);
        for image in &index.images {
            there
                .http()
                .push_image("multi", &image.manifest.digest, image);
        }
        there.http().push_manifest("multi", "all", &index.manifest);
        let from = source(&there, "");

        let planned = here.manage(&["import", &from, "--dry-run"]).run();
        planned.mentions("would copy team/app:v1");
        let _ = here
            .http()
            .get("/v2/team/app/manifests/v1")
            .send()
            .expect(404);

        let first = sums(here.manage(&["import", &from, "--json"]).run().text());
        assert_eq!(
            (&first["tags"], &first["failed"], &first["repositories"]),
            (&json!(4), &json!(0), &json!(3))
        );
        // A layer that two repositories have is fetched once.
        assert_eq!(
            first["blobs"],
            json!(one.blobs().count() + two.blobs().count() + 4)
        );
        assert_pulls(&here, "team/app", "v1", &one);
        assert_pulls(&here, "team/app", "v2", &two);
        assert_pulls(&here, "other", "v1", &one);
        assert_manifest(&here, "multi", "all", &index.manifest);
        for image in &index.images {
            assert_pulls(&here, "multi", &image.manifest.digest, image);
        }

        // Once more: what is there is skipped, what is new is not.
        there.http().push_image("team/app", "v3", &one);
        let second = sums(here.manage(&["import", &from, "--json"]).run().text());
        assert_eq!(
            (&second["tags"], &second["present"], &second["blobs"]),
            (&json!(1), &json!(4), &json!(0))
        );
        assert_eq!(here.http().tags("team/app"), ["v1", "v2", "v3"]);
        here.assert_calm();
    }
}

#[test]
fn a_part_of_another_registry_under_other_names() {
    let (there, here) = (other("docker-registry"), Registry::start());
    let (one, two) = (Image::new(10, &[1_000]), Image::new(11, &[2_000]));
    for (repository, tag, image) in [
        ("a/x", "v1", &one),
        ("a/x", "v2", &two),
        ("a/y", "v1", &one),
        ("b", "v1", &one),
    ] {
        there.http().push_image(repository, tag, image);
    }
    let import = |rest: &str, arguments: &[&str]| {
        let from = source(&there, rest);
        let mut all = vec!["import", from.as_str()];
        all.extend(arguments);
        here.manage(&all).run();
    };
    import(
        "",
        &["--only", "a/*", "--except", "*:v2", "--prefix", "mirror/"],
    );
    let catalog = |registry: &Registry| {
        registry
            .http()
            .get("/v2/_catalog")
            .send()
            .expect(200)
            .json()
    };
    assert_eq!(
        catalog(&here)["repositories"],
        json!(["mirror/a/x", "mirror/a/y"])
    );
    assert_eq!(here.http().tags("mirror/a/x"), ["v1"]);
    import("/a/x:v2", &["--as", "renamed/x"]);
    assert_eq!(here.http().tags("renamed/x"), ["v2"]);
    assert_pulls(&here, "renamed/x", "v2", &two);
    import(&format!("/b@{}", one.manifest.digest), &[]);
    assert_pulls(&here, "b", &one.manifest.digest, &one);
    assert_eq!(here.http().tags("b"), Vec::<String>::new());
}

#[test]
fn signatures_come_along() {
    // One registry that lists referrers, and one that does not, where clients keep the list at a tag.
    let with_api = Registry::start();
    let with_tags = other("docker-registry");
    let image = Image::new(20, &[3_000]);
    let (config, signed) = signature(&image.manifest, "first");
    let (_, countersigned) = signature(&signed, "second");
    for there in [&with_api, &with_tags] {
        there.http().push_image("app", "v1", &image);
        there.http().push_blob("app", &config);
        for manifest in [&signed, &countersigned] {
            there
                .http()
                .push_manifest("app", &manifest.digest, manifest);
        }
    }
    for (subject, manifest) in [(&image.manifest, &signed), (&signed, &countersigned)] {
        let list = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [manifest.descriptor()],
        });
        let list = Blob::new(
            "application/vnd.oci.image.index.v1+json",
            list.to_string().into_bytes(),
        );
        with_tags
            .http()
            .push_manifest("app", &subject.digest.replace(':', "-"), &list);
    }
    for there in [&with_api, &with_tags] {
        let here = Registry::start();
        here.manage(&["import", &source(there, "/app:v1")]).run();
        assert_eq!(
            referrers(&here, "app", &image.manifest.digest),
            std::slice::from_ref(&signed.digest)
        );
        assert_eq!(
            referrers(&here, "app", &signed.digest),
            std::slice::from_ref(&countersigned.digest)
        );
        assert_eq!(here.http().tags("app"), ["v1"]);
    }
    // What comes later is fetched by the next run, though the image is there.
    let here = Registry::start();
    here.manage(&["import", &source(&with_api, "")]).run();
    let (_, late) = signature(&image.manifest, "late");
    with_api.http().push_manifest("app", &late.digest, &late);
    here.manage(&["import", &source(&with_api, "")]).run();
    let mut both = vec![signed.digest.clone(), late.digest.clone()];
    both.sort();
    assert_eq!(referrers(&here, "app", &image.manifest.digest), both);
}

#[test]
fn a_registry_with_tls_and_a_password() {
    let there = Registry::builder()
        .program("docker-registry")
        .accounts()
        .tls()
        .start();
    let here = Registry::start();
    let bench = Workbench::new();
    let image = Image::new(30, &[2_000]);
    let layout = bench.path("layout");
    image.write_layout(&layout, "v1");
    let name = there.image("app", "v1");
    let authority = there.certificates().authority.clone();
    let certificates = bench.path("certificates");
    std::fs::create_dir_all(&certificates).expect("making a directory");
    std::fs::copy(&authority, certificates.join("ca.crt")).expect("copying a certificate");
    bench
        .tool("skopeo")
        .args(["copy", "--dest-creds", &format!("{USER}:{PASSWORD}")])
        .arg("--dest-cert-dir")
        .arg(&certificates)
        .args([
            format!("oci:{}:v1", layout.display()),
            format!("docker://{name}"),
        ])
        .run();

    let from = source(&there, "");
    let authority = authority.display().to_string();
    let password = bench
        .file("password", format!("{PASSWORD}\n"))
        .display()
        .to_string();
    let wrong = bench.file("wrong", "x").display().to_string();
    here.manage(&["import", &from, "--ca", &authority])
        .env("DOCKER_CONFIG", bench.path("none"))
        .refused();
    here.manage(&[
        "import",
        &from,
        "--ca",
        &authority,
        "--user",
        USER,
        "--password-file",
        &wrong,
    ])
    .refused();
    let arguments = [
        "import",
        &from,
        "--ca",
        &authority,
        "--user",
        USER,
        "--password-file",
        &password,
    ];
    here.manage(&arguments).run().mentions("copied app:v1");
    assert_pulls(&here, "app", "v1", &image);

    // What `docker login` stored.
    use base64::Engine as _;
    let login = base64::prelude::BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
    bench.file(
        "docker/config.json",
        json!({"auths": {there.host(): {"auth": login}}}).to_string(),
    );
    let arguments = ["import", &from, "--ca", &authority];
    here.manage(&arguments)
        .env("DOCKER_CONFIG", bench.path("docker"))
        .run()
        .mentions("present app:v1");
    assert!(!here.log().contains(PASSWORD));
}

#[test]
fn a_registry_that_has_not_all_it_promises() {
    let there = Registry::start();
    let here = Registry::start();
    let (good, bad) = (Image::new(40, &[1_000]), Image::new(41, &[2_000]));
    there.http().push_image("app", "good", &good);
    there.http().push_image("app", "bad", &bad);
    let hex = bad.layers[0]
        .digest
        .trim_start_matches("sha256:")
        .to_owned();
    let data = format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
    let data = there.data().join(data);
    let mut bytes = std::fs::read(&data).expect("a layer");
    bytes[100] ^= 1;
    std::fs::write(&data, bytes).expect("damaging a layer");
    let outcome = here.manage(&["import", &source(&there, "")]).refused();
    outcome.mentions("copied app:good");
    outcome.mentions("failed app:bad");
    assert_pulls(&here, "app", "good", &good);
    let _ = here.http().get("/v2/app/manifests/bad").send().expect(404);
    // Nobody listens there.
    let nobody = here
        .manage(&["import", "docker://localhost:1/app"])
        .refused();
    nobody.mentions("localhost:1");
}

#[test]
fn image_layouts_and_archives() {
    let here = Registry::start();
    let bench = Workbench::new();
    let (image, index) = (Image::new(50, &[4_000, 70_000]), Index::new(51, 3_000));
    let path = |name: &str| bench.path(name).display().to_string();
    image.write_layout(&bench.path("layout"), "v1");
    index.write_layout(&bench.path("multi"), "all");
    image.write_docker_archive(
        &bench.path("saved.tar"),
        &["registry.example/team/saved:v1", "team/saved:v2"],
    );
    let pack = |arguments: &[&str]| {
        let packed = Process::new("tar")
            .args(arguments)
            .status()
            .expect("running tar");
        assert!(packed.success());
    };
    pack(&["-cf", &path("layout.tar"), "-C", &path("multi"), "."]);
    pack(&[
        "-czf",
        &path("layout.tar.gz"),
        "-C",
        &path("layout"),
        "index.json",
        "oci-layout",
        "blobs",
    ]);

    here.manage(&["import", &format!("oci:{}", path("layout"))])
        .refused()
        .mentions("what it is to be called");
    here.manage(&["import", &path("layout"), "--as", "from/layout"])
        .run()
        .mentions("copied from/layout:v1");
    assert_pulls(&here, "from/layout", "v1", &image);
    here.manage(&[
        "import",
        &path("layout.tar.gz"),
        "--as",
        "from/compressed:v9",
    ])
    .run();
    assert_pulls(&here, "from/compressed", "v9", &image);
    here.manage(&["import", &path("layout.tar"), "--as", "from/multi"])
        .run();
    assert_manifest(&here, "from/multi", "all", &index.manifest);
    for one in &index.images {
        assert_pulls(&here, "from/multi", &one.manifest.digest, one);
    }

    // The layers of an archive of docker are as they were unpacked; the image is the same.
    here.manage(&["import", &path("saved.tar")]).run();
    assert_eq!(here.http().tags("team/saved"), ["v1", "v2"]);
    let target = format!("oci:{}:v1", path("pulled"));
    let pulled = here.image("team/saved", "v1");
    bench
        .tool("skopeo")
        .args([
            "copy",
            "--src-tls-verify=false",
            &format!("docker://{pulled}"),
            &target,
        ])
        .run();
    let inspected = bench
        .tool("skopeo")
        .args(["inspect", "--config", "--raw", &target])
        .run();
    assert_eq!(inspected.text().as_bytes(), image.config.bytes);

    // A real archive of a real client, with its compression.
    let archive = format!("docker-archive:{}:team/again:v1", path("again.tar"));
    bench
        .tool("skopeo")
        .args(["copy", &format!("oci:{}:v1", path("layout")), &archive])
        .run();
    here.manage(&["import", &path("again.tar")])
        .run()
        .mentions("copied team/again:v1");
    let missing = here.manage(&["import", &path("nowhere.tar")]).refused();
    missing.mentions("nowhere.tar");
    here.assert_calm();
}

#[test]
fn an_import_without_a_server_and_into_a_waiting_tree() {
    let there = other("docker-registry");
    let image = Image::new(60, &[2_000]);
    there.http().push_image("app", "v1", &image);
    // The storage holds another registry's tree, which is taken over meanwhile.
    let mut here = other("docker-registry");
    let old = Image::new(61, &[2_000]);
    here.http().push_image("app", "old", &old);
    here.kill();
    here.manage(&["import", &source(&there, "")])
        .run()
        .mentions("copied app:v1");
    here.take_over();
    assert_pulls(&here, "app", "v1", &image);
    assert_pulls(&here, "app", "old", &old);
}
