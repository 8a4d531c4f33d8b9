//! A cluster that rolls out an image: every node pulls it at the same moment.

use std::cell::RefCell;
use std::time::Instant;

use hdrhistogram::Histogram;

use super::{Case, Group, KIB, MANIFEST_TYPE, Scale};
use crate::Result;
use crate::bench::{Bench, Placement, Round};
use crate::client::{Connection, Request};
use crate::content::Blob;
use crate::load::{self, End};
use crate::measure::{Latency, Sample, Unit};
use crate::server::Server;
use crate::software::{Software, Variant};

const REPOSITORY: &str = "bench/rollout";
const TAG: &str = "latest";
const NODES: usize = 500;
const SHORT_NODES: usize = 20;
const LAYERS: usize = 40;
/// Sizes of the layers in KiB, over and over: 9.9 MiB in 40.
const LAYERS_KIB: [u64; 8] = [4, 16, 32, 64, 128, 256, 512, 1024];
const MAX_SECONDS: u64 = 600;

/// An image of many layers.
#[derive(Default)]
pub(crate) struct Rollout {
    layers: Vec<Blob>,
}

struct Pull<'a> {
    layers: &'a [Blob],
    nodes: usize,
}

impl Group for Rollout {
    fn name(&self) -> &'static str {
        "rollout"
    }

    fn about(&self) -> String {
        format!(
            "All nodes begin at the same moment, each on a connection of its own: the manifest by tag, then {LAYERS} layers (4 KiB to 1 MiB, 10 MiB in all) one after the other. Latency is the time of a node's whole pull. Server and clients share the cores."
        )
    }

    fn variants(&self, _: &Software) -> Vec<Variant> {
        vec![Variant::Plain]
    }

    fn prepare(&mut self, bench: &Bench) -> Result<()> {
        let sizes = LAYERS_KIB.iter().cycle().take(LAYERS);
        self.layers = sizes.map(|size| bench.content.blob(size * KIB)).collect();
        Ok(())
    }

    fn fill(&self, server: &Server, bench: &Bench) -> Result<()> {
        bench.block_on(async {
            let mut connection = Connection::open(server.target()).await?;
            connection
                .store_image(REPOSITORY, &[TAG], &bench.content, &self.layers)
                .await?;
            for layer in &self.layers {
                connection.verify(REPOSITORY, layer).await?;
            }
            Ok(())
        })
    }

    fn cases<'a>(&'a self, scale: &Scale) -> Vec<Box<dyn Case + 'a>> {
        vec![Box::new(Pull {
            layers: &self.layers,
            nodes: if scale.short { SHORT_NODES } else { NODES },
        })]
    }
}

impl Case for Pull<'_> {
    fn name(&self) -> String {
        format!("{} nodes, {LAYERS} layers", self.nodes)
    }

    fn unit(&self) -> Unit {
        Unit::Images
    }

    fn round(&self, round: &Round<'_>) -> Result<Sample> {
        let (bench, target) = (round.bench, round.server.target());
        let mut requests = vec![target.get_manifest(REPOSITORY, TAG, MANIFEST_TYPE)];
        let blob = |layer: &Blob| target.get_blob(REPOSITORY, &layer.digest);
        requests.extend(self.layers.iter().map(blob));
        let connections = bench.block_on(Connection::open_many(target, self.nodes))?;
        let histogram = RefCell::new(Histogram::new_with_bounds(1, MAX_SECONDS * 1_000_000, 3)?);
        let start = RefCell::new(Instant::now());
        let job = async |connection: &mut Connection, _| -> Result<()> {
            pull(connection, &requests).await?;
            let microseconds = u64::try_from(start.borrow().elapsed().as_micros())?;
            histogram.borrow_mut().saturating_record(microseconds);
            Ok(())
        };
        let (done, sample) = round.measure(Placement::Free, async |spin| {
            start.replace(Instant::now());
            load::closed(connections, End::Jobs(self.nodes), spin, job).await
        })?;
        Ok(Sample {
            amount: done as f64,
            latency: Some(Latency::of(&histogram.borrow(), false)),
            ..sample
        })
    }
}

async fn pull(connection: &mut Connection, requests: &[Request]) -> Result<()> {
    for request in requests {
        connection.exchange(request, &[], &mut |_| {}).await?;
    }
    Ok(())
}
