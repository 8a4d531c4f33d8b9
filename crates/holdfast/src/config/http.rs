//! The `http` section except TLS.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use super::listen::{self, Address, Listen};
use super::reader::Section;
use super::secret::Secret;
use super::tls::Tls;

/// Most headers that can be added to answers, or to the request of a health check.
const MAX_HEADERS: usize = 100;

/// Most proxies that can be trusted: each address in each header is compared with all.
const MAX_PROXIES: usize = 1000;

/// How the registry is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where it listens.
    pub listen: Listen,
    /// Base of the URLs given to clients, ending in `/`; `None` means as the request says.
    pub host: Option<Url>,
    /// Path of the API, beginning and ending in `/`.
    pub prefix: String,
    /// Whether Location headers come without scheme and host.
    pub relative_urls: bool,
    /// Key that signs the state of uploads; `None` means one that is kept in the database.
    pub secret: Option<Secret>,
    /// Time given to running requests at shutdown; zero means none.
    pub drain_timeout: Duration,
    /// Proxies whose `Forwarded` and `X-Forwarded-*` headers count; `None` when that is left to the registry.
    pub trusted_proxies: Option<Vec<IpNet>>,
    /// Headers added to every answer of the API, in the order of the file.
    pub headers: Vec<Header>,
    /// TLS; `None` means plain HTTP.
    pub tls: Option<Tls>,
    /// Whether HTTP/2 is offered over TLS.
    pub http2: bool,
    /// Whether HTTP/2 is accepted without TLS.
    pub h2c: bool,
    /// Where the debug server listens; `None` means there is none.
    pub debug: Option<Address>,
    /// Where metrics stand on the debug server; `None` means nowhere.
    pub metrics: Option<String>,
    /// Time in which a request's headers must arrive; zero means no limit.
    pub header_timeout: Duration,
    /// Longest pause within a request body or an answer; zero means no limit.
    pub idle_timeout: Duration,
    /// Longest time for a request that transfers no blob.
    pub timeout: Option<Duration>,
    /// Most connections at one time.
    pub max_connections: usize,
    /// Send buffer of connections to clients that are near, in bytes; zero leaves all to the kernel.
    pub send_buffer: usize,
}

/// A header with its values, known to be valid on the wire.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name, as written.
    pub name: String,
    /// Its values; each becomes a line of its own.
    pub values: Vec<String>,
}

/// Values stay hidden: a header of a health check may carry a credential.
impl std::fmt::Debug for Header {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "Header({:?}, {} values)",
            self.name,
            self.values.len()
        )
    }
}

impl Http {
    pub(super) fn read(http: &Section<'_>) -> Self {
        let listen = read_listen(http);
        let debug = address(&http.section("debug"), "addr");
        if let (Some(debug), Listen::Tcp(main)) = (&debug, &listen)
            && debug == main
            && debug.port != 0
        {
            http.section("debug")
                .refuse("addr", "is the same address as http.addr");
        }
        Self {
            listen,
            host: read_host(http),
            prefix: read_prefix(http),
            relative_urls: http.flag("relativeurls"),
            secret: http.text("secret").map(Secret::new),
            drain_timeout: read_drain_timeout(http),
            trusted_proxies: read_trusted_proxies(http),
            headers: read_headers(&http.section("headers")),
            tls: Tls::read(&http.section("tls")),
            http2: !http.section("http2").flag("disabled"),
            h2c: http.section("h2c").flag("enabled"),
            metrics: read_metrics(&http.section("debug")),
            debug,
            header_timeout: http.duration("headertimeout").unwrap_or_default(),
            idle_timeout: http.duration("idletimeout").unwrap_or_default(),
            timeout: http.duration("timeout").filter(|limit| !limit.is_zero()),
            max_connections: http.count("maxconnections"),
            send_buffer: http.count("sendbuffer"),
        }
    }
}

/// The path of the metrics, when they are on and there is a server for them.
fn read_metrics(debug: &Section<'_>) -> Option<String> {
    let prometheus = debug.section("prometheus");
    let path = prometheus.text("path").unwrap_or_default();
    if !prometheus.flag("enabled") {
        return None;
    }
    if !path.starts_with('/') || path == "/debug/health" {
        let text = format!("expected a path of its own such as /metrics, found {path:?}");
        prometheus.refuse("path", text);
    }
    if !debug.has("addr") {
        prometheus.warn("enabled", "has no effect without http.debug.addr");
        return None;
    }
    Some(path)
}

fn read_listen(http: &Section<'_>) -> Listen {
    let net = http.choice("net", |found| {
        format!("unknown address type {found}, expected tcp or unix")
    });
    let written = http.text("addr").unwrap_or_default();
    if net == "unix" {
        return match listen::socket(&written) {
            Ok(path) => Listen::Unix(path),
            Err(text) => {
                http.refuse("addr", text);
                Listen::Unix(written.into())
            }
        };
    }
    if written.is_empty() {
        http.warn(
            "addr",
            "is not set, so a free port on all interfaces is chosen at each start",
        );
    }
    Listen::Tcp(address(http, "addr").unwrap_or_default())
}

/// An address, judged; `None` when unset.
pub(super) fn address(section: &Section<'_>, name: &str) -> Option<Address> {
    match Address::parse(&section.text(name)?) {
        Ok(address) => Some(address),
        Err(text) => {
            section.refuse(name, text);
            None
        }
    }
}

/// Distribution ignores a host without a scheme; of the path only what ends in `/` counts.
fn read_host(http: &Section<'_>) -> Option<Url> {
    let written = http.text("host")?;
    if !(written.starts_with("http://") || written.starts_with("https://")) {
        http.warn("host", "has no scheme http:// or https:// and is ignored");
        return None;
    }
    let mut url = match Url::parse(&written) {
        Ok(url) if url.has_host() => url,
        Ok(_) => {
            http.refuse("host", "has no host name");
            return None;
        }
        Err(error) => {
            http.refuse("host", format!("is not a URL: {error}"));
            return None;
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        http.refuse(
            "host",
            "is given to clients and cannot contain a user or password",
        );
        return None;
    }
    url.set_query(None);
    url.set_fragment(None);
    let kept = url.path().rfind('/').map_or(0, |slash| slash + 1);
    let path = url.path()[..kept].to_owned();
    url.set_path(&path);
    Some(url)
}

/// A path of plain segments: anything that needs escaping would differ between client and server.
fn read_prefix(http: &Section<'_>) -> String {
    let written = http.text("prefix").unwrap_or_default();
    let inner = written.trim_matches('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    let good = |segment: &str| {
        !segment.is_empty() && segment != "." && segment != ".." && segment.chars().all(plain)
    };
    if inner.is_empty() {
        return "/".to_owned();
    }
    if !written.starts_with('/') || !inner.split('/').all(good) {
        let text = format!("expected a path such as /registry/, found {written:?}");
        http.refuse("prefix", text);
    }
    format!("/{inner}/")
}

/// An empty list trusts nobody.
fn read_trusted_proxies(http: &Section<'_>) -> Option<Vec<IpNet>> {
    let written = http.list("trustedproxies");
    if written.len() > MAX_PROXIES {
        let count = written.len();
        http.refuse(
            "trustedproxies",
            format!("has {count} entries, at most {MAX_PROXIES} can be set"),
        );
        return None;
    }
    let mut networks = Vec::with_capacity(written.len());
    for (node, text) in written {
        let address = || text.parse().ok().map(|address: IpAddr| address.into());
        match text.parse().ok().or_else(address) {
            Some(network) => networks.push(network),
            None => {
                let text =
                    format!("expected an address or a network such as 10.0.0.0/8, found {text:?}");
                http.refuse_at(&node.at, "http.trustedproxies", text);
            }
        }
    }
    http.has("trustedproxies").then_some(networks)
}

/// Below zero the wait is over before it begins, in Distribution as here.
fn read_drain_timeout(http: &Section<'_>) -> Duration {
    let nanoseconds = http.nanoseconds("draintimeout").unwrap_or_default();
    u64::try_from(nanoseconds).map_or_else(
        |_| {
            http.warn("draintimeout", "is below zero and counts as 0");
            Duration::ZERO
        },
        Duration::from_nanos,
    )
}

/// Headers that can be sent as they are; anything that could split an answer is refused.
pub(super) fn read_headers(headers: &Section<'_>) -> Vec<Header> {
    let mut read: Vec<Header> = Vec::new();
    let written = headers.free_keys().count();
    if written > MAX_HEADERS {
        let text = format!("has {written} headers, at most {MAX_HEADERS} can be set");
        headers.refuse_at(headers.at(), headers.path(), text);
        return read;
    }
    for pair in headers.free_keys() {
        let key = super::check::join(headers.path(), &pair.key);
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if pair.key.is_empty() || !pair.key.chars().all(token) {
            headers.refuse_at(
                &pair.at,
                headers.path(),
                format!("{:?} is not the name of a header", pair.key),
            );
            continue;
        }
        let mut values = Vec::new();
        for node in pair.value.as_list().unwrap_or_default() {
            let value = node.as_scalar().map_or("", |scalar| scalar.text.as_str());
            if value.chars().any(|c| c.is_control() && c != '\t') {
                headers.refuse_at(&node.at, &key, "a header cannot contain control characters");
            } else {
                values.push(value.to_owned());
            }
        }
        match read
            .iter_mut()
            .find(|header| header.name.eq_ignore_ascii_case(&pair.key))
        {
            Some(header) => header.values.append(&mut values),
            None => read.push(Header {
                name: pair.key.clone(),
                values,
            }),
        }
    }
    read
}
