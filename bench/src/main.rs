//! Push and pull, measured against other registries in one run.
//!
//! ```sh
//! cargo run --release -p holdfast-bench              # 1 GiB, five rounds, a few minutes
//! cargo run --release -p holdfast-bench -- --quick   # 64 MiB, one round: does it work at all?
//! ```
//!
//! All registries run at once, each on its own empty data directory on the same disk and on its own port
//! of the loopback interface, with the same configuration: no TLS, no accounts, no access log. Each round
//! of a workload goes to every registry in turn, and the next round begins with another one, so that
//! whatever else the machine does meets them all alike. Before a measurement the disk is synced.
//!
//! Measured per round: the time on the client's clock, the processor time of the server (user and system,
//! all threads, from `/proc/<pid>/stat`) and its peak of resident memory (`VmHWM`, reset before). Shown is
//! the median of the rounds, for memory the highest. Pulls come from the page cache.
//!
//! The client is made to cost little beside the server: blocking sockets, one write or read per MiB, one
//! buffer for all bodies, digests computed beforehand. It shares the machine with the server all the same,
//! so the ratios and processor times say more than the speeds.
//!
//! The tables of contents: [`software`] has the registries, [`workload`] what is done to them. One more of
//! either is one more entry there.

mod connection;
mod content;
mod machine;
mod measure;
mod parallel;
mod report;
mod server;
mod software;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;

use content::{Content, MIB};
use measure::{Measured, Sample};
use server::{Running, Server};
use workload::{Fixture, Scale, Workload};

/// What failed, in words.
type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

/// Space that stays free on the disk, beside what the blobs take.
const SPARE_BYTES: u64 = 1 << 30;

/// Measures push and pull against other registries.
#[derive(Parser)]
#[command(name = "holdfast-bench", version)]
struct Options {
    /// 64 MiB and one round, to see in seconds that everything works.
    #[arg(long)]
    quick: bool,
    /// Size of the large blob in MiB.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=16_384))]
    size: u64,
    /// How often each workload is measured on each server.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Also write all samples to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Directory for the data of the servers; a new directory in it is used and removed.
    #[arg(long, value_name = "DIRECTORY", default_value_os_t = std::env::temp_dir())]
    data: PathBuf,
    /// Measure only this registry; may be given several times.
    #[arg(long = "server", value_name = "NAME")]
    servers: Vec<String>,
}

impl Options {
    fn scale(&self) -> Scale {
        if self.quick {
            Scale::quick()
        } else {
            Scale::full(self.size * MIB as u64)
        }
    }

    fn rounds(&self) -> u32 {
        if self.quick { 1 } else { self.rounds }
    }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("holdfast-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let running = Running::kill_on_signals()?;
    let (found, missing) = software::find(&options.servers)?;
    for reason in &missing {
        eprintln!("{reason}");
    }
    let workloads = workload::all();
    let scale = options.scale();
    let written = found.len() as u64 * scale.bytes_written(options.rounds());
    machine::require_space(&options.data, written + SPARE_BYTES)?;

    let data = tempfile::Builder::new()
        .prefix("holdfast-bench-")
        .tempdir_in(&options.data)?;
    let mut servers = Vec::new();
    for software in found {
        servers.push(Server::start(software, data.path(), &running)?);
    }
    let content = Arc::new(Content::new());
    let mut results = Vec::new();
    for workload in &workloads {
        let samples = measure(
            workload.as_ref(),
            &mut servers,
            &content,
            &scale,
            options.rounds(),
            &running,
        )?;
        for (server, samples) in servers.iter().zip(samples) {
            results.push(Measured {
                workload: workload.name(),
                unit: workload.unit(),
                server: server.name(),
                samples,
            });
        }
    }
    let facts = machine::facts(data.path());
    let versions: Vec<String> = servers.iter().map(Server::version).collect();
    print!(
        "{}",
        report::markdown(
            &results,
            &facts,
            &versions,
            &missing,
            &scale,
            options.rounds()
        )
    );
    if let Some(path) = &options.json {
        let json = report::json(&results, &facts, &versions, &scale);
        std::fs::write(path, format!("{json:#}\n"))
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    }
    Ok(())
}

/// All rounds of one workload on all servers; the samples per server.
fn measure(
    workload: &dyn Workload,
    servers: &mut [Server],
    content: &Arc<Content>,
    scale: &Scale,
    rounds: u32,
    running: &Running,
) -> Result<Vec<Vec<Sample>>> {
    let failed = |server: &Server, error: Error| -> Error {
        if running.interrupted() {
            "interrupted".into()
        } else {
            let (name, workload) = (server.name(), workload.name());
            format!("{workload} on {name}: {error}\n{}", server.log()).into()
        }
    };
    let mut fixtures: Vec<Fixture> = Vec::new();
    for server in servers.iter() {
        let fixture = workload.fixture(server.address(), content, scale);
        fixtures.push(fixture.map_err(|error| failed(server, error))?);
    }
    let mut samples = vec![Vec::new(); servers.len()];
    for round in 0..rounds as usize {
        for turn in 0..servers.len() {
            let at = (turn + round) % servers.len();
            let server = &servers[at];
            let sample = workload
                .round(server.address(), content, scale, &fixtures[at])
                .and_then(|work| measure::sample(server.pid(), server.data(), work))
                .map_err(|error| failed(server, error))?;
            if running.interrupted() {
                return Err("interrupted".into());
            }
            eprintln!(
                "{} on {}, round {}: {}",
                workload.name(),
                server.name(),
                round + 1,
                report::speed(workload.unit(), &sample)
            );
            samples[at].push(sample);
        }
    }
    Ok(samples)
}
