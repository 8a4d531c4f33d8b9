//! What holds for every service: sizes, patience, how the client behaves.

use std::time::Duration;

use http::HeaderValue;
use object_store::client::HttpClient;
use object_store::{BackoffConfig, ClientOptions, RetryConfig};

use crate::{Error, Result};

/// How long a client that was sent to the service may wait before it asks; as in Distribution.
pub const SIGNED_URL_LIFE: Duration = Duration::from_secs(20 * 60);
/// Parts of one upload on their way at once. Each is in memory until it is stored.
const PARTS_AT_ONCE: usize = 4;
/// Most bytes of parts in memory, of all uploads together.
const MEMORY_BYTES: usize = 512 * 1024 * 1024;
/// Patience for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Patience for the next bytes of an answer. A part must have arrived within this time, too.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// No request is made again when its first try is so long ago.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What is set alike for every service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Common {
    /// Directory of the bucket that holds everything; empty for the bucket itself.
    pub root_directory: String,
    /// Size of the parts of a multipart upload.
    pub part_bytes: usize,
    /// Whether clients are sent to the service for blobs.
    pub redirect: bool,
    /// What requests call themselves.
    pub user_agent: Option<String>,
    /// Accept any certificate.
    pub skip_verify: bool,
    /// How often a request is made again.
    pub retries: usize,
    /// The first pause before that; later ones are longer.
    pub retry_pause: Duration,
}

/// Sizes that a driver keeps to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Size of a part.
    pub(super) part_bytes: usize,
    /// So many bytes are stored as a part at the end of a request; fewer wait beside the parts.
    pub(super) cut_bytes: usize,
    /// Most parts of an object.
    pub(super) parts_max: usize,
    /// Parts of one upload on their way at once.
    pub(super) parts_at_once: usize,
    /// Most bytes of parts in memory.
    pub(super) memory_bytes: usize,
}

impl Limits {
    pub(super) fn new(common: &Common, cut_bytes: usize, parts_max: usize) -> Limits {
        Limits {
            part_bytes: common.part_bytes,
            cut_bytes: cut_bytes.min(common.part_bytes),
            parts_max,
            parts_at_once: PARTS_AT_ONCE,
            memory_bytes: MEMORY_BYTES,
        }
    }
}

impl Common {
    /// What names in the bucket begin with.
    pub(super) fn root(&self) -> String {
        match self.root_directory.trim_matches('/') {
            "" => String::new(),
            directory => format!("{directory}/"),
        }
    }

    pub(super) fn retry(&self) -> RetryConfig {
        RetryConfig {
            backoff: BackoffConfig {
                init_backoff: self.retry_pause,
                max_backoff: PAUSE_MAX.max(self.retry_pause),
                base: 2.0,
            },
            max_retries: self.retries,
            retry_timeout: PATIENCE,
        }
    }

    /// No request has a time for the whole of it: a pull lasts as long as its client takes.
    pub(super) fn client(&self) -> Result<ClientOptions> {
        let options = ClientOptions::new()
            .with_allow_http(true)
            .with_allow_invalid_certificates(self.skip_verify)
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_read_timeout(READ_TIMEOUT)
            .with_timeout_disabled()
            .with_default_content_type("application/octet-stream");
        Ok(options.with_user_agent(self.agent()?))
    }

    /// A client for the requests that `object_store` does not make.
    ///
    /// Their URLs are signed. A redirect may lead elsewhere, where the signature is not told: it would be in `Referer`.
    pub(super) fn plain_client(&self) -> Result<reqwest::Client> {
        let builder = self.builder()?.timeout(READ_TIMEOUT).referer(false);
        let client = builder.build();
        client.map_err(|error| unusable(error.to_string()))
    }

    /// A client that asks nobody but whom it is told to: a redirect is an answer like another.
    ///
    /// The one of `object_store` follows redirects to any host, and leaves out only such secrets as reqwest knows.
    pub(super) fn client_without_redirects(&self) -> Result<HttpClient> {
        let builder = self
            .builder()?
            .read_timeout(READ_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            // As the other: content has the length that is told, and HTTP/1 is faster here.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .http1_only();
        let client = builder.build();
        let client = client.map_err(|error| unusable(error.to_string()))?;
        Ok(HttpClient::new(client))
    }

    fn builder(&self) -> Result<reqwest::ClientBuilder> {
        Ok(reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(self.skip_verify)
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(self.agent()?))
    }

    fn agent(&self) -> Result<HeaderValue> {
        let version = concat!("holdfast/", env!("CARGO_PKG_VERSION"));
        HeaderValue::from_str(self.user_agent.as_deref().unwrap_or(version))
            .map_err(|_| unusable("the user agent is not the text of a header".to_owned()))
    }
}

/// Settings that no client can be made of.
pub(super) fn unusable(why: String) -> Error {
    Error::Unavailable {
        operation: "use",
        subject: "the bucket as configured".to_owned(),
        source: std::io::Error::other(why),
    }
}
