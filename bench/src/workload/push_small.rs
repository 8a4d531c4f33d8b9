//! Pushes of many small blobs, each a `POST` and a `PUT`.

use std::cell::Cell;

use super::{Case, Group, KIB, Limit, Scale, clients};
use crate::Result;
use crate::bench::{Placement, Round};
use crate::client::{Connection, Upload};
use crate::content::Blob;
use crate::limits;
use crate::load::{self, End};
use crate::measure::{Sample, Unit};
use crate::software::{Kind, Software, Variant};

const REPOSITORY: &str = "bench/small";
const BLOB_BYTES: u64 = 64 * KIB;
const CLIENTS: [usize; 2] = [1, 32];
/// More than a disk syncs.
const MOST_PER_SECOND: f64 = 8000.0;

/// Blobs that were nowhere before.
pub(crate) struct PushSmall;

struct PushCase {
    clients: usize,
}

impl Group for PushSmall {
    fn name(&self) -> &'static str {
        "push-small"
    }

    fn about(&self) -> String {
        "Blobs of 64 KiB, each a POST and a PUT on a connection that is kept. Server and clients share the cores. The limit is as many threads that create files of this size, write and fdatasync them on the same disk.".to_owned()
    }

    fn variants(&self, software: &Software) -> Vec<Variant> {
        match software.kind {
            Kind::Registry => vec![Variant::Plain],
            Kind::Files => Vec::new(),
        }
    }

    fn cases<'a>(&'a self, scale: &Scale) -> Vec<Box<dyn Case + 'a>> {
        let case = |clients| -> Box<dyn Case + 'a> { Box::new(PushCase { clients }) };
        scale.some(&CLIENTS).into_iter().map(case).collect()
    }
}

impl Case for PushCase {
    fn name(&self) -> String {
        format!("64 KiB, {}", clients(self.clients))
    }

    fn unit(&self) -> Unit {
        Unit::Requests
    }

    fn round(&self, round: &Round<'_>) -> Result<Sample> {
        let (bench, target) = (round.bench, round.server.target());
        let window = bench.scale.window * 2;
        let most = (MOST_PER_SECOND * window.as_secs_f64()) as usize;
        let blobs: Vec<Blob> = (0..most).map(|_| bench.content.blob(BLOB_BYTES)).collect();
        let connections = bench.block_on(Connection::open_many(target, self.clients))?;
        let sampled = Cell::new(None);
        let job = async |connection: &mut Connection, index: usize| {
            let blob = &blobs[index];
            connection
                .push(REPOSITORY, &bench.content, blob, Upload::Whole)
                .await?;
            sampled.set(Some(blob));
            Ok(())
        };
        let end = End::AfterOrJobs(window, most);
        let (done, sample) = round.measure(Placement::Free, async |spin| {
            load::closed(connections, end, spin, job).await
        })?;
        if let Some(blob) = sampled.get() {
            bench.block_on(async {
                let mut connection = Connection::open(target).await?;
                connection.verify(REPOSITORY, blob).await
            })?;
        }
        Ok(Sample {
            amount: done as f64,
            ..sample
        })
    }

    fn limits(&self) -> Vec<Limit<'_>> {
        vec![Limit {
            name: limits::SYNCED_FILES,
            round: Box::new(|bench| limits::synced_files(bench, self.clients, BLOB_BYTES)),
        }]
    }
}
