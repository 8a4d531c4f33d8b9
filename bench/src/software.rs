//! The registries that are measured. The first is the one the others are compared with.
//!
//! One more registry is one more entry in [`ALL`]: how its program is found, and how it is told where to
//! listen and where to keep its data.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;

/// How to come by a registry and to start it.
pub(crate) struct Software {
    pub(crate) name: &'static str,
    /// The program, or why it is not there.
    find: fn() -> Result<PathBuf>,
    /// Whether its absence ends the run.
    required: bool,
    /// Writes what it needs into its directory and says how to call it.
    arguments: fn(home: &Path, address: SocketAddr) -> Result<Vec<OsString>>,
    version_argument: &'static str,
}

/// A registry whose program was found.
pub(crate) struct Found {
    pub(crate) software: &'static Software,
    program: PathBuf,
}

const ALL: [Software; 2] = [
    Software {
        name: "holdfast",
        find: built_holdfast,
        required: true,
        arguments: serve_with_distribution_configuration,
        version_argument: "--version",
    },
    Software {
        name: "docker-registry",
        find: || installed("docker-registry"),
        required: false,
        arguments: serve_with_distribution_configuration,
        version_argument: "--version",
    },
];

/// The registries with these names, or all; and a sentence for each one that is not installed.
pub(crate) fn find(names: &[String]) -> Result<(Vec<Found>, Vec<String>)> {
    if let Some(name) = names
        .iter()
        .find(|name| ALL.iter().all(|software| software.name != **name))
    {
        let known: Vec<&str> = ALL.iter().map(|software| software.name).collect();
        return Err(format!("no server is called {name}; there are {}", known.join(", ")).into());
    }
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for software in &ALL {
        if !names.is_empty() && !names.iter().any(|name| name == software.name) {
            continue;
        }
        match (software.find)() {
            Ok(program) => found.push(Found { software, program }),
            Err(error) if software.required => return Err(error),
            Err(error) => missing.push(format!("{} is not measured: {error}.", software.name)),
        }
    }
    if found.is_empty() {
        return Err("there is no server to measure".into());
    }
    Ok((found, missing))
}

impl Found {
    /// How to start it on this address, with everything it writes below `home`.
    pub(crate) fn command(&self, home: &Path, address: SocketAddr) -> Result<Command> {
        let mut command = Command::new(&self.program);
        command
            .args((self.software.arguments)(home, address)?)
            .current_dir(home)
            .stdin(Stdio::null());
        // Variables of Distribution would override the configuration file.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("REGISTRY_") {
                command.env_remove(name);
            }
        }
        Ok(command)
    }

    /// What the program says its version is.
    pub(crate) fn version(&self) -> String {
        let output = Command::new(&self.program)
            .arg(self.software.version_argument)
            .output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let line = text
            .unwrap_or_default()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        // Distribution prints program, package and version.
        let version = line.rsplit(' ').next().unwrap_or_default();
        format!("{} {version}", self.software.name)
    }
}

/// `HOLDFAST_BIN`, else a release build, so that an old or unoptimised one is never measured by mistake.
fn built_holdfast() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("HOLDFAST_BIN") {
        let path = PathBuf::from(path);
        return match path.is_file() {
            true => Ok(std::path::absolute(path)?),
            false => Err(format!("HOLDFAST_BIN is {}, which is no file", path.display()).into()),
        };
    }
    eprintln!("building holdfast");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args([
        "build",
        "--release",
        "--package",
        "holdfast",
        "--bin",
        "holdfast",
    ]);
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

/// The program in cargo's messages. Source: the Cargo book, "External tools".
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "holdfast")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

fn installed(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
        .ok_or_else(|| "it is not installed".into())
}

/// `serve <file>`, with Distribution's stock configuration but for its port, directory and logs.
fn serve_with_distribution_configuration(
    home: &Path,
    address: SocketAddr,
) -> Result<Vec<OsString>> {
    let data = home.join("data");
    std::fs::create_dir(&data)?;
    let text = format!(
        "version: 0.1
log:
  level: warn
  accesslog: {{disabled: true}}
storage:
  cache: {{blobdescriptor: inmemory}}
  filesystem: {{rootdirectory: '{}'}}
  delete: {{enabled: true}}
http:
  addr: '{address}'
  secret: the same for every start
",
        data.display()
    );
    let path = home.join("config.yml");
    std::fs::write(&path, text)?;
    Ok(vec!["serve".into(), path.into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_refused() {
        let error = find(&["holdfats".to_owned()]).err().unwrap().to_string();
        assert_eq!(
            error,
            "no server is called holdfats; there are holdfast, docker-registry"
        );
    }

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
}
