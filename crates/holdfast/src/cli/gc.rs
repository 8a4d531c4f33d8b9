//! `holdfast gc status|run|why`; alone it is `garbage-collect`.

use std::process::ExitCode;

use clap::Subcommand;
use holdfast_model::{Digest, RepositoryName};
use http::Method;

use super::{ConfigOption, control, garbage_collect, print};
use crate::http::api::{GcEvent, GcStatus, RunGc, Why};

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(flatten)]
    collect: garbage_collect::Arguments,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Print what waits for the collector, and what it did on the last days.
    Status {
        #[command(flatten)]
        config: ConfigOption,
    },
    /// Collect now, and print what is taken away.
    Run {
        /// Only print what would be removed.
        #[arg(short, long)]
        dry_run: bool,
        /// Also remove manifests without a tag, unless an index or the subject of a referrer holds them.
        #[arg(short = 'm', long)]
        delete_untagged: bool,
        /// Keep what lost its last use for so long, such as 0s or 1h, instead of gc.grace. A push under way may
        /// then have to send a blob again.
        #[arg(long, value_name = "DURATION", value_parser = garbage_collect::seconds)]
        grace: Option<f64>,
        #[command(flatten)]
        config: ConfigOption,
    },
    /// Say why a manifest or blob is kept, and until when.
    Why {
        /// What is asked about: repository@digest.
        #[arg(value_name = "REPOSITORY@DIGEST", value_parser = subject)]
        subject: (RepositoryName, Digest),
        #[command(flatten)]
        config: ConfigOption,
    },
}

fn subject(text: &str) -> Result<(RepositoryName, Digest), String> {
    let (name, digest) = text
        .split_once('@')
        .ok_or("expected repository@digest, such as app@sha256:…")?;
    let name = name.parse().map_err(|why| format!("{name}: {why}"))?;
    let digest = digest.parse().map_err(|why| format!("{digest}: {why}"))?;
    Ok((name, digest))
}

pub(super) fn run(arguments: Arguments) -> ExitCode {
    match arguments.command {
        None => garbage_collect::run(arguments.collect),
        Some(Command::Status { config }) => control::run(config.config, async |control| {
            let status: GcStatus = control.ask(Method::GET, "/gc", &()).await?;
            show(&status);
            Ok(ExitCode::SUCCESS)
        }),
        Some(Command::Run {
            dry_run,
            delete_untagged,
            grace,
            config,
        }) => control::run(config.config, async |control| {
            let wish = RunGc {
                dry_run,
                delete_untagged,
                grace_seconds: grace,
                marks: false,
            };
            let mut all = true;
            let event = |event| all &= tell(event);
            control
                .follow(Method::POST, "/gc/run", &wish, event)
                .await?;
            Ok(if all {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(1)
            })
        }),
        Some(Command::Why {
            subject: (repository, digest),
            config,
        }) => control::run(config.config, async |control| {
            let digest = digest.to_string();
            let target = control::query(
                "/gc/why",
                &[("repository", repository.as_str()), ("digest", &digest)],
            );
            let why: Why = control.ask(Method::GET, &target, &()).await?;
            Ok(explain(&why))
        }),
    }
}

/// Prints an event; false when something could not be deleted.
fn tell(event: GcEvent) -> bool {
    match event {
        GcEvent::Repository { .. } | GcEvent::Kept { .. } => {}
        GcEvent::Manifest {
            repository,
            digest,
            reason,
        } => {
            print(format_args!("manifest {repository}@{digest} {reason}\n"));
        }
        GcEvent::Link { repository, digest } => {
            print(format_args!("link {repository}@{digest}\n"));
        }
        GcEvent::Blob { digest, size } => print(format_args!("blob {digest} {size} bytes\n")),
        GcEvent::Done {
            objects,
            bytes,
            failed,
            ..
        } => {
            print(format_args!(
                "{objects} objects deleted, {bytes} bytes freed\n"
            ));
            if failed > 0 {
                eprintln!("{failed} objects could not be deleted; the log says why");
            }
            return failed == 0;
        }
    }
    true
}

fn show(status: &GcStatus) {
    print(format_args!("grace {} seconds\n", status.grace_seconds));
    for queue in &status.queues {
        let due = queue.first_due.as_deref().unwrap_or("-");
        print(format_args!(
            "{:<10} {:>9} waiting, first due {due}\n",
            queue.name, queue.waiting
        ));
    }
    for (date, day) in &status.days {
        print(format_args!(
            "{date} {} manifests, {} links, {} blobs, {} objects, {} bytes freed\n",
            day.manifests, day.links, day.blobs, day.objects, day.bytes
        ));
    }
}

fn explain(why: &Why) -> ExitCode {
    let what = match (why.manifest, why.blob) {
        (true, true) => "there is a manifest and a blob of this digest",
        (true, false) => "there is a manifest of this digest",
        (false, true) => "there is a blob of this digest",
        (false, false) => "the repository has neither manifest nor blob of this digest",
    };
    print(format_args!("{what}\n"));
    for reason in &why.reasons {
        print(format_args!("- {reason}\n"));
    }
    if why.manifest || why.blob {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    }
}
