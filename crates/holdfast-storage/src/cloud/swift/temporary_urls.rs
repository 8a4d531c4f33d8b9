//! URLs at which an object can be read for a while: signed with a key that the container or the account holds.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::Method;
use object_store::path::Path;
use object_store::signer::Signer;
use sha1::Sha1;
use sha2::Sha256;
use url::Url;

use super::client::{Client, Place};

/// What signatures are made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digest {
    Sha1,
    Sha256,
}

impl Digest {
    /// The better of those that a cluster takes. One that lists none is older than the choice.
    pub(super) fn best(allowed: &[String]) -> Digest {
        match allowed.iter().any(|digest| digest == "sha256") {
            true => Digest::Sha256,
            false => Digest::Sha1,
        }
    }
}

pub(super) struct TemporaryUrls {
    pub(super) client: Arc<Client>,
    pub(super) key: String,
    pub(super) digest: Digest,
}

/// Without what is secret.
impl fmt::Debug for TemporaryUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemporaryUrls")
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Signer for TemporaryUrls {
    async fn signed_url(
        &self,
        method: Method,
        path: &Path,
        expires_in: Duration,
    ) -> object_store::Result<Url> {
        let session = self.client.session(None).await;
        let session = session.map_err(|failure| failure.about(path.as_ref()))?;
        let url = self
            .client
            .url(&session.public, Place::Object(path.as_ref()));
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let expires = (since.unwrap_or_default() + expires_in).as_secs();
        // Swift compares with the path as it reads it, which has nothing encoded.
        let base = session.public.path().trim_end_matches('/');
        let name = format!("{base}/{}/{path}", self.client.container());
        Ok(self.signed(&method, url, &name, expires))
    }
}

impl TemporaryUrls {
    fn signed(&self, method: &Method, mut url: Url, name: &str, expires: u64) -> Url {
        let text = format!("{method}\n{expires}\n{name}");
        let signature = match self.digest {
            Digest::Sha1 => {
                let mac = Hmac::<Sha1>::new_from_slice(self.key.as_bytes());
                let mac = mac.expect("any key will do").chain_update(&text);
                hex(&mac.finalize().into_bytes())
            }
            Digest::Sha256 => {
                let mac = Hmac::<Sha256>::new_from_slice(self.key.as_bytes());
                let mac = mac.expect("any key will do").chain_update(&text);
                hex(&mac.finalize().into_bytes())
            }
        };
        url.query_pairs_mut()
            .append_pair("temp_url_sig", &signature)
            .append_pair("temp_url_expires", &expires.to_string());
        url
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use object_store::client::{HttpConnector as _, ReqwestConnector};

    use super::super::identity::{AuthVersion, EndpointType, SwiftIdentity};
    use super::*;

    /// Compared with what `openssl dgst -hmac` makes of the same text.
    #[test]
    fn urls_are_signed_as_swift_checks_them() {
        let http = ReqwestConnector::default().connect(&Default::default());
        let identity = SwiftIdentity {
            auth_url: String::new(),
            version: AuthVersion::V1,
            username: String::new(),
            password: String::new(),
            tenant: None,
            tenant_id: None,
            domain: None,
            domain_id: None,
            tenant_domain: None,
            tenant_domain_id: None,
            trust_id: None,
            region: None,
            endpoint_type: EndpointType::Public,
        };
        let client = Client::new(
            http.unwrap(),
            Default::default(),
            identity,
            "c d".to_owned(),
        );
        let client = Arc::new(client);
        let storage = Url::parse("https://h/v1/AUTH_a").unwrap();
        for (digest, signature) in [
            (Digest::Sha1, "5580553f7c5da6b8981baab53d2d11145e74efa8"),
            (
                Digest::Sha256,
                "7555e554db83bbdd25c05fc2d9892afa664707d122fd6f8a21421e9f8017e1ee",
            ),
        ] {
            let urls = TemporaryUrls {
                client: Arc::clone(&client),
                key: "key".to_owned(),
                digest,
            };
            let url = client.url(&storage, Place::Object("a/b"));
            let signed = urls.signed(&Method::GET, url, "/v1/AUTH_a/c d/a/b", 1_700_000_000);
            let expected = format!(
                "https://h/v1/AUTH_a/c%20d/a/b?temp_url_sig={signature}&temp_url_expires=1700000000"
            );
            assert_eq!(signed.as_str(), expected);
        }
    }
}
