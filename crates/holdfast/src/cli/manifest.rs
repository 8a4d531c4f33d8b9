//! `holdfast manifest trash|restore`: deleted manifests, and the way back.

use std::process::ExitCode;
use std::str::FromStr;

use clap::Subcommand;
use holdfast_model::{Digest, RepositoryName};
use http::Method;

use super::tag::restored;
use super::{ConfigOption, control, say};
use crate::http::api::{RestoreManifest, Restored, Trash};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Print the deleted manifests of a repository: digest, when deleted, until when kept, bytes, media type.
    Trash {
        /// The repository.
        repository: RepositoryName,
        #[command(flatten)]
        config: ConfigOption,
    },
    /// Bring a deleted manifest back, an index with the manifests it names.
    Restore {
        /// The manifest, as `<repository>@<digest>`.
        name: ContentName,
        #[command(flatten)]
        config: ConfigOption,
    },
}

/// `<repository>@<digest>`
#[derive(Clone, Debug)]
pub(super) struct ContentName {
    pub(super) repository: RepositoryName,
    pub(super) digest: Digest,
}

impl FromStr for ContentName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('@');
        let (repository, digest) = parts.ok_or("expected <repository>@<digest>")?;
        Ok(ContentName {
            repository: repository.parse().map_err(|error| format!("{error}"))?,
            digest: digest.parse().map_err(|error| format!("{error}"))?,
        })
    }
}

pub(super) fn run(command: Command) -> ExitCode {
    match command {
        Command::Trash { repository, config } => {
            control::run(config.config, async move |control| {
                trash(control, &repository).await
            })
        }
        Command::Restore { name, config } => control::run(config.config, async move |control| {
            let wish = RestoreManifest {
                repository: name.repository,
                digest: name.digest.to_string(),
            };
            let done: Restored = control
                .ask(Method::POST, "/manifests/restore", &wish)
                .await?;
            Ok(say(&restored(&done)))
        }),
    }
}

async fn trash(
    control: &control::Control,
    repository: &RepositoryName,
) -> Result<ExitCode, String> {
    let mut after: Option<Digest> = None;
    loop {
        let target = control::query(
            "/manifests/trash",
            &[
                ("repository", Some(repository)),
                ("after", after.as_ref().map(|after| after as _)),
            ],
        );
        let found: Trash = control.ask(Method::GET, &target, &()).await?;
        for manifest in &found.manifests {
            say(&format!(
                "{} {} {} {} {}\n",
                manifest.digest,
                manifest.deleted_at,
                manifest.kept_until,
                manifest.size,
                manifest.media_type
            ));
        }
        match found.next {
            Some(next) => after = Some(next),
            None => return Ok(ExitCode::SUCCESS),
        }
    }
}
