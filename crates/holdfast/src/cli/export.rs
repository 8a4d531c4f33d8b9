//! `holdfast export`: Distribution's links in place, or images as a file.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use holdfast_model::RepositoryName;
use http::Method;

use super::archive_file::{Sink, Target};
use super::{ConfigOption, control, say};
use crate::http::api::{ExportImages, ExportLinks, default_platform};
use crate::operations::{ArchiveFormat, Exported};

/// Write images to a file; without images, the link files by which registry:2 finds its content, so that it serves
/// the same directory.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Images to write to a file: REPOSITORY:TAG or REPOSITORY@DIGEST.
    #[arg(value_name = "IMAGE", requires = "output", conflicts_with_all = ["repositories", "dry_run"])]
    images: Vec<String>,
    /// The file; - is the standard output. With --format oci, a name that ends in / is a directory to make.
    #[arg(short, long, value_name = "FILE", requires = "images")]
    output: Option<PathBuf>,
    /// docker-archive, which docker load takes, or oci, an OCI layout.
    #[arg(long, default_value = "docker-archive", value_parser = format)]
    format: ArchiveFormat,
    /// What a docker-archive takes of an image for many platforms.
    #[arg(long, default_value_t = default_platform())]
    platform: String,
    /// Only this repository; can be repeated.
    #[arg(long = "repository", value_name = "NAME")]
    repositories: Vec<RepositoryName>,
    /// Only say what would be written and removed.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    config: ConfigOption,
}

fn format(text: &str) -> Result<ArchiveFormat, String> {
    match text {
        "docker-archive" => Ok(ArchiveFormat::DockerArchive),
        "oci" => Ok(ArchiveFormat::Oci),
        _ => Err("it is docker-archive or oci".to_owned()),
    }
}

pub(super) fn run(arguments: Arguments) -> ExitCode {
    match arguments.output {
        None => links(arguments),
        Some(output) => images(
            arguments.config,
            output,
            ExportImages {
                images: arguments.images,
                format: arguments.format,
                platform: arguments.platform,
            },
        ),
    }
}

fn images(config: ConfigOption, output: PathBuf, wish: ExportImages) -> ExitCode {
    control::run(config.config, async move |control| {
        let target = Target::open(&output, wish.format).map_err(|error| cannot(&output, &error))?;
        let mut sink = Sink::new(target);
        let received = control
            .download("/export/images", &wish, |part| {
                sink.write(&part).map_err(|error| cannot(&output, &error))
            })
            .await;
        let finished =
            received.and_then(|()| sink.finish().map_err(|error| cannot(&output, &error)));
        finished.map(|()| ExitCode::SUCCESS)
    })
}

fn cannot(path: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}", path.display())
}

fn links(arguments: Arguments) -> ExitCode {
    let wish = ExportLinks {
        repositories: arguments.repositories,
        dry_run: arguments.dry_run,
    };
    control::run(arguments.config.config, async move |control| {
        let mut total = None;
        let named = !wish.repositories.is_empty();
        let mut unknown = false;
        let print = |exported: Exported| {
            if let Some(repository) = exported
                .repository
                .as_ref()
                .filter(|_| named && exported.is_nothing())
            {
                eprintln!("{repository}: there is nothing to export");
                unknown = true;
                return;
            }
            say(&spelled(&exported, wish.dry_run));
            if exported.repository.is_none() {
                total = Some(exported);
            }
        };
        control
            .follow(Method::POST, "/export/links", &wish, print)
            .await?;
        let total = total.ok_or("the export broke off")?;
        Ok(if total.blobs_left_out > 0 || unknown {
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
