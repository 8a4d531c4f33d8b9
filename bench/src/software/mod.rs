//! The servers that are measured. The first is the one the others are compared with.
//!
//! One more server is one more entry in [`ALL`]: how its program is found, and how it is told where to
//! listen and where to keep its data.

pub(crate) mod distribution;
mod find;
mod nginx;
mod zot;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;
use crate::certificate::Certificate;
use crate::gateway::Gateway;

pub(crate) use find::installed;

/// A server and how it is used.
pub(crate) struct Software {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// The program, or why it is not there.
    find: fn() -> Result<PathBuf>,
    presence: Presence,
    /// Writes what it needs into its directory and says how to call it.
    arguments: fn(setting: &Setting<'_>) -> Result<Vec<OsString>>,
    version: &'static [&'static str],
    /// Whether a 201 says that the data was synced, for the report.
    pub(crate) syncs: &'static str,
}

/// What its absence means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// The end of the run.
    Required,
    /// A line in the report.
    Expected,
    /// Nothing: it takes part only when its program is named.
    OnRequest,
}

/// What a server can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Pushes and pulls.
    Registry,
    /// Serves the very same bytes as files: the limit for pulls.
    Files,
}

/// How a server is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Variant {
    Plain,
    Tls,
    /// With an htpasswd file of one user.
    Htpasswd,
    /// On a bucket of its own, with metadata, where it keeps any, on a disk.
    Bucket,
}

/// Where and how a server is to run.
pub(crate) struct Setting<'a> {
    pub(crate) home: &'a Path,
    pub(crate) address: SocketAddr,
    pub(crate) variant: Variant,
    pub(crate) certificate: &'a Certificate,
    /// The htpasswd file's only line.
    pub(crate) htpasswd: &'a str,
    pub(crate) gateway: Option<&'a Gateway>,
}

/// A server whose program was found.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) software: &'static Software,
    program: PathBuf,
}

/// What is measured.
pub(crate) const HOLDFAST: &str = "holdfast";
/// Another build of it, to see what a change does.
pub(crate) const HOLDFAST_BEFORE: &str = "holdfast-before";
pub(crate) const DOCKER_REGISTRY: &str = "docker-registry";
pub(crate) const DISTRIBUTION_V3: &str = "distribution-v3";
pub(crate) const ZOT: &str = "zot";
pub(crate) const NGINX: &str = "nginx";
pub(crate) const NGINX_TUNED: &str = "nginx-tuned";
const SYNCS_ALL: &str = "data and directory synced, then one durable transaction";

const ALL: [Software; 7] = [
    Software {
        name: HOLDFAST,
        kind: Kind::Registry,
        find: find::built_holdfast,
        presence: Presence::Required,
        arguments: distribution::arguments,
        version: &["--version"],
        syncs: SYNCS_ALL,
    },
    Software {
        name: HOLDFAST_BEFORE,
        kind: Kind::Registry,
        find: || Err("it is given by --program holdfast-before=PATH".into()),
        presence: Presence::OnRequest,
        arguments: distribution::arguments,
        version: &["--version"],
        syncs: SYNCS_ALL,
    },
    Software {
        name: DOCKER_REGISTRY,
        kind: Kind::Registry,
        find: || find::installed(DOCKER_REGISTRY),
        presence: Presence::Expected,
        arguments: distribution::arguments,
        version: &["--version"],
        syncs: "files synced, directories not",
    },
    Software {
        name: DISTRIBUTION_V3,
        kind: Kind::Registry,
        find: || find::installed(DISTRIBUTION_V3),
        presence: Presence::Expected,
        arguments: distribution::arguments,
        version: &["--version"],
        syncs: "files synced, directories not",
    },
    Software {
        name: ZOT,
        kind: Kind::Registry,
        find: || find::installed(ZOT),
        presence: Presence::Expected,
        arguments: zot::arguments,
        version: &["--version"],
        syncs: "blobs synced because `commit` is on here (off by default), directories not",
    },
    Software {
        name: NGINX,
        kind: Kind::Files,
        find: || find::installed(NGINX),
        presence: Presence::Expected,
        arguments: |setting| nginx::arguments(setting, nginx::Tuning::Defaults),
        version: &["-v"],
        syncs: "",
    },
    Software {
        name: NGINX_TUNED,
        kind: Kind::Files,
        find: || find::installed(NGINX),
        presence: Presence::Expected,
        arguments: |setting| nginx::arguments(setting, nginx::Tuning::SmallSendBuffer),
        version: &["-v"],
        syncs: "",
    },
];

/// The servers with these names, or all; and a sentence for each one that is not installed. `programs` says
/// which program to use for a name.
pub(crate) fn find(
    names: &[String],
    programs: &[(String, PathBuf)],
) -> Result<(Vec<Found>, Vec<String>)> {
    let given = programs.iter().map(|(name, _)| name);
    for name in names.iter().chain(given) {
        if ALL.iter().all(|software| software.name != *name) {
            let known: Vec<&str> = ALL.iter().map(|software| software.name).collect();
            return Err(
                format!("no server is called {name}; there are {}", known.join(", ")).into(),
            );
        }
    }
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for software in &ALL {
        if !names.is_empty() && !names.iter().any(|name| name == software.name) {
            continue;
        }
        let given = programs.iter().find(|(name, _)| name == software.name);
        let program = match given {
            Some((_, path)) => find::program(path),
            None => (software.find)(),
        };
        match program {
            Ok(program) => found.push(Found { software, program }),
            Err(error) if software.presence == Presence::Required || given.is_some() => {
                return Err(error);
            }
            Err(_) if software.presence == Presence::OnRequest => {}
            Err(error) => missing.push(format!("{} is not measured: {error}.", software.name)),
        }
    }
    if found.is_empty() {
        return Err("there is no server to measure".into());
    }
    Ok((found, missing))
}

/// What a 201 means on each of these servers.
pub(crate) fn syncs(found: &[Found]) -> String {
    let registries = found
        .iter()
        .filter(|found| found.software.kind == Kind::Registry);
    let sentence = |found: &Found| format!("{}: {}", found.software.name, found.software.syncs);
    registries.map(sentence).collect::<Vec<_>>().join("; ")
}

impl Software {
    /// Whether it is Holdfast, this build or another one.
    pub(crate) fn is_holdfast(&self) -> bool {
        [HOLDFAST, HOLDFAST_BEFORE].contains(&self.name)
    }

    /// Whether it can keep its content in a bucket here.
    pub(crate) fn uses_buckets(&self) -> bool {
        self.is_holdfast() || self.writes_link_files()
    }

    /// Whether its store is Distribution's, where tags can be written as files.
    pub(crate) fn writes_link_files(&self) -> bool {
        [DOCKER_REGISTRY, DISTRIBUTION_V3].contains(&self.name)
    }
}

impl Variant {
    /// What is added to a server's name.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Variant::Plain | Variant::Bucket => "",
            Variant::Tls => " (TLS)",
            Variant::Htpasswd => " (htpasswd)",
        }
    }
}

impl Found {
    /// How to start it, with everything it writes below its home.
    pub(crate) fn command(
        &self,
        setting: &Setting<'_>,
        namespace: Option<&str>,
    ) -> Result<Command> {
        let mut command = match namespace {
            // It becomes the program: the process id stays the same.
            Some(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name]).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        command
            .args((self.software.arguments)(setting)?)
            .current_dir(setting.home)
            .stdin(Stdio::null());
        // Variables of Distribution and of the AWS tools would override the configuration file.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if ["REGISTRY_", "AWS_"]
                .iter()
                .any(|start| name.starts_with(start))
            {
                command.env_remove(&*name);
            }
        }
        // Distribution v3 sends traces to a collector unless told otherwise.
        command.env("OTEL_TRACES_EXPORTER", "none");
        Ok(command)
    }

    /// Another command of the program.
    pub(crate) fn other_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        command
    }

    /// What the program says its version is.
    pub(crate) fn version(&self) -> String {
        let output = Command::new(&self.program)
            .args(self.software.version)
            .output();
        let text = output.map(|output| {
            // nginx and zot write it to standard error.
            let text = [output.stdout, output.stderr].concat();
            String::from_utf8_lossy(&text).into_owned()
        });
        let text = text.unwrap_or_default();
        let version = find::version(&text);
        format!("{} {version}", self.software.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_refused() {
        let expected = "no server is called holdfats; there are holdfast, holdfast-before, docker-registry, distribution-v3, zot, nginx, nginx-tuned";
        let error = find(&["holdfats".to_owned()], &[]).err().unwrap();
        assert_eq!(error.to_string(), expected);
        let programs = [("holdfats".to_owned(), PathBuf::new())];
        let error = find(&[], &programs).err().unwrap();
        assert_eq!(error.to_string(), expected);
    }
}
