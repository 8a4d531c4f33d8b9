//! The command line: exit codes, and messages that name the place of a mistake.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use holdfast_tests::{Command, Output, Registry, Workbench};

/// The program under another name.
fn called(bench: &Workbench, name: &str) -> PathBuf {
    let link = bench.path(name);
    symlink(Registry::program(), &link).expect("making a link");
    link
}

#[track_caller]
fn assert_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{output}");
}

#[test]
fn configuration_errors_name_file_and_line() {
    let bench = Workbench::new();
    let good = "version: 0.1\nstorage: inmemory\nhttp:\n  addr: 127.0.0.1:0\n";
    let cases = [
        (
            "version: 0.2\nstorage: inmemory\n",
            "config.yml:1:",
            "unsupported version",
        ),
        (
            "version: 0.1\n",
            "config.yml:1:",
            "no storage configuration provided",
        ),
        (
            "version: 0.1\nstorage:\n  tape:\n    drive: b\n",
            "config.yml:3:",
            "storage.tape",
        ),
        (
            "version: 0.1\nstorage: inmemory\nlog:\n  level: loud\n",
            "config.yml:4:",
            "loglevel",
        ),
        (
            "version: 0.1\nstorage: inmemory\nhttp:\n  addr: nowhere\n",
            "config.yml:4:",
            "http.addr",
        ),
        ("version: 0.1\nstorage: [\n", "config.yml:", ""),
        (
            "version: 0.1\nstorage: inmemory\nauth:\n  htpasswd:\n    realm: r\n",
            "config.yml:",
            "path",
        ),
        (
            "version: 0.1\nstorage: inmemory\nhttp:\n  addr: ':1'\n  draintimeout: soon\n",
            "config.yml:5:",
            "duration",
        ),
    ];
    for (text, place, about) in cases {
        let config = bench.file("config.yml", text);
        for command in [vec!["serve"], vec!["config", "check"]] {
            let output = Registry::command().args(&command).arg(&config).finish();
            assert_code(&output, 1);
            output.mentions("configuration error:");
            output.mentions(place);
            output.mentions(about);
            assert!(!output.to_string().contains("panicked"), "{output}");
        }
    }
    let config = bench.file("config.yml", good);
    Registry::command()
        .args(["config", "check"])
        .arg(&config)
        .run()
        .mentions("good");
    let missing = Registry::command()
        .arg("serve")
        .arg(bench.path("none.yml"))
        .finish();
    assert_code(&missing, 1);
    missing.mentions("none.yml");
}

#[test]
fn unknown_keys_are_named_and_do_not_stop() {
    let bench = Workbench::new();
    let config = bench.file(
        "config.yml",
        "version: 0.1\nstorage: inmemory\nhttp:\n  adr: ':5000'\n  addr: 127.0.0.1:0\n",
    );
    let output = Registry::command()
        .args(["config", "check"])
        .arg(&config)
        .run();
    output.mentions("config.yml:4:");
    output.mentions("http.adr");
    let bad = Registry::command()
        .args(["config", "check"])
        .arg(&config)
        .env("REGISTRY_HTTP_DRAINTIMEOUT", "soon")
        .finish();
    assert_code(&bad, 1);
    bad.mentions("REGISTRY_HTTP_DRAINTIMEOUT");
    let shown = Registry::command()
        .args(["config", "show"])
        .arg(&config)
        .run();
    shown.mentions("127.0.0.1:0");
    let secret = Registry::command()
        .args(["config", "show"])
        .arg(&config)
        .env("REGISTRY_HTTP_SECRET", "do-not-print-this")
        .run();
    assert!(
        !secret.to_string().contains("do-not-print-this"),
        "{secret}"
    );
}

#[test]
fn what_cannot_be_used_is_one_fatal_line() {
    let registry = Registry::start();
    // The same port, other data.
    let bench = Workbench::new();
    let text = format!(
        "version: 0.1\nstorage: inmemory\nhttp:\n  addr: 127.0.0.1:{}\n",
        registry.host().rsplit(':').next().unwrap()
    );
    let config = bench.file("config.yml", text);
    let output = Registry::command().arg("serve").arg(&config).finish();
    assert_code(&output, 1);
    output.mentions("127.0.0.1");
    assert!(!output.to_string().contains("panicked"), "{output}");
}

#[test]
fn a_second_process_on_the_same_data_is_refused() {
    let mut registry = Registry::start();
    let bench = Workbench::new();
    let text = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:0\n",
        registry.data().display()
    );
    let config = bench.file("config.yml", text);
    let output = Registry::command().arg("serve").arg(&config).finish();
    assert_code(&output, 1);
    output.mentions("in use by process");
    output.mentions(&registry.pid().to_string());
    let _ = registry.http().get("/v2/").send().expect(200);
    // A lock dies with its process, however that ends.
    registry.kill();
    registry.restart();
}

#[test]
fn mistakes_on_the_command_line() {
    let bench = Workbench::new();
    let registry = called(&bench, "registry");
    for arguments in [
        vec!["collect"],
        vec!["--unknown"],
        vec!["serve", "--unknown"],
        vec!["config"],
    ] {
        let output = Registry::command().args(&arguments).finish();
        assert_code(&output, 2);
        // Distribution swallows the mistake, and scripts may rely on it.
        let output = Command::at(&registry).args(&arguments).finish();
        assert_code(&output, 0);
    }
    assert_code(&Registry::command().finish(), 0);
    assert_code(&Command::at(&registry).finish(), 0);
    let unspecified = Command::at(&registry).arg("serve").finish();
    assert_code(&unspecified, 1);
    unspecified.mentions("configuration path unspecified");
}

#[test]
fn versions() {
    let bench = Workbench::new();
    let registry = called(&bench, "registry");
    for flag in ["--version", "-v", "version"] {
        let output = Registry::command().arg(flag).run();
        let words: Vec<_> = output.text().split(' ').collect();
        let [name, package, version] = words.as_slice() else {
            panic!("not three words: {output}")
        };
        assert!(name.ends_with("holdfast"), "{output}");
        assert_eq!(*package, "holdfast", "{output}");
        assert!(
            version
                .trim_start_matches('v')
                .starts_with(|c: char| c.is_ascii_digit()),
            "{output}"
        );
        let output = Command::at(&registry).arg(flag).run();
        assert!(
            output
                .text()
                .split(' ')
                .next()
                .unwrap()
                .ends_with("registry"),
            "{output}"
        );
    }
}

#[test]
fn completion_and_help() {
    let output = Registry::command().args(["completion", "bash"]).run();
    assert!(output.text().contains("_holdfast"), "{output}");
    assert!(output.text().contains("complete -F"), "{output}");
    for arguments in [
        vec!["--help"],
        vec!["help"],
        vec!["help", "serve"],
        vec!["serve", "--help"],
    ] {
        let output = Registry::command().args(&arguments).run();
        assert!(output.text().contains("Usage"), "{output}");
    }
}

#[test]
fn the_htpasswd_applet() {
    let bench = Workbench::new();
    let applet = called(&bench, "htpasswd");
    let file = bench.path("users");
    let run = |arguments: &[&str]| Command::at(&applet).args(arguments).finish();
    let path = file.to_str().unwrap();
    assert_code(&run(&["-cBb", "-C", "4", path, "ann", "secret"]), 0);
    assert_code(&run(&["-Bb", "-C", "4", path, "bob", "other"]), 0);
    assert_code(&run(&["-vb", path, "ann", "secret"]), 0);
    assert_code(&run(&["-vb", path, "ann", "wrong"]), 3);
    assert_code(&run(&["-vb", path, "cid", "secret"]), 6);
    assert_code(&run(&["-Bb", "-C", "4", path, "ann", "changed"]), 0);
    assert_code(&run(&["-vb", path, "ann", "changed"]), 0);
    assert_code(&run(&["-D", path, "bob"]), 0);
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("ann:$2y$04$"), "{text}");
    assert_code(&run(&["-Bbn", "a:b", "x"]), 6);
    assert_code(&run(&["-Bbn", "ann"]), 2);
    assert_code(&run(&["-Bbn", "ann", &"x".repeat(73)]), 5);
    let piped = Command::at(&applet)
        .args(["-niB", "-C", "4", "ann"])
        .input("secret\n")
        .run();
    assert!(piped.text().starts_with("ann:$2y$04$"), "{piped}");
}
