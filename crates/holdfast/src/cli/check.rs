//! `holdfast check`: every row against every object and back.

use std::process::ExitCode;

use http::Method;

use super::{ConfigOption, control, say};
use crate::http::api::Check;
use crate::operations::{Event, Finding, Outcome, Summary};

/// Damage was found, and with `--repair`, some of it is left.
const DAMAGED: u8 = 1;
/// Not everything could be looked at, or nothing.
const UNKNOWN: u8 = 3;

/// Compare the database with the stored bytes, both ways.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Repair what can be repaired: mark, link, queue, write down again. Never removes what was pushed.
    #[arg(long)]
    repair: bool,
    /// Read all blobs and compare their digests.
    #[arg(long)]
    read_data: bool,
    /// Read at most so many bytes in a second.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Print a JSON object per line: `begin`, `finding`, `unchecked`, `summary`.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigOption,
}

pub(super) fn run(arguments: Arguments) -> ExitCode {
    let wish = Check {
        repair: arguments.repair,
        read_data: arguments.read_data,
        bytes_per_second: arguments.rate,
    };
    let json = arguments.json;
    control::run_or(UNKNOWN, arguments.config.config, async move |control| {
        let mut last = None;
        let print = |event: Event| {
            if json {
                let text = serde_json::to_string(&event).expect("events are plain structs");
                say(&format!("{text}\n"));
            } else {
                say(&spelled(&event));
            }
            if let Event::Summary(summary) = event {
                last = Some(summary);
            }
        };
        control.follow(Method::POST, "/check", &wish, print).await?;
        let summary = last.ok_or("the check broke off")?;
        Ok(ExitCode::from(code(&summary)))
    })
}

/// What scripts are told.
fn code(summary: &Summary) -> u8 {
    if summary.unchecked > 0 {
        UNKNOWN
    } else if summary.found > summary.repaired {
        DAMAGED
    } else {
        0
    }
}

/// An event for people.
fn spelled(event: &Event) -> String {
    match event {
        Event::Begin { part } => format!("checking {part}\n"),
        Event::Finding(finding) => finding_text(finding),
        Event::Unchecked { subject, reason } => format!("could not check {subject}: {reason}\n"),
        Event::Summary(Summary {
            links,
            manifests,
            blobs,
            objects,
            bytes_read,
            found,
            repaired,
            unchecked,
        }) => format!(
            "looked at {blobs} blobs, {objects} objects, {links} links, {manifests} manifests; read {bytes_read} bytes\n\
             {found} found, {repaired} repaired, {unchecked} could not be checked\n"
        ),
    }
}

fn finding_text(finding: &Finding) -> String {
    let outcome = match finding.outcome {
        Outcome::Found => "",
        Outcome::Repaired => " (repaired)",
        Outcome::Left => " (left)",
    };
    let mut text = finding.kind.name();
    if let Some(digest) = finding.digest {
        text.push_str(&format!(" {digest}"));
    }
    text.push_str(&format!("{outcome}: {}\n", finding.detail));
    for one in &finding.affected {
        let names: Vec<String> = one
            .tags
            .iter()
            .map(|tag| format!("{}:{tag}", one.repository))
            .collect();
        let names = if names.is_empty() {
            one.repository.clone()
        } else {
            names.join(" ")
        };
        text.push_str(&format!("    affects {names}\n"));
    }
    if finding.more {
        text.push_str("    and more\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        for (found, repaired, unchecked, wanted) in [
            (0, 0, 0, 0),
            (3, 3, 0, 0),
            (3, 2, 0, DAMAGED),
            (1, 0, 0, DAMAGED),
            (0, 0, 1, UNKNOWN),
            (3, 0, 1, UNKNOWN),
        ] {
            let summary = Summary {
                found,
                repaired,
                unchecked,
                ..Summary::default()
            };
            assert_eq!(code(&summary), wanted);
        }
    }
}
