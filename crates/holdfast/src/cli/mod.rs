//! The command line.
//!
//! Called `registry`, the binary behaves as Distribution's does, so that scripts and compose files written
//! for it go on working; called `htpasswd`, it is that. Under its own name a mistake on the command line ends
//! with exit code 2, where `registry` swallows it.

mod archive_file;
mod backup;
mod check;
mod config;
mod control;
mod entrypoint;
mod export;
mod garbage_collect;
mod gc;
mod healthcheck;
mod htpasswd;
mod import;
mod maintenance;
mod manifest;
mod metadata;
mod restore;
mod serve;
mod tag;
mod uploads;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::config::{Loaded, Source};

/// The variable that names the configuration when no argument does.
const CONFIGURATION_PATH: &str = "REGISTRY_CONFIGURATION_PATH";

#[derive(Parser)]
#[command(
    name = "holdfast",
    about = "A container registry in one binary, in place of registry:2",
    disable_version_flag = true,
    disable_help_subcommand = false,
    subcommand_required = false
)]
struct Cli {
    /// Print the version.
    #[arg(short = 'v', long = "version")]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the registry in the foreground.
    Serve {
        /// The configuration, in Distribution's YAML; without one, data goes to ./holdfast-data and the port is 5000.
        config: Option<PathBuf>,
        /// Start although blobs are stored and the metadata is gone without a snapshot: every repository is empty then.
        #[arg(long)]
        accept_empty: bool,
        /// More arguments are ignored, as in Distribution.
        #[arg(hide = true)]
        ignored: Vec<OsString>,
    },
    /// Remove what is no longer needed, with Distribution's flags and output. A running registry does so by itself.
    GarbageCollect(garbage_collect::Arguments),
    /// See what the collector does, run it, ask it why something is kept; alone, as garbage-collect.
    Gc(Box<gc::Arguments>),
    /// Print what a tag pointed at, or point it there again.
    Tag {
        #[command(subcommand)]
        command: tag::Command,
    },
    /// List deleted manifests, or bring one back.
    Manifest {
        #[command(subcommand)]
        command: manifest::Command,
    },
    /// Move the metadata to another database.
    Metadata {
        #[command(subcommand)]
        command: metadata::Command,
    },
    /// Turn read-only mode on and off.
    Maintenance {
        #[command(subcommand)]
        command: maintenance::Command,
    },
    /// Take over what another registry holds.
    Import(import::Arguments),
    /// List or cancel upload sessions.
    Uploads {
        #[command(subcommand)]
        command: uploads::Command,
    },
    #[command(visible_alias = "verify")]
    Check(check::Arguments),
    /// Write a backup, beside a running server as well.
    Backup(backup::Arguments),
    /// Restore a registry, or one repository, from a backup.
    Restore(restore::Arguments),
    /// Write images to a file, or the link files by which registry:2 serves the same directory.
    Export(export::Arguments),
    /// Look at a configuration without starting.
    Config {
        #[command(subcommand)]
        command: config::Command,
    },
    /// Make or check a line of a password file.
    Htpasswd(htpasswd::Arguments),
    /// Ask a running registry whether it is well; exit 0 when it is.
    Healthcheck(healthcheck::Arguments),
    /// Print the version.
    Version,
    /// Print a completion script for a shell.
    Completion {
        /// bash, zsh, fish, elvish or powershell.
        shell: clap_complete::Shell,
    },
}

/// Runs the command that the arguments name and returns the exit code of the process.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let called = arguments.first().map_or_else(
        || "holdfast".to_owned(),
        |first| first.to_string_lossy().into_owned(),
    );
    let name = Path::new(&called).file_name().map_or_else(
        || called.clone(),
        |name| name.to_string_lossy().into_owned(),
    );
    if name == "htpasswd" {
        return htpasswd::run_applet(arguments);
    }
    if name == entrypoint::NAME {
        return entrypoint::run(arguments);
    }
    let registry = name == "registry";
    if arguments.len() <= 1 {
        eprintln!("{}", Cli::command().render_help());
        return ExitCode::SUCCESS;
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let asked = !error.use_stderr();
            let _ = error.print();
            // Distribution prints what is wrong with a command and exits 0 all the same.
            return if asked || registry {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(2)
            };
        }
    };
    if cli.version {
        return version(&called);
    }
    match cli.command {
        None => {
            eprintln!("{}", Cli::command().render_help());
            ExitCode::SUCCESS
        }
        Some(Command::Serve {
            config,
            accept_empty,
            ..
        }) => serve::run(config, registry, accept_empty),
        Some(Command::GarbageCollect(arguments)) => garbage_collect::run(arguments),
        Some(Command::Gc(arguments)) => gc::run(*arguments),
        Some(Command::Tag { command }) => tag::run(command),
        Some(Command::Manifest { command }) => manifest::run(command),
        Some(Command::Metadata { command }) => metadata::run(command),
        Some(Command::Maintenance { command }) => maintenance::run(command),
        Some(Command::Import(arguments)) => import::run(arguments),
        Some(Command::Uploads { command }) => uploads::run(command),
        Some(Command::Check(arguments)) => check::run(arguments),
        Some(Command::Backup(arguments)) => backup::run(arguments),
        Some(Command::Restore(arguments)) => restore::run(arguments),
        Some(Command::Export(arguments)) => export::run(arguments),
        Some(Command::Config { command }) => config::run(command),
        Some(Command::Htpasswd(arguments)) => htpasswd::run(&arguments),
        Some(Command::Healthcheck(arguments)) => healthcheck::run(arguments),
        Some(Command::Version) => version(&called),
        Some(Command::Completion { shell }) => {
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "holdfast",
                &mut std::io::stdout(),
            );
            ExitCode::SUCCESS
        }
    }
}

/// Three words, the first the name as called, as scripts written for Distribution expect.
fn version(called: &str) -> ExitCode {
    say(&format!("{called} holdfast {}\n", crate::VERSION))
}

/// Prints on stdout. A reader that has gone away, as `head` does, is no failure.
fn say(text: &str) -> ExitCode {
    use std::io::Write as _;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::from(1),
        _ => ExitCode::SUCCESS,
    }
}

/// Where the images of `registry:2` and `registry:3` have their configuration.
const INSTALLED_CONFIGS: [&str; 2] = [
    "/etc/docker/registry/config.yml",
    "/etc/distribution/config.yml",
];

/// The configuration that commands take when nothing names one, if it is there.
fn installed_config() -> Option<PathBuf> {
    if std::env::var_os(CONFIGURATION_PATH).is_some() {
        return None;
    }
    INSTALLED_CONFIGS
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
}

/// The configuration of a command's registry.
#[derive(clap::Args)]
struct ConfigOption {
    /// The configuration of the registry; else $REGISTRY_CONFIGURATION_PATH, else
    /// /etc/docker/registry/config.yml or /etc/distribution/config.yml, else the embedded default.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Reads a path that somebody else may open: it counts from where the command was given.
fn absolute() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(std::path::absolute::<PathBuf>)
}

/// Loads the configuration that an argument or the environment names; the embedded default without either,
/// unless a path is required.
fn load(path: Option<PathBuf>, required: bool) -> Result<Loaded, String> {
    let path = path.or_else(|| std::env::var_os(CONFIGURATION_PATH).map(PathBuf::from));
    // Variables that are not text cannot name a key.
    let environment = || {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
    };
    match path {
        None if required => Err("configuration path unspecified".to_owned()),
        None => {
            crate::config::load(Source::Default, environment()).map_err(|error| error.to_string())
        }
        Some(path) => {
            let text = std::fs::read(&path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            let name = path.display().to_string();
            let source = Source::File {
                path: &name,
                text: &text,
            };
            crate::config::load(source, environment()).map_err(|error| error.to_string())
        }
    }
}

/// Runs a command to its end; `failed` tells of an error.
fn in_runtime(
    failed: impl Fn(&str) -> ExitCode,
    command: impl Future<Output = Result<ExitCode, String>>,
) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot start the runtime: {error}")),
    };
    let code = runtime.block_on(command);
    // Reads that still wait for a disk must not hold up the exit.
    runtime.shutdown_background();
    code.unwrap_or_else(|error| failed(&error))
}

/// Says what went wrong with a command.
fn failure(error: &str) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(1)
}

/// Says what is wrong with a configuration the way Distribution does.
fn configuration_error(error: &str) -> ExitCode {
    eprintln!("configuration error: {error}");
    ExitCode::from(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
