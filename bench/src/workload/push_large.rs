//! Pushes of one large blob and of several at once.

use super::{Case, Group, Limit, Scale, size};
use crate::Result;
use crate::bench::{Bench, Placement, Round};
use crate::client::{Connection, Upload};
use crate::content::Blob;
use crate::limits;
use crate::load::{self, End};
use crate::measure::{Sample, Unit};
use crate::software::{Kind, Software, Variant};

const REPOSITORY: &str = "bench/push";
const MOST_AT_ONCE: usize = 4;

/// Blobs that are pushed again and again, to servers that are empty each time.
#[derive(Default)]
pub(crate) struct PushLarge {
    blobs: Vec<Blob>,
}

struct PushCase<'a> {
    blobs: &'a [Blob],
    bytes: u64,
    at_once: usize,
    upload: Upload,
}

impl Group for PushLarge {
    fn name(&self) -> &'static str {
        "push-large"
    }

    fn about(&self) -> String {
        "Large blobs, as Docker sends them (POST, PATCH in chunks, PUT) and in a single PUT, to a server that is empty. Server and clients share the cores. The limits are what this machine does in the same rounds without a registry: SHA-256 over memory, writing as many bytes to the same disk with one fdatasync (through the page cache and past it, the faster of the two), and receiving and hashing them from a socket.".to_owned()
    }

    fn variants(&self, software: &Software) -> Vec<Variant> {
        match software.kind {
            Kind::Registry => vec![Variant::Plain],
            Kind::Files => Vec::new(),
        }
    }

    fn fresh(&self) -> bool {
        true
    }

    fn prepare(&mut self, bench: &Bench) -> Result<()> {
        let blobs = (0..MOST_AT_ONCE).map(|_| bench.content.blob(bench.scale.large_bytes));
        self.blobs = blobs.collect();
        Ok(())
    }

    fn cases<'a>(&'a self, scale: &Scale) -> Vec<Box<dyn Case + 'a>> {
        let case = |at_once, upload| -> Box<dyn Case + 'a> {
            Box::new(PushCase {
                blobs: &self.blobs,
                bytes: scale.large_bytes,
                at_once,
                upload,
            })
        };
        vec![
            case(1, Upload::Chunked),
            case(MOST_AT_ONCE, Upload::Chunked),
            case(1, Upload::Whole),
        ]
    }
}

impl Case for PushCase<'_> {
    fn name(&self) -> String {
        let way = match self.upload {
            Upload::Chunked => "in chunks",
            Upload::Whole => "single PUT",
        };
        format!("{}, {way}, {} at once", size(self.bytes), self.at_once)
    }

    fn unit(&self) -> Unit {
        Unit::Bytes
    }

    fn round(&self, round: &Round<'_>) -> Result<Sample> {
        let (bench, target) = (round.bench, round.server.target());
        let connections = bench.block_on(Connection::open_many(target, self.at_once))?;
        let job = async |connection: &mut Connection, index: usize| {
            let blob = &self.blobs[index];
            connection
                .push(REPOSITORY, &bench.content, blob, self.upload)
                .await
        };
        let end = End::Jobs(self.at_once);
        let (_, sample) = round.measure(Placement::Free, async |spin| {
            load::closed(connections, end, spin, job).await
        })?;
        if bench.sampled() {
            bench.block_on(async {
                let mut connection = Connection::open(target).await?;
                connection.verify(REPOSITORY, &self.blobs[0]).await
            })?;
        }
        Ok(Sample {
            amount: (self.bytes * self.at_once as u64) as f64,
            ..sample
        })
    }

    fn limits(&self) -> Vec<Limit<'_>> {
        if self.at_once > 1 {
            return Vec::new();
        }
        let limit = |name, round: fn(&Bench, &Blob) -> Result<Sample>| Limit {
            name,
            round: Box::new(move |bench| round(bench, &self.blobs[0])),
        };
        vec![
            limit(limits::HASH, limits::hash),
            limit(limits::WRITE, limits::write),
            limit(limits::RECEIVE_AND_HASH, limits::receive_and_hash),
        ]
    }
}
