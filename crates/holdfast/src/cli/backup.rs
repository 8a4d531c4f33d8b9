//! `holdfast backup`: the registry of this moment in a directory of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use http::Method;

use super::{ConfigOption, control, say};
use crate::http::api::Backup;
use crate::operations::backup::BackupEvent;

/// Write a backup: consistent while the registry serves, and only what is new after the first.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The directory of backups, on the machine of the registry; made when absent.
    #[arg(value_parser = super::absolute())]
    directory: PathBuf,
    /// Keep so many backups in it and delete older ones.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
    /// Copy blobs even where a second name of the same file would do.
    #[arg(long)]
    copy: bool,
    #[command(flatten)]
    config: ConfigOption,
}

pub(super) fn run(arguments: Arguments) -> ExitCode {
    let wish = Backup {
        directory: arguments.directory,
        keep: arguments.keep.map(|keep| keep as usize),
        copy: arguments.copy,
    };
    control::run(arguments.config.config, async move |control| {
        let mut done = None;
        let print = |event: BackupEvent| match event {
            BackupEvent::Progress { blobs, bytes } => {
                eprintln!("{blobs} blobs, {bytes} bytes so far");
            }
            BackupEvent::Deleted { name } => {
                say(&format!("deleted backup {name}\n"));
            }
            BackupEvent::Done(summary) => done = Some(summary),
        };
        control
            .follow(Method::POST, "/backup", &wish, print)
            .await?;
        let summary = done.ok_or("the backup broke off")?;
        say(&format!(
            "backup {}: {} repositories, {} tags, {} manifests, {} blobs with {} bytes; {} blobs with {} bytes are new\n",
            summary.name,
            summary.repositories,
            summary.tags,
            summary.manifests,
            summary.blobs,
            summary.blob_bytes,
            summary.new_blobs,
            summary.new_bytes
        ));
        for left_out in &summary.left_out {
            say(&format!(
                "not in it: blob {}: {}\n",
                left_out.digest, left_out.why
            ));
        }
        Ok(ExitCode::from(u8::from(!summary.left_out.is_empty())))
    })
}
