//! Configuration: Distribution's YAML and `REGISTRY_*` variables, and our own sections.
//!
//! Text becomes a tree in which every value knows its place (`document`), variables are laid over
//! it (`environment`), the tree is walked beside the table of all keys (`keys`), and what takes
//! effect is read into typed structs, one file per section. A configuration of Distribution 2.8 or 3
//! starts this registry unchanged, or the start is refused with the place and the reason.
//!
//! Invariant: each key is either read by a typed section or named to the operator. All problems are
//! reported together. Nothing here touches files, the environment of the process or the clock.

mod access;
mod aliases;
mod auth;
mod buckets;
mod check;
mod document;
mod duration;
mod environment;
mod gc;
mod health;
mod http;
mod keys;
mod limits;
mod listen;
mod log;
mod middleware;
mod postgres;
mod problem;
mod reader;
mod redis;
mod reference;
mod scalar;
mod schema;
mod scrub;
mod secret;
mod show;
mod spelling;
mod storage;
mod swift;
#[cfg(test)]
mod tests;
mod tls;
mod validation;
mod yaml;

pub use access::{Access, Metadata, Snapshots};
pub use auth::Auth;
pub use document::{Document, Location, Map, Meaning, Node, Pair, Scalar, Value};
pub use gc::Gc;
pub use health::{FileCheck, Health, HttpCheck, Rhythm, TcpCheck};
pub use http::{Header, Http};
pub use keys::{Entry, Kind, Status, entries};
pub use limits::{Catalog, Limits, Tags};
pub use listen::{Address, Listen};
pub use log::{Formatter, Log, LogLevel};
pub use middleware::{
    AmazonAddresses, CloudFront, Middleware, RepositoryNames, Rewrite, StorageMiddleware,
};
pub use postgres::Postgres;
pub use problem::{Error, Level, Problem, Warning};
pub use redis::{Redis, RedisServers, RedisTls};
pub use reference::reference_markdown;
pub use schema::json_schema;
pub use scrub::Scrub;
pub use secret::Secret;
pub use show::show;
pub use storage::{Driver, Storage, UploadPurging};
pub use tls::{ClientAuth, Tls, TlsVersion};
pub use validation::{Platform, Platforms, References, Validation};
pub use yaml::{MAX_CONTENT_BYTES, MAX_DEPTH, MAX_NODES, MAX_TEXT_BYTES};

use document::quoted;
use reader::{Notes, Section};
use yaml::Origin;

/// The configuration that is used without a file.
const EMBEDDED: &str = "\
version: 0.1
log: {level: info, formatter: text}
storage:
  filesystem: {rootdirectory: ./holdfast-data}
  delete: {enabled: true}
http: {addr: ':5000'}
";

/// A duration as the configuration spells it; none below zero.
pub(crate) fn parse_duration(text: &str) -> Option<std::time::Duration> {
    let nanoseconds = duration::parse(text)?;
    u64::try_from(nanoseconds)
        .ok()
        .map(std::time::Duration::from_nanos)
}

/// The only version of the format.
const VERSION: &str = "0.1";

/// Where the configuration text comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A file that the caller has read.
    File {
        /// Its path, as messages should show it.
        path: &'a str,
        /// Its contents.
        text: &'a [u8],
    },
    /// No file: a filesystem registry in `./holdfast-data` on port 5000, with deletes on.
    Default,
}

/// Everything the registry needs to know, valid in itself.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is logged.
    pub log: Log,
    /// Where content is kept.
    pub storage: Storage,
    /// Where facts about content are kept.
    pub metadata: Metadata,
    /// Snapshots of the metadata.
    pub snapshots: Snapshots,
    /// Who is let in.
    pub auth: Auth,
    /// Who may do what.
    pub access: Access,
    /// How the registry is reached.
    pub http: Http,
    /// Checks that make the registry unhealthy.
    pub health: Health,
    /// What a manifest must satisfy.
    pub validation: Validation,
    /// The list of repositories.
    pub catalog: Catalog,
    /// Lists of tags.
    pub tags: Tags,
    /// Limits of pushes.
    pub limits: Limits,
    /// Garbage collection.
    pub gc: Gc,
    /// Reading stored bytes again in the background.
    pub scrub: Scrub,
    /// A cache that nodes share, if it is used.
    pub redis: Option<Redis>,
    /// What stands between requests and content.
    pub middleware: Middleware,
}

/// A configuration that can be used, with what there is to say about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The typed values.
    pub config: Config,
    /// What the operator should know.
    pub warnings: Vec<Warning>,
    /// The tree behind it, overrides included.
    pub document: Document,
}

/// Reads a configuration and lays the environment over it. Of the environment only variables that
/// begin with `REGISTRY_` are looked at.
pub fn load(
    source: Source<'_>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, Error> {
    load_noting(source, environment, &Notes::default())
}

impl Config {
    /// The configuration that is used without a file and without variables.
    pub fn embedded_default() -> Self {
        load(Source::Default, [])
            .expect("the embedded configuration is valid, a test loads it")
            .config
    }

    fn read(root: &Node, notes: &Notes) -> Self {
        let top = Section::top(root, notes);
        check_version(&top);
        let storage = Storage::read(&top.section("storage"));
        let auth = Auth::read(&top.section("auth"));
        let http = Http::read(&top.section("http"));
        warn_about_silly(&top, &auth, &http);
        let metadata = Metadata::read(&top.section("metadata"), &storage.driver);
        Self {
            log: Log::read(&top.section("log")),
            redis: Redis::read(&top, &metadata),
            metadata,
            snapshots: Snapshots::read(&top.section("metadata").section("snapshots")),
            access: Access::read(&top.section("access"), &auth),
            health: Health::read(&top.section("health")),
            validation: Validation::read(&top.section("validation")),
            catalog: Catalog::read(&top.section("catalog")),
            tags: Tags::read(&top.section("tags")),
            limits: Limits::read(&top.section("limits")),
            gc: Gc::read(&top.section("gc")),
            scrub: Scrub::read(&top.section("scrub")),
            middleware: Middleware::read(
                &top.section("middleware"),
                &storage.driver,
                !top.section("storage").section("redirect").flag("disable"),
            ),
            storage,
            auth,
            http,
        }
    }
}

fn load_noting(
    source: Source<'_>,
    environment: impl IntoIterator<Item = (String, String)>,
    notes: &Notes,
) -> Result<Loaded, Error> {
    let mut warnings = Vec::new();
    let (origin, text) = match source {
        Source::File { path, text } => (Origin::File(path.into()), text),
        Source::Default => (Origin::Default, EMBEDDED.as_bytes()),
    };
    let mut root = yaml::parse_bytes(text, &origin, &mut warnings)
        .map_err(|problem| Error::new(vec![problem]))?;

    let mut problems = Vec::new();
    aliases::unfold_words(&mut root);
    environment::overlay(&mut root, environment, &mut problems, &mut warnings);
    aliases::move_aliases(&mut root, &mut warnings);
    aliases::move_storage_middleware(&mut root, &mut warnings);

    let mut findings = check::check(&root);
    problems.append(&mut findings.problems);
    let config = Config::read(&root, notes);
    problems.append(&mut notes.problems.borrow_mut());
    warnings.append(&mut notes.warnings.borrow_mut());
    warnings.append(&mut findings.warnings);
    if !problems.is_empty() {
        return Err(Error::new(problems));
    }
    problem::shorten(&mut warnings);
    Ok(Loaded {
        config,
        warnings,
        document: Document { root },
    })
}

fn check_version(top: &Section<'_>) {
    let written = top.text("version").unwrap_or_default();
    if written != VERSION {
        let text = format!(
            "unsupported version: {}, expected {VERSION}",
            quoted(&written)
        );
        top.refuse("version", text);
    }
}

/// A registry that lets anyone in who sends any header belongs on this machine only.
fn warn_about_silly(top: &Section<'_>, auth: &Auth, http: &Http) {
    let exposed = matches!(&http.listen, Listen::Tcp(address) if !address.is_loopback());
    if exposed && matches!(auth, Auth::Silly { .. }) {
        let text = format!(
            "silly lets everyone in who sends an Authorization header, and {} is reachable from outside",
            http.listen
        );
        top.warn("auth", text);
    }
}
