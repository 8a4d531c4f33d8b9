//! The `health` section: checks that make the registry unhealthy when they fail.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::http::{Header, address, read_headers};
use super::listen::Address;
use super::reader::Section;

/// Most checks of one kind.
const MAX_CHECKS: usize = 100;

/// All health checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether the storage answers; `None` means it is not checked.
    pub storage_driver: Option<Rhythm>,
    /// Files whose existence makes the registry unhealthy.
    pub files: Vec<FileCheck>,
    /// URLs that must answer.
    pub http: Vec<HttpCheck>,
    /// Addresses that must accept a connection.
    pub tcp: Vec<TcpCheck>,
}

/// How often a check runs and how patient it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// Time between two checks; never zero.
    pub interval: Duration,
    /// Failures in a row that make the registry unhealthy; at least 1.
    pub threshold: u64,
}

/// A file that must not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileCheck {
    /// The file.
    pub file: PathBuf,
    /// How often it is looked for.
    pub rhythm: Rhythm,
}

/// A URL that must answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    /// The URL, asked with HEAD.
    pub uri: Url,
    /// Headers of the request.
    pub headers: Vec<Header>,
    /// Status that counts as healthy.
    pub status_code: u16,
    /// Longest time for the answer.
    pub timeout: Option<Duration>,
    /// How often it is asked.
    pub rhythm: Rhythm,
}

/// An address that must accept a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpCheck {
    /// The address.
    pub addr: Address,
    /// Longest time to connect.
    pub timeout: Option<Duration>,
    /// How often it is tried.
    pub rhythm: Rhythm,
}

impl Health {
    pub(super) fn read(health: &Section<'_>) -> Self {
        let storage = health.section("storagedriver");
        let rhythm = Rhythm::read(&storage);
        let mut names = BTreeSet::new();
        Self {
            storage_driver: storage.flag("enabled").then_some(rhythm),
            files: checks(health, "file", "file", &mut names)
                .into_iter()
                .map(|item| FileCheck {
                    file: item.path_of("file").unwrap_or_default(),
                    rhythm: Rhythm {
                        interval: item.positive_duration("interval"),
                        threshold: 1,
                    },
                })
                .collect(),
            http: checks(health, "http", "uri", &mut names)
                .iter()
                .filter_map(HttpCheck::read)
                .collect(),
            tcp: checks(health, "tcp", "addr", &mut names)
                .into_iter()
                .filter_map(|item| {
                    let rhythm = Rhythm::read(&item);
                    let timeout = timeout(&item);
                    let addr = address(&item, "addr")?;
                    if addr.host.is_empty() || addr.port == 0 {
                        item.refuse("addr", "expected a host and a port to connect to");
                    }
                    Some(TcpCheck {
                        addr,
                        timeout,
                        rhythm,
                    })
                })
                .collect(),
        }
    }
}

/// The checks of one kind. The key that says what is checked is required and names the check, and
/// two checks of one name could not be told apart.
fn checks<'d>(
    health: &Section<'d>,
    kind: &str,
    key: &str,
    names: &mut BTreeSet<String>,
) -> Vec<Section<'d>> {
    let mut items = health.items(kind);
    if items.len() > MAX_CHECKS {
        health.refuse(
            kind,
            format!("has {} checks, at most {MAX_CHECKS} are run", items.len()),
        );
        items.truncate(MAX_CHECKS);
    }
    for item in &items {
        let name = item.required_text(key);
        if !name.is_empty() && !names.insert(name.clone()) {
            item.refuse(key, format!("Check already exists: {name:?}"));
        }
    }
    items
}

impl Rhythm {
    fn read(section: &Section<'_>) -> Self {
        let threshold = section.integer("threshold").unwrap_or_default();
        Self {
            interval: section.positive_duration("interval"),
            threshold: u64::try_from(threshold).unwrap_or_default().max(1),
        }
    }
}

impl HttpCheck {
    fn read(item: &Section<'_>) -> Option<Self> {
        let status_code = item.integer("statuscode").unwrap_or_default();
        let headers = read_headers(&item.section("headers"));
        let timeout = timeout(item);
        let rhythm = Rhythm::read(item);
        let uri = match Url::parse(&item.text("uri")?) {
            Ok(uri) if matches!(uri.scheme(), "http" | "https") && uri.has_host() => uri,
            _ => {
                item.refuse("uri", "expected a URL such as http://127.0.0.1:8080/health");
                return None;
            }
        };
        Some(Self {
            uri,
            headers,
            status_code: u16::try_from(status_code).unwrap_or_default(),
            timeout,
            rhythm,
        })
    }
}

fn timeout(item: &Section<'_>) -> Option<Duration> {
    item.duration("timeout").filter(|limit| !limit.is_zero())
}
