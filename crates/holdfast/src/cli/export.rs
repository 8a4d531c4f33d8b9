//! `holdfast export`: Distribution's links in place, or images as a file.

use std::process::ExitCode;

use holdfast_model::RepositoryName;
use http::Method;

use super::{ConfigOption, control, say};
use crate::http::api::ExportLinks;
use crate::operations::Exported;

/// Write the link files by which registry:2 finds its content, so that it serves the same directory.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Only this repository; can be repeated.
    #[arg(long = "repository", value_name = "NAME")]
    repositories: Vec<RepositoryName>,
    /// Only say what would be written and removed.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    config: ConfigOption,
}

pub(super) fn run(arguments: Arguments) -> ExitCode {
    let wish = ExportLinks {
        repositories: arguments.repositories,
        dry_run: arguments.dry_run,
    };
    control::run(arguments.config.config, async move |control| {
        let mut total = None;
        let print = |exported: Exported| {
            say(&spelled(&exported, wish.dry_run));
            if exported.repository.is_none() {
                total = Some(exported);
            }
        };
        control
            .follow(Method::POST, "/export/links", &wish, print)
            .await?;
        let total = total.ok_or("the export broke off")?;
        Ok(if total.blobs_left_out > 0 {
            ExitCode::from(1)
        } else {
            ExitCode::SUCCESS
        })
    })
}

fn spelled(exported: &Exported, dry_run: bool) -> String {
    let Exported {
        repository,
        repositories,
        blobs_moved,
        blobs_left_out,
        manifests,
        links,
        links_kept,
        links_removed,
    } = exported;
    let what = match repository {
        Some(repository) => repository.clone(),
        None if dry_run => format!("{repositories} repositories, nothing was written"),
        None => format!("{repositories} repositories"),
    };
    let mut text = format!(
        "{what}: {links} links written, {links_kept} kept, {links_removed} removed; {manifests} manifests written, \
         {blobs_moved} blobs moved\n"
    );
    if *blobs_left_out > 0 {
        text.push_str(&format!(
            "{what}: {blobs_left_out} blobs are missing or damaged and got no link\n"
        ));
    }
    text
}
