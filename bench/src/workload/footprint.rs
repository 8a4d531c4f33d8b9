//! What a server takes when nobody asks it anything: the time of its start and its memory, on stores of several
//! sizes.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{CONFIG, Case, Group, MANIFEST_TYPE, Scale};
use crate::Result;
use crate::bench::{Bench, Round};
use crate::client::Connection;
use crate::content::digest;
use crate::load::{self, End};
use crate::measure::{Sample, Unit};
use crate::page_cache;
use crate::server::Server;
use crate::software::{Kind, Software, Variant};

const REPOSITORY: &str = "bench/footprint";
/// Connections that fill a store.
const FILLING: usize = 64;
/// From the first answer to when memory is looked at, so that the start is over.
const IDLE: Duration = Duration::from_millis(300);

/// A store with so many manifests.
pub(crate) struct Footprint {
    name: &'static str,
    manifests: usize,
    takes: fn(&Software) -> bool,
}

struct Start {
    manifests: usize,
}

impl Footprint {
    /// For every server.
    pub(crate) fn small() -> Footprint {
        Footprint {
            name: "footprint",
            manifests: 10,
            takes: |_| true,
        }
    }

    /// For Holdfast: the others would take hours to fill.
    pub(crate) fn huge() -> Footprint {
        Footprint {
            name: "footprint-huge",
            manifests: 1_000_000,
            takes: Software::is_holdfast,
        }
    }

    fn count(&self, scale: &Scale) -> usize {
        match scale.short {
            true => self.manifests.min(100),
            false => self.manifests,
        }
    }
}

fn manifest(number: usize) -> String {
    let config = digest(Sha256::new_with_prefix(CONFIG));
    let size = CONFIG.len();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST_TYPE}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":{size}}},"layers":[],"annotations":{{"number":"{number}"}}}}"#
    )
}

impl Group for Footprint {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> String {
        if self.name != "footprint" {
            return "As `footprint`, with more.".to_owned();
        }
        "From the start of the program to its first answer on /v2/, its files in the page cache; the resident memory is that of 0.3 s later, when nobody has asked anything else. Only Holdfast is filled with 1,000,000 manifests; the others would take hours.".to_owned()
    }

    fn variants(&self, software: &Software) -> Vec<Variant> {
        match (self.takes)(software) {
            true => vec![Variant::Plain],
            false => Vec::new(),
        }
    }

    fn fill(&self, server: &Server, bench: &Bench) -> Result<()> {
        if server.software().kind == Kind::Files {
            return Ok(());
        }
        let (target, count) = (server.target(), self.count(&bench.scale));
        bench.block_on(async {
            let mut first = Connection::open(target).await?;
            first.push_config(REPOSITORY, CONFIG).await?;
            let connections = Connection::open_many(target, FILLING).await?;
            let push = async |connection: &mut Connection, index: usize| {
                let manifest = manifest(index);
                let digest = digest(Sha256::new_with_prefix(&manifest));
                connection
                    .push_manifest(REPOSITORY, &digest, MANIFEST_TYPE, manifest.as_bytes())
                    .await
            };
            load::closed(connections, End::Jobs(count), false, push).await
        })?;
        Ok(())
    }

    fn cases<'a>(&'a self, scale: &Scale) -> Vec<Box<dyn Case + 'a>> {
        vec![Box::new(Start {
            manifests: self.count(scale),
        })]
    }
}

impl Case for Start {
    fn name(&self) -> String {
        format!("start, {} manifests", self.manifests)
    }

    fn unit(&self) -> Unit {
        Unit::Start
    }

    fn round(&self, round: &Round<'_>) -> Result<Sample> {
        page_cache::load(round.server.home())?;
        let seconds = round.server.restart(round.bench)?;
        let processes = round.server.processes();
        let cpu_seconds = processes.cpu_seconds()?;
        std::thread::sleep(IDLE);
        Ok(Sample {
            amount: 1.0,
            seconds,
            cpu_seconds,
            peak_kib: processes.resident_kib()?,
            latency: None,
            requests: None,
        })
    }
}
