//! Pulls of blobs that are on the disk and not in the page cache.

use std::cell::Cell;

use super::pull::{REPOSITORY, Size};
use super::{Case, Group, Limit, MIB, Scale, clients, size};
use crate::Result;
use crate::bench::{Bench, Placement, Round};
use crate::client::Connection;
use crate::limits;
use crate::load::{self, End};
use crate::measure::{Sample, Unit};
use crate::page_cache;
use crate::server::Server;
use crate::software::{Software, Variant};

/// A large blob, a few that are as large together, and many of a middle size.
pub(crate) struct Cold {
    sizes: [Size; 3],
}

struct ColdCase<'a> {
    size: &'a Size,
    count: usize,
    clients: usize,
}

const AT_ONCE: usize = 4;
const MIDDLE_BYTES: u64 = 4 * MIB;
const MIDDLE_BLOBS: usize = 64;

impl Cold {
    pub(crate) fn new(scale: &Scale) -> Cold {
        let large = scale.large_bytes;
        let middle = MIDDLE_BLOBS.min((large / MIDDLE_BYTES) as usize).max(1);
        Cold {
            sizes: [
                Size::new(large, 1),
                Size::new(large / AT_ONCE as u64, AT_ONCE),
                Size::new(MIDDLE_BYTES, middle),
            ],
        }
    }
}

impl Group for Cold {
    fn name(&self) -> &'static str {
        "pull-cold"
    }

    fn about(&self) -> String {
        "Blobs that are dropped from the page cache before each round, each pulled once. Server and clients share the cores. The limit reads a file of the same size, once through the cache and once past it, and counts the faster.".to_owned()
    }

    fn variants(&self, _: &Software) -> Vec<Variant> {
        vec![Variant::Plain]
    }

    fn prepare(&mut self, bench: &Bench) -> Result<()> {
        self.sizes.iter_mut().for_each(|size| size.prepare(bench));
        limits::prepare_read(bench, &self.sizes[0].blobs[0])
    }

    fn fill(&self, server: &Server, bench: &Bench) -> Result<()> {
        for size in &self.sizes {
            size.fill(server, bench)?;
        }
        Ok(())
    }

    fn cases<'a>(&'a self, _: &Scale) -> Vec<Box<dyn Case + 'a>> {
        let case = |size: &'a Size, clients| -> Box<dyn Case + 'a> {
            Box::new(ColdCase {
                size,
                count: size.blobs.len(),
                clients,
            })
        };
        let [large, several, middle] = &self.sizes;
        vec![
            case(large, 1),
            case(several, AT_ONCE),
            case(middle, AT_ONCE),
        ]
    }
}

impl Case for ColdCase<'_> {
    fn name(&self) -> String {
        format!("{} cold, {}", size(self.size.bytes), clients(self.clients))
    }

    fn unit(&self) -> Unit {
        Unit::Bytes
    }

    fn round(&self, round: &Round<'_>) -> Result<Sample> {
        let (bench, target) = (round.bench, round.server.target());
        let connections = bench.block_on(Connection::open_many(target, self.clients))?;
        page_cache::evict(round.server.home())?;
        let bytes = Cell::new(0);
        let job = async |connection: &mut Connection, index: usize| -> Result<()> {
            let get = target.get_blob(REPOSITORY, &self.size.blobs[index].digest);
            let mut sink = |piece: &[u8]| bytes.set(bytes.get() + piece.len() as u64);
            connection.exchange(&get, &[], &mut sink).await?;
            Ok(())
        };
        let end = End::Jobs(self.count);
        let (_, sample) = round.measure(Placement::Free, async |spin| {
            load::closed(connections, end, spin, job).await
        })?;
        Ok(Sample {
            amount: bytes.get() as f64,
            ..sample
        })
    }

    fn limits(&self) -> Vec<Limit<'_>> {
        vec![Limit {
            name: limits::READ,
            round: Box::new(limits::read),
        }]
    }
}
