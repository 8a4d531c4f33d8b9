//! OpenStack Swift, by its own protocol.
//!
//! Names are Distribution 2.8's: objects below `files/`, so that a container it wrote is served in place. Its segments are
//! below `segments/`, ours below `holdfast-segments/`, each named after the object and the upload they belong to:
//! nothing of one is taken for something of the other. Distribution's large objects are dynamic (what has a prefix), ours are
//! static (what a manifest names, checked by its hashes), which no late request changes.
//!
//! | | requests |
//! |---|---|
//! | beginning a multipart upload | 0 |
//! | completing one | 1, for which Swift looks at every segment |
//! | deleting an object | 2: a look tells what kind it is, and so what goes with it |

mod client;
mod identity;
mod segments;
mod store;
mod temporary_urls;

use std::sync::Arc;

use http::{Method, StatusCode};
use object_store::signer::Signer;
use serde::Deserialize;

use self::client::{Asked, Client, Failure, Outcome, Place, json};
use self::store::Swift;
use self::temporary_urls::{Digest, TemporaryUrls};
use super::Cloud;
use super::bucket::{Bucket, failed};
use super::multiparts::Multiparts;
use super::settings::{Common, Limits, unusable};
use crate::Result;

pub use identity::{AuthVersion, EndpointType, SwiftIdentity};

/// Segments of a static large object, where the cluster does not say how many it takes.
const SEGMENTS_MAX: usize = 1000;
/// So many bytes are worth a segment at the end of a request.
const CUT_BYTES: usize = 5 * 1024 * 1024;
/// The largest object that the cluster copies for us: it says nothing until it is done.
const COPY_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// A container of Swift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwiftSettings {
    /// Who we are.
    pub identity: SwiftIdentity,
    /// The container, made if it is not there.
    pub container: String,
    /// How clients are sent to Swift.
    pub temporary_urls: TemporaryUrlSettings,
    /// What is set alike for every service. The root directory is Distribution's prefix.
    pub common: Common,
}

/// How clients are sent to Swift.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TemporaryUrlSettings {
    /// The key that signs; the one that the container or the account has if unset, and none if that has none.
    pub key: Option<String>,
    /// The key is the container's, where the cluster does not say whether it knows such keys.
    pub of_container: bool,
    /// `GET` is allowed, where the cluster does not say what is.
    pub allowed: bool,
}

/// Without what is secret.
impl std::fmt::Debug for TemporaryUrlSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TemporaryUrlSettings")
            .field("of_container", &self.of_container)
            .field("allowed", &self.allowed)
            .finish_non_exhaustive()
    }
}

/// What a cluster says of itself, as far as it concerns us.
#[derive(Default, Deserialize)]
struct Info {
    #[serde(default)]
    swift: Release,
    slo: Option<LargeObjects>,
    tempurl: Option<Signing>,
}

#[derive(Default, Deserialize)]
struct Release {
    #[serde(default)]
    version: String,
}

impl Release {
    /// Whether containers have keys of their own. Not every service that speaks for Swift says its version.
    fn has_container_keys(&self) -> bool {
        let mut numbers = self.version.split('.').map(|number| number.parse().ok());
        let mut next = || numbers.next().flatten().unwrap_or(0);
        (next(), next()) >= (2, 3)
    }
}

#[derive(Default, Deserialize)]
struct LargeObjects {
    max_manifest_segments: Option<usize>,
    min_segment_size: Option<usize>,
}

#[derive(Deserialize)]
struct Signing {
    #[serde(default)]
    methods: Vec<String>,
    #[serde(default)]
    allowed_digests: Vec<String>,
}

impl Cloud {
    /// Opens a container, which is made if it is not there.
    pub async fn swift(settings: &SwiftSettings, random: fn() -> [u8; 16]) -> Result<Arc<Cloud>> {
        let common = &settings.common;
        let client = Client::new(
            common.client_without_redirects()?,
            common.retry(),
            settings.identity.clone(),
            settings.container.clone(),
        );
        let subject = format!("container {}", settings.container);
        let use_of = |failure: Failure| failed("use", subject.clone())(failure.about(&subject));
        let client = Arc::new(client);
        make_container(&client).await.map_err(use_of)?;
        let info = info(&client).await.map_err(use_of)?;
        let large = match &info {
            Some(info) => info.slo.as_ref(),
            None => Some(&LargeObjects::default()),
        };
        let Some(large) = large else {
            let text = "the cluster has no static large objects (middleware slo)";
            return Err(unusable(text.to_owned()));
        };
        let least = large.min_segment_size.unwrap_or(1);
        if common.part_bytes < least {
            let text = format!("chunksize is less than {least}, the least that the cluster takes");
            return Err(unusable(text));
        }
        let signer: Option<Arc<dyn Signer>> = if common.redirect {
            let urls = temporary_urls(&client, settings, info.as_ref());
            urls.await
                .map_err(use_of)?
                .map(|urls| Arc::new(urls) as Arc<dyn Signer>)
        } else {
            None
        };
        let segments_max = large.max_manifest_segments.unwrap_or(SEGMENTS_MAX);
        let prefix = common.root();
        let root = format!("{prefix}files/");
        let swift = Arc::new(Swift {
            segments: format!("{prefix}holdfast-segments/"),
            foreign_segments: format!("{prefix}segments/"),
            files: root.clone(),
            client,
            random,
        });
        let bucket = Bucket {
            driver: "swift",
            making: swift.clone(),
            listing: swift.clone(),
            service: swift.clone(),
            signer,
            multiparts: Some(swift as Arc<dyn Multiparts>),
            root,
            listed_root: "",
            copy_bytes_max: COPY_BYTES_MAX,
        };
        let limits = Limits::new(common, CUT_BYTES.max(least), segments_max);
        Ok(Cloud::new(bucket, limits, common, random))
    }
}

async fn make_container(client: &Client) -> Outcome<()> {
    let look = Asked::new(Method::HEAD, Place::Container);
    match client.send(&look).await {
        Err(failure) if failure.status() == Some(StatusCode::NOT_FOUND) => {
            client
                .send(&Asked::new(Method::PUT, Place::Container))
                .await?;
            Ok(())
        }
        answer => answer.map(drop),
    }
}

/// What the cluster says of itself; `None` if it does not. Two steps up from the account, as Distribution asks.
async fn info(client: &Client) -> Outcome<Option<Info>> {
    let mut url = client.session(None).await?.storage.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().pop().pop().push("info");
    }
    let headers = http::HeaderMap::new();
    let asked = client.exchange(&Method::GET, &url, &headers, Default::default());
    match asked.await {
        Ok(answer) => Ok(Some(json(answer).await?)),
        Err(Failure::Answered { status, .. }) if status.is_client_error() => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// What signs URLs for clients, if the cluster takes such and there is a key.
async fn temporary_urls(
    client: &Arc<Client>,
    settings: &SwiftSettings,
    info: Option<&Info>,
) -> Outcome<Option<TemporaryUrls>> {
    let wanted = &settings.temporary_urls;
    let (allowed, of_container, digest) = match info {
        Some(info) => {
            let signing = info.tempurl.as_ref();
            let methods = signing.map_or(&[][..], |signing| &signing.methods);
            let digests = signing.map_or(&[][..], |signing| &signing.allowed_digests);
            (
                methods.iter().any(|method| method == "GET"),
                info.swift.has_container_keys() || wanted.of_container,
                Digest::best(digests),
            )
        }
        None => (wanted.allowed, wanted.of_container, Digest::Sha256),
    };
    if !allowed {
        return Ok(None);
    }
    let (place, name) = match of_container {
        true => (Place::Container, "x-container-meta-temp-url-key"),
        false => (Place::Account, "x-account-meta-temp-url-key"),
    };
    let answer = client.send(&Asked::new(Method::HEAD, place)).await?;
    let found = answer
        .headers()
        .get(name)
        .and_then(|value| value.to_str().ok());
    let found = found.filter(|key| !key.is_empty()).map(str::to_owned);
    let key = match &wanted.key {
        Some(key) => {
            if found.as_ref() != Some(key) {
                let mut value = key.parse().map_err(|_| {
                    Failure::Answer("secretkey is not the text of a header".to_owned())
                })?;
                http::HeaderValue::set_sensitive(&mut value, true);
                let setting = Asked::new(Method::POST, place).header(name, value);
                client.send(&setting).await?;
            }
            Some(key.clone())
        }
        None => found,
    };
    Ok(key.map(|key| TemporaryUrls {
        client: Arc::clone(client),
        key,
        digest,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_with_keys_of_containers() {
        for (version, has) in [
            ("2.2.2", false),
            ("2.3.0", true),
            ("2.30.1", true),
            ("2.10", true),
            ("3", true),
            ("", false),
            ("x", false),
        ] {
            let release = Release {
                version: version.to_owned(),
            };
            assert_eq!(release.has_container_keys(), has, "{version}");
        }
    }
}
