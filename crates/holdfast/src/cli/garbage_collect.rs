//! `holdfast garbage-collect`, as Distribution's: its flags, and its lines on stdout.
//!
//! The work is that of the collector which always runs. Where a server runs, it does the work, with the
//! configured grace; without a server nobody can be in the middle of a push, so everything unused goes at
//! once, as with Distribution. With PostgreSQL nobody knows that no node serves, so the grace counts there too.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;

use holdfast_model::{Digest, RepositoryName};
use http::Method;

use super::{control, say};
use crate::config::parse_duration;
use crate::http::api::{GcEvent, RunGc};

#[derive(clap::Args)]
#[group(id = "collect")]
pub(super) struct Arguments {
    /// Only print what would be removed.
    #[arg(short, long)]
    dry_run: bool,
    /// Also remove manifests without a tag, unless an index or the subject of a referrer holds them.
    #[arg(short = 'm', long)]
    delete_untagged: bool,
    /// Print nothing on stdout.
    #[arg(short, long)]
    quiet: bool,
    /// Accepted for scripts that have it: what Distribution prints is printed anyway.
    #[arg(short, long)]
    verbose: bool,
    /// Keep what lost its last use for so long, such as 0s or 1h; else gc.grace, or 0s on SQLite while no server
    /// runs.
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    grace: Option<f64>,
    /// The configuration; found as for other commands when absent.
    config: Option<PathBuf>,
}

/// A duration of an argument, in seconds.
pub(super) fn seconds(text: &str) -> Result<f64, String> {
    parse_duration(text)
        .map(|duration| duration.as_secs_f64())
        .ok_or_else(|| "expected a duration such as 0s, 30m or 24h".to_owned())
}

pub(super) fn run(arguments: Arguments) -> ExitCode {
    control::run(arguments.config, async |control| {
        let wish = RunGc {
            dry_run: arguments.dry_run,
            delete_untagged: arguments.delete_untagged,
            grace_seconds: arguments.grace,
            offline: control.is_here(),
            marks: !arguments.quiet,
        };
        let mut report = Report {
            quiet: arguments.quiet,
            ..Report::default()
        };
        control
            .follow(Method::POST, "/gc/run", &wish, |event| report.take(event))
            .await?;
        Ok(report.end(arguments.dry_run))
    })
}

/// What was heard, to be printed in Distribution's order: what stays, a summary, what goes.
#[derive(Default)]
struct Report {
    quiet: bool,
    marked: HashSet<Digest>,
    manifests: Vec<Digest>,
    blobs: Vec<(Digest, u64)>,
    links: Vec<(RepositoryName, Digest)>,
    freed: u64,
    failed: u64,
    incomplete: bool,
}

impl Report {
    fn take(&mut self, event: GcEvent) {
        match event {
            GcEvent::Repository { repository } => {
                say(&format!("{repository}\n"));
            }
            GcEvent::Kept {
                repository,
                digest,
                blobs,
            } => {
                // The space at the end is Distribution's.
                say(&format!("{repository}: marking manifest {digest} \n"));
                self.marked.insert(digest);
                for blob in blobs {
                    if self.marked.insert(blob) {
                        say(&format!("{repository}: marking blob {blob}\n"));
                    }
                }
            }
            GcEvent::Manifest { digest, .. } => self.manifests.push(digest),
            GcEvent::Link { repository, digest } => self.links.push((repository, digest)),
            GcEvent::Blob { digest, size } => self.blobs.push((digest, size)),
            GcEvent::Done {
                bytes,
                failed,
                complete,
                ..
            } => {
                (self.freed, self.failed, self.incomplete) = (bytes, failed, !complete);
            }
        }
    }

    fn end(self, dry_run: bool) -> ExitCode {
        if !self.quiet {
            for digest in &self.manifests {
                say(&format!("manifest eligible for deletion: {digest}\n"));
            }
            say(&format!(
                "\n{} blobs marked, {} blobs and {} manifests eligible for deletion\n",
                self.marked.len(),
                self.blobs.len(),
                self.manifests.len()
            ));
            for (digest, size) in &self.blobs {
                say(&format!(
                    "blob eligible for deletion: {digest} size: {size}\n"
                ));
            }
            for (repository, digest) in &self.links {
                say(&format!(
                    "{repository}: layer link eligible for deletion: {digest}\n"
                ));
            }
            let eligible: u64 = self.blobs.iter().map(|(_, size)| size).sum();
            if dry_run {
                say(&format!("{eligible} bytes would be freed\n"));
            } else {
                say(&format!("{} bytes freed\n", self.freed));
            }
        }
        if self.incomplete {
            eprintln!("a dry run names only so many things; there are more");
        }
        if self.failed > 0 {
            eprintln!(
                "{} stored objects could not be deleted; the log says why, and it will be tried again",
                self.failed
            );
            return ExitCode::from(1);
        }
        ExitCode::SUCCESS
    }
}
