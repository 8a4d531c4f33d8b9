//! Middleware of storage: where clients are sent for the bytes of a blob.
//!
//! As in Distribution each entry wraps those before it, so the last one has the first word: `redirect` always
//! answers, `cloudfront` unless the client is one of Amazon's, `rewrite` edits what the entries before it, or the
//! storage itself, answered.
//!
//! Invariant: only keys of stored objects and the operator's own texts get into a URL.

mod amazon;
mod cloudfront;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use holdfast_storage::StorageKey;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::clock;
use crate::config::{AmazonAddresses, Rewrite, StorageMiddleware};
use amazon::Addresses;
use cloudfront::Signer;

/// All entries, the first innermost.
#[derive(Default)]
pub(crate) struct Redirects(Vec<Entry>);

enum Entry {
    CloudFront(CloudFront),
    Redirect(String),
    Rewrite(Rewrite),
}

struct CloudFront {
    /// What the keys of the bucket follow in a URL.
    base: String,
    signer: Arc<Signer>,
    life: Duration,
    /// Who goes to the storage itself, and how that is known.
    direct: Option<(Arc<Addresses>, AmazonAddresses)>,
}

impl Redirects {
    /// Reads the keys. `root` is what the driver puts before every key in its bucket.
    pub(crate) fn open(entries: &[StorageMiddleware], root: &str) -> Result<Redirects, String> {
        let open = |entry: &StorageMiddleware| {
            Ok(match entry {
                StorageMiddleware::CloudFront(settings) => Entry::CloudFront(CloudFront {
                    base: below(&settings.base_url, root),
                    signer: Arc::new(Signer::open(settings)?),
                    life: settings.life,
                    direct: settings
                        .amazon
                        .clone()
                        .map(|amazon| (Arc::default(), amazon)),
                }),
                StorageMiddleware::Redirect { base_url } => Entry::Redirect(base_url.clone()),
                StorageMiddleware::Rewrite(rewrite) => Entry::Rewrite(rewrite.clone()),
            })
        };
        let entries: Result<Vec<_>, String> = entries.iter().map(open).collect();
        entries.map(Redirects)
    }

    /// Keeps what must be known of the world up to date until `stop`.
    pub(crate) fn start(&self, stop: &CancellationToken) {
        for entry in &self.0 {
            if let Entry::CloudFront(CloudFront {
                direct: Some((addresses, amazon)),
                ..
            }) = entry
            {
                let addresses = Arc::clone(addresses);
                tokio::spawn(addresses.keep_reading(amazon.clone(), stop.clone()));
            }
        }
    }

    /// How long a URL of an entry may be good, beside those of the storage itself.
    pub(crate) fn life(&self) -> Duration {
        let life = |entry: &Entry| match entry {
            Entry::CloudFront(cloudfront) => cloudfront.life,
            Entry::Redirect(_) | Entry::Rewrite(_) => Duration::ZERO,
        };
        self.0.iter().map(life).max().unwrap_or_default()
    }

    /// Where a client at this address gets the object. `storage` tells where the storage itself would send it.
    pub(crate) async fn url<E>(
        &self,
        key: &StorageKey,
        client: Option<IpAddr>,
        storage: impl AsyncFnOnce() -> Result<Option<String>, E>,
    ) -> Result<Option<String>, E> {
        let mut rewrites = Vec::new();
        let mut found = None;
        for entry in self.0.iter().rev() {
            found = match entry {
                Entry::Rewrite(rewrite) => {
                    rewrites.push(rewrite);
                    None
                }
                Entry::Redirect(base) => Some(below(base, key.as_str())),
                Entry::CloudFront(cloudfront) if cloudfront.is_for(client) => {
                    cloudfront.url(key).await
                }
                Entry::CloudFront(_) => None,
            };
            if found.is_some() {
                break;
            }
        }
        let found = match found {
            Some(url) => Some(url),
            None => storage().await?,
        };
        // The innermost first.
        Ok(found.map(|url| rewrites.into_iter().rev().fold(url, rewritten)))
    }
}

impl CloudFront {
    fn is_for(&self, client: Option<IpAddr>) -> bool {
        match (&self.direct, client) {
            (Some((addresses, _)), Some(client)) => !addresses.contain(client),
            _ => true,
        }
    }

    /// A signature takes long enough to be kept off the threads that move bytes.
    async fn url(&self, key: &StorageKey) -> Option<String> {
        let url = below(&self.base, key.as_str());
        let until = clock::now().plus(self.life);
        let signer = Arc::clone(&self.signer);
        let signed = tokio::task::spawn_blocking(move || signer.sign(&url, until)).await;
        match signed.map_err(|error| error.to_string()).flatten() {
            Ok(url) => Some(url),
            Err(error) => {
                tracing::error!(error, "a URL for CloudFront could not be signed");
                None
            }
        }
    }
}

/// A path below a base, with one slash between.
fn below(base: &str, path: &str) -> String {
    let (base, path) = (base.trim_end_matches('/'), path.trim_matches('/'));
    if path.is_empty() {
        base.to_owned()
    } else {
        format!("{base}/{path}")
    }
}

fn rewritten(url: String, rewrite: &Rewrite) -> String {
    let Ok(mut parsed) = Url::parse(&url) else {
        return url;
    };
    if let Some(path) = parsed
        .path()
        .strip_prefix(rewrite.trim_path_prefix.as_str())
    {
        let path = path.to_owned();
        parsed.set_path(&path);
    }
    // The text of a URL, because its parser forbids changes from and to schemes that it does not know.
    let text: String = parsed.into();
    let Some((scheme, rest)) = text.split_once("://") else {
        return text;
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    format!(
        "{}://{}{path}",
        rewrite.scheme.as_deref().unwrap_or(scheme),
        rewrite.host.as_deref().unwrap_or(host)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "docker/registry/v2/blobs/sha256/aa/aa/data";

    fn redirect(base_url: &str) -> StorageMiddleware {
        StorageMiddleware::Redirect {
            base_url: base_url.to_owned(),
        }
    }

    fn rewrite(scheme: &str, host: &str, trim_path_prefix: &str) -> StorageMiddleware {
        let part = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        StorageMiddleware::Rewrite(Rewrite {
            scheme: part(scheme),
            host: part(host),
            trim_path_prefix: trim_path_prefix.to_owned(),
        })
    }

    /// Where clients go when the storage itself would send them to this URL.
    async fn sent(entries: &[StorageMiddleware], storage: Option<&str>) -> Option<String> {
        let redirects = Redirects::open(entries, "").unwrap();
        let key: StorageKey = KEY.parse().unwrap();
        let storage = async || Ok::<_, ()>(storage.map(str::to_owned));
        redirects.url(&key, None, storage).await.unwrap()
    }

    #[tokio::test]
    async fn the_last_entry_has_the_first_word() {
        let signed = "https://s3.example.com/bucket/docker/data?X-Amz-Signature=a%2Fb";
        let cdn = "https://cdn.example.com/base/";
        let below = format!("{cdn}{KEY}");
        let cases = [
            (vec![], Some(signed), Some(signed.to_owned())),
            (vec![], None, None),
            (vec![redirect(cdn)], Some(signed), Some(below.clone())),
            (vec![redirect(cdn)], None, Some(below.clone())),
            (
                vec![rewrite("http", "front:8080", "/bucket")],
                Some(signed),
                Some("http://front:8080/docker/data?X-Amz-Signature=a%2Fb".to_owned()),
            ),
            (vec![rewrite("http", "front", "")], None, None),
            (
                vec![rewrite("", "front", "/elsewhere")],
                Some(signed),
                Some(signed.replace("s3.example.com", "front")),
            ),
            // Around a redirect, and within one.
            (
                vec![redirect(cdn), rewrite("http", "", "/base")],
                None,
                Some(format!("http://cdn.example.com/{KEY}")),
            ),
            (
                vec![rewrite("http", "front", ""), redirect(cdn)],
                Some(signed),
                Some(below),
            ),
            (
                vec![rewrite("", "inner", ""), rewrite("http", "", "")],
                Some(signed),
                Some(signed.replace("https://s3.example.com", "http://inner")),
            ),
        ];
        for (entries, storage, expected) in cases {
            assert_eq!(sent(&entries, storage).await, expected, "{entries:?}");
        }
    }

    #[test]
    fn paths_are_joined_by_one_slash() {
        for (base, path, whole) in [
            ("https://a", "b/c", "https://a/b/c"),
            ("https://a/", "/b/", "https://a/b"),
            ("https://a/x//", "b", "https://a/x/b"),
            ("https://a/", "", "https://a"),
            ("https://a/", "/", "https://a"),
        ] {
            assert_eq!(below(base, path), whole);
        }
    }
}
