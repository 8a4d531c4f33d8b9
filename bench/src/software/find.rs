//! Where the programs are, and which version they are.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;

const UNKNOWN_VERSION: &str = "of unknown version";

/// A release build of this working copy, so that an old or unoptimised one is never measured by mistake.
pub(super) fn built_holdfast() -> Result<PathBuf> {
    eprintln!("building holdfast");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--package", "holdfast"]);
    build.args(["--bin", "holdfast"]);
    build.arg("--message-format=json-render-diagnostics");
    if let Some(here) = std::env::var_os("CARGO_MANIFEST_DIR") {
        build.current_dir(here);
    }
    let output = build.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cargo cannot be run: {error}"))?;
    if !output.status.success() {
        return Err("holdfast cannot be built".into());
    }
    executable(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| "cargo does not say where it put holdfast".into())
}

/// A program that was named on the command line.
pub(super) fn program(path: &Path) -> Result<PathBuf> {
    match path.is_file() {
        true => Ok(std::path::absolute(path)?),
        false => Err(format!("{} is not a program", path.display()).into()),
    }
}

/// A program that `scripts/bench-peers` installed, or that is in `PATH`.
pub(crate) fn installed(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin".into()];
    std::iter::once(tools().join("bin"))
        .chain(std::env::split_paths(&path))
        .chain(system)
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
        .ok_or_else(|| "it is not installed (scripts/bench-peers)".into())
}

/// As `scripts/tools.sh` has it.
fn tools() -> PathBuf {
    match std::env::var_os("HOLDFAST_TOOLS") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/tools"),
    }
}

/// The program in cargo's messages. Source: the Cargo book, "External tools".
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "holdfast")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

/// From zot's log line its release, or what it implements where it was built without one; else the first word that looks like a version.
pub(super) fn version(text: &str) -> String {
    if let Ok(line) = serde_json::from_str::<serde_json::Value>(text.trim()) {
        let release = ["release-tag", "commit"].map(|name| line[name].as_str().unwrap_or_default());
        let release = release.into_iter().find(|text| !text.is_empty());
        return match (release, line["distribution-spec"].as_str()) {
            (Some(release), _) => release.to_owned(),
            (None, Some(specification)) => format!("of distribution-spec {specification}"),
            (None, None) => UNKNOWN_VERSION.to_owned(),
        };
    }
    text.split_whitespace()
        .map(|word| word.rsplit('/').next().unwrap_or(word))
        .find(|word| {
            let number = word.strip_prefix('v').unwrap_or(word);
            number.starts_with(|letter: char| letter.is_ascii_digit()) && number.contains('.')
        })
        .unwrap_or(UNKNOWN_VERSION)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_in_the_messages_of_cargo() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"holdfast"},"executable":null}
not json
{"reason":"compiler-artifact","target":{"name":"holdfast"},"executable":"/t/release/holdfast"}"#;
        assert_eq!(
            executable(messages),
            Some(PathBuf::from("/t/release/holdfast"))
        );
        assert_eq!(executable(""), None);
    }

    #[test]
    fn versions_as_programs_say_them() {
        for (text, expected) in [
            ("holdfast 0.1.0", "0.1.0"),
            (
                "docker-registry github.com/docker/distribution 2.8.2+ds1",
                "2.8.2+ds1",
            ),
            ("nginx version: nginx/1.22.1", "1.22.1"),
            (
                r#"{"distribution-spec":"1.1.1","release-tag":"v2.1.8"}"#,
                "v2.1.8",
            ),
            (
                r#"{"distribution-spec":"1.1.1","commit":""}"#,
                "of distribution-spec 1.1.1",
            ),
            ("", UNKNOWN_VERSION),
        ] {
            assert_eq!(version(text), expected, "{text}");
        }
    }
}
