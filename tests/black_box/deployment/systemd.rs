//! The units, as far as systemd can judge them without running them.

use std::fs;

use holdfast_tests::{Registry, Workbench};

use super::deploy;

/// Ten times the exposure that `systemd-analyze security` may see; 20 of 100 is its "OK".
const EXPOSURE: &str = "20";

#[test]
fn the_units_are_valid_and_confined() {
    let home = Workbench::new();
    let unit = fs::read_to_string(deploy("systemd/holdfast.service")).expect("the unit");
    // The program must be there; here it is somewhere else.
    let program = Registry::program().display().to_string();
    let service = home.file(
        "holdfast.service",
        unit.replace("/usr/local/bin/holdfast", &program),
    );
    let socket = fs::read_to_string(deploy("systemd/holdfast.socket")).expect("the unit");
    let socket = home.file("holdfast.socket", socket);
    let verified = home
        .tool("systemd-analyze")
        .args(["verify", "--man=no"])
        .args([&service, &socket])
        .run();
    assert!(
        verified.stdout.is_empty() && verified.stderr.is_empty(),
        "{verified}"
    );
    home.tool("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(format!("--threshold={EXPOSURE}"))
        .arg(&service)
        .run();

    let root = home.path("root");
    fs::create_dir_all(root.join("etc")).expect("a root");
    home.tool("systemd-sysusers")
        .arg(format!("--root={}", root.display()))
        .arg(deploy("systemd/holdfast.sysusers"))
        .run();
    let users = fs::read_to_string(root.join("etc/passwd")).expect("users");
    assert!(users.starts_with("holdfast:"), "{users}");
}
