//! `holdfast uploads list|cancel`: upload sessions that are open.

use std::process::ExitCode;

use clap::Subcommand;
use holdfast_model::RepositoryName;
use http::Method;

use super::{ConfigOption, control, say};
use crate::http::api::{CancelUpload, OpenUpload};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Print every open session: id, repository, bytes so far, when it was opened, when it ends unless it goes on.
    List {
        #[command(flatten)]
        config: ConfigOption,
    },
    /// Drop a session and its bytes.
    Cancel {
        /// The repository it is for.
        repository: RepositoryName,
        /// Its id.
        id: String,
        #[command(flatten)]
        config: ConfigOption,
    },
}

pub(super) fn run(command: Command) -> ExitCode {
    match command {
        Command::List { config } => control::run(config.config, async |control| {
            let print = |upload: OpenUpload| {
                say(&format!(
                    "{} {} {} {} {}\n",
                    upload.id,
                    upload.repository,
                    upload.offset,
                    upload.created_at,
                    upload.expires_at
                ));
            };
            control.follow(Method::GET, "/uploads", &(), print).await?;
            Ok(ExitCode::SUCCESS)
        }),
        Command::Cancel {
            repository,
            id,
            config,
        } => control::run(config.config, async move |control| {
            let wish = CancelUpload { repository, id };
            let cancelled: OpenUpload = control.ask(Method::POST, "/uploads/cancel", &wish).await?;
            Ok(say(&format!("cancelled {}\n", cancelled.id)))
        }),
    }
}
