//! Ranges of a large blob, as lazy pullers and interrupted clients ask for them.

use std::cell::Cell;

use super::pull::{REPOSITORY, Size};
use super::{Case, size};
use crate::Result;
use crate::bench::{Placement, Round};
use crate::client::Connection;
use crate::load::{self, End};
use crate::measure::{Sample, Unit};
use crate::page_cache;

const CLIENTS: usize = 32;
/// How far apart the ranges begin, as a part of the blob: all over it, and never twice in a row near by.
const STEP: f64 = 0.618_034;

/// Ranges of this many bytes.
pub(super) struct RangeCase<'a> {
    pub(super) large: &'a Size,
    pub(super) bytes: u64,
}

impl RangeCase<'_> {
    /// The first byte of the range with this number.
    fn first(&self, number: usize) -> u64 {
        let places = (self.large.bytes - self.bytes) as f64;
        ((number as f64 * STEP).fract() * places) as u64
    }
}

impl Case for RangeCase<'_> {
    fn name(&self) -> String {
        let (range, blob) = (size(self.bytes), size(self.large.bytes));
        format!("{range} of {blob}, {CLIENTS} clients")
    }

    fn unit(&self) -> Unit {
        Unit::Requests
    }

    fn round(&self, round: &Round<'_>) -> Result<Sample> {
        let (bench, target) = (round.bench, round.server.target());
        page_cache::load(round.server.home())?;
        let digest = &self.large.blobs[0].digest;
        let connections = bench.block_on(Connection::open_many(target, CLIENTS))?;
        let wrong = Cell::new(false);
        let job = async |connection: &mut Connection, index: usize| -> Result<()> {
            let first = self.first(index);
            let last = first + self.bytes - 1;
            let get = target.get_range(REPOSITORY, digest, first, last);
            let mut received = 0;
            let mut sink = |piece: &[u8]| received += piece.len() as u64;
            connection.exchange(&get, &[], &mut sink).await?;
            wrong.set(wrong.get() || received != self.bytes);
            Ok(())
        };
        let end = End::After(bench.scale.window);
        let (done, sample) = round.measure(Placement::Pinned, async |spin| {
            load::closed(connections, end, spin, job).await
        })?;
        if wrong.get() {
            return Err("a range has another length than was asked for".into());
        }
        Ok(Sample {
            amount: done as f64,
            ..sample
        })
    }
}
