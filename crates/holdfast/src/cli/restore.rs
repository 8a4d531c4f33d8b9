//! `holdfast restore`: a registry, or one repository, from a backup.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use holdfast_model::RepositoryName;
use http::Method;

use super::{
    ConfigOption, configuration_error, control, failure, in_runtime, installed_config, load, say,
};
use crate::config::{Config, Driver, Metadata};
use crate::error_chain::chain;
use crate::http::api::RestoreRepository;
use crate::operations::backup::{RepositoryRestored, RestoreWish, Restored, find, restore};

/// Restore a registry into the empty place that its configuration names, or one repository into a registry that
/// may be running.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The directory of backups.
    #[arg(value_parser = super::absolute())]
    directory: PathBuf,
    /// The backup to take, by its name; the newest without.
    #[arg(long, value_name = "NAME")]
    backup: Option<String>,
    /// Only read the backup through and compare every digest; write nothing.
    #[arg(long, conflicts_with = "repository")]
    verify: bool,
    /// Only this repository: pushed again, into what is there now.
    #[arg(long, value_name = "NAME")]
    repository: Option<RepositoryName>,
    /// Write it to another repository.
    #[arg(long = "as", value_name = "NAME", requires = "repository")]
    into: Option<RepositoryName>,
    /// Move tags that point elsewhere now.
    #[arg(long, requires = "repository")]
    move_tags: bool,
    #[command(flatten)]
    config: ConfigOption,
}

pub(super) fn run(arguments: Arguments) -> ExitCode {
    let directory = arguments.directory;
    match arguments.repository {
        Some(repository) => {
            let wish = RestoreRepository {
                directory,
                backup: arguments.backup,
                repository,
                into: arguments.into,
                move_tags: arguments.move_tags,
            };
            one(arguments.config, &wish)
        }
        None => {
            let name = arguments.backup.as_deref();
            whole(arguments.config, &directory, name, arguments.verify)
        }
    }
}

fn one(config: ConfigOption, wish: &RestoreRepository) -> ExitCode {
    control::run_first(config.config, async move |control| {
        let mut done = None;
        control
            .follow(
                Method::POST,
                "/restore/repository",
                wish,
                |restored: RepositoryRestored| {
                    done = Some(restored);
                },
            )
            .await?;
        let restored = done.ok_or("the restore broke off")?;
        say(&format!(
            "from backup {}: {} blobs, {} manifests, {} tags\n",
            restored.backup, restored.blobs, restored.manifests, restored.tags
        ));
        for tag in &restored.tags_left {
            say(&format!(
                "tag {tag} points elsewhere now and was left; --move-tags moves it\n"
            ));
        }
        for failed in &restored.failed {
            say(&format!("not restored: {failed}\n"));
        }
        Ok(ExitCode::from(u8::from(!restored.failed.is_empty())))
    })
}

fn whole(config: ConfigOption, directory: &Path, name: Option<&str>, verify: bool) -> ExitCode {
    let config = match load(config.config.or_else(installed_config), false) {
        Ok(loaded) => loaded.config,
        Err(error) => return configuration_error(&error),
    };
    let _writers = super::serve::start_log(&config);
    in_runtime(failure, restored(&config, directory, name, verify))
}

async fn restored(
    config: &Config,
    directory: &Path,
    name: Option<&str>,
    verify: bool,
) -> Result<ExitCode, String> {
    let (Driver::Filesystem { root_directory, .. }, Metadata::File(database)) =
        (&config.storage.driver, &config.metadata)
    else {
        return Err(
            "a backup is restored to the filesystem driver with a SQLite database; `holdfast metadata move` brings \
             it to PostgreSQL from there, and what pg_dump wrote goes back by pg_restore"
                .to_owned(),
        );
    };
    let (directory, summary) = find(directory, name).map_err(|error| chain(&error))?;
    let wish = RestoreWish {
        root: root_directory.clone(),
        database: database.clone(),
        verify,
    };
    let Restored {
        blobs,
        bytes,
        damaged,
    } = restore(&directory, &summary, &wish)
        .await
        .map_err(|error| chain(&error))?;
    let done = if verify { "is whole" } else { "is restored" };
    let done = if damaged.is_empty() {
        done
    } else {
        "is damaged"
    };
    say(&format!(
        "backup {} {done}: {} repositories, {} tags, {} manifests, {blobs} blobs with {bytes} bytes\n",
        summary.name, summary.repositories, summary.tags, summary.manifests
    ));
    for left_out in &summary.left_out {
        say(&format!(
            "was not in it: blob {}: {}\n",
            left_out.digest, left_out.why
        ));
    }
    for (digest, why) in &damaged {
        say(&format!("damaged: blob {digest}: {why}\n"));
    }
    Ok(ExitCode::from(u8::from(!damaged.is_empty())))
}
