//! Everything a request may need, built once from the configuration.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdfast_metadata::{Location, Metadata, Options, SharedPayloads};
use holdfast_storage::{BlobStore, Cloud, Filesystem, Memory};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio_util::task::TaskTracker;

use crate::access::{Access, Htpasswd, Realm};
use crate::config::{self, Auth, Config, Driver};
use crate::error_chain::{attempt, chain};
use crate::health::Health;
use crate::http::api;
use crate::http::proxies::Proxies;
use crate::middleware::Redirects;
use crate::operations::{Operations, Rules, remove_old_views};
use crate::redis::RedisPayloads;
use crate::snapshots::{self, Snapshots};
use crate::upload_state::UploadStates;
use crate::{binding, clock, ownership, random};

/// The setting that the first process to work with a database makes, before it stores anything.
const TOKEN_SECRET: &str = "access.tokensecret";

/// The parts of the `http` section that answers depend on.
#[derive(Debug, Default)]
pub(crate) struct HttpSettings {
    /// What URLs begin with, when configured; no slash at the end.
    pub host: Option<String>,
    /// What API paths begin with: empty, or a slash and more, no slash at the end.
    pub prefix: String,
    /// URLs begin with the path.
    pub relative_urls: bool,
    /// Whose `Forwarded` and `X-Forwarded-*` headers count.
    pub proxies: Proxies,
    /// Added to every answer of the API.
    pub headers: HeaderMap,
    /// Patience with a body that stands still.
    pub idle_timeout: Duration,
    /// Longest time for a request that moves no blob.
    pub timeout: Option<Duration>,
    /// Most entries of a catalog page.
    pub catalog_entries: usize,
    /// Most entries of a tags page.
    pub tag_entries: usize,
}

impl HttpSettings {
    /// The part of a path that the router reads, beginning with `/v2`.
    pub(crate) fn api_path<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(self.prefix.as_str())
            .filter(|rest| rest.starts_with("/v2"))
    }
}

impl HttpSettings {
    /// The part of a path that the management API reads.
    pub(crate) fn managed_path<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(self.prefix.as_str())?
            .strip_prefix(api::PATH)
            .filter(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Everything a request may need.
pub(crate) struct App {
    /// The registry's work.
    pub operations: Operations,
    /// Who may do what.
    pub access: Access,
    /// Whether the registry is well.
    pub health: Arc<Health>,
    /// How answers look.
    pub http: HttpSettings,
    /// Write an access line for each request.
    pub access_lines: bool,
    /// Count requests.
    pub metrics: bool,
    /// Snapshots of the metadata, where they can be kept.
    pub snapshots: Option<Snapshots>,
    /// What nodes share in Redis, if it is used.
    pub redis: Option<Arc<RedisPayloads>>,
    /// Proof of upload sessions.
    pub upload_states: UploadStates,
    /// Writes under way; a stop waits for them.
    pub writes: TaskTracker,
    draining: AtomicBool,
    /// Held while the database is open.
    _lock: Option<File>,
}

impl App {
    /// Opens the stores and builds the rest. The message of an error is one line for the operator.
    ///
    /// A store with blobs and without any metadata is refused unless `accept_empty`.
    pub(crate) async fn build(config: &Config, accept_empty: bool) -> Result<App, String> {
        let beside = lock_database(config)?;
        let (store, logs) = open_store(config).await?;
        if let Some(logs) = &logs {
            remove_old_views(logs)
                .map_err(|error| format!("cannot tidy {}: {error}", logs.display()))?;
        }
        let scratch = logs.clone();
        let redis = config.redis.clone().map(RedisPayloads::start).map(Arc::new);
        let open = async || {
            let logs = logs.as_deref();
            open_with_snapshots(config, &store, logs, accept_empty, redis.as_ref()).await
        };
        let (mut metadata, mut snapshots) = open().await?;
        if metadata.is_damaged() {
            // There is no request yet that it could disturb.
            let closed = metadata.close().await;
            drop((metadata, snapshots));
            if let Err(error) = closed {
                tracing::warn!(
                    error = chain(&error),
                    "a damaged database was not closed in order"
                );
            }
            (metadata, snapshots) = open().await?;
        }
        let secret = match &config.http.secret {
            Some(secret) => secret.reveal().to_owned(),
            None => metadata
                .get_or_insert_setting("http.secret", &random::hex::<32>())
                .await
                .map_err(|error| attempt("cannot keep the upload secret", &error))?,
        };
        // Never `http.secret`: copied configurations carry secrets that everybody knows, and this one makes users.
        let token_secret = metadata
            .get_or_insert_setting(TOKEN_SECRET, &random::hex::<32>())
            .await
            .map_err(|error| attempt("cannot keep the token secret", &error))?;
        let realm = match &config.auth {
            Auth::None => Realm::Open,
            Auth::Htpasswd { realm, path } => {
                Realm::Htpasswd(Box::new(Htpasswd::open(realm.clone(), path.clone())?))
            }
            Auth::Silly { realm, service } => Realm::Silly {
                realm: realm.clone(),
                service: service.clone(),
            },
        };
        let rules = Rules {
            deletes: config.storage.delete_enabled,
            read_only: config.storage.read_only,
            push: config.validation.clone(),
            manifest_bytes: config.limits.manifest_bytes as u64,
            tags_per_push: config.limits.tags_per_manifest_push,
            upload_sessions: config.limits.upload_sessions as u64,
            upload_age: config.storage.upload_purging.age,
            note_pulls: !config.gc.keep_pulled_within.is_zero(),
            scratch: scratch.clone(),
        };
        // CloudFront stands before a bucket and knows its keys, not ours.
        let root = match &config.storage.driver {
            Driver::S3(s3) => s3.common.root_directory.as_str(),
            Driver::Filesystem { .. }
            | Driver::InMemory
            | Driver::Gcs(_)
            | Driver::Azure(_)
            | Driver::Swift(_) => "",
        };
        let redirects = Redirects::open(&config.middleware.storage, root)?;
        let operations = Operations::new(metadata, store, rules).sending(redirects);
        operations
            .follow_read_only()
            .await
            .map_err(|error| attempt("cannot read whether the registry is read-only", &error))?;
        let swept = operations
            .recover_uploads()
            .await
            .map_err(|error| attempt("cannot recover uploads", &error))?;
        if swept > 0 {
            tracing::info!(
                swept,
                "removed staged bytes of uploads that were never recorded"
            );
        }
        operations
            .open_adoption()
            .await
            .map_err(|error| attempt("cannot look for another registry's repositories", &error))?;
        Ok(App {
            operations,
            access: Access::new(realm, &config.access, token_secret.as_bytes())
                .within(config.middleware.repositories.clone()),
            health: Arc::default(),
            http: http_settings(config),
            access_lines: config.log.access_log,
            snapshots,
            redis,
            metrics: config.http.metrics.is_some(),
            upload_states: UploadStates::new(secret.as_bytes()),
            writes: TaskTracker::new(),
            draining: AtomicBool::new(false),
            _lock: beside,
        })
    }

    /// Whether the process is on its way out.
    pub(crate) fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// From now on `/readyz` says no.
    pub(crate) fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
}

/// The store, and where redo logs of the metadata belong if it outlives this process.
async fn open_store(config: &Config) -> Result<(Arc<dyn BlobStore>, Option<PathBuf>), String> {
    let cannot = |error: holdfast_storage::Error| attempt("cannot use the object store", &error);
    let store: Arc<dyn BlobStore> = match &config.storage.driver {
        Driver::Filesystem {
            root_directory,
            direct_io,
        } => {
            let store = Filesystem::open(root_directory, *direct_io).map_err(|error| {
                let advice = ownership::advice(root_directory, &error);
                attempt("cannot use the storage directory", &error) + &advice
            })?;
            let snapshots = store.snapshots_directory();
            return Ok((store, Some(snapshots)));
        }
        Driver::InMemory => return Ok((Memory::new(), None)),
        Driver::S3(settings) => Cloud::s3(settings, random::bytes).map_err(cannot)?,
        Driver::Gcs(settings) => Cloud::gcs(settings, random::bytes).map_err(cannot)?,
        Driver::Azure(settings) => Cloud::azure(settings, random::bytes)
            .await
            .map_err(cannot)?,
        Driver::Swift(settings) => Cloud::swift(settings, random::bytes)
            .await
            .map_err(cannot)?,
    };
    // The snapshots are in the bucket; the logs stand beside the database, which is no use without its disk anyway.
    let logs = match &config.metadata {
        config::Metadata::File(path) => Some(private_directory(path.with_added_extension("redo"))?),
        config::Metadata::InMemory | config::Metadata::Postgres(_) => None,
    };
    Ok((store, logs))
}

fn private_directory(path: PathBuf) -> Result<PathBuf, String> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    match builder.create(&path) {
        Ok(()) => Ok(path),
        Err(error) => Err(format!("cannot make {}: {error}", path.display())),
    }
}

/// Keeps another process away from the database where the store does not: nobody locks a bucket.
fn lock_database(config: &Config) -> Result<Option<File>, String> {
    let config::Metadata::File(path) = &config.metadata else {
        return Ok(None);
    };
    if let Driver::Filesystem { .. } | Driver::InMemory = config.storage.driver {
        return Ok(None);
    }
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)
            .map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
    }
    let path = path.with_added_extension("lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let lock = options
        .open(&path)
        .map_err(|error| format!("cannot open {}: {error}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Err(format!(
            "the metadata database is in use by another process, which holds {}",
            path.display()
        )),
        Err(TryLockError::Error(error)) => Err(format!("cannot lock {}: {error}", path.display())),
    }
}

/// Opens the database and takes its first snapshot, if it needs one.
async fn open_with_snapshots(
    config: &Config,
    store: &Arc<dyn BlobStore>,
    logs: Option<&Path>,
    accept_empty: bool,
    redis: Option<&Arc<RedisPayloads>>,
) -> Result<(Metadata, Option<Snapshots>), String> {
    let metadata = open_metadata(config, &**store, logs, accept_empty, redis).await?;
    binding::bind(&**store, &metadata).await?;
    let snapshots = logs.filter(|_| !metadata.is_shared()).map(|logs| {
        let (store, keep) = (Arc::clone(store), config.snapshots.keep);
        Snapshots::new(metadata.clone(), store, logs.to_owned(), keep)
    });
    if let Some(snapshots) = &snapshots {
        // Registries start on full disks too: the job tries again.
        if let Err(error) = snapshots.begin().await {
            tracing::error!(
                error = chain(&error),
                "no snapshot of the metadata could be taken"
            );
        }
    }
    Ok((metadata, snapshots))
}

/// Opens the database; one that is gone, copied or damaged is put together from snapshots first.
async fn open_metadata(
    config: &Config,
    store: &dyn BlobStore,
    logs: Option<&Path>,
    accept_empty: bool,
    redis: Option<&Arc<RedisPayloads>>,
) -> Result<Metadata, String> {
    if let config::Metadata::Postgres(_) = &config.metadata {
        let (location, whose) = metadata_location(config)?;
        let mut options = metadata_options(config, location);
        options.shared_payloads = redis.map(|redis| Arc::clone(redis) as Arc<dyn SharedPayloads>);
        let cannot = |error: holdfast_metadata::Error| {
            attempt(
                &format!("cannot use the metadata database, {whose}"),
                &error,
            )
        };
        let metadata = Metadata::open(options, clock::now())
            .await
            .map_err(cannot)?;
        // The other nodes of a new registry may be a step ahead, so the database has the last word.
        if is_unused(&metadata).await.map_err(cannot)?
            && snapshots::needs_database(store).await?
            && is_unused(&metadata).await.map_err(cannot)?
        {
            if !accept_empty {
                return Err(format!(
                    "the metadata database, {whose}, is empty, but blobs are stored. Name the registry's database, \
                     restore it from a backup, or start once with --accept-empty: then every repository is empty, \
                     and blobs are stored again as they are pushed"
                ));
            }
            tracing::warn!("starting with empty metadata over stored blobs, as asked");
        }
        return Ok(metadata);
    }
    let (config::Metadata::File(path), Some(logs)) = (&config.metadata, logs) else {
        let options = metadata_options(config, Location::Memory);
        let opened = Metadata::open(options, clock::now()).await;
        return opened.map_err(|error| attempt("cannot use the metadata database", &error));
    };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)
            .map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
    }
    let place = snapshots::Place {
        store,
        database: path,
        logs,
    };
    snapshots::recover(&place, accept_empty).await?;
    // It holds the secret of upload sessions: for this user's eyes only.
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| format!("cannot open {}: {error}", path.display()))?;
    let mut options = metadata_options(config, Location::File(path.clone()));
    options.redo = Some(logs.to_owned());
    let opened = match Metadata::open(options.clone(), clock::now()).await {
        Err(holdfast_metadata::Error::Corrupt(_)) if snapshots::recover_damaged(&place).await? => {
            Metadata::open(options, clock::now()).await
        }
        opened => opened,
    };
    opened.map_err(|error| attempt("cannot use the metadata database", &error))
}

/// Whether no node ever worked with this database.
async fn is_unused(metadata: &Metadata) -> holdfast_metadata::Result<bool> {
    Ok(metadata.setting(TOKEN_SECRET).await?.is_none() && !metadata.any_blob().await?)
}

/// Where the metadata of a registry that outlives its process is, for programs and for people.
pub(crate) fn metadata_location(config: &Config) -> Result<(Location, String), String> {
    match &config.metadata {
        config::Metadata::File(path) => {
            Ok((Location::File(path.clone()), path.display().to_string()))
        }
        config::Metadata::Postgres(postgres) => {
            let options = postgres.options(clock::now)?;
            Ok((Location::Postgres(Box::new(options)), postgres.described()))
        }
        config::Metadata::InMemory => Err("metadata in memory ends with its process".to_owned()),
    }
}

fn metadata_options(config: &Config, location: Location) -> Options {
    Options {
        grace: config.gc.grace,
        untagged_after: config.gc.delete_untagged_after,
        ..Options::new(location, u64::from_le_bytes(random::bytes()))
    }
}

fn http_settings(config: &Config) -> HttpSettings {
    let http = &config.http;
    let mut headers = HeaderMap::new();
    for header in &http.headers {
        let name: HeaderName = header
            .name
            .parse()
            .expect("the configuration checked the name");
        for value in &header.values {
            let value = HeaderValue::from_str(value).expect("the configuration checked the value");
            headers.append(name.clone(), value);
        }
    }
    HttpSettings {
        host: http
            .host
            .as_ref()
            .map(|url| url.as_str().trim_end_matches('/').to_owned()),
        prefix: http.prefix.trim_end_matches('/').to_owned(),
        relative_urls: http.relative_urls,
        proxies: Proxies::new(http.trusted_proxies.clone()),
        headers,
        idle_timeout: positive(http.idle_timeout),
        timeout: http.timeout,
        catalog_entries: config.catalog.max_entries,
        tag_entries: config.tags.max_tags,
    }
}

/// Zero in the configuration means no limit.
pub(crate) fn positive(limit: Duration) -> Duration {
    /// A century, which timers can still count.
    const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    if limit.is_zero() { FOR_EVER } else { limit }
}
