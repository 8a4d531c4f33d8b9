//! `holdfast tag history|restore`: what a tag pointed at, and the way back.

use std::process::ExitCode;
use std::str::FromStr;

use clap::Subcommand;
use holdfast_model::{Digest, RepositoryName, Tag};
use http::Method;

use super::{ConfigOption, control, say};
use crate::http::api::{History, RestoreTag, Restored};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Print the changes of a tag, the newest first: when, why, the digest before, the digest then.
    History {
        /// The tag, as `<repository>:<tag>`.
        name: TagName,
        /// Print at most so many changes.
        #[arg(short = 'n', long, default_value_t = 50)]
        limit: usize,
        #[command(flatten)]
        config: ConfigOption,
    },
    /// Point a tag at a manifest that it pointed at before, or that was deleted.
    Restore {
        /// The tag, as `<repository>:<tag>`.
        name: TagName,
        /// The digest; without it, the one before the last change.
        #[arg(long)]
        to: Option<Digest>,
        #[command(flatten)]
        config: ConfigOption,
    },
}

/// `<repository>:<tag>`
#[derive(Clone, Debug)]
pub(super) struct TagName {
    repository: RepositoryName,
    tag: Tag,
}

impl FromStr for TagName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.rsplit_once(':');
        let (repository, tag) = parts.ok_or("expected <repository>:<tag>")?;
        Ok(TagName {
            repository: repository.parse().map_err(|error| format!("{error}"))?,
            tag: tag.parse().map_err(|error| format!("{error}"))?,
        })
    }
}

pub(super) fn run(command: Command) -> ExitCode {
    match command {
        Command::History {
            name,
            limit,
            config,
        } => control::run(config.config, async move |control| {
            history(control, &name, limit).await
        }),
        Command::Restore { name, to, config } => {
            control::run(config.config, async move |control| {
                let wish = RestoreTag {
                    repository: name.repository,
                    tag: name.tag.as_str().to_owned(),
                    to: to.map(|to| to.to_string()),
                };
                let done: Restored = control.ask(Method::POST, "/tags/restore", &wish).await?;
                Ok(say(&restored(&done)))
            })
        }
    }
}

async fn history(
    control: &control::Control,
    name: &TagName,
    limit: usize,
) -> Result<ExitCode, String> {
    /// Changes asked for at a time.
    const PAGE: usize = 1000;
    let (mut left, mut before) = (limit, None);
    while left > 0 {
        let page = left.min(PAGE);
        let target = control::query(
            "/tags/history",
            &[
                ("repository", Some(&name.repository)),
                ("tag", Some(&name.tag)),
                ("limit", Some(&page)),
                ("before", before.as_ref().map(|before: &i64| before as _)),
            ],
        );
        let found: History = control.ask(Method::GET, &target, &()).await?;
        let shown = |digest: &Option<Digest>| match digest {
            Some(digest) => digest.to_string(),
            None => "-".to_owned(),
        };
        for change in &found.changes {
            let (old, new) = (shown(&change.old), shown(&change.new));
            say(&format!("{} {} {old} {new}\n", change.at, change.reason));
        }
        left -= found.changes.len().min(left);
        match found.next {
            Some(next) => before = Some(next),
            None => break,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a restore did: the manifests that are back, then what is there now and what the tag pointed at before.
pub(super) fn restored(done: &Restored) -> String {
    let mut text = String::new();
    for digest in &done.restored {
        text.push_str(&format!("restored {digest}\n"));
    }
    match done.old {
        Some(old) => text.push_str(&format!("now {}, was {old}\n", done.digest)),
        None => text.push_str(&format!("now {}\n", done.digest)),
    }
    text
}
