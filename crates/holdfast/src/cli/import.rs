//! `holdfast import`: takes over what another registry holds, in the storage or over the network, and images in files.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use holdfast_model::{RepositoryName, Tag};
use http::Method;

use super::control::{self, Control};
use crate::http::api::{ImportFiles, ImportProblem, ImportRegistry, ImportStatus, ImportTree};
use crate::import::{Connection, Credentials, Event, Import, Totals, What as Happened};

/// How often a line is written where lines cannot be overwritten.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Entries of one kind that are shown unless all are asked for.
const SHOWN: usize = 20;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// docker://HOST[/REPOSITORY[:TAG]], a directory with an image layout, or an archive of `docker save` or in OCI's
    /// form; without one, the tree of another registry in the storage.
    #[arg(conflicts_with_all = ["status", "rescan", "verify"])]
    source: Option<String>,
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    connection: ConnectionArguments,
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

#[derive(clap::Args)]
struct What {
    /// What the repository, or the image in a file, is called here: NAME or NAME:TAG.
    #[arg(long = "as", value_name = "NAME", requires = "source")]
    target: Option<String>,
    /// What names begin with here, such as `mirror/`.
    #[arg(long, default_value = "", requires = "source")]
    prefix: String,
    /// Only what is called so, as REPOSITORY or REPOSITORY:TAG, with * for any text; may be repeated.
    #[arg(long, value_name = "PATTERN", requires = "source")]
    only: Vec<String>,
    /// Nothing that is called so.
    #[arg(long, value_name = "PATTERN", requires = "source")]
    except: Vec<String>,
    /// Only say what would be copied.
    #[arg(long, requires = "source")]
    dry_run: bool,
    /// Tags that are copied at once.
    #[arg(
        long,
        default_value_t = 0,
        hide_default_value = true,
        requires = "source"
    )]
    jobs: usize,
}

#[derive(clap::Args)]
struct ConnectionArguments {
    /// The user at the other registry; without one, what `docker login` has stored.
    #[arg(long, requires = "source")]
    user: Option<String>,
    /// The file that holds the password; - for standard input.
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Without TLS; hosts of this machine are reached so anyway.
    #[arg(long, requires = "source")]
    plain_http: bool,
    /// Whatever certificate the other registry shows.
    #[arg(long, requires = "source")]
    insecure: bool,
    /// Certificates of authorities to trust, beside the system's.
    #[arg(long, value_name = "FILE", requires = "source")]
    ca: Option<PathBuf>,
}

pub(super) fn run(arguments: Arguments) -> ExitCode {
    match &arguments.source {
        None => run_tree(arguments),
        Some(source) => match wish(source, &arguments) {
            Ok(wish) => run_copy(&arguments, &wish),
            Err(error) => {
                eprintln!("{error}");
                ExitCode::from(1)
            }
        },
    }
}

/// What to ask of the registry.
enum Wish {
    Registry(ImportRegistry),
    Files(ImportFiles),
}

fn wish(source: &str, arguments: &Arguments) -> Result<Wish, String> {
    let What {
        target,
        prefix,
        only,
        except,
        dry_run,
        jobs,
    } = &arguments.what;
    let target = target.as_deref().map(image).transpose()?;
    let mut import = Import {
        prefix: prefix.clone(),
        only: only.clone(),
        except: except.clone(),
        dry_run: *dry_run,
        jobs: *jobs,
        ..Import::default()
    };
    if let Some(address) = source.strip_prefix("docker://") {
        let (host, name) = address.split_once('/').unwrap_or((address, ""));
        if !name.is_empty() {
            let (name, reference) = match name.split_once('@') {
                Some((name, digest)) => (name, Some(digest)),
                None => match name.rsplit_once(':') {
                    Some((name, tag)) => (name, Some(tag)),
                    None => (name, None),
                },
            };
            let repository = name.trim_end_matches('/').parse();
            import.repository = Some(repository.map_err(|error| format!("{name}: {error}"))?);
            import.reference = reference.map(str::to_owned);
        }
        if let Some((repository, tag)) = target {
            if import.repository.is_none() {
                return Err("--as names one repository; --prefix is for several".to_owned());
            }
            if tag.is_some() {
                return Err("tags keep their names; --as takes a repository".to_owned());
            }
            import.target = Some(repository);
        }
        let from = connection(host, &arguments.connection)?;
        return Ok(Wish::Registry(ImportRegistry { from, import }));
    }
    let path = ["oci:", "dir:", "oci-archive:", "docker-archive:"]
        .iter()
        .find_map(|kind| source.strip_prefix(kind))
        .unwrap_or(source);
    // Whoever does the work may be in another directory.
    let path = std::path::absolute(path).map_err(|error| format!("{path}: {error}"))?;
    let (repository, tag) = target.map_or((None, None), |(name, tag)| (Some(name), tag));
    Ok(Wish::Files(ImportFiles {
        path,
        repository,
        tag,
        import,
    }))
}

/// `NAME` or `NAME:TAG`.
fn image(text: &str) -> Result<(RepositoryName, Option<Tag>), String> {
    let (name, tag) = match text.rsplit_once(':') {
        Some((name, tag)) => (name, Some(tag)),
        None => (text, None),
    };
    let name = name.parse().map_err(|error| format!("{name}: {error}"))?;
    let tag = tag
        .map(|tag| tag.parse().map_err(|error| format!("{tag}: {error}")))
        .transpose()?;
    Ok((name, tag))
}

fn connection(host: &str, arguments: &ConnectionArguments) -> Result<Connection, String> {
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let credentials = match &arguments.user {
        Some(user) => {
            let password = match &arguments.password_file {
                Some(path) if path.as_os_str() == "-" => std::io::read_to_string(std::io::stdin())
                    .map_err(|error| format!("standard input: {error}"))?,
                Some(path) => read(path)?,
                None => rpassword::prompt_password(format!("Password of {user} at {host}: "))
                    .map_err(|error| format!("the password: {error}"))?,
            };
            Some(Credentials {
                user: user.clone(),
                password: password.trim_end_matches(['\r', '\n']).to_owned(),
                identity_token: None,
            })
        }
        None => {
            let directory = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
            let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
            match directory.or_else(home) {
                Some(directory) => Credentials::from_docker(&directory.join("config.json"), host)?,
                None => None,
            }
        }
    };
    Ok(Connection {
        host: host.to_owned(),
        plain_http: arguments.plain_http,
        insecure: arguments.insecure,
        authorities: arguments.ca.as_ref().map(read).transpose()?,
        credentials,
    })
}

fn run_copy(arguments: &Arguments, wish: &Wish) -> ExitCode {
    control::run_first(arguments.config.clone(), async |control: &Control| {
        let mut progress = Progress::new();
        let mut done = None;
        let json = arguments.json;
        let event = |event: Event| {
            if json {
                let text = serde_json::to_string(&event).unwrap_or_default();
                super::say(&format!("{text}\n"));
            } else if event.what != Happened::Done {
                let Event {
                    repository,
                    reference,
                    detail,
                    ..
                } = &event;
                let separator = match reference.as_str() {
                    "" => "",
                    digest if digest.contains(':') => "@",
                    _ => ":",
                };
                let what = match event.what {
                    Happened::Copied => "copied",
                    Happened::Present => "present",
                    Happened::WouldCopy => "would copy",
                    Happened::Failed => "failed",
                    Happened::Done => "done",
                };
                progress.clear();
                let why = if detail.is_empty() { "" } else { ": " };
                super::say(&format!(
                    "{what} {repository}{separator}{reference}{why}{detail}\n"
                ));
            }
            progress.show(&sums(&event.totals));
            if event.what == Happened::Done {
                done = Some(event.totals);
            }
        };
        let followed = match wish {
            Wish::Registry(wish) => {
                control
                    .follow(Method::POST, "/import/registry", wish, event)
                    .await
            }
            Wish::Files(wish) => {
                control
                    .follow(Method::POST, "/import/files", wish, event)
                    .await
            }
        };
        progress.end();
        followed?;
        let failed = done.is_none_or(|totals| totals.failed > 0);
        Ok(ExitCode::from(u8::from(failed)))
    })
}

fn sums(totals: &Totals) -> String {
    format!(
        "{} repositories: {} tags copied, {} present, {} failed; {} manifests, {} blobs, {}",
        totals.repositories,
        totals.tags,
        totals.present,
        totals.failed,
        totals.manifests,
        totals.blobs,
        bytes(totals.bytes)
    )
}

fn run_tree(arguments: Arguments) -> ExitCode {
    control::run_first(arguments.config.clone(), async |control: &Control| {
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
        match found.len().saturating_sub(shown) {
            0 => {}
            hidden if shown == 0 => text.push_str(&format!(
                "  --all shows {}\n",
                match hidden {
                    1 => "it",
                    _ => "them",
                }
            )),
            hidden => text.push_str(&format!("  … and {hidden} more; --all shows them\n")),
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

    /// Makes room for a line on stdout.
    fn clear(&mut self) {
        if self.terminal && self.written.is_some() {
            eprint!("\r\x1b[K");
            let _ = std::io::stderr().flush();
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
