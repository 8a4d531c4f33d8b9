//! `holdfast config check|show|schema|reference`: look at a configuration without starting.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::{configuration_error, load};
use crate::config::Level;

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
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    println!("{warning}");
                }
                let count = loaded
                    .warnings
                    .iter()
                    .filter(|warning| warning.level == Level::Warning)
                    .count();
                match count {
                    0 => println!("the configuration is good"),
                    1 => println!("the configuration is usable, with the warning above"),
                    _ => println!("the configuration is usable, with the {count} warnings above"),
                }
                ExitCode::SUCCESS
            }
            Err(error) => configuration_error(&error),
        },
        Command::Show { config } => match load(config, false) {
            Ok(loaded) => {
                print!("{}", crate::config::show(&loaded));
                ExitCode::SUCCESS
            }
            Err(error) => configuration_error(&error),
        },
        Command::Schema => {
            println!("{}", crate::config::json_schema());
            ExitCode::SUCCESS
        }
        Command::Reference => {
            print!("{}", crate::config::reference_markdown());
            ExitCode::SUCCESS
        }
    }
}
