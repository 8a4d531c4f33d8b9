//! Another registry as a source, over its HTTP API.
//!
//! Source: distribution-spec; Docker's token specification.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use holdfast_model::{Algorithm, Digest, Hasher, MediaType, Reference, RepositoryName, Tag};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LINK, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use reqwest::Response;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{Credentials, DOCUMENT_BYTES_MAX, Failure, Fetched, Source};
use crate::error_chain::chain;
use crate::operations::{self, ByteStream};

/// Longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time without a byte.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a request is made.
const ATTEMPTS: u32 = 5;
/// How often one is made that gets no answer at all.
const CONNECTION_ATTEMPTS: u32 = 3;
/// Longest pause that a registry may ask for.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Entries asked for in one page of a list.
const PAGE: usize = 1000;
/// Most redirects in a row.
const REDIRECTS: usize = 5;

/// The types of manifests, as `Accept` names them.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// How to reach another registry.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Connection {
    /// Host, and port if it is not the usual one.
    pub(crate) host: String,
    /// Without TLS. Hosts of this machine are reached so anyway.
    pub(crate) plain_http: bool,
    /// Whatever certificate it shows.
    pub(crate) insecure: bool,
    /// Certificates of authorities that are trusted beside the system's, as PEM.
    pub(crate) authorities: Option<String>,
    /// Who asks.
    pub(crate) credentials: Option<Credentials>,
}

/// Another registry.
pub(crate) struct RegistrySource {
    client: reqwest::Client,
    base: Url,
    credentials: Option<Credentials>,
    /// `Authorization` that was accepted, by scope: a repository, or empty for the catalog.
    authorizations: Mutex<HashMap<String, String>>,
}

impl RegistrySource {
    /// Prepares the connection; nothing is sent yet.
    pub(crate) fn new(connection: &Connection) -> Result<RegistrySource, Failure> {
        let host = match connection.host.as_str() {
            "docker.io" | "index.docker.io" => "registry-1.docker.io",
            host => host,
        };
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let local = matches!(name, "localhost" | "127.0.0.1" | "[::1]");
        let plain = connection.plain_http || (local && connection.authorities.is_none());
        let scheme = if plain { "http" } else { "https" };
        let base = Url::parse(&format!("{scheme}://{host}/"))
            .map_err(|error| format!("{host:?} is no host: {error}"))?;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            // Credentials do not follow to another host.
            .redirect(reqwest::redirect::Policy::limited(REDIRECTS))
            .tls_danger_accept_invalid_certs(connection.insecure)
            .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")));
        if let Some(authorities) = &connection.authorities {
            let certificates = reqwest::Certificate::from_pem_bundle(authorities.as_bytes())
                .map_err(|error| format!("the authorities' certificates: {}", chain(&error)))?;
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder.build().map_err(|error| chain(&error))?;
        Ok(RegistrySource {
            client,
            base,
            credentials: connection.credentials.clone(),
            authorizations: Mutex::default(),
        })
    }

    fn url(&self, path: &str) -> Result<Url, Failure> {
        self.base
            .join(path)
            .map_err(|error| format!("{path}: {error}"))
    }

    /// Asks until there is an answer worth having; `None` for 404.
    async fn get(
        &self,
        url: &Url,
        scope: &str,
        accept: Option<&str>,
    ) -> Result<Option<Response>, Failure> {
        let mut last = String::new();
        for attempt in 0..ATTEMPTS {
            let response = match self.ask(url, scope, accept).await {
                Ok(response) => response,
                Err(why) => {
                    last = why;
                    if attempt + 1 >= CONNECTION_ATTEMPTS {
                        break;
                    }
                    tokio::time::sleep(Duration::from_secs(1 << attempt)).await;
                    continue;
                }
            };
            let status = response.status();
            if status.is_success() {
                return Ok(Some(response));
            }
            if status == StatusCode::NOT_FOUND {
                return Ok(None);
            }
            last = format!("{url}: {status}");
            if status != StatusCode::TOO_MANY_REQUESTS && !status.is_server_error() {
                return Err(last);
            }
            let asked = text(response.headers(), RETRY_AFTER.as_str())
                .and_then(|seconds| seconds.parse().ok())
                .map(Duration::from_secs);
            let pause = asked.unwrap_or(Duration::from_secs(1 << attempt));
            tokio::time::sleep(pause.min(PAUSE_MAX)).await;
        }
        Err(last)
    }

    /// Asks once, and once more when that needs a login.
    async fn ask(&self, url: &Url, scope: &str, accept: Option<&str>) -> Result<Response, Failure> {
        let known = self.authorization(scope);
        let response = self.send(url, accept, known.as_deref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let Some(challenge) = text(response.headers(), WWW_AUTHENTICATE.as_str()) else {
            return Ok(response);
        };
        let Some(authorization) = self.answer(challenge).await? else {
            return Ok(response);
        };
        let response = self.send(url, accept, Some(&authorization)).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            let mut known = self
                .authorizations
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            known.insert(scope.to_owned(), authorization);
        }
        Ok(response)
    }

    fn authorization(&self, scope: &str) -> Option<String> {
        let known = self
            .authorizations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.get(scope).cloned()
    }

    async fn send(
        &self,
        url: &Url,
        accept: Option<&str>,
        authorization: Option<&str>,
    ) -> Result<Response, Failure> {
        let mut request = self.client.get(url.clone());
        if let Some(accept) = accept {
            request = request.header(ACCEPT, accept);
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request
            .send()
            .await
            .map_err(|error| format!("{url}: {}", chain(&error)))
    }

    /// The `Authorization` that a challenge asks for, if there is something to say.
    async fn answer(&self, challenge: &str) -> Result<Option<String>, Failure> {
        let basic = self.credentials.as_ref().and_then(Credentials::basic);
        let basic = basic.map(|pair| format!("Basic {}", BASE64_STANDARD.encode(pair)));
        let (scheme, rest) = challenge.split_once(' ').unwrap_or((challenge, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Ok(basic);
        }
        let parameters = parameters(rest);
        let realm = parameters
            .get("realm")
            .ok_or("the registry asks for a token and does not say where")?;
        let mut url = Url::parse(realm).map_err(|error| format!("{realm}: {error}"))?;
        let identity = self
            .credentials
            .as_ref()
            .and_then(|known| known.identity_token.clone());
        let request = match identity {
            Some(identity) => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                form.append_pair("grant_type", "refresh_token")
                    .append_pair("client_id", "holdfast")
                    .append_pair("refresh_token", &identity);
                for name in ["service", "scope"] {
                    if let Some(value) = parameters.get(name) {
                        form.append_pair(name, value);
                    }
                }
                self.client
                    .post(url)
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(form.finish())
            }
            None => {
                for name in ["service", "scope"] {
                    if let Some(value) = parameters.get(name) {
                        url.query_pairs_mut().append_pair(name, value);
                    }
                }
                let request = self.client.get(url);
                match basic {
                    Some(basic) => request.header(AUTHORIZATION, basic),
                    None => request,
                }
            }
        };
        let response = request
            .send()
            .await
            .map_err(|error| format!("{realm}: {}", chain(&error)))?;
        if !response.status().is_success() {
            return Err(format!("{realm}: {}", response.status()));
        }
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let answer = document(response).await?;
        let token: Token =
            serde_json::from_slice(&answer).map_err(|error| format!("{realm}: {error}"))?;
        let token = token.token.or(token.access_token);
        Ok(token.map(|token| format!("Bearer {token}")))
    }

    /// All entries of a list in pages.
    async fn list(&self, path: &str, scope: &str, field: &str) -> Result<Vec<String>, Failure> {
        let mut url = self.url(&format!("{path}?n={PAGE}"))?;
        let mut entries = Vec::new();
        loop {
            let Some(response) = self.get(&url, scope, None).await? else {
                return Ok(entries);
            };
            let next = text(response.headers(), LINK.as_str()).and_then(next_page);
            let next = next.map(|link| url.join(link));
            let page = document(response).await?;
            let mut page: serde_json::Value =
                serde_json::from_slice(&page).map_err(|error| format!("{url}: {error}"))?;
            let before = entries.len();
            if let serde_json::Value::Array(found) = page[field].take() {
                entries.extend(found.into_iter().filter_map(|entry| match entry {
                    serde_json::Value::String(entry) => Some(entry),
                    _ => None,
                }));
            }
            match next {
                Some(Ok(next)) if entries.len() > before && same_place(&next, &self.base) => {
                    url = next;
                }
                _ => return Ok(entries),
            }
        }
    }
}

fn same_place(one: &Url, other: &Url) -> bool {
    one.host() == other.host() && one.port_or_known_default() == other.port_or_known_default()
}

#[async_trait]
impl Source for RegistrySource {
    async fn repositories(&self) -> Result<Vec<RepositoryName>, Failure> {
        let names = self.list("v2/_catalog", "", "repositories").await?;
        names
            .into_iter()
            .map(|name| name.parse().map_err(|error| format!("{name}: {error}")))
            .collect()
    }

    async fn references(&self, repository: &RepositoryName) -> Result<Vec<Reference>, Failure> {
        let path = format!("v2/{repository}/tags/list");
        let tags = self.list(&path, repository.as_str(), "tags").await?;
        tags.into_iter()
            .map(|tag| {
                let parsed = tag.parse().map(Reference::Tag);
                parsed.map_err(|error| format!("{tag}: {error}"))
            })
            .collect()
    }

    async fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<Fetched>, Failure> {
        let url = self.url(&format!("v2/{repository}/manifests/{reference}"))?;
        let Some(response) = self.get(&url, repository.as_str(), Some(MANIFESTS)).await? else {
            return Ok(None);
        };
        let media_type = text(response.headers(), CONTENT_TYPE.as_str()).unwrap_or_default();
        let media_type = MediaType::from_content_type(media_type)
            .map_err(|error| format!("{url}: Content-Type {media_type:?}: {error}"))?;
        let stated = text(response.headers(), "docker-content-digest");
        let stated: Option<Digest> = stated.and_then(|digest| digest.parse().ok());
        let payload = document(response).await?;
        let expected = match reference {
            Reference::Digest(digest) => Some(*digest),
            Reference::Tag(_) => stated,
        };
        let algorithm = expected.map_or(Algorithm::Sha256, |digest| digest.algorithm());
        let digest = Hasher::digest(algorithm, &payload);
        if expected.is_some_and(|expected| expected != digest) {
            return Err(format!("{url}: the bytes are those of {digest}"));
        }
        Ok(Some(Fetched {
            digest,
            media_type,
            payload,
        }))
    }

    async fn blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<ByteStream>, Failure> {
        let url = self.url(&format!("v2/{repository}/blobs/{digest}"))?;
        let response = self.get(&url, repository.as_str(), None).await?;
        Ok(response.map(|response| {
            stream::unfold(Some(response), |response| async {
                let mut response = response?;
                match response.chunk().await {
                    Ok(None) => None,
                    Ok(Some(bytes)) => Some((Ok(bytes), Some(response))),
                    Err(error) => {
                        let error = operations::Error::ClientGone(chain(&error));
                        Some((Err(error), None))
                    }
                }
            })
            .boxed()
        }))
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Vec<Digest>, Failure> {
        let mut url = self.url(&format!("v2/{repository}/referrers/{subject}"))?;
        let mut found = Vec::new();
        loop {
            let response = self.get(&url, repository.as_str(), None).await;
            // A registry without the API says 404, or refuses what it does not know. There the lists are tags
            // like others, and are copied as such.
            let Ok(Some(response)) = response else {
                if found.is_empty() {
                    let tag = format!("{}-{}", subject.algorithm(), subject.hex());
                    return self.tagged_referrers(repository, &tag).await;
                }
                return response.map(|_| found);
            };
            let next = text(response.headers(), LINK.as_str()).and_then(next_page);
            let next = next.map(|link| url.join(link));
            found.extend(listed(&document(response).await?));
            match next {
                Some(Ok(next)) if same_place(&next, &self.base) => url = next,
                _ => return Ok(found),
            }
        }
    }
}

impl RegistrySource {
    /// What an index lists that stands in the place of a list of referrers: at a tag made of the subject.
    async fn tagged_referrers(
        &self,
        repository: &RepositoryName,
        tag: &str,
    ) -> Result<Vec<Digest>, Failure> {
        let Ok(tag) = tag.parse::<Tag>() else {
            // A sha512 makes no tag.
            return Ok(Vec::new());
        };
        let list = self.manifest(repository, &Reference::Tag(tag)).await?;
        Ok(list.map_or_else(Vec::new, |list| listed(&list.payload)))
    }
}

/// The digests in an index.
fn listed(index: &[u8]) -> Vec<Digest> {
    #[derive(Deserialize)]
    struct Index {
        #[serde(default)]
        manifests: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        digest: Digest,
    }
    let index = serde_json::from_slice::<Index>(index);
    index.map_or_else(
        |_| Vec::new(),
        |index| {
            index
                .manifests
                .into_iter()
                .map(|entry| entry.digest)
                .collect()
        },
    )
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Reads the whole of an answer that is no blob.
async fn document(mut response: Response) -> Result<Bytes, Failure> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| chain(&error))? {
        if bytes.len() + chunk.len() > DOCUMENT_BYTES_MAX {
            return Err(format!("an answer is over {DOCUMENT_BYTES_MAX} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}

/// The target of `<target>; rel="next"`.
fn next_page(link: &str) -> Option<&str> {
    let (target, parameters) = link.strip_prefix('<')?.split_once('>')?;
    parameters.contains("next").then_some(target)
}

/// The parameters of a challenge: `name="value"` with commas between.
fn parameters(text: &str) -> HashMap<String, String> {
    let mut found = HashMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',']).to_ascii_lowercase();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.insert(name, value.trim().to_owned());
        rest = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges() {
        let read = parameters(
            r#"realm="https://auth.example/token",service="registry.example", scope="repository:a/b:pull,push",x=1,y="#,
        );
        for (name, value) in [
            ("realm", "https://auth.example/token"),
            ("service", "registry.example"),
            ("scope", "repository:a/b:pull,push"),
            ("x", "1"),
            ("y", ""),
        ] {
            assert_eq!(read.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(parameters("").is_empty());
        assert_eq!(
            parameters("realm=\"open").get("realm").map(String::as_str),
            Some("open")
        );
    }

    #[test]
    fn pages() {
        assert_eq!(
            next_page("</v2/_catalog?last=a&n=2>; rel=\"next\""),
            Some("/v2/_catalog?last=a&n=2")
        );
        assert_eq!(next_page("</x>; rel=\"prev\""), None);
        assert_eq!(next_page("rubbish"), None);
    }

    #[test]
    fn places() {
        for (host, plain_http, url) in [
            ("localhost:5000", false, "http://localhost:5000/"),
            ("[::1]:5000", false, "http://[::1]:5000/"),
            ("registry.example", false, "https://registry.example/"),
            (
                "registry.example:5000",
                true,
                "http://registry.example:5000/",
            ),
            ("docker.io", false, "https://registry-1.docker.io/"),
        ] {
            let connection = Connection {
                host: host.to_owned(),
                plain_http,
                ..Connection::default()
            };
            assert_eq!(RegistrySource::new(&connection).unwrap().base.as_str(), url);
        }
        let nowhere = Connection {
            host: "a b".to_owned(),
            ..Connection::default()
        };
        assert!(RegistrySource::new(&nowhere).is_err());
    }
}
