//! Every data path, measured beside other registries and nginx in one run.
//!
//! ```sh
//! scripts/bench-peers                                    # installs the peers; as root, once
//! cargo run --release -p holdfast-bench                  # everything, with a report
//! cargo run --release -p holdfast-bench -- --short       # does it work at all? under 90 seconds
//! cargo run --release -p holdfast-bench -- --only pull/  # one group; --list names them all
//! ```
//!
//! The servers of a group run at once, each on its own data directory on the same disk and on its own port,
//! set up alike: one worker or thread per core, no access log. Each round goes to every server in turn, and
//! the next round begins with another one ([`contest`]). Before a measurement the disk is synced.
//!
//! Measured per round: the time on the client's clock, the processor time of the server (user and system,
//! all threads and processes) and its peak of resident memory ([`process`]); where requests come at a fixed
//! rate, their latency ([`load`]). Shown is the median of the rounds, for memory the highest. The clients
//! are one thread that costs little, but it shares the machine: ratios and processor seconds say more than
//! speeds.
//!
//! The tables of contents: [`software`] has the servers, [`workload`] what is done to them. One more of
//! either is one more entry there.

mod bench;
mod certificate;
mod client;
mod content;
mod contest;
mod delay_line;
mod gateway;
mod limits;
mod load;
mod machine;
mod measure;
mod page_cache;
mod process;
mod report;
mod server;
mod software;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use bench::Bench;
use contest::Rounds;
use report::Report;
use server::Running;
use workload::{MIB, Scale};

/// What failed, in words.
type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

/// Space that must be free on the disk: so many large blobs, for all servers of the largest group, and some.
const SPACE_LARGE_BLOBS: u64 = 18;
const SPARE_BYTES: u64 = 1 << 30;

/// Measures Holdfast beside its peers.
#[derive(Parser)]
#[command(name = "holdfast-bench", version)]
struct Options {
    /// Small amounts and one round, to see that everything works.
    #[arg(long)]
    short: bool,
    /// Run only the workloads whose name contains this; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    only: Vec<String>,
    /// Print the names of the workloads and end.
    #[arg(long)]
    list: bool,
    /// How often each workload is measured on each server.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// A server that has spent this many seconds in a workload gets no further round in it.
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    budget: u64,
    /// Size of the large blob in MiB.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=16_384))]
    size: u64,
    /// Write report.md and report.json into this directory.
    #[arg(long, value_name = "DIRECTORY")]
    report: Option<PathBuf>,
    /// Directory for the data of the servers; a new directory in it is used and removed.
    #[arg(long, value_name = "DIRECTORY", default_value_os_t = std::env::temp_dir())]
    data: PathBuf,
    /// Measure only this server; may be given several times.
    #[arg(long = "server", value_name = "NAME")]
    servers: Vec<String>,
    /// Use this program for a server; may be given several times.
    #[arg(long = "program", value_name = "NAME=PATH", value_parser = program)]
    programs: Vec<(String, PathBuf)>,
}

fn program(text: &str) -> std::result::Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("it has no =")?;
    Ok((name.to_owned(), path.into()))
}

impl Options {
    fn scale(&self) -> Scale {
        match self.short {
            true => Scale::short(),
            false => Scale::full(self.size * MIB),
        }
    }

    fn rounds(&self) -> Rounds {
        Rounds {
            count: if self.short { 1 } else { self.rounds },
            budget: Duration::from_secs(self.budget),
        }
    }

    fn wants(&self, id: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|pattern| id.contains(pattern))
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match options.list {
        true => {
            list(&options);
            Ok(true)
        }
        false => run(&options),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("holdfast-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn list(options: &Options) {
    let scale = options.scale();
    for group in workload::groups(&scale) {
        for case in group.cases(&scale) {
            let id = format!("{}/{}", group.name(), case.name());
            if options.wants(&id) {
                println!("{id}");
            }
        }
    }
}

/// Whether everything that was begun came to its end.
fn run(options: &Options) -> Result<bool> {
    let running = Running::kill_on_signals()?;
    machine::allow_many_files()?;
    let (found, missing) = software::find(&options.servers, &options.programs)?;
    for reason in &missing {
        eprintln!("{reason}");
    }
    let space = SPACE_LARGE_BLOBS * options.scale().large_bytes + SPARE_BYTES;
    machine::require_space(&options.data, space)?;
    let data = tempfile::Builder::new()
        .prefix("holdfast-bench-")
        .tempdir_in(&options.data)?;
    let bench = Bench::new(data.path(), running, options.scale())?;
    let rounds = options.rounds();

    let versions: Vec<String> = found.iter().map(|found| found.version()).collect();
    let mut report = Report {
        facts: vec![
            machine::facts(data.path()),
            versions.join(", "),
            format!(
                "a push that was answered with 201: {}",
                software::syncs(&found)
            ),
            format!(
                "{}medians of up to {} rounds, of memory the highest; a server that has spent {} s in a workload gets no further round in it",
                if options.short {
                    "a short run, whose figures mean nothing; "
                } else {
                    ""
                },
                rounds.count,
                rounds.budget.as_secs()
            ),
            "processor time is the server's, user and system; memory of a server of several processes (nginx) is their sum, what they share counted in each; access logs are off everywhere".to_owned(),
        ],
        serious: !options.short,
        groups: Vec::new(),
        measured: Vec::new(),
        missing,
    };
    let mut complete = true;
    for mut group in workload::groups(&bench.scale) {
        let name = group.name();
        let wanted = |id: &str| options.wants(id);
        let any = group
            .cases(&bench.scale)
            .iter()
            .any(|case| wanted(&format!("{name}/{}", case.name())));
        if !any {
            continue;
        }
        let outcome = contest::run(group.as_mut(), &found, &wanted, rounds, &bench)?;
        report.groups.push((name, group.about()));
        report.measured.extend(outcome.measured);
        complete &= outcome.failures.is_empty();
        report.missing.extend(outcome.missing);
        report.missing.extend(outcome.failures);
        if let Some(directory) = &options.report {
            report.write(directory)?;
        }
    }
    print!("{}", report.markdown());
    Ok(complete)
}
