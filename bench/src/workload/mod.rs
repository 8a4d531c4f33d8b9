//! What is done to the servers, in groups that share servers and content. One group is one file here, one
//! line in [`groups`] and one table of the report.

mod bucket;
mod cold;
mod distant;
mod fairness;
mod footprint;
mod gc;
mod lists;
mod manifest;
mod pull;
mod push_image;
mod push_large;
mod push_small;
mod range;
mod rollout;

use std::time::Duration;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::Result;
use crate::bench::{Bench, Round};
use crate::content::{Blob, digest};
use crate::delay_line::DelayLine;
use crate::measure::{Sample, Unit};
use crate::server::Server;
use crate::software::{Software, Variant};

/// The media type of every manifest here.
pub(crate) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
/// The config of every image here.
pub(crate) const CONFIG: &str =
    r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;

/// Bytes in a KiB, a MiB and a GiB.
pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;

/// All groups, in the order of the report.
pub(crate) fn groups(scale: &Scale) -> Vec<Box<dyn Group>> {
    vec![
        Box::new(pull::Pull::new(scale, Variant::Plain)),
        Box::new(pull::Pull::new(scale, Variant::Tls)),
        Box::new(cold::Cold::new(scale)),
        Box::new(distant::Distant::new(scale)),
        Box::new(manifest::Manifest::default()),
        Box::new(rollout::Rollout::default()),
        Box::new(push_large::PushLarge::default()),
        Box::new(push_small::PushSmall),
        Box::new(push_image::PushImage::default()),
        Box::new(bucket::Bucket::new(scale)),
        Box::new(fairness::Fairness::default()),
        Box::new(lists::Lists::small()),
        Box::new(lists::Lists::large()),
        Box::new(lists::Lists::huge()),
        Box::new(footprint::Footprint::small()),
        Box::new(footprint::Footprint::huge()),
        Box::new(gc::Gc::small()),
        Box::new(gc::Gc::huge()),
    ]
}

/// Workloads on the same servers and content.
pub(crate) trait Group {
    /// Its name in `--only`.
    fn name(&self) -> &'static str;

    /// What one must know to read its table.
    fn about(&self) -> String;

    /// How a server is set up for it; no way where it does not take part.
    fn variants(&self, software: &Software) -> Vec<Variant>;

    /// Makes what the servers are filled with; an error says why the group cannot be run here.
    fn prepare(&mut self, _bench: &Bench) -> Result<()> {
        Ok(())
    }

    /// Puts in place what the cases need and checks that the server gives back what it got. Not measured.
    fn fill(&self, _server: &Server, _bench: &Bench) -> Result<()> {
        Ok(())
    }

    /// Whether every round begins with a new server on an empty directory, which is filled.
    fn fresh(&self) -> bool {
        false
    }

    /// The link between servers and clients; none where they are on one host.
    fn link(&self) -> Option<&DelayLine> {
        None
    }

    fn cases<'a>(&'a self, scale: &Scale) -> Vec<Box<dyn Case + 'a>>;
}

/// Something clients do to a server.
pub(crate) trait Case {
    /// Its name within the group.
    fn name(&self) -> String;

    /// What it counts.
    fn unit(&self) -> Unit;

    /// Whether this server takes part.
    fn takes(&self, _software: &Software) -> bool {
        true
    }

    /// Under which conditions each server is measured in turn; what is added to its name for each.
    fn conditions(&self) -> &'static [&'static str] {
        &[""]
    }

    /// One round on one server.
    fn round(&self, round: &Round<'_>) -> Result<Sample>;

    /// What the machine can do at best, measured in the same rounds.
    fn limits(&self) -> Vec<Limit<'_>> {
        Vec::new()
    }
}

/// A limit of the machine that a case is compared with.
pub(crate) struct Limit<'a> {
    pub(crate) name: &'static str,
    pub(crate) round: LimitRound<'a>,
}

type LimitRound<'a> = Box<dyn Fn(&Bench) -> Result<Sample> + 'a>;

/// How much is done in a round.
pub(crate) struct Scale {
    /// Whether it is only to be seen that everything works.
    pub(crate) short: bool,
    /// Size of the large blob, in whole MiB.
    pub(crate) large_bytes: u64,
    /// How long a closed loop runs.
    pub(crate) window: Duration,
}

impl Scale {
    /// For figures.
    pub(crate) fn full(large_bytes: u64) -> Scale {
        Scale {
            short: false,
            large_bytes,
            window: Duration::from_secs(1),
        }
    }

    /// For a look whether everything works.
    pub(crate) fn short() -> Scale {
        Scale {
            short: true,
            large_bytes: 16 * MIB,
            window: Duration::from_millis(50),
        }
    }

    /// All of these, or in a short run the middle one.
    pub(crate) fn some<T: Copy>(&self, all: &[T]) -> Vec<T> {
        match self.short {
            true => vec![all[all.len() / 2]],
            false => all.to_vec(),
        }
    }
}

/// The manifest of an image with [`CONFIG`] and these layers.
pub(crate) fn image_manifest(layers: &[Blob]) -> Vec<u8> {
    let layer = |layer: &Blob| json!({ "mediaType": LAYER_TYPE, "digest": layer.digest, "size": layer.bytes });
    let layers: Vec<_> = layers.iter().map(layer).collect();
    let config = digest(Sha256::new_with_prefix(CONFIG));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": { "mediaType": CONFIG_TYPE, "digest": config, "size": CONFIG.len() },
        "layers": layers,
    });
    manifest.to_string().into_bytes()
}

/// `64 KiB`, `1 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        bytes if bytes.is_multiple_of(GIB) => format!("{} GiB", bytes / GIB),
        bytes if bytes.is_multiple_of(MIB) => format!("{} MiB", bytes / MIB),
        bytes => format!("{} KiB", bytes / KIB),
    }
}

/// `1 client`, `4 clients`.
pub(crate) fn clients(count: usize) -> String {
    match count {
        1 => "1 client".to_owned(),
        count => format!("{count} clients"),
    }
}
