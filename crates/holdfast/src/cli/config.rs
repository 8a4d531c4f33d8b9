//! `holdfast config check|show|schema|reference`: look at a configuration without starting.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::{configuration_error, load, say};
use crate::config::{Auth, Level, Loaded};
use crate::edge::Acceptor;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Say what is wrong with a configuration, and what it names that has no effect yet.
    Check {
        /// The configuration; the embedded default without one.
        config: Option<PathBuf>,
    },
    /// Print the configuration in effect, environment included, secrets hidden.
    Show {
        /// The configuration; the embedded default without one.
        config: Option<PathBuf>,
    },
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
    /// Print the reference page of every key, in Markdown.
    Reference,
}

pub(super) fn run(command: Command) -> ExitCode {
    match command {
        Command::Check { config } => match load(config, false) {
            Ok(loaded) => check(&loaded),
            Err(error) => configuration_error(&error),
        },
        Command::Show { config } => match load(config, false) {
            Ok(loaded) => say(&crate::config::show(&loaded)),
            Err(error) => configuration_error(&error),
        },
        Command::Schema => say(&format!(
            "{}
",
            crate::config::json_schema()
        )),
        Command::Reference => say(&crate::config::reference_markdown()),
    }
}

/// Says what there is to say, and opens the files that the server will read.
fn check(loaded: &Loaded) -> ExitCode {
    let config = &loaded.config;
    let mut text: String = loaded
        .warnings
        .iter()
        .map(|warning| format!("{warning}\n"))
        .collect();
    let count = loaded
        .warnings
        .iter()
        .filter(|warning| warning.level == Level::Warning)
        .count();
    if let Some(Err(error)) = config
        .http
        .tls
        .as_ref()
        .map(|tls| Acceptor::new(tls, config.http.http2))
    {
        return configuration_error(&format!("{text}{error}"));
    }
    if let Auth::Htpasswd { path, .. } = &config.auth {
        match std::fs::File::open(path) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let path = path.display();
                text.push_str(&format!(
                    "{path} is not there yet; serve will make it, with the user docker\n"
                ));
            }
            Err(error) => {
                let path = path.display();
                return configuration_error(&format!(
                    "{text}auth.htpasswd.path: cannot read {path}: {error}"
                ));
            }
        }
    }
    text.push_str(&match count {
        0 => "the configuration is good\n".to_owned(),
        1 => "the configuration is usable, with the warning above\n".to_owned(),
        _ => format!("the configuration is usable, with the {count} warnings above\n"),
    });
    say(&text)
}
