//! `holdfast metadata move`: the metadata from a SQLite database to PostgreSQL, or back.

use std::path::PathBuf;
use std::process::ExitCode;

use holdfast_metadata::copy_database;

use super::{configuration_error, control, failure, in_runtime, load, say};
use crate::app::metadata_location;
use crate::config::Loaded;
use crate::error_chain::chain;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Copy the metadata into an empty database, between SQLite and PostgreSQL, while no server runs. The stored
    /// bytes stay where they are, and so does the old database.
    Move {
        /// The configuration that the registry ran with.
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// The configuration that it is to run with.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
}

pub(super) fn run(command: Command) -> ExitCode {
    let Command::Move { from, to } = command;
    let (from, to) = match (load(Some(from), true), load(Some(to), true)) {
        (Ok(from), Ok(to)) => (from, to),
        (Err(error), _) | (_, Err(error)) => return configuration_error(&error),
    };
    let _writers = super::serve::start_log(&from.config);
    in_runtime(failure, moved(&from, &to))
}

async fn moved(from: &Loaded, to: &Loaded) -> Result<ExitCode, String> {
    for loaded in [from, to] {
        if control::is_served(&loaded.config) {
            return Err("a server runs on this configuration's data: stop it first".to_owned());
        }
    }
    let (source, whence) = metadata_location(&from.config)?;
    let (target, whither) = metadata_location(&to.config)?;
    if let holdfast_metadata::Location::File(path) = &source
        && !path.exists()
    {
        return Err(format!("there is nothing to move: {whence} does not exist"));
    }
    let copied = copy_database(&source, &target, crate::clock::now())
        .await
        .map_err(|error| chain(&error))?;
    let mut text = String::new();
    for table in copied.iter().filter(|table| table.rows > 0) {
        text.push_str(&format!("{:>12} {}\n", table.rows, table.table));
    }
    let rows: u64 = copied.iter().map(|table| table.rows).sum();
    text.push_str(&format!(
        "{rows} rows of {} tables are in {whither} now.\n{whence} is unchanged, and out of date as soon as a server \
         runs on the other: remove it once that one serves.\n",
        copied.len()
    ));
    Ok(say(&text))
}
