//! Small requests: a manifest by tag and by digest, the head of a blob. Every `docker pull` begins with them,
//! and where nothing has changed it also ends with them.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{Case, Group, MANIFEST_TYPE, Scale, image_manifest};
use crate::Result;
use crate::bench::{Bench, Placement, Round};
use crate::client::{Connection, Request, Target};
use crate::content::{Blob, digest};
use crate::load::{self, End, Waiting};
use crate::measure::{Latency, Sample, Unit};
use crate::server::Server;
use crate::software::{Kind, Software, Variant};

const REPOSITORY: &str = "bench/manifest";
const TAG: &str = "latest";
const LAYERS: usize = 8;
const LAYER_BYTES: u64 = 4096;
const CONNECTIONS: [usize; 3] = [1, 16, 128];
/// Connections of requests at a fixed rate.
const OPEN_CONNECTIONS: usize = 128;
/// Requests per second: what the slowest can carry on a core, and a fraction of what the fastest can.
const RATES: [f64; 2] = [400.0, 20_000.0];

/// One image and requests for it.
#[derive(Default)]
pub(crate) struct Manifest {
    layers: Vec<Blob>,
    bytes: Vec<u8>,
    digest: String,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Tag,
    Digest,
    HeadBlob,
}

struct Closed<'a> {
    image: &'a Manifest,
    question: Question,
    connections: usize,
}

struct Open<'a> {
    image: &'a Manifest,
    rate: f64,
}

impl Manifest {
    fn request(&self, target: &Target, question: Question) -> Request {
        match question {
            Question::Tag => target.get_manifest(REPOSITORY, TAG, MANIFEST_TYPE),
            Question::Digest => target.get_manifest(REPOSITORY, &self.digest, MANIFEST_TYPE),
            Question::HeadBlob => target.head_blob(REPOSITORY, &self.layers[0].digest),
        }
    }
}

impl Group for Manifest {
    fn name(&self) -> &'static str {
        "manifest"
    }

    fn about(&self) -> String {
        "A manifest of 8 layers by tag and by digest, and HEAD of a blob; anonymous, and with an htpasswd file of one user (bcrypt, cost 5). nginx serves the same bytes under the same media type as a file. Where a rate is given, requests come at that rate whatever the server does, and latency counts from when each was due. The server has one core, the clients another.".to_owned()
    }

    fn variants(&self, software: &Software) -> Vec<Variant> {
        match software.kind {
            Kind::Registry => vec![Variant::Plain, Variant::Htpasswd],
            Kind::Files => vec![Variant::Plain],
        }
    }

    fn prepare(&mut self, bench: &Bench) -> Result<()> {
        let layers = (0..LAYERS).map(|_| bench.content.blob(LAYER_BYTES));
        self.layers = layers.collect();
        self.bytes = image_manifest(&self.layers);
        self.digest = digest(Sha256::new_with_prefix(&self.bytes));
        Ok(())
    }

    fn fill(&self, server: &Server, bench: &Bench) -> Result<()> {
        let target = server.target();
        bench.block_on(async {
            let mut connection = Connection::open(target).await?;
            connection
                .store_image(
                    REPOSITORY,
                    &[TAG, &self.digest],
                    &bench.content,
                    &self.layers,
                )
                .await?;
            for question in [Question::Tag, Question::Digest] {
                let mut found = Vec::new();
                let request = self.request(target, question);
                let mut sink = |piece: &[u8]| found.extend_from_slice(piece);
                connection.exchange(&request, &[], &mut sink).await?;
                if found != self.bytes {
                    return Err("the manifest came back otherwise than it was pushed".into());
                }
            }
            Ok(())
        })
    }

    fn cases<'a>(&'a self, scale: &Scale) -> Vec<Box<dyn Case + 'a>> {
        let mut cases: Vec<Box<dyn Case + 'a>> = Vec::new();
        for question in [Question::Tag, Question::Digest, Question::HeadBlob] {
            for connections in scale.some(&CONNECTIONS) {
                cases.push(Box::new(Closed {
                    image: self,
                    question,
                    connections,
                }));
            }
        }
        for rate in RATES {
            cases.push(Box::new(Open { image: self, rate }));
        }
        cases
    }
}

impl Case for Closed<'_> {
    fn name(&self) -> String {
        let question = match self.question {
            Question::Tag => "by tag",
            Question::Digest => "by digest",
            Question::HeadBlob => "HEAD blob",
        };
        match self.connections {
            1 => format!("{question}, 1 connection"),
            count => format!("{question}, {count} connections"),
        }
    }

    fn unit(&self) -> Unit {
        Unit::Requests
    }

    fn round(&self, round: &Round<'_>) -> Result<Sample> {
        let (bench, target) = (round.bench, round.server.target());
        let request = self.image.request(target, self.question);
        let connections = bench.block_on(Connection::open_many(target, self.connections))?;
        let job = async |connection: &mut Connection, _| -> Result<()> {
            connection.exchange(&request, &[], &mut |_| {}).await?;
            Ok(())
        };
        let end = End::After(bench.scale.window);
        let (done, sample) = round.measure(Placement::Pinned, async |spin| {
            load::closed(connections, end, spin, job).await
        })?;
        Ok(Sample {
            amount: done as f64,
            ..sample
        })
    }
}

impl Case for Open<'_> {
    fn name(&self) -> String {
        format!(
            "by tag, {OPEN_CONNECTIONS} connections, {} per second",
            self.rate
        )
    }

    fn unit(&self) -> Unit {
        Unit::Requests
    }

    fn round(&self, round: &Round<'_>) -> Result<Sample> {
        let (bench, target) = (round.bench, round.server.target());
        let request = self.image.request(target, Question::Tag);
        let connections = bench.block_on(Connection::open_many(target, OPEN_CONNECTIONS))?;
        let time = open_time(bench.scale.window);
        let (latencies, sample) = round.measure(Placement::Pinned, async |spin| {
            let waiting = Waiting::for_own_core(spin);
            load::open(
                connections,
                self.rate,
                time,
                waiting,
                async |connection, _| {
                    connection.exchange(&request, &[], &mut |_| {}).await?;
                    Ok(())
                },
            )
            .await
        })?;
        Ok(Sample {
            amount: latencies.histogram.len() as f64,
            latency: Some(Latency::of(&latencies.histogram, latencies.overloaded)),
            ..sample
        })
    }
}

/// Percentiles need more requests than throughput does.
pub(super) fn open_time(window: Duration) -> Duration {
    window * 2
}
