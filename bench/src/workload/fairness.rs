//! Small pulls while large pushes run: the latency of a manifest must not depend on who else is there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Case, Group, MANIFEST_TYPE, Scale, size};
use crate::Result;
use crate::bench::{Bench, Placement, Round};
use crate::client::{Connection, Upload, sent_bytes};
use crate::content::Blob;
use crate::load::{self, End, Waiting};
use crate::measure::{Latency, Sample, Unit};
use crate::server::Server;
use crate::software::{Kind, Software, Variant};

const REPOSITORY: &str = "bench/fairness";
const TAG: &str = "latest";
const CONNECTIONS: usize = 16;
/// Requests for the manifest per second.
const RATE: f64 = 200.0;
const PUSHES: usize = 4;
const LAYERS: usize = 8;
const LAYER_BYTES: u64 = 4096;
const TIME: Duration = Duration::from_secs(3);

/// A small image, and large blobs that are pushed meanwhile.
#[derive(Default)]
pub(crate) struct Fairness {
    layers: Vec<Blob>,
    pushed: Vec<Blob>,
}

struct FairnessCase<'a> {
    group: &'a Fairness,
    bytes: u64,
    pushes: usize,
}

impl Group for Fairness {
    fn name(&self) -> &'static str {
        "fairness"
    }

    fn about(&self) -> String {
        format!(
            "{RATE} requests per second for a manifest by tag, alone and while large blobs are pushed in chunks, to a server that is empty but for the image. Latency is that of the manifests, throughput that of the pushes. Server and clients share the cores, so waiting for a core is part of it for all."
        )
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
        let blobs = |count, bytes| (0..count).map(|_| bench.content.blob(bytes)).collect();
        self.layers = blobs(LAYERS, LAYER_BYTES);
        self.pushed = blobs(PUSHES, bench.scale.large_bytes);
        Ok(())
    }

    fn fill(&self, server: &Server, bench: &Bench) -> Result<()> {
        bench.block_on(async {
            let mut connection = Connection::open(server.target()).await?;
            connection
                .store_image(REPOSITORY, &[TAG], &bench.content, &self.layers)
                .await
        })
    }

    fn cases<'a>(&'a self, scale: &Scale) -> Vec<Box<dyn Case + 'a>> {
        let case = |pushes| -> Box<dyn Case + 'a> {
            Box::new(FairnessCase {
                group: self,
                bytes: scale.large_bytes,
                pushes,
            })
        };
        vec![case(0), case(PUSHES)]
    }
}

impl FairnessCase<'_> {
    /// Pushes again and again until it is told to end; how many bytes were sent.
    async fn push(&self, round: &Round<'_>, ended: &AtomicBool) -> Result<u64> {
        let content = &round.bench.content;
        let target = round.server.target();
        let connections = Connection::open_many(target, self.pushes).await?;
        let job = async |connection: &mut Connection, index: usize| {
            let blob = &self.group.pushed[index % self.group.pushed.len()];
            connection
                .push(REPOSITORY, content, blob, Upload::Chunked)
                .await
        };
        let pushes = load::closed(connections, End::Jobs(usize::MAX), false, job);
        let end = async {
            while !ended.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            result = pushes => result.map(drop)?,
            () = end => {}
        }
        Ok(sent_bytes())
    }
}

impl Case for FairnessCase<'_> {
    fn name(&self) -> String {
        match self.pushes {
            0 => "manifest by tag, alone".to_owned(),
            count => format!(
                "manifest by tag, during {count} pushes of {}",
                size(self.bytes)
            ),
        }
    }

    fn unit(&self) -> Unit {
        match self.pushes {
            0 => Unit::Requests,
            _ => Unit::Bytes,
        }
    }

    fn round(&self, round: &Round<'_>) -> Result<Sample> {
        let (bench, target) = (round.bench, round.server.target());
        let get = target.get_manifest(REPOSITORY, TAG, MANIFEST_TYPE);
        let connections = bench.block_on(Connection::open_many(target, CONNECTIONS))?;
        let job = async |connection: &mut Connection, _| -> Result<()> {
            connection.exchange(&get, &[], &mut |_| {}).await?;
            Ok(())
        };
        let time = match bench.scale.short {
            true => TIME / 10,
            false => TIME,
        };
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // On a thread of its own, so that the requests are not held up by our own sending.
            let pushes = scope.spawn(|| -> Result<u64> {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                runtime.block_on(self.push(round, &ended))
            });
            let measured = round.measure(Placement::Free, async |_| {
                load::open(connections, RATE, time, Waiting::Sleeping, job).await
            });
            ended.store(true, Ordering::Relaxed);
            let pushed = pushes.join().map_err(|_| "the pushing thread panicked")??;
            let (latencies, sample) = measured?;
            Ok(Sample {
                amount: match self.pushes {
                    0 => latencies.histogram.len() as f64,
                    _ => pushed as f64,
                },
                latency: Some(Latency::of(&latencies.histogram, latencies.overloaded)),
                ..sample
            })
        })
    }
}
