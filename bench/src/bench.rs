//! What all measurements share, and how one round is measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::Result;
use crate::certificate::Certificate;
use crate::content::Content;
use crate::gateway::Gateway;
use crate::measure::Sample;
use crate::process::{Pinned, Processes};
use crate::server::{Running, Server};
use crate::workload::Scale;

/// The only user of servers with accounts, and a password that is no secret.
const USER: &str = "bench";
const PASSWORD: &str = "bench";
/// What `htpasswd -B` takes when nothing is said.
const BCRYPT_COST: u32 = 5;
/// Of so many rounds one is checked, where checking takes long.
const ROUNDS_PER_CHECK: u32 = 5;
/// Longest time that a round may take.
const MAX_ROUND: Duration = Duration::from_secs(600);

/// A server that used no more than this between two looks has nothing left to do.
const BUSY_SECONDS: f64 = 0.01;
const SETTLE_LOOK: Duration = Duration::from_millis(40);
const MAX_SETTLE_LOOKS: usize = 100;

/// What all measurements share.
pub(crate) struct Bench {
    pub(crate) running: Running,
    pub(crate) content: Content,
    pub(crate) scale: Scale,
    pub(crate) certificate: Certificate,
    pub(crate) htpasswd: String,
    pub(crate) authorization: String,
    /// There once a group has asked for it.
    pub(crate) gateway: OnceLock<Gateway>,
    runtime: Runtime,
    data: PathBuf,
    rounds: AtomicU32,
}

/// Where server and clients run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// The server on one core, its clients on another: what is measured is the server.
    Pinned,
    /// Everywhere, as the kernel likes.
    Free,
}

/// One round on one server.
pub(crate) struct Round<'a> {
    pub(crate) bench: &'a Bench,
    pub(crate) server: &'a Server,
    /// One of the case's conditions.
    pub(crate) condition: &'static str,
}

impl Bench {
    pub(crate) fn new(data: &Path, running: Running, scale: Scale) -> Result<Bench> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let hash = bcrypt::hash(PASSWORD, BCRYPT_COST)?;
        let encoded = base64(format!("{USER}:{PASSWORD}").as_bytes());
        Ok(Bench {
            running,
            content: Content::new(),
            scale,
            certificate: Certificate::create(data, &["127.0.0.1"])?,
            htpasswd: format!("{USER}:{hash}\n"),
            authorization: format!("Basic {encoded}"),
            gateway: OnceLock::new(),
            runtime,
            data: data.to_owned(),
            rounds: AtomicU32::new(0),
        })
    }

    /// The directory of everything that is written.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Gives back the space of a directory that is not needed any more, and clears its name.
    ///
    /// The files stay, empty, until the end: before ext4 makes an inode it looks at every one nearby that was
    /// freed in the last minutes, and whoever is measured next would pay for that.
    pub(crate) fn discard(&self, directory: &Path) -> Result<()> {
        let aside = tempfile::tempdir_in(&self.data)?.keep().join("discarded");
        fs::rename(directory, &aside)?;
        empty_files(&aside)
    }

    /// Whether this round's content is to be checked, where checking takes long.
    pub(crate) fn sampled(&self) -> bool {
        let round = self.rounds.fetch_add(1, Ordering::Relaxed);
        round.is_multiple_of(ROUNDS_PER_CHECK)
    }

    /// Waits for work, but not for ever.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(async {
            tokio::time::timeout(MAX_ROUND, work)
                .await
                .map_err(|_| format!("not done within {} s", MAX_ROUND.as_secs()))?
        })
    }
}

impl Round<'_> {
    /// Does the work and measures the server meanwhile. The work is told whether it has a core to itself, so
    /// that it may spin. The amount of the sample is left to the caller.
    pub(crate) fn measure<T>(
        &self,
        placement: Placement,
        work: impl AsyncFnOnce(bool) -> Result<T>,
    ) -> Result<(T, Sample)> {
        rustix::fs::syncfs(std::fs::File::open(&self.bench.data)?)?;
        let processes = self.server.processes();
        let pinned = match placement {
            Placement::Pinned => Pinned::pin(self.server.processes())?,
            Placement::Free => None,
        };
        processes.reset_peak()?;
        let cpu_before = processes.cpu_seconds()?;
        let start = Instant::now();
        let result = self.bench.block_on(work(pinned.is_some()))?;
        let seconds = start.elapsed().as_secs_f64();
        let sample = Sample {
            amount: 0.0,
            seconds,
            cpu_seconds: processes.cpu_seconds()? - cpu_before,
            peak_kib: processes.peak_kib()?,
            latency: None,
            requests: None,
        };
        drop(pinned);
        settle(&processes)?;
        Ok((result, sample))
    }
}

/// Waits until a server has ended what clients left it with, so that it does not run in the next one's time.
fn settle(processes: &Processes) -> Result<()> {
    let mut before = processes.cpu_seconds()?;
    for _ in 0..MAX_SETTLE_LOOKS {
        std::thread::sleep(SETTLE_LOOK);
        let now = processes.cpu_seconds()?;
        if now - before <= BUSY_SECONDS {
            return Ok(());
        }
        before = now;
    }
    Ok(())
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
fn empty_files(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            empty_files(&entry.path())?;
        } else if kind.is_file() {
            fs::File::create(entry.path())?;
        }
    }
    Ok(())
}
