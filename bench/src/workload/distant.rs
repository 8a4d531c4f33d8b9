//! Pulls by clients that are far away: a buffer that is too small caps a long link, however fast the server.

use std::cell::Cell;
use std::time::Duration;

use super::pull::{REPOSITORY, Size};
use super::{Case, Group, MIB, Scale, clients, size};
use crate::Result;
use crate::bench::{Bench, Placement, Round};
use crate::client::Connection;
use crate::delay_line::{DelayLine, ROUND_TRIP};
use crate::load::{self, End};
use crate::measure::{Sample, Unit};
use crate::server::Server;
use crate::software::{Software, Variant};

const MIDDLE_BYTES: u64 = 4 * MIB;
const MIDDLE_BLOBS: usize = 16;
/// A window opens over many round trips.
const WINDOW: Duration = Duration::from_secs(4);
const SHORT_WINDOW: Duration = Duration::from_millis(300);

/// Blobs of two sizes at the other end of a long link.
pub(crate) struct Distant {
    sizes: [Size; 2],
    link: Option<DelayLine>,
}

struct DistantCase<'a> {
    size: &'a Size,
    clients: usize,
}

impl Distant {
    pub(crate) fn new(scale: &Scale) -> Distant {
        Distant {
            sizes: [
                Size::new(scale.large_bytes, 1),
                Size::new(MIDDLE_BYTES, MIDDLE_BLOBS),
            ],
            link: None,
        }
    }
}

impl Group for Distant {
    fn name(&self) -> &'static str {
        "pull-distant"
    }

    fn about(&self) -> String {
        let milliseconds = ROUND_TRIP.as_millis();
        format!(
            "Whole blobs from a warm page cache, plaintext, with {milliseconds} ms of round-trip time between client and server, which are in two network namespaces. The threads that delay the packets share the cores with both. 4 s from the first request, slow start included."
        )
    }

    fn variants(&self, _: &Software) -> Vec<Variant> {
        vec![Variant::Plain]
    }

    fn prepare(&mut self, bench: &Bench) -> Result<()> {
        self.link = Some(DelayLine::create()?);
        self.sizes.iter_mut().for_each(|size| size.prepare(bench));
        Ok(())
    }

    fn link(&self) -> Option<&DelayLine> {
        self.link.as_ref()
    }

    fn fill(&self, server: &Server, bench: &Bench) -> Result<()> {
        let delay = |delay| self.link.iter().for_each(|link| link.delay(delay));
        delay(false);
        let filled = self
            .sizes
            .iter()
            .try_for_each(|size| size.fill(server, bench));
        delay(true);
        filled
    }

    fn cases<'a>(&'a self, scale: &Scale) -> Vec<Box<dyn Case + 'a>> {
        let [large, middle] = &self.sizes;
        let all = [(large, 1), (large, 4), (middle, 32)];
        let case =
            |(size, clients)| -> Box<dyn Case + 'a> { Box::new(DistantCase { size, clients }) };
        scale.some(&all).into_iter().map(case).collect()
    }
}

impl Case for DistantCase<'_> {
    fn name(&self) -> String {
        format!(
            "{} distant, {}",
            size(self.size.bytes),
            clients(self.clients)
        )
    }

    fn unit(&self) -> Unit {
        Unit::Bytes
    }

    fn round(&self, round: &Round<'_>) -> Result<Sample> {
        let (bench, target) = (round.bench, round.server.target());
        let blobs = &self.size.blobs;
        let connections = bench.block_on(Connection::open_many(target, self.clients))?;
        let bytes = Cell::new(0);
        let job = async |connection: &mut Connection, index: usize| -> Result<()> {
            let get = target.get_blob(REPOSITORY, &blobs[index % blobs.len()].digest);
            let mut sink = |piece: &[u8]| bytes.set(bytes.get() + piece.len() as u64);
            connection.exchange(&get, &[], &mut sink).await?;
            Ok(())
        };
        let end = End::After(match bench.scale.short {
            true => SHORT_WINDOW,
            false => WINDOW,
        });
        let (_, sample) = round.measure(Placement::Free, async |spin| {
            load::closed(connections, end, spin, job).await
        })?;
        Ok(Sample {
            amount: bytes.get() as f64,
            ..sample
        })
    }
}
