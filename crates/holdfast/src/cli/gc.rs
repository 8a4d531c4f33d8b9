//! `holdfast gc status|run|why`; alone it is `garbage-collect`.

use std::process::ExitCode;

use clap::Subcommand;
use http::Method;

use super::manifest::ContentName;
use super::{ConfigOption, control, garbage_collect, say};
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
        #[arg(value_name = "REPOSITORY@DIGEST")]
        subject: ContentName,
        #[command(flatten)]
        config: ConfigOption,
    },
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
                offline: false,
                marks: false,
            };
            let mut all = true;
            let event = |event| all &= tell(event, dry_run);
            control
                .follow(Method::POST, "/gc/run", &wish, event)
                .await?;
            Ok(ExitCode::from(u8::from(!all)))
        }),
        Some(Command::Why { subject, config }) => control::run(config.config, async |control| {
            let target = control::query(
                "/gc/why",
                &[
                    ("repository", Some(&subject.repository)),
                    ("digest", Some(&subject.digest)),
                ],
            );
            let why: Why = control.ask(Method::GET, &target, &()).await?;
            Ok(explain(&why))
        }),
    }
}

/// Prints an event; false when something could not be deleted.
fn tell(event: GcEvent, dry_run: bool) -> bool {
    match event {
        GcEvent::Repository { .. } | GcEvent::Kept { .. } => {}
        GcEvent::Manifest {
            repository,
            digest,
            reason,
        } => {
            say(&format!("manifest {repository}@{digest} {reason}\n"));
        }
        GcEvent::Link { repository, digest } => {
            say(&format!("link {repository}@{digest}\n"));
        }
        GcEvent::Blob { digest, size } => {
            say(&format!("blob {digest} {size} bytes\n"));
        }
        // What is given up now is deleted after the grace period of objects: a rehearsal does not come to it.
        GcEvent::Done { .. } if dry_run => {
            say("nothing was deleted\n");
        }
        GcEvent::Done {
            objects,
            bytes,
            failed,
            ..
        } => {
            say(&format!("{objects} objects deleted, {bytes} bytes freed\n"));
            if failed > 0 {
                eprintln!("{failed} objects could not be deleted; the log says why");
            }
            return failed == 0;
        }
    }
    true
}

fn show(status: &GcStatus) {
    say(&format!("grace {} seconds\n", status.grace_seconds));
    for queue in &status.queues {
        let due = queue.first_due.as_deref().unwrap_or("-");
        say(&format!(
            "{:<10} {:>9} waiting, first due {due}\n",
            queue.name, queue.waiting
        ));
    }
    for (date, day) in &status.days {
        say(&format!(
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
    say(&format!("{what}\n"));
    for reason in &why.reasons {
        say(&format!("- {reason}\n"));
    }
    ExitCode::from(u8::from(!why.manifest && !why.blob))
}
