//! Images whose content is in a bucket that takes 20 ms for each request: how many requests wait for each other.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest as _, Sha256};

use super::{CONFIG, Case, Group, KIB, MANIFEST_TYPE, Scale, image_manifest};
use crate::Result;
use crate::bench::{Bench, Placement, Round};
use crate::client::{Connection, Target, Upload};
use crate::content::{Blob, digest};
use crate::gateway::{DELAY, Gateway};
use crate::load::{self, End};
use crate::measure::{Sample, Unit};
use crate::server::Server;
use crate::software::{Software, Variant};

/// Sizes of the layers in KiB: 24 MiB in all.
const LAYERS_KIB: [u64; 12] = [1, 4, 16, 64, 256, 512, 1024, 2048, 3072, 4096, 5291, 8192];
const SHORT_LAYERS_KIB: [u64; 3] = [4, 64, 256];
/// Layers that Docker transfers at once.
const DOCKERS: usize = 3;
/// What is pulled.
const PULLED: &str = "bench/pulled";
const TAG: &str = "latest";

pub(crate) struct Bucket {
    layers_kib: &'static [u64],
    /// Layers of the image that is pulled.
    pulled: Vec<Blob>,
    images: AtomicUsize,
}

struct BucketCase<'a> {
    group: &'a Bucket,
    direction: Direction,
    at_once: usize,
}

#[derive(Clone, Copy)]
enum Direction {
    Push,
    /// From a server that was started anew and remembers nothing.
    Pull,
    /// From a server that has pushed or pulled it before.
    PullAgain,
}

impl Bucket {
    pub(crate) fn new(scale: &Scale) -> Bucket {
        Bucket {
            layers_kib: match scale.short {
                true => &SHORT_LAYERS_KIB,
                false => &LAYERS_KIB,
            },
            pulled: Vec::new(),
            images: AtomicUsize::new(0),
        }
    }

    fn layers(&self, bench: &Bench) -> Vec<Blob> {
        let sizes = self.layers_kib.iter();
        sizes.map(|size| bench.content.blob(size * KIB)).collect()
    }
}

impl Group for Bucket {
    fn name(&self) -> &'static str {
        "bucket"
    }

    fn about(&self) -> String {
        format!(
            "Images of {} layers, {} MiB in all, content in a bucket of Versity's S3 gateway on this machine, each of whose requests begins {} ms late; metadata, where there is any, on the disk. A push is POST, PATCH in chunks and PUT for each layer, then the config and the manifest; a pull is the manifest, then everything that it names, by clients that follow redirections to the bucket, from a server that was started anew, or again from one that served it before. One layer at a time, or {DOCKERS} as Docker does it. Requests are those to the bucket. Registries, clients and gateway share the cores.",
            self.layers_kib.len(),
            self.layers_kib.iter().sum::<u64>().div_ceil(KIB),
            DELAY.as_millis()
        )
    }

    fn variants(&self, software: &Software) -> Vec<Variant> {
        match software.uses_buckets() {
            true => vec![Variant::Bucket],
            false => Vec::new(),
        }
    }

    fn prepare(&mut self, bench: &Bench) -> Result<()> {
        let gateway = Gateway::start(&bench.data().join("gateway"), &bench.running)?;
        let _ = bench.gateway.set(gateway);
        self.pulled = self.layers(bench);
        Ok(())
    }

    fn fill(&self, server: &Server, bench: &Bench) -> Result<()> {
        bench.block_on(async {
            let mut connection = Connection::open(server.target()).await?;
            let pulled = &self.pulled;
            let stored = connection.store_image(PULLED, &[TAG], &bench.content, pulled);
            stored.await?;
            let places = Places::new(bench)?;
            for layer in &self.pulled {
                let mut hash = Sha256::new();
                let mut sink = |piece: &[u8]| hash.update(piece);
                places
                    .pull(&mut connection, PULLED, &layer.digest, &mut sink)
                    .await?;
                let found = digest(hash);
                if found != layer.digest {
                    return Err(format!("blob {} came back as {found}", layer.digest).into());
                }
            }
            Ok(())
        })
    }

    fn cases<'a>(&'a self, scale: &Scale) -> Vec<Box<dyn Case + 'a>> {
        let all = [
            (Direction::Push, 1),
            (Direction::Push, DOCKERS),
            (Direction::Pull, 1),
            (Direction::Pull, DOCKERS),
            (Direction::PullAgain, DOCKERS),
        ];
        let wanted = |(_, at_once): &(Direction, usize)| !scale.short || *at_once == DOCKERS;
        let case = |(direction, at_once)| -> Box<dyn Case + 'a> {
            Box::new(BucketCase {
                group: self,
                direction,
                at_once,
            })
        };
        all.into_iter().filter(wanted).map(case).collect()
    }
}

impl Case for BucketCase<'_> {
    fn name(&self) -> String {
        let direction = match self.direction {
            Direction::Push => "push",
            Direction::Pull => "pull",
            Direction::PullAgain => "pull again",
        };
        match self.at_once {
            1 => format!("{direction}, a layer at a time"),
            at_once => format!("{direction}, {at_once} layers at once"),
        }
    }

    fn unit(&self) -> Unit {
        Unit::Image
    }

    fn round(&self, round: &Round<'_>) -> Result<Sample> {
        let gateway = gateway(round.bench)?;
        if matches!(self.direction, Direction::Pull) {
            round.server.restart(round.bench)?;
            gateway.wait_until_quiet();
        }
        let before = gateway.requests();
        let sample = match self.direction {
            Direction::Push => self.push(round),
            Direction::Pull | Direction::PullAgain => self.pull(round),
        }?;
        Ok(Sample {
            amount: 1.0,
            requests: Some(gateway.requests() - before),
            ..sample
        })
    }
}

impl BucketCase<'_> {
    fn push(&self, round: &Round<'_>) -> Result<Sample> {
        let (bench, target) = (round.bench, round.server.target());
        let number = self.group.images.fetch_add(1, Ordering::Relaxed);
        let repository = format!("bench/image-{number}");
        let layers = self.group.layers(bench);
        let manifest = image_manifest(&layers);
        let connections = bench.block_on(Connection::open_many(target, self.at_once))?;
        let mut last = bench.block_on(Connection::open(target))?;
        let job = async |connection: &mut Connection, index: usize| {
            let (layer, content) = (&layers[index], &bench.content);
            let pushed = connection.push(&repository, content, layer, Upload::Chunked);
            pushed.await
        };
        let ((), sample) = round.measure(Placement::Free, async |spin| {
            load::closed(connections, End::Jobs(layers.len()), spin, job).await?;
            last.push_config(&repository, CONFIG).await?;
            let tagged = last.push_manifest(&repository, TAG, MANIFEST_TYPE, &manifest);
            tagged.await
        })?;
        Ok(sample)
    }

    fn pull(&self, round: &Round<'_>) -> Result<Sample> {
        let (bench, target) = (round.bench, round.server.target());
        let config = (digest(Sha256::new_with_prefix(CONFIG)), CONFIG.len() as u64);
        let layers = self.group.pulled.iter();
        let mut blobs = vec![config];
        blobs.extend(layers.map(|layer| (layer.digest.clone(), layer.bytes)));
        let connections = bench.block_on(Connection::open_many(target, self.at_once))?;
        let mut first = bench.block_on(Connection::open(target))?;
        let places = Places::new(bench)?;
        let job = async |connection: &mut Connection, index: usize| -> Result<()> {
            let (digest, size) = &blobs[index];
            let mut bytes = 0;
            let mut sink = |piece: &[u8]| bytes += piece.len() as u64;
            places.pull(connection, PULLED, digest, &mut sink).await?;
            match bytes == *size {
                true => Ok(()),
                false => Err(format!("blob {digest} has {size} bytes, {bytes} came").into()),
            }
        };
        let ((), sample) = round.measure(Placement::Free, async |spin| {
            let manifest = target.get_manifest(PULLED, TAG, MANIFEST_TYPE);
            first.exchange(&manifest, &[], &mut |_| {}).await?;
            load::closed(connections, End::Jobs(blobs.len()), spin, job).await?;
            Ok(())
        })?;
        Ok(sample)
    }
}

fn gateway(bench: &Bench) -> Result<&Gateway> {
    Ok(bench.gateway.get().ok_or("there is no gateway")?)
}

/// The clients' connections to the bucket, used again as any client does.
struct Places {
    target: Arc<Target>,
    idle: RefCell<Vec<Connection>>,
}

impl Places {
    fn new(bench: &Bench) -> Result<Places> {
        let target = Target {
            address: gateway(bench)?.address(),
            tls: None,
            authorization: None,
            files: None,
        };
        Ok(Places {
            target: Arc::new(target),
            idle: RefCell::default(),
        })
    }

    /// Pulls a blob from the registry, or from where it says.
    async fn pull(
        &self,
        registry: &mut Connection,
        repository: &str,
        digest: &str,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<()> {
        let get = registry.target().get_blob(repository, digest).or(307);
        let mut begun = Vec::new();
        let head = registry
            .exchange(&get, &[], &mut |piece| begun.extend_from_slice(piece))
            .await?;
        if head.status == 200 {
            sink(&begun);
            return Ok(());
        }
        let place = head.location.ok_or("the redirection has no Location")?;
        let idle = self.idle.borrow_mut().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => Connection::open(&self.target).await?,
        };
        let get = self.target.request("GET", &place, "", 200);
        connection.exchange(&get, &[], sink).await?;
        self.idle.borrow_mut().push(connection);
        Ok(())
    }
}
