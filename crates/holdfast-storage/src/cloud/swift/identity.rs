//! Who we are to Swift: a name and a password, for which an identity service gives a token and says where the account is.
//!
//! Version 1 is Swift's own (tempauth and its kin), 2 and 3 are those of Keystone. The keys are those of Distribution 2.8.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use object_store::PutPayload;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use super::client::{Client, Failure, Outcome, not_a_url, whole, without_user};

/// A token is renewed so long before its end at the latest.
const BEFORE_END: Duration = Duration::from_secs(300);
/// What a catalog calls Swift.
const SERVICE: &str = "object-store";

/// The protocol of an identity service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthVersion {
    /// Swift's own.
    V1,
    /// Keystone, version 2.
    V2,
    /// Keystone, version 3.
    V3,
}

/// The addresses of a catalog that are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndpointType {
    /// Those for everybody.
    #[default]
    Public,
    /// Those within the cloud.
    Internal,
    /// Those for administrators.
    Admin,
}

/// Who we are to Swift. What a version has no use for stays unset.
#[derive(Clone, PartialEq, Eq)]
pub struct SwiftIdentity {
    /// The URL of the identity service.
    pub auth_url: String,
    /// Its protocol.
    pub version: AuthVersion,
    /// The user.
    pub username: String,
    /// The user's password.
    pub password: String,
    /// Name of the user's project.
    pub tenant: Option<String>,
    /// Id of the user's project.
    pub tenant_id: Option<String>,
    /// Name of the user's domain.
    pub domain: Option<String>,
    /// Id of the user's domain.
    pub domain_id: Option<String>,
    /// Name of the project's domain; the user's if unset.
    pub tenant_domain: Option<String>,
    /// Id of the project's domain.
    pub tenant_domain_id: Option<String>,
    /// A trust to act under, in place of a project.
    pub trust_id: Option<String>,
    /// The region whose Swift is meant; the first of the catalog if unset.
    pub region: Option<String>,
    /// Which of its addresses.
    pub endpoint_type: EndpointType,
}

/// Without what is secret.
impl fmt::Debug for SwiftIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SwiftIdentity")
            .field("auth_url", &without_user(&self.auth_url))
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// A token, and where it is good.
pub(super) struct Session {
    pub(super) token: HeaderValue,
    /// The URL of the account.
    pub(super) storage: Url,
    /// The same for clients.
    pub(super) public: Url,
    /// When it was asked for.
    pub(super) asked: Instant,
    /// How long it lasts from then on; `None` if the service did not say.
    pub(super) life: Option<Duration>,
}

impl Session {
    /// Whether it need not be renewed yet.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        let age = now.duration_since(self.asked);
        self.life.is_none_or(|life| age < until_renewal(life))
    }

    /// Whether it has not ended.
    pub(super) fn is_valid(&self, now: Instant) -> bool {
        let age = now.duration_since(self.asked);
        self.life.is_none_or(|life| age < life)
    }
}

/// An answer of an identity service, read.
#[derive(Debug, PartialEq, Eq)]
struct Granted {
    token: String,
    life: Option<Duration>,
    endpoints: Vec<Endpoint>,
}

/// An address of a catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Endpoint {
    region: String,
    kind: EndpointType,
    url: String,
}

impl SwiftIdentity {
    /// Asks for a token.
    pub(super) async fn log_in(&self, client: &Client) -> Outcome<Session> {
        let asked = Instant::now();
        let (method, url, headers, body) = self.request()?;
        let answer = client.exchange(&method, &url, &headers, body).await?;
        let headers = answer.headers().clone();
        let granted = match self.version {
            AuthVersion::V1 => granted_v1(&headers),
            AuthVersion::V2 => granted_v2(&whole(answer).await?),
            AuthVersion::V3 => granted_v3(&headers, &whole(answer).await?),
        };
        let granted = granted.map_err(|what| Failure::Answer(what.to_owned()))?;
        let mut token = HeaderValue::from_str(&granted.token)
            .map_err(|_| Failure::Answer("the token is not the text of a header".to_owned()))?;
        token.set_sensitive(true);
        let storage = self.address(&granted.endpoints, self.endpoint_type)?;
        let public = self.address(&granted.endpoints, EndpointType::Public);
        Ok(Session {
            token,
            public: public.unwrap_or_else(|_| storage.clone()),
            storage,
            asked,
            life: granted.life,
        })
    }

    /// Whether the password goes encrypted to a service whose catalog has the token go in clear.
    pub(super) fn is_weakened_by(&self, storage: &Url) -> bool {
        let secure = |url: Url| url.scheme() == "https";
        Url::parse(&self.auth_url).is_ok_and(secure) && storage.scheme() == "http"
    }

    fn request(&self) -> Outcome<(Method, Url, HeaderMap, PutPayload)> {
        let base = self.auth_url.trim_end_matches('/');
        let mut headers = HeaderMap::new();
        let (method, url, body) = match self.version {
            AuthVersion::V1 => {
                for (name, text) in [
                    ("x-auth-user", &self.username),
                    ("x-auth-key", &self.password),
                ] {
                    let mut value = HeaderValue::from_str(text).map_err(|_| {
                        Failure::Answer(format!("{name} is not the text of a header"))
                    })?;
                    value.set_sensitive(true);
                    headers.insert(HeaderName::from_static(name), value);
                }
                (Method::GET, self.auth_url.clone(), None)
            }
            AuthVersion::V2 => {
                let url = format!("{}/tokens", base.trim_end_matches("/tokens"));
                (Method::POST, url, Some(self.body_v2()))
            }
            AuthVersion::V3 => {
                // Distribution's documentation has `auth` in the URL, its library adds it.
                let base = base.trim_end_matches("/tokens").trim_end_matches("/auth");
                (
                    Method::POST,
                    format!("{base}/auth/tokens"),
                    Some(self.body_v3()),
                )
            }
        };
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if body.is_some() {
            let json = HeaderValue::from_static("application/json");
            headers.insert(header::CONTENT_TYPE, json);
        }
        let url = parsed(&url)?;
        let body = body.map(|body| PutPayload::from(body.to_string()));
        Ok((method, url, headers, body.unwrap_or_default()))
    }

    fn body_v2(&self) -> Value {
        let user = json!({"username": self.username, "password": self.password});
        let mut auth = json!({"passwordCredentials": user});
        // One of them is enough, and some services refuse both.
        match (&self.tenant_id, &self.tenant) {
            (Some(id), _) => auth["tenantId"] = json!(id),
            (None, Some(name)) => auth["tenantName"] = json!(name),
            (None, None) => {}
        }
        json!({ "auth": auth })
    }

    fn body_v3(&self) -> Value {
        let domain = |name: &Option<String>, id: &Option<String>| match (name, id) {
            (Some(name), _) => Some(json!({"name": name})),
            (None, Some(id)) => Some(json!({"id": id})),
            (None, None) => None,
        };
        let of_user = domain(&self.domain, &self.domain_id).unwrap_or(json!({"id": "default"}));
        let of_project = domain(&self.tenant_domain, &self.tenant_domain_id);
        let user = json!({"name": self.username, "password": self.password, "domain": of_user});
        let mut auth = json!({"identity": {"methods": ["password"], "password": {"user": user}}});
        match (&self.trust_id, &self.tenant_id, &self.tenant) {
            (Some(trust), _, _) => auth["scope"] = json!({"OS-TRUST:trust": {"id": trust}}),
            (None, Some(id), _) => auth["scope"] = json!({"project": {"id": id}}),
            (None, None, Some(name)) => {
                let domain = of_project.unwrap_or(of_user);
                auth["scope"] = json!({"project": {"name": name, "domain": domain}});
            }
            (None, None, None) => {}
        }
        json!({ "auth": auth })
    }

    /// Where the account of a catalog is.
    fn address(&self, endpoints: &[Endpoint], kind: EndpointType) -> Outcome<Url> {
        let in_region =
            |found: &&Endpoint| self.region.as_ref().is_none_or(|it| *it == found.region);
        let found = endpoints
            .iter()
            .filter(in_region)
            .find(|found| found.kind == kind);
        let found = found.ok_or_else(|| {
            let known: Vec<_> = endpoints
                .iter()
                .map(|known| format!("{:?} in {:?}", known.kind, known.region))
                .collect();
            let wanted = self
                .region
                .as_ref()
                .map_or_else(String::new, |it| format!(" in {it:?}"));
            Failure::Answer(format!(
                "the catalog has no {SERVICE} of type {kind:?}{wanted}; it has: {}",
                known.join(", ")
            ))
        })?;
        parsed(&found.url)
    }
}

/// How long after it was asked for a token is renewed.
fn until_renewal(life: Duration) -> Duration {
    life.saturating_sub(BEFORE_END.min(life / 10))
}

fn parsed(text: &str) -> Outcome<Url> {
    let url = Url::parse(text).map_err(|_| not_a_url(text))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err(not_a_url(text)),
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn granted_v1(headers: &HeaderMap) -> Result<Granted, &'static str> {
    let token = text(headers, "x-auth-token").or_else(|| text(headers, "x-storage-token"));
    let url = text(headers, "x-storage-url").ok_or("it has no X-Storage-Url")?;
    let life = text(headers, "x-auth-token-expires").and_then(|seconds| seconds.parse().ok());
    Ok(Granted {
        token: token.ok_or("it has no X-Auth-Token")?.to_owned(),
        life: life.map(Duration::from_secs),
        endpoints: vec![Endpoint {
            region: String::new(),
            kind: EndpointType::Public,
            url: url.to_owned(),
        }],
    })
}

#[derive(Deserialize)]
struct AnswerV2 {
    access: AccessV2,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AccessV2 {
    token: TokenV2,
    #[serde(default)]
    service_catalog: Vec<ServiceV2>,
}

#[derive(Deserialize)]
struct TokenV2 {
    id: String,
    issued_at: Option<String>,
    expires: Option<String>,
}

#[derive(Deserialize)]
struct ServiceV2 {
    r#type: String,
    #[serde(default)]
    endpoints: Vec<EndpointV2>,
}

#[derive(Deserialize)]
struct EndpointV2 {
    #[serde(default)]
    region: String,
    #[serde(rename = "publicURL")]
    public_url: Option<String>,
    #[serde(rename = "internalURL")]
    internal_url: Option<String>,
    #[serde(rename = "adminURL")]
    admin_url: Option<String>,
}

fn granted_v2(body: &[u8]) -> Result<Granted, &'static str> {
    let answer: AnswerV2 =
        serde_json::from_slice(body).map_err(|_| "it is not a token of version 2")?;
    let services = answer.access.service_catalog.into_iter();
    let endpoints = services
        .filter(|service| service.r#type == SERVICE)
        .flat_map(|service| service.endpoints)
        .flat_map(|found| {
            let kinds = [
                (EndpointType::Public, found.public_url),
                (EndpointType::Internal, found.internal_url),
                (EndpointType::Admin, found.admin_url),
            ];
            kinds.into_iter().filter_map(move |(kind, url)| {
                Some(Endpoint {
                    region: found.region.clone(),
                    kind,
                    url: url?,
                })
            })
        });
    let token = answer.access.token;
    Ok(Granted {
        endpoints: endpoints.collect(),
        life: life(token.issued_at.as_deref(), token.expires.as_deref()),
        token: token.id,
    })
}

#[derive(Deserialize)]
struct AnswerV3 {
    token: TokenV3,
}

#[derive(Deserialize)]
struct TokenV3 {
    issued_at: Option<String>,
    expires_at: Option<String>,
    #[serde(default)]
    catalog: Vec<ServiceV3>,
}

#[derive(Deserialize)]
struct ServiceV3 {
    r#type: String,
    #[serde(default)]
    endpoints: Vec<EndpointV3>,
}

#[derive(Deserialize)]
struct EndpointV3 {
    region: Option<String>,
    region_id: Option<String>,
    interface: String,
    url: String,
}

fn granted_v3(headers: &HeaderMap, body: &[u8]) -> Result<Granted, &'static str> {
    let answer: AnswerV3 =
        serde_json::from_slice(body).map_err(|_| "it is not a token of version 3")?;
    let services = answer.token.catalog.into_iter();
    let endpoints = services
        .filter(|service| service.r#type == SERVICE)
        .flat_map(|service| service.endpoints)
        .filter_map(|found| {
            Some(Endpoint {
                region: found.region.or(found.region_id).unwrap_or_default(),
                kind: match found.interface.as_str() {
                    "public" => EndpointType::Public,
                    "internal" => EndpointType::Internal,
                    "admin" => EndpointType::Admin,
                    _ => return None,
                },
                url: found.url,
            })
        });
    let token = text(headers, "x-subject-token").ok_or("it has no X-Subject-Token")?;
    Ok(Granted {
        token: token.to_owned(),
        life: life(
            answer.token.issued_at.as_deref(),
            answer.token.expires_at.as_deref(),
        ),
        endpoints: endpoints.collect(),
    })
}

/// How long a token lasts, by the clock of the service alone.
fn life(issued: Option<&str>, expires: Option<&str>) -> Option<Duration> {
    let time = |text: &str| {
        let zoned = text.parse::<DateTime<Utc>>();
        // Version 2 gives the time of issue without a zone, in UTC.
        zoned.or_else(|_| format!("{text}Z").parse()).ok()
    };
    let life = time(expires?)?.signed_duration_since(time(issued?)?);
    Some(life.to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(version: AuthVersion, auth_url: &str) -> SwiftIdentity {
        SwiftIdentity {
            auth_url: auth_url.to_owned(),
            version,
            username: "u".to_owned(),
            password: "p".to_owned(),
            tenant: None,
            tenant_id: None,
            domain: None,
            domain_id: None,
            tenant_domain: None,
            tenant_domain_id: None,
            trust_id: None,
            region: None,
            endpoint_type: EndpointType::Public,
        }
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn requests_of_each_version() {
        for (version, auth_url, url) in [
            (
                AuthVersion::V1,
                "https://h/auth/v1.0",
                "https://h/auth/v1.0",
            ),
            (AuthVersion::V2, "https://h/v2.0/", "https://h/v2.0/tokens"),
            (
                AuthVersion::V2,
                "https://h/v2.0/tokens",
                "https://h/v2.0/tokens",
            ),
            (AuthVersion::V3, "https://h/v3", "https://h/v3/auth/tokens"),
            (
                AuthVersion::V3,
                "https://h/id/v3/auth/",
                "https://h/id/v3/auth/tokens",
            ),
            (
                AuthVersion::V3,
                "https://h/v3/auth/tokens",
                "https://h/v3/auth/tokens",
            ),
        ] {
            let (_, asked, ..) = identity(version, auth_url).request().unwrap();
            assert_eq!(asked.as_str(), url);
        }
        let (_, _, headers, body) = identity(AuthVersion::V1, "https://h/v1").request().unwrap();
        assert_eq!(
            (&headers["x-auth-user"], &headers["x-auth-key"]),
            (&"u".parse().unwrap(), &"p".parse().unwrap())
        );
        assert!(headers["x-auth-key"].is_sensitive());
        assert_eq!(body.content_length(), 0);
        for wrong in ["ftp://h/v3", "h/v3", "/v3"] {
            assert!(
                identity(AuthVersion::V3, wrong).request().is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn who_and_for_what_in_version_2() {
        let mut us = identity(AuthVersion::V2, "https://h/v2.0");
        let user = json!({"username": "u", "password": "p"});
        assert_eq!(us.body_v2(), json!({"auth": {"passwordCredentials": user}}));
        us.tenant = some("t");
        assert_eq!(us.body_v2()["auth"]["tenantName"], "t");
        us.tenant_id = some("i");
        let expected = json!({"auth": {"passwordCredentials": user, "tenantId": "i"}});
        assert_eq!(us.body_v2(), expected);
    }

    #[test]
    fn who_and_for_what_in_version_3() {
        type Change = fn(&mut SwiftIdentity);
        let default = json!({"id": "default"});
        let cases: [(Change, Value, Value); 8] = [
            (|_| {}, default.clone(), Value::Null),
            (
                |us| us.tenant = some("t"),
                default.clone(),
                json!({"project": {"name": "t", "domain": {"id": "default"}}}),
            ),
            (
                |us| (us.tenant, us.domain) = (some("t"), some("d")),
                json!({"name": "d"}),
                json!({"project": {"name": "t", "domain": {"name": "d"}}}),
            ),
            (
                |us| (us.tenant, us.domain_id) = (some("t"), some("d")),
                json!({"id": "d"}),
                json!({"project": {"name": "t", "domain": {"id": "d"}}}),
            ),
            (
                |us| (us.tenant, us.tenant_domain) = (some("t"), some("e")),
                default.clone(),
                json!({"project": {"name": "t", "domain": {"name": "e"}}}),
            ),
            (
                |us| (us.tenant, us.tenant_domain_id) = (some("t"), some("e")),
                default.clone(),
                json!({"project": {"name": "t", "domain": {"id": "e"}}}),
            ),
            (
                |us| (us.tenant, us.tenant_id) = (some("t"), some("i")),
                default.clone(),
                json!({"project": {"id": "i"}}),
            ),
            (
                |us| (us.tenant_id, us.trust_id) = (some("i"), some("r")),
                default.clone(),
                json!({"OS-TRUST:trust": {"id": "r"}}),
            ),
        ];
        for (change, domain, scope) in cases {
            let mut us = identity(AuthVersion::V3, "https://h/v3");
            change(&mut us);
            let body = us.body_v3();
            let user = json!({"name": "u", "password": "p", "domain": domain});
            assert_eq!(body["auth"]["identity"]["password"]["user"], user);
            assert_eq!(body["auth"]["scope"], scope);
        }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn endpoint(region: &str, kind: EndpointType, url: &str) -> Endpoint {
        Endpoint {
            region: region.to_owned(),
            kind,
            url: url.to_owned(),
        }
    }

    #[test]
    fn answers_of_each_version() {
        let answer = headers(&[
            ("x-auth-token", "T"),
            ("x-storage-url", "https://s/v1/AUTH_a"),
            ("x-auth-token-expires", "600"),
        ]);
        let granted = granted_v1(&answer).unwrap();
        assert_eq!(
            (granted.token.as_str(), granted.life),
            ("T", Some(Duration::from_secs(600)))
        );
        assert!(granted_v1(&headers(&[("x-auth-token", "T")])).is_err());

        let body = json!({"access": {
            "token": {"id": "T", "issued_at": "2026-01-30T15:30:58.500", "expires": "2026-01-30T16:30:58Z"},
            "serviceCatalog": [
                {"type": "identity", "endpoints": [{"region": "r", "publicURL": "https://no"}]},
                {"type": "object-store", "endpoints": [
                    {"region": "r", "publicURL": "https://p", "internalURL": "https://i"}]}],
        }});
        let granted = granted_v2(body.to_string().as_bytes()).unwrap();
        let expected = Granted {
            token: "T".to_owned(),
            life: Some(Duration::from_millis(3_599_500)),
            endpoints: vec![
                endpoint("r", EndpointType::Public, "https://p"),
                endpoint("r", EndpointType::Internal, "https://i"),
            ],
        };
        assert_eq!(granted, expected);
        assert!(granted_v2(b"{}").is_err());

        let body = json!({"token": {
            "issued_at": "2026-01-30T15:30:58.000000Z", "expires_at": "2026-01-30T15:40:58.000000Z",
            "catalog": [
                {"type": "compute", "endpoints": [{"region": "r", "interface": "public", "url": "https://no"}]},
                {"type": "object-store", "endpoints": [
                    {"region_id": "q", "interface": "admin", "url": "https://a"},
                    {"region": "r", "region_id": "x", "interface": "public", "url": "https://p"}]}],
        }});
        let subject = headers(&[("x-subject-token", "T")]);
        let granted = granted_v3(&subject, body.to_string().as_bytes()).unwrap();
        let expected = Granted {
            token: "T".to_owned(),
            life: Some(Duration::from_secs(600)),
            endpoints: vec![
                endpoint("q", EndpointType::Admin, "https://a"),
                endpoint("r", EndpointType::Public, "https://p"),
            ],
        };
        assert_eq!(granted, expected);
        assert!(granted_v3(&headers(&[]), body.to_string().as_bytes()).is_err());
    }

    #[test]
    fn the_account_is_that_of_region_and_type() {
        let endpoints = [
            endpoint("a", EndpointType::Public, "https://pa/v1"),
            endpoint("b", EndpointType::Public, "https://pb/v1"),
            endpoint("b", EndpointType::Internal, "https://ib/v1"),
        ];
        let mut us = identity(AuthVersion::V3, "https://h/v3");
        let of = |us: &SwiftIdentity, kind| {
            let address = us.address(&endpoints, kind);
            address
                .map(String::from)
                .map_err(|failure| failure.to_string())
        };
        assert_eq!(of(&us, EndpointType::Public).unwrap(), "https://pa/v1");
        assert_eq!(of(&us, EndpointType::Internal).unwrap(), "https://ib/v1");
        us.region = some("b");
        assert_eq!(of(&us, EndpointType::Public).unwrap(), "https://pb/v1");
        let refused = of(&us, EndpointType::Admin).unwrap_err();
        assert!(
            refused.contains("no object-store of type Admin in \"b\"; it has: Public in \"a\""),
            "{refused}"
        );
    }

    #[test]
    fn tokens_are_renewed_before_they_end() {
        for (life, renewed) in [(0, 0), (100, 90), (3000, 2700), (86_400, 86_100)] {
            let until = until_renewal(Duration::from_secs(life));
            assert_eq!(until, Duration::from_secs(renewed));
        }
        let now = Instant::now();
        let session = |life| Session {
            token: HeaderValue::from_static("T"),
            storage: Url::parse("https://h").unwrap(),
            public: Url::parse("https://h").unwrap(),
            asked: now,
            life,
        };
        let minute = Duration::from_secs(60);
        for (life, age, fresh, valid) in [
            (None, 100 * minute, true, true),
            (Some(Duration::MAX), minute, true, true),
            (Some(60 * minute), 54 * minute, true, true),
            (Some(60 * minute), 55 * minute, false, true),
            (Some(60 * minute), 60 * minute, false, false),
        ] {
            let (session, then) = (session(life), now + age);
            assert_eq!(
                (session.is_fresh(then), session.is_valid(then)),
                (fresh, valid)
            );
        }
    }
}
