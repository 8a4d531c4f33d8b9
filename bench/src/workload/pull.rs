//! Pulls of whole blobs from the page cache, with and without TLS.

use std::cell::Cell;

use super::range::RangeCase;
use super::{Case, Group, KIB, MIB, Scale, clients, size};
use crate::Result;
use crate::bench::{Bench, Placement, Round};
use crate::client::{Connection, TLS_NAME, store_and_verify};
use crate::content::Blob;
use crate::load::{self, End};
use crate::measure::{Sample, Unit};
use crate::page_cache;
use crate::server::Server;
use crate::software::{Software, Variant};

pub(super) const REPOSITORY: &str = "bench/pull";
const SMALL_BYTES: u64 = 64 * KIB;
const MIDDLE_BYTES: u64 = 4 * MIB;
const SMALL_BLOBS: usize = 64;
const MIDDLE_BLOBS: usize = 16;
const RANGES: [u64; 2] = [64 * KIB, MIB];
/// Clients of the large blob, for the memory they take.
const MANY_CLIENTS: usize = 1000;
const CLIENTS: [usize; 4] = [1, 4, 32, 256];

/// Blobs of three sizes.
pub(crate) struct Pull {
    variant: Variant,
    sizes: Vec<Size>,
}

/// So many blobs of one size.
pub(super) struct Size {
    pub(super) bytes: u64,
    count: usize,
    pub(super) blobs: Vec<Blob>,
}

struct PullCase<'a> {
    size: &'a Size,
    clients: usize,
}

impl Pull {
    pub(crate) fn new(scale: &Scale, variant: Variant) -> Pull {
        let sizes = [
            (SMALL_BYTES, SMALL_BLOBS),
            (MIDDLE_BYTES, MIDDLE_BLOBS),
            (scale.large_bytes, 1),
        ];
        Pull {
            variant,
            sizes: sizes.map(|(bytes, count)| Size::new(bytes, count)).into(),
        }
    }
}

impl Size {
    pub(super) fn new(bytes: u64, count: usize) -> Size {
        Size {
            bytes,
            count,
            blobs: Vec::new(),
        }
    }

    pub(super) fn prepare(&mut self, bench: &Bench) {
        let blobs = (0..self.count).map(|_| bench.content.blob(self.bytes));
        self.blobs = blobs.collect();
    }

    pub(super) fn fill(&self, server: &Server, bench: &Bench) -> Result<()> {
        let content = &bench.content;
        bench.block_on(store_and_verify(
            server.target(),
            REPOSITORY,
            content,
            &self.blobs,
        ))
    }
}

impl Group for Pull {
    fn name(&self) -> &'static str {
        match self.variant {
            Variant::Tls => "pull-tls",
            Variant::Plain | Variant::Htpasswd | Variant::Bucket => "pull",
        }
    }

    fn about(&self) -> String {
        let transport = match self.variant {
            Variant::Tls => TLS_NAME,
            Variant::Plain | Variant::Htpasswd | Variant::Bucket => "plaintext",
        };
        format!(
            "Blobs and ranges of the large one from a warm page cache, {transport}. Clients copy every byte and begin anew when a blob is complete; what is under way when the time is over counts by its bytes. The server has one core, the clients another."
        )
    }

    fn variants(&self, _: &Software) -> Vec<Variant> {
        vec![self.variant]
    }

    fn prepare(&mut self, bench: &Bench) -> Result<()> {
        self.sizes.iter_mut().for_each(|size| size.prepare(bench));
        Ok(())
    }

    fn fill(&self, server: &Server, bench: &Bench) -> Result<()> {
        for size in &self.sizes {
            size.fill(server, bench)?;
        }
        Ok(())
    }

    fn cases<'a>(&'a self, scale: &Scale) -> Vec<Box<dyn Case + 'a>> {
        let mut cases: Vec<Box<dyn Case + 'a>> = Vec::new();
        for size in &self.sizes {
            for clients in scale.some(&CLIENTS) {
                cases.push(Box::new(PullCase { size, clients }));
            }
        }
        let large = &self.sizes[self.sizes.len() - 1];
        if self.variant == Variant::Plain && !scale.short {
            let clients = MANY_CLIENTS;
            cases.push(Box::new(PullCase {
                size: large,
                clients,
            }));
        }
        for bytes in RANGES {
            cases.push(Box::new(RangeCase { large, bytes }));
        }
        cases
    }
}

impl Case for PullCase<'_> {
    fn name(&self) -> String {
        format!("{}, {}", size(self.size.bytes), clients(self.clients))
    }

    fn unit(&self) -> Unit {
        match self.size.bytes {
            SMALL_BYTES => Unit::Requests,
            _ => Unit::Bytes,
        }
    }

    fn round(&self, round: &Round<'_>) -> Result<Sample> {
        let (bench, target) = (round.bench, round.server.target());
        page_cache::load(round.server.home())?;
        let blobs = &self.size.blobs;
        let requests: Vec<_> = blobs
            .iter()
            .map(|blob| target.get_blob(REPOSITORY, &blob.digest))
            .collect();
        let connections = bench.block_on(Connection::open_many(target, self.clients))?;
        let bytes = Cell::new(0);
        let job = async |connection: &mut Connection, index: usize| -> Result<()> {
            let request = &requests[index % requests.len()];
            let mut sink = |piece: &[u8]| bytes.set(bytes.get() + piece.len() as u64);
            connection.exchange(request, &[], &mut sink).await?;
            Ok(())
        };
        let end = End::After(bench.scale.window);
        let (_, sample) = round.measure(Placement::Pinned, async |spin| {
            load::closed(connections, end, spin, job).await
        })?;
        let sampled = &blobs[bytes.get() as usize % blobs.len()];
        bench.block_on(async {
            let mut connection = Connection::open(target).await?;
            match sampled.bytes {
                SMALL_BYTES | MIDDLE_BYTES => connection.verify(REPOSITORY, sampled).await,
                _ => Ok(()),
            }
        })?;
        let amount = match self.unit() {
            Unit::Requests => bytes.get() as f64 / SMALL_BYTES as f64,
            Unit::Bytes | Unit::Images | Unit::Collected | Unit::Start | Unit::Image => {
                bytes.get() as f64
            }
        };
        Ok(Sample { amount, ..sample })
    }
}
