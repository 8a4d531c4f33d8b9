//! `holdfast garbage-collect`: refused until the collector exists.

use std::path::PathBuf;
use std::process::ExitCode;

/// Distribution's flags, so that scripts get this answer rather than a complaint about flags.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Only say what would be removed.
    #[arg(short, long)]
    dry_run: bool,
    /// Also remove manifests without tags.
    #[arg(short = 'm', long)]
    delete_untagged: bool,
    /// Say less.
    #[arg(short, long)]
    quiet: bool,
    /// Say more.
    #[arg(short, long)]
    verbose: bool,
    /// The configuration.
    config: Option<PathBuf>,
}

pub(super) fn run(_arguments: &Arguments) -> ExitCode {
    eprintln!(
        "garbage-collect is not in this release: nothing was examined and nothing was removed"
    );
    ExitCode::from(1)
}
