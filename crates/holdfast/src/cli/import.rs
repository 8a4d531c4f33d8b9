//! `holdfast import`: takes over what another registry holds.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use http::Method;

use super::control::{self, Control};
use crate::http::api::{ImportProblem, ImportStatus, ImportTree};

/// How often a line is written where lines cannot be overwritten.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Entries of one kind that are shown unless all are asked for.
const SHOWN: usize = 20;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Show how far the import of the tree in the storage is, and what was found broken in it.
    #[arg(long, conflicts_with_all = ["rescan", "verify"])]
    status: bool,
    /// Walk the tree once more, for what another registry has written to it since.
    #[arg(long)]
    rescan: bool,
    /// Read every blob of the tree and compare it with its digest.
    #[arg(long)]
    verify: bool,
    /// Show everything found broken, harmless leftovers too.
    #[arg(long)]
    all: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The configuration.
    #[arg(long)]
    config: Option<PathBuf>,
}

pub(super) fn run(arguments: Arguments) -> ExitCode {
    control::run(arguments.config.clone(), async |control: &Control| {
        if !arguments.status {
            let wish = ImportTree {
                rescan: arguments.rescan,
                verify: arguments.verify,
            };
            let mut progress = Progress::new();
            let followed = control
                .follow(
                    Method::POST,
                    "/import/tree",
                    &wish,
                    |status: ImportStatus| {
                        progress.show(&line(&status));
                    },
                )
                .await;
            progress.end();
            followed?;
        }
        let status: ImportStatus = control.ask(Method::GET, "/import", &()).await?;
        let mut problems: Vec<ImportProblem> = Vec::new();
        control
            .follow(Method::GET, "/import/problems", &(), |problem| {
                problems.push(problem);
            })
            .await?;
        let harm = problems.iter().any(|problem| problem.harm);
        if arguments.json {
            let text = serde_json::json!({ "status": status, "problems": problems });
            super::say(&format!("{text}\n"));
        } else {
            super::say(&report(&status, &problems, arguments.all));
        }
        Ok(ExitCode::from(u8::from(harm && !arguments.status)))
    })
}

/// One line on how far it is.
fn line(status: &ImportStatus) -> String {
    let ImportStatus {
        stage,
        repositories,
        repositories_done,
        blobs,
        manifests,
        tags,
        problems,
        ..
    } = status;
    let bytes = bytes(status.blob_bytes);
    format!(
        "{stage}: {repositories_done}/{repositories} repositories, {blobs} blobs ({bytes}), \
         {manifests} manifests, {tags} tags, {problems} problems"
    )
}

fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

fn report(status: &ImportStatus, problems: &[ImportProblem], all: bool) -> String {
    if status.stage == "none" {
        return "the storage holds no tree of another registry\n".to_owned();
    }
    let mut text = format!("{}\n", line(status));
    for (what, time) in [
        ("begun", &status.started_at),
        ("done", &status.done_at),
        (
            "garbage collection waits until",
            &status.collection_waits_until,
        ),
    ] {
        if let Some(time) = time {
            text.push_str(&format!("{what} {time}\n"));
        }
    }
    let mut kinds: BTreeMap<(bool, &str), Vec<&ImportProblem>> = BTreeMap::new();
    for problem in problems {
        // Harm first.
        let kind = kinds.entry((!problem.harm, &problem.kind)).or_default();
        kind.push(problem);
    }
    for ((harmless, kind), found) in kinds {
        let note = if harmless { " (harmless)" } else { "" };
        text.push_str(&format!(
            "\n{} × {kind}{note}: {}\n",
            found.len(),
            found[0].detail
        ));
        let shown = match (all, harmless) {
            (true, _) => found.len(),
            (false, true) => 0,
            (false, false) => SHOWN,
        };
        for problem in found.iter().take(shown) {
            text.push_str(&format!("  {}\n", described(problem)));
        }
        if found.len() > shown {
            let hidden = found.len() - shown;
            text.push_str(&format!("  … and {hidden} more; --all shows them\n"));
        }
    }
    text
}

fn described(problem: &ImportProblem) -> String {
    let mut text = problem.repository.clone();
    if !problem.tags.is_empty() {
        text.push_str(&format!(":{}", problem.tags.join(",")));
    }
    if let Some(manifest) = &problem.manifest {
        text.push_str(&format!("@{manifest}"));
    }
    if let Some(digest) = &problem.digest {
        text.push_str(&format!(" {digest}"));
    }
    if problem.digest.is_none() || text.is_empty() {
        text.push_str(&format!(" {}", problem.place));
    }
    format!("{} ({})", text.trim_start(), problem.detail)
}

/// Lines on stderr about work under way: one that is overwritten on a terminal, else one now and then.
pub(super) struct Progress {
    terminal: bool,
    written: Option<Instant>,
    last: String,
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress {
            terminal: std::io::stderr().is_terminal(),
            written: None,
            last: String::new(),
        }
    }

    pub(super) fn show(&mut self, line: &str) {
        line.clone_into(&mut self.last);
        if self.terminal {
            eprint!("\r\x1b[K{line}");
            let _ = std::io::stderr().flush();
            self.written = Some(Instant::now());
        } else if self.written.is_none_or(|at| at.elapsed() >= LINE_EVERY) {
            eprintln!("{line}");
            self.written = Some(Instant::now());
            self.last.clear();
        }
    }

    pub(super) fn end(&mut self) {
        if self.terminal && self.written.is_some() {
            eprintln!();
        } else if !self.last.is_empty() {
            eprintln!("{}", self.last);
        }
        self.last.clear();
    }
}
