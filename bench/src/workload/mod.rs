//! What is done to the registries.
//!
//! One more workload is one more file and its line in [`all`].

mod blob;
mod large;
mod manifest;
mod small;

use std::net::SocketAddr;
use std::time::Duration;

use crate::Result;
use crate::content::{Blob, Content, MIB};
use crate::measure::{Unit, Work};

/// Size of the small blobs: a layer of a few configuration files.
pub(crate) const SMALL_BYTES: u64 = 64 * 1024;

/// All workloads, in the order of the report.
pub(crate) fn all() -> Vec<Box<dyn Workload>> {
    vec![
        Box::new(large::Push),
        Box::new(large::PushChunked),
        Box::new(large::Pull),
        Box::new(small::Push),
        Box::new(small::Pull),
        Box::new(manifest::PullByTag),
    ]
}

/// What a workload finds on a server before its first round.
#[derive(Default)]
pub(crate) struct Fixture {
    pub(crate) blobs: Vec<Blob>,
}

/// Something clients do to a registry.
pub(crate) trait Workload {
    /// Its name in the report.
    fn name(&self) -> &'static str;

    /// What it counts.
    fn unit(&self) -> Unit;

    /// Puts in place what the rounds need and checks that the server gives back what it got. Not measured.
    fn fixture(&self, _address: SocketAddr, _content: &Content, _scale: &Scale) -> Result<Fixture> {
        Ok(Fixture::default())
    }

    /// Prepares a round, unmeasured, and returns the work to be measured.
    fn round<'a>(
        &self,
        address: SocketAddr,
        content: &'a Content,
        scale: &'a Scale,
        fixture: &'a Fixture,
    ) -> Result<Work<'a>>;
}

/// How much is done in a round.
pub(crate) struct Scale {
    /// Size of the large blob, in whole MiB.
    pub(crate) large_bytes: u64,
    /// Small blobs that are pushed in a round.
    pub(crate) small_blobs: usize,
    /// Small requests of a round, pushes aside.
    pub(crate) requests: usize,
    /// End of a round of small requests, even when not all are done.
    pub(crate) small_time: Duration,
}

impl Scale {
    /// For figures.
    pub(crate) fn full(large_bytes: u64) -> Scale {
        Scale {
            large_bytes,
            small_blobs: 4000,
            requests: 200_000,
            small_time: Duration::from_secs(3),
        }
    }

    /// Most that all workloads together write to the disk of one server.
    pub(crate) fn bytes_written(&self, rounds: u32) -> u64 {
        let rounds = u64::from(rounds);
        let large = (2 * rounds + 1) * self.large_bytes;
        let small = rounds * self.small_blobs as u64 * SMALL_BYTES;
        // A small file takes whole blocks, and its directories too.
        large + 2 * small
    }

    /// For a look whether everything works.
    pub(crate) fn quick() -> Scale {
        Scale {
            large_bytes: 64 * MIB as u64,
            small_blobs: 100,
            requests: 500,
            small_time: Duration::from_secs(2),
        }
    }
}
