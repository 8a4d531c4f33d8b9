//! Garbage collection: what it costs beside the size of the store, and what clients feel of it.

mod store;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Case, Group, KIB, MANIFEST_TYPE, Scale};
use crate::Result;
use crate::bench::{Bench, Placement, Round};
use crate::client::{Connection, Upload};
use crate::content::Blob;
use crate::load::{self, End, Waiting};
use crate::measure::{Latency, Sample, Unit};
use crate::process::Processes;
use crate::server::Server;
use crate::software::distribution::{CONFIG, MORE};
use crate::software::{Kind, Software, Variant};

/// Connections that delete manifests.
const DELETING: usize = 32;
/// Manifests deleted in a round, and then collected.
const COLLECTED: usize = 1000;
/// Rounds whose manifests have their files.
const ROUNDS: usize = 20;
/// Manifests that wait for the collector while clients are measured, and those of them that have files: more
/// are not reached.
const WAITING: usize = 100_000;
const WAITING_FILES: usize = 30_000;
/// Connections of requests at a fixed rate.
const CONNECTIONS: usize = 32;
const BLOB_BYTES: u64 = 64 * KIB;
/// Requests a second.
const PULLS: f64 = 1000.0;
const PUSHES: f64 = 200.0;
/// A look at the memory of a command.
const LOOK: Duration = Duration::from_millis(5);
/// Longest wait until a collector has begun.
const BEGIN: Duration = Duration::from_secs(30);

/// A store with so many manifests.
pub(crate) struct Gc {
    name: &'static str,
    manifests: usize,
    takes: fn(&Software) -> bool,
    /// The next manifest to be deleted, of each server.
    next: RefCell<BTreeMap<PathBuf, usize>>,
    /// Servers with [`WAITING`] manifests.
    waiting: RefCell<BTreeSet<PathBuf>>,
}

/// Deletes manifests and has them collected by a command.
struct Collect<'a> {
    group: &'a Gc,
    store: usize,
    /// As Distribution's command does it, which also prints what stays.
    classic: bool,
}

/// What clients do while the collector works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    Pull,
    Push,
    /// Nothing: how fast space comes back.
    Watch,
}

struct Beside<'a> {
    group: &'a Gc,
    store: usize,
    load: Load,
}

/// The collector at rest, at its default rate, and with no limit.
const IDLE: &str = "";
const COLLECTING: &str = " (collecting)";
const UNLIMITED: &str = " (collecting, no limit)";

impl Gc {
    /// For those whose stores can be written.
    pub(crate) fn small() -> Gc {
        Gc {
            name: "gc",
            manifests: 10_000,
            takes: |software| software.writes_link_files() || software.is_holdfast(),
            next: RefCell::default(),
            waiting: RefCell::default(),
        }
    }

    /// For Holdfast.
    pub(crate) fn huge() -> Gc {
        Gc {
            name: "gc-huge",
            manifests: 1_000_000,
            takes: Software::is_holdfast,
            ..Gc::small()
        }
    }

    fn is_huge(&self) -> bool {
        self.name != "gc"
    }

    fn store(&self, scale: &Scale) -> usize {
        match scale.short {
            true => self.manifests.clamp(1, 10_000) / 10,
            false => self.manifests,
        }
    }

    /// A tenth of what it is, in a short run.
    fn scaled(scale: &Scale, count: usize) -> usize {
        match scale.short {
            true => (count / 100).max(10),
            false => count,
        }
    }

    /// Manifests that are deleted in the rounds of [`Collect`], at most.
    fn deletable(&self, scale: &Scale) -> usize {
        (Gc::scaled(scale, COLLECTED) * ROUNDS).min(self.store(scale) * 9 / 10)
    }

    /// The next manifests to be deleted from a server.
    fn take(&self, server: &Server, count: usize, scale: &Scale) -> Result<Range<usize>> {
        let mut next = self.next.borrow_mut();
        let first = next.entry(server.home().to_owned()).or_default();
        let range = *first..*first + count;
        if range.end > self.deletable(scale) {
            return Err("all manifests of the store are deleted".into());
        }
        *first = range.end;
        Ok(range)
    }

    /// Lets manifests wait for the collector, once for each server.
    fn make_waiting(&self, round: &Round<'_>) -> Result<()> {
        let (home, scale) = (round.server.home(), &round.bench.scale);
        if !self.waiting.borrow_mut().insert(home.to_owned()) {
            return Ok(());
        }
        let first = self.deletable(scale);
        let (all, files) = match scale.short {
            // At the rate without a limit as many are gone in an instant.
            true => (self.store(scale) - first - 1, WAITING_FILES),
            false => (WAITING, WAITING_FILES),
        };
        let numbers = first..first + all;
        store::write_blobs(home, first..first + files.min(all))?;
        round.server.restart_after(round.bench, || {
            store::delete_rows(&database(home), numbers, now()?)
        })?;
        Ok(())
    }

    /// A manifest that is never deleted.
    fn kept(&self, scale: &Scale, index: usize) -> usize {
        let store = self.store(scale);
        let first = match scale.short {
            true => store - 1,
            false => self.deletable(scale) + WAITING,
        };
        first + index % (store - first)
    }
}

fn now() -> Result<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_micros())?)
}

fn database(home: &Path) -> PathBuf {
    home.join("data/holdfast/metadata.db")
}

/// Sections that Holdfast has beside the others: nothing but the collector works in the background.
fn write_sections(server: &Server, gc: &str) -> Result<()> {
    if server.software().is_holdfast() {
        let text = format!(
            "gc: {gc}\nscrub: {{enabled: false}}\nmetadata: {{snapshots: {{interval: 1000h}}}}\n"
        );
        std::fs::write(server.home().join(MORE), text)?;
    }
    Ok(())
}

impl Group for Gc {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> String {
        if self.is_huge() {
            return format!(
                "As `gc`, with more manifests, and with clients beside the collector: manifests by tag at {PULLS} a second, 64 KiB pushes at {PUSHES} a second, while it is switched off, at its default rate of 1,000 steps a second, and without a limit, in turn; 100,000 deleted manifests wait for it then, whose rows are written as deletions leave them (gc.grace is 0, so a link is given up at the first look). Objects are counted in \"space\"; an object takes two steps, one for its link and one for its blob. The server has one core, the clients another, and each round begins with a start of the server and half of its time again of unmeasured load."
            );
        }
        format!(
            "A store of manifests with a tag and three blobs of their own, spread over 100 repositories, written as rows and files. In each round {COLLECTED} manifests are deleted through the API; what is measured is `holdfast gc run --grace 0s`, which the running server does without a limit, and `garbage-collect` as both have it, with all that it prints. Time, processor seconds and memory are those of the command and of the server together, memory without the server where the server is Distribution."
        )
    }

    fn variants(&self, software: &Software) -> Vec<Variant> {
        match software.kind {
            Kind::Registry if (self.takes)(software) => vec![Variant::Plain],
            Kind::Registry | Kind::Files => Vec::new(),
        }
    }

    fn fill(&self, server: &Server, bench: &Bench) -> Result<()> {
        let (home, store) = (server.home(), self.store(&bench.scale));
        let files = match self.is_huge() {
            true => self.deletable(&bench.scale),
            false => store,
        };
        store::write_blobs(home, 0..files)?;
        write_sections(server, "{enabled: false}")?;
        server.restart_after(bench, || match server.software().is_holdfast() {
            true => store::write_rows(&database(home), store, now()?),
            false => store::write_links(home, 0..store),
        })?;
        let target = server.target();
        bench.block_on(async {
            let mut connection = Connection::open(target).await?;
            for number in [0, store / 2, store - 1] {
                let mut found = Vec::new();
                let (repository, tag) = (store::repository(number), store::tag(number));
                let get = target.get_manifest(&repository, &tag, MANIFEST_TYPE);
                let mut sink = |piece: &[u8]| found.extend_from_slice(piece);
                connection.exchange(&get, &[], &mut sink).await?;
                if found != store::manifest(number).as_bytes() {
                    return Err(format!("manifest {number} is not as it was written").into());
                }
            }
            Ok(())
        })
    }

    fn cases<'a>(&'a self, scale: &Scale) -> Vec<Box<dyn Case + 'a>> {
        let store = self.store(scale);
        let collect = |classic| -> Box<dyn Case + 'a> {
            Box::new(Collect {
                group: self,
                store,
                classic,
            })
        };
        let mut cases = vec![collect(false)];
        if self.is_huge() {
            for load in [Load::Pull, Load::Push, Load::Watch] {
                cases.push(Box::new(Beside {
                    group: self,
                    store,
                    load,
                }));
            }
        } else {
            cases.push(collect(true));
        }
        cases
    }
}

impl Case for Collect<'_> {
    fn name(&self) -> String {
        let command = match self.classic {
            true => "garbage-collect",
            false => "gc run",
        };
        format!("{command}, {} manifests", self.store)
    }

    fn unit(&self) -> Unit {
        Unit::Collected
    }

    fn takes(&self, software: &Software) -> bool {
        self.classic || software.is_holdfast()
    }

    fn round(&self, round: &Round<'_>) -> Result<Sample> {
        let (bench, server) = (round.bench, round.server);
        let count = Gc::scaled(&bench.scale, COLLECTED);
        let numbers = self.group.take(server, count, &bench.scale)?;
        let target = server.target();
        bench.block_on(async {
            let connections = Connection::open_many(target, DELETING).await?;
            let delete = async |connection: &mut Connection, index: usize| {
                let number = numbers.start + index;
                let (repository, digest) =
                    (store::repository(number), store::manifest_digest(number));
                let path = format!("/v2/{repository}/manifests/{digest}");
                let delete = target.request("DELETE", &path, "", 202);
                connection.exchange(&delete, &[], &mut |_| {}).await?;
                Ok(())
            };
            load::closed(connections, End::Jobs(count), false, delete).await
        })?;
        let arguments: &[&str] = match (self.classic, server.software().is_holdfast()) {
            (true, true) => &["garbage-collect", "--grace", "0s", CONFIG],
            (true, false) => &["garbage-collect", CONFIG],
            (false, _) => &["gc", "run", "--grace", "0s", "--config", CONFIG],
        };
        let (command, mut sample) = round.measure(Placement::Free, async |_| {
            let mut command = server.command(arguments);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            run(command)
        })?;
        for number in [numbers.start, numbers.end - 1] {
            let path = server
                .home()
                .join(store::file(&store::blob_digest(number, 0)));
            if path.try_exists()? {
                return Err(format!("{} is still there", path.display()).into());
            }
        }
        sample.cpu_seconds += command.cpu_seconds;
        sample.peak_kib = match server.software().is_holdfast() {
            true => sample.peak_kib + command.peak_kib,
            false => command.peak_kib,
        };
        Ok(Sample {
            amount: count as f64,
            ..sample
        })
    }
}

/// Runs a command to its end: its processor time and peak of memory.
fn run(mut command: std::process::Command) -> Result<Sample> {
    let mut child = command.spawn()?;
    let processes = Processes::of(child.id());
    let mut peak_kib = 0;
    // What has ended and was not waited for has no memory any more, but still its times.
    while let Ok(kib) = processes.peak_kib() {
        peak_kib = kib;
        std::thread::sleep(LOOK);
    }
    let cpu_seconds = processes.cpu_seconds()?;
    let status = child.wait()?;
    if !status.success() {
        return Err(format!("the command ended with {status}").into());
    }
    Ok(Sample {
        cpu_seconds,
        peak_kib,
        ..Sample::default()
    })
}

impl Case for Beside<'_> {
    fn name(&self) -> String {
        let (store, load) = (self.store, self.load);
        match load {
            Load::Pull => format!("by tag, {PULLS} per second, {store} manifests"),
            Load::Push => format!("64 KiB pushes, {PUSHES} per second, {store} manifests"),
            Load::Watch => format!("space, {store} manifests"),
        }
    }

    fn unit(&self) -> Unit {
        Unit::Requests
    }

    fn conditions(&self) -> &'static [&'static str] {
        match self.load {
            Load::Pull | Load::Push => &[IDLE, COLLECTING, UNLIMITED],
            Load::Watch => &[COLLECTING, UNLIMITED],
        }
    }

    fn round(&self, round: &Round<'_>) -> Result<Sample> {
        let (bench, server) = (round.bench, round.server);
        self.group.make_waiting(round)?;
        let gc = match round.condition {
            IDLE => "{enabled: false}",
            COLLECTING => "{grace: 0s, interval: 10ms}",
            _ => "{grace: 0s, interval: 10ms, rate: 0}",
        };
        let database = database(server.home());
        let before = store::progress(&database)?;
        write_sections(server, gc)?;
        server.restart(bench)?;
        // In a short run an earlier round may have left nothing to do.
        if round.condition != IDLE && (before.waiting || !bench.scale.short) {
            let begun = Instant::now();
            while store::progress(&database)?.items == before.items {
                if begun.elapsed() > BEGIN {
                    return Err("the collector does not begin".into());
                }
                std::thread::sleep(LOOK);
            }
        }
        let time = bench.scale.window * 4;
        self.load(round, time / 2)?;
        let sample = self.load(round, time)?;
        // In a short run there is too little to wait for.
        if round.condition != IDLE && !bench.scale.short && !store::progress(&database)?.waiting {
            return Err("the collector had nothing left to do".into());
        }
        Ok(sample)
    }
}

impl Beside<'_> {
    fn load(&self, round: &Round<'_>, time: Duration) -> Result<Sample> {
        let (bench, target) = (round.bench, round.server.target());
        if self.load == Load::Watch {
            let database = database(round.server.home());
            let before = store::progress(&database)?.objects;
            let (_, sample) = round.measure(Placement::Pinned, async |_| {
                tokio::time::sleep(time).await;
                Ok(())
            })?;
            let amount = (store::progress(&database)?.objects - before) as f64;
            return Ok(Sample { amount, ..sample });
        }
        let rate = match self.load {
            Load::Pull => PULLS,
            Load::Push | Load::Watch => PUSHES,
        };
        let count = (rate * time.as_secs_f64()).ceil() as usize;
        let mut blobs: Vec<Blob> = Vec::new();
        if self.load == Load::Push {
            blobs = (0..count).map(|_| bench.content.blob(BLOB_BYTES)).collect();
        }
        let job = async |connection: &mut Connection, index: usize| -> Result<()> {
            // Far apart, so that they are in all repositories.
            let number = self.group.kept(&bench.scale, index.wrapping_mul(7919));
            let repository = store::repository(number);
            if let Some(blob) = blobs.get(index) {
                let upload = Upload::Whole;
                return connection
                    .push(&repository, &bench.content, blob, upload)
                    .await;
            }
            let get = target.get_manifest(&repository, &store::tag(number), MANIFEST_TYPE);
            connection.exchange(&get, &[], &mut |_| {}).await?;
            Ok(())
        };
        let connections = bench.block_on(Connection::open_many(target, CONNECTIONS))?;
        let (latencies, sample) = round.measure(Placement::Pinned, async |spin| {
            let waiting = Waiting::for_own_core(spin);
            load::open(connections, rate, time, waiting, job).await
        })?;
        Ok(Sample {
            amount: latencies.histogram.len() as f64,
            latency: Some(Latency::of(&latencies.histogram, latencies.overloaded)),
            ..sample
        })
    }
}
