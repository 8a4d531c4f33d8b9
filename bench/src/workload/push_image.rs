//! Pushes of whole images, as Docker does it: for each layer HEAD, POST, PATCH, PUT, then the config and the
//! manifest. With a shared base, half of the layers are mounted from another repository.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{CONFIG, Case, Group, KIB, MANIFEST_TYPE, Scale, image_manifest};
use crate::Result;
use crate::bench::{Bench, Placement, Round};
use crate::client::{Connection, Upload, store_and_verify};
use crate::content::Blob;
use crate::load::{self, End};
use crate::measure::{Sample, Unit};
use crate::server::Server;
use crate::software::{Kind, Software, Variant};

const BASE: &str = "bench/base";
/// Sizes of the layers in KiB: 24 MiB in all.
const LAYERS_KIB: [u64; 12] = [1, 4, 16, 64, 256, 512, 1024, 2048, 3072, 4096, 5291, 8192];
const PUSHERS: [usize; 3] = [1, 16, 64];
/// Images that a round pushes at least.
const FEWEST_IMAGES: usize = 8;
const SHORT_PUSHERS: usize = 4;

/// Images whose base is on the server already, or not.
#[derive(Default)]
pub(crate) struct PushImage {
    /// Every other layer of [`LAYERS_KIB`].
    base: Vec<Blob>,
    images: AtomicUsize,
}

struct PushCase<'a> {
    group: &'a PushImage,
    pushers: usize,
    shared: bool,
}

struct Image {
    repository: String,
    layers: Vec<Blob>,
    manifest: Vec<u8>,
}

impl Group for PushImage {
    fn name(&self) -> &'static str {
        "push-image"
    }

    fn about(&self) -> String {
        "Images of 12 layers (1 KiB to 8 MiB, 24 MiB in all), each to a repository of its own on a server that is empty but for the base, as Docker does it: HEAD, POST, PATCH in chunks and PUT for each layer and the config, then the manifest. With a shared base, 6 of the layers are mounted. Server and clients share the cores.".to_owned()
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
        let sizes = LAYERS_KIB.iter().step_by(2);
        self.base = sizes.map(|size| bench.content.blob(size * KIB)).collect();
        Ok(())
    }

    fn fill(&self, server: &Server, bench: &Bench) -> Result<()> {
        bench.block_on(store_and_verify(
            server.target(),
            BASE,
            &bench.content,
            &self.base,
        ))
    }

    fn cases<'a>(&'a self, scale: &Scale) -> Vec<Box<dyn Case + 'a>> {
        let pushers = match scale.short {
            true => vec![SHORT_PUSHERS],
            false => PUSHERS.to_vec(),
        };
        let mut cases: Vec<Box<dyn Case + 'a>> = Vec::new();
        for shared in [false, true] {
            for &pushers in &pushers {
                cases.push(Box::new(PushCase {
                    group: self,
                    pushers,
                    shared,
                }));
            }
        }
        cases
    }
}

impl PushCase<'_> {
    fn image(&self, bench: &Bench) -> Image {
        let number = self.group.images.fetch_add(1, Ordering::Relaxed);
        let layer = |(at, size): (usize, &u64)| match self.shared && at % 2 == 0 {
            true => self.group.base[at / 2].clone(),
            false => bench.content.blob(size * KIB),
        };
        let layers: Vec<Blob> = LAYERS_KIB.iter().enumerate().map(layer).collect();
        Image {
            repository: format!("bench/image-{number}"),
            manifest: image_manifest(&layers),
            layers,
        }
    }

    async fn push(&self, connection: &mut Connection, bench: &Bench, image: &Image) -> Result<()> {
        let repository = image.repository.as_str();
        for (at, layer) in image.layers.iter().enumerate() {
            let head = connection.target().head_blob(repository, &layer.digest);
            let head = connection.exchange(&head.or(404), &[], &mut |_| {}).await?;
            if head.status == 200 {
                continue;
            }
            let session = match self.shared && at % 2 == 0 {
                true => connection.mount(repository, &layer.digest, BASE).await?,
                false => Some(connection.start_upload(repository).await?),
            };
            if let Some(session) = session {
                connection
                    .finish_upload(&session, &bench.content, layer, Upload::Chunked)
                    .await?;
            }
        }
        connection.push_config(repository, CONFIG).await?;
        connection
            .push_manifest(repository, "latest", MANIFEST_TYPE, &image.manifest)
            .await
    }
}

impl Case for PushCase<'_> {
    fn name(&self) -> String {
        let base = match self.shared {
            true => "shared base",
            false => "nothing shared",
        };
        match self.pushers {
            1 => format!("{base}, 1 pusher"),
            count => format!("{base}, {count} pushers"),
        }
    }

    fn unit(&self) -> Unit {
        Unit::Images
    }

    fn round(&self, round: &Round<'_>) -> Result<Sample> {
        let (bench, target) = (round.bench, round.server.target());
        let count = self
            .pushers
            .max(if bench.scale.short { 1 } else { FEWEST_IMAGES });
        let images: Vec<Image> = (0..count).map(|_| self.image(bench)).collect();
        let connections = bench.block_on(Connection::open_many(target, self.pushers))?;
        let job = async |connection: &mut Connection, index: usize| {
            self.push(connection, bench, &images[index]).await
        };
        let (done, sample) = round.measure(Placement::Free, async |spin| {
            load::closed(connections, End::Jobs(count), spin, job).await
        })?;
        let sampled = &images[count / 2];
        bench.block_on(async {
            let mut connection = Connection::open(target).await?;
            connection
                .verify(&sampled.repository, &sampled.layers[3])
                .await
        })?;
        Ok(Sample {
            amount: done as f64,
            ..sample
        })
    }
}
