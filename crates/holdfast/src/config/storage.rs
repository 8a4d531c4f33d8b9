//! The `storage` section: exactly one driver, and what holds for all drivers.

use std::path::PathBuf;
use std::time::Duration;

use holdfast_storage::cloud::{AzureSettings, GcsSettings, S3Settings, SwiftSettings};

use super::document::{Meaning, Node, Pair};
use super::environment::named;
use super::reader::Section;
use super::scalar;
use super::{buckets, swift};

/// Where content is kept and what may happen to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Where content is kept.
    pub driver: Driver,
    /// Whether manifests, tags and blobs may be deleted.
    pub delete_enabled: bool,
    /// Whether every change to content is refused.
    pub read_only: bool,
    /// What happens to upload sessions that were left behind.
    pub upload_purging: UploadPurging,
}

/// A place for content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Driver {
    /// A directory.
    Filesystem {
        /// The directory, made on demand.
        root_directory: PathBuf,
        /// Whether uploads are written past the page cache where that is possible.
        direct_io: bool,
    },
    /// Memory; lost at exit.
    InMemory,
    /// A bucket of S3, or of OSS by its front end for S3.
    S3(Box<S3Settings>),
    /// A bucket of Google Cloud Storage.
    Gcs(Box<GcsSettings>),
    /// A container of Azure Blob Storage.
    Azure(Box<AzureSettings>),
    /// A container of OpenStack Swift.
    Swift(Box<SwiftSettings>),
}

/// Removal of upload sessions that were left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadPurging {
    /// Whether it happens at all.
    pub enabled: bool,
    /// Age at which a session counts as left behind.
    pub age: Duration,
    /// Time between two searches.
    pub interval: Duration,
    /// Whether it is only logged.
    pub dry_run: bool,
}

impl Storage {
    pub(super) fn read(storage: &Section<'_>) -> Self {
        Self {
            driver: Driver::read(storage),
            delete_enabled: delete_enabled(&storage.section("delete")),
            read_only: storage
                .section("maintenance")
                .section("readonly")
                .flag("enabled"),
            upload_purging: UploadPurging::read(
                &storage.section("maintenance").section("uploadpurging"),
            ),
        }
    }
}

/// Distribution takes a quoted "true" for no, without a word. Turning deletes on for a
/// configuration that has lived with them off would be worse than saying so.
fn delete_enabled(delete: &Section<'_>) -> bool {
    let written = delete.get("enabled").and_then(Node::as_scalar);
    let quoted = written.is_some_and(|scalar| {
        scalar.meaning == Meaning::String
            && matches!(scalar::resolve(&scalar.text), Meaning::Bool(_))
    });
    if quoted {
        let text = "is text, so deletes stay off; write true without quotes to allow them";
        delete.warn("enabled", text);
        return false;
    }
    delete.flag("enabled")
}

impl Driver {
    /// Whether content is in a bucket of S3.
    pub fn is_s3(&self) -> bool {
        matches!(self, Self::S3(_))
    }

    fn read(storage: &Section<'_>) -> Self {
        // Read whichever driver is chosen, so that a wrong value is found either way.
        let filesystem = storage.section("filesystem");
        let root_directory = filesystem.path_of("rootdirectory").unwrap_or_default();
        let direct_io = filesystem.flag("directio");
        storage.section("inmemory");
        let redirect = !storage.section("redirect").flag("disable");
        let drivers = one_of(storage, "storage");
        match drivers.as_slice() {
            [] => storage.refuse_at(storage.at(), "storage", "no storage configuration provided"),
            [_] => {}
            [_, second, ..] => {
                let text = format!(
                    "must provide exactly one storage type. Provided: {}",
                    list(&drivers)
                );
                storage.refuse_at(&second.at, "storage", text);
            }
        }
        let chosen = drivers.first().filter(|_| drivers.len() == 1);
        match chosen.map(|pair| pair.key.as_str()) {
            Some("inmemory") => Self::InMemory,
            Some("s3") => Self::S3(Box::new(buckets::s3(&storage.section("s3"), redirect))),
            Some("oss") => Self::S3(Box::new(buckets::oss(&storage.section("oss"), redirect))),
            Some("gcs") => Self::Gcs(Box::new(buckets::gcs(&storage.section("gcs"), redirect))),
            Some("azure") => Self::Azure(Box::new(buckets::azure(
                &storage.section("azure"),
                redirect,
            ))),
            Some("swift") => {
                Self::Swift(Box::new(swift::swift(&storage.section("swift"), redirect)))
            }
            _ => Self::Filesystem {
                root_directory,
                direct_io,
            },
        }
    }
}

/// The drivers or types that a section names.
pub(super) fn one_of<'d>(section: &Section<'d>, name: &str) -> Vec<&'d Pair> {
    section.map().map_or_else(Vec::new, |map| named(map, name))
}

/// Names with their places, in Distribution's brackets: `[a b] (a at …, b at …)`.
pub(super) fn list(pairs: &[&Pair]) -> String {
    let names: Vec<&str> = pairs.iter().map(|pair| pair.key.as_str()).collect();
    let places: Vec<String> = pairs
        .iter()
        .map(|pair| format!("{} at {}", pair.key, pair.at))
        .collect();
    format!("[{}] ({})", names.join(" "), places.join(", "))
}

impl UploadPurging {
    /// Reads the section. When it is turned off nothing else in it counts, and the defaults stand.
    fn read(purging: &Section<'_>) -> Self {
        if !purging.flag("enabled") {
            return Self {
                enabled: false,
                age: purging.default_duration("age"),
                interval: purging.default_duration("interval"),
                dry_run: false,
            };
        }
        for name in ["age", "interval", "dryrun"] {
            if purging.is_set() && !purging.has(name) {
                let text = format!("Unable to parse upload purge configuration: {name} missing");
                purging.refuse_at(purging.at(), purging.path(), text);
            }
        }
        let read = Self {
            enabled: true,
            age: text_duration(purging, "age"),
            interval: text_duration(purging, "interval"),
            dry_run: purging.flag("dryrun"),
        };
        if purging.has("interval") && read.interval.is_zero() {
            purging.refuse("interval", "must be longer than zero");
        }
        read
    }
}

/// The durations of this section are text in Distribution; a bare number fails there as well.
fn text_duration(purging: &Section<'_>, name: &str) -> Duration {
    let written = purging.get(name).and_then(Node::as_scalar);
    if written.is_some_and(|scalar| matches!(scalar.meaning, Meaning::Integer(_))) {
        purging.refuse(name, "expected a duration with a unit, such as 168h");
        return Duration::ZERO;
    }
    purging.duration(name).unwrap_or_default()
}
