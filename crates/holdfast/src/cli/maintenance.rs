//! `holdfast maintenance on|off|status`: read-only mode at run time.

use std::process::ExitCode;

use clap::Subcommand;
use http::Method;

use super::{ConfigOption, control, say};
use crate::http::api::{Maintenance, SetReadOnly};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Refuse every change of content from now on, restarts included, and wait for those under way.
    On {
        #[command(flatten)]
        config: ConfigOption,
    },
    /// Allow changes again, unless the configuration forbids them.
    Off {
        #[command(flatten)]
        config: ConfigOption,
    },
    /// Print whether the registry takes changes, and why not.
    Status {
        #[command(flatten)]
        config: ConfigOption,
    },
}

pub(super) fn run(command: Command) -> ExitCode {
    let (config, wish) = match command {
        Command::On { config } => (config, Some(true)),
        Command::Off { config } => (config, Some(false)),
        Command::Status { config } => (config, None),
    };
    control::run(config.config, async move |control| {
        let state: Maintenance = match wish {
            None => control.ask(Method::GET, "/maintenance", &()).await?,
            Some(read_only) => {
                let wish = SetReadOnly { read_only };
                control.ask(Method::POST, "/maintenance", &wish).await?
            }
        };
        let said = say(&format!("{}\n", described(&state)));
        match wish {
            Some(true) if state.changes > 0 => Err(format!(
                "{} changes that began before are still under way; no other begins",
                state.changes
            )),
            Some(false) if state.configured => Err(
                "it stays read-only: storage.maintenance.readonly.enabled is true in the configuration".to_owned(),
            ),
            _ => Ok(said),
        }
    })
}

fn described(state: &Maintenance) -> String {
    let configured = state.configured.then(|| "by the configuration".to_owned());
    let switched = state
        .switched_at
        .as_ref()
        .map(|at| format!("by command since {at}"));
    let why: Vec<String> = configured.into_iter().chain(switched).collect();
    if why.is_empty() {
        "read-only: off".to_owned()
    } else {
        format!("read-only: on, {}", why.join(" and "))
    }
}
