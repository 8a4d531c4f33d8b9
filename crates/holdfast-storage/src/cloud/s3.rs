//! Amazon S3, and the many services that speak its protocol.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::{env, fmt, fs};

use http::{HeaderMap, HeaderName, HeaderValue};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};

use super::Cloud;
use super::bucket::{Bucket, COPY_BYTES_MAX};
use super::multiparts::SignedListing;
use super::settings::{Common, Limits, unusable};
use crate::Result;

/// The least that S3 takes as a part that is not the last.
const PART_BYTES_MIN: usize = 5 * 1024 * 1024;
/// Most parts of an object.
const PARTS_MAX: usize = 10_000;
/// Cloudflare R2 wants all parts but the last to be of one size.
const EQUAL_PARTS: &str = ".r2.cloudflarestorage.com";
/// Variables of the AWS tools that say who we are. The others could send content to another place.
const IDENTITY: [AmazonS3ConfigKey; 9] = [
    AmazonS3ConfigKey::AccessKeyId,
    AmazonS3ConfigKey::SecretAccessKey,
    AmazonS3ConfigKey::Token,
    AmazonS3ConfigKey::WebIdentityTokenFile,
    AmazonS3ConfigKey::RoleArn,
    AmazonS3ConfigKey::RoleSessionName,
    AmazonS3ConfigKey::ContainerCredentialsRelativeUri,
    AmazonS3ConfigKey::ContainerCredentialsFullUri,
    AmazonS3ConfigKey::ContainerAuthorizationTokenFile,
];

/// A bucket of S3 and how to get at it.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Settings {
    /// Its name.
    pub bucket: String,
    /// Its region; `us-east-1` if unset, which most other services take.
    pub region: Option<String>,
    /// Host or URL of another service.
    pub endpoint: Option<String>,
    /// Puts the bucket into the path instead of the host name.
    pub path_style: bool,
    /// Key id and secret; from the environment, a shared file or the machine's role if unset.
    pub keys: Option<(String, String)>,
    /// Belongs to temporary keys.
    pub session_token: Option<String>,
    /// Asks for encryption at rest.
    pub encrypt: bool,
    /// With this key of the key management service.
    pub key_id: Option<String>,
    /// Speaks TLS, where the endpoint does not say.
    pub secure: bool,
    /// Uses transfer acceleration.
    pub accelerate: bool,
    /// Uses endpoints with IPv6.
    pub dual_stack: bool,
    /// Uses FIPS endpoints.
    pub fips: bool,
    /// Storage class of new objects, if it is not the bucket's.
    pub storage_class: Option<String>,
    /// Canned access list of new objects, if it is not the bucket's.
    pub acl: Option<String>,
    /// Host or URL in signed URLs, where clients see the service elsewhere.
    pub public_endpoint: Option<String>,
    /// What is set alike for every service.
    pub common: Common,
}

/// Without what is secret.
impl fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Settings")
            .field("bucket", &self.bucket)
            .field("region", &self.region)
            .field("endpoint", &self.endpoint)
            .field("common", &self.common)
            .finish_non_exhaustive()
    }
}

impl Cloud {
    /// Opens a bucket of S3. Nothing is asked of the service yet.
    pub fn s3(settings: &S3Settings, random: fn() -> [u8; 16]) -> Result<Arc<Cloud>> {
        let common = &settings.common;
        let plain = settings.client(settings.endpoint(), HeaderMap::new())?;
        let making = settings.client(settings.endpoint(), settings.headers()?)?;
        let signer = match &settings.public_endpoint {
            Some(endpoint) => {
                let endpoint = settings.addressed(settings.url(endpoint));
                settings.client(Some(endpoint), HeaderMap::new())?
            }
            None => Arc::clone(&plain),
        };
        let equal_parts = settings
            .endpoint
            .as_ref()
            .is_some_and(|endpoint| endpoint.trim_end_matches('/').ends_with(EQUAL_PARTS));
        let cut_bytes = if equal_parts {
            common.part_bytes
        } else {
            PART_BYTES_MIN
        };
        let bucket = Bucket {
            driver: "s3",
            making,
            listing: plain.clone(),
            multiparts: Some(Arc::new(SignedListing {
                signer: plain.clone(),
                client: common.plain_client()?,
            })),
            service: plain,
            signer: Some(signer),
            root: common.root(),
            listed_root: "",
            copy_bytes_max: COPY_BYTES_MAX,
        };
        let limits = Limits::new(common, cut_bytes, PARTS_MAX);
        Ok(Cloud::new(bucket, limits, common, random))
    }
}

impl S3Settings {
    /// Headers of the requests that make objects.
    fn headers(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        let encryption = match (self.encrypt, &self.key_id) {
            (false, _) => None,
            (true, None) => Some("AES256".to_owned()),
            (true, Some(_)) => Some("aws:kms".to_owned()),
        };
        let key = self.key_id.clone().filter(|_| self.encrypt);
        let wanted = [
            ("x-amz-storage-class", &self.storage_class),
            ("x-amz-acl", &self.acl),
            ("x-amz-server-side-encryption", &encryption),
            ("x-amz-server-side-encryption-aws-kms-key-id", &key),
        ];
        for (name, value) in wanted {
            if let Some(value) = value {
                let value = HeaderValue::from_str(value)
                    .map_err(|_| unusable(format!("{name} cannot be {value:?}")))?;
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        Ok(headers)
    }

    fn url(&self, host: &str) -> String {
        let host = host.trim_end_matches('/');
        match host.contains("://") {
            true => host.to_owned(),
            false if self.secure => format!("https://{host}"),
            false => format!("http://{host}"),
        }
    }

    /// The URL of the service with the bucket in its host name, unless that belongs into the path.
    fn addressed(&self, url: String) -> String {
        match url.split_once("://") {
            Some((scheme, host)) if !self.path_style => {
                format!("{scheme}://{}.{host}", self.bucket)
            }
            _ => url,
        }
    }

    fn region(&self) -> &str {
        self.region.as_deref().unwrap_or("us-east-1")
    }

    /// Where requests go, if not to the usual endpoint of the region.
    fn endpoint(&self) -> Option<String> {
        if let Some(endpoint) = &self.endpoint {
            return Some(self.addressed(self.url(endpoint)));
        }
        let (region, bucket) = (self.region(), &self.bucket);
        let domain = match region.starts_with("cn-") {
            true => "amazonaws.com.cn",
            false => "amazonaws.com",
        };
        let dual_stack = if self.dual_stack { ".dualstack" } else { "" };
        if self.accelerate {
            let host = format!("s3-accelerate{dual_stack}.{domain}");
            return Some(self.url(&format!("{bucket}.{host}")));
        }
        let fips = if self.fips { "-fips" } else { "" };
        let host = format!("s3{fips}{dual_stack}.{region}.{domain}");
        Some(self.addressed(self.url(&host)))
    }

    fn client(&self, endpoint: Option<String>, headers: HeaderMap) -> Result<Arc<AmazonS3>> {
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&self.bucket)
            .with_region(self.region())
            .with_virtual_hosted_style_request(!self.path_style || self.accelerate)
            .with_retry(self.common.retry())
            .with_client_options(self.common.client()?.with_default_headers(headers));
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        match &self.keys {
            Some((id, secret)) => {
                builder = builder
                    .with_access_key_id(id)
                    .with_secret_access_key(secret);
                if let Some(token) = &self.session_token {
                    builder = builder.with_token(token);
                }
            }
            None => builder = with_identity(builder),
        }
        let built = builder.build();
        built
            .map(Arc::new)
            .map_err(|error| unusable(error.to_string()))
    }
}

/// Who we are, where the configuration does not say: the variables of the AWS tools, then their shared file, then
/// the role of the machine, which the builder asks for when it finds nothing else.
fn with_identity(mut builder: AmazonS3Builder) -> AmazonS3Builder {
    let mut found = false;
    for key in IDENTITY {
        let variable = key.as_ref().to_ascii_uppercase();
        if let Ok(value) = env::var(variable)
            && !value.is_empty()
        {
            builder = builder.with_config(key, value);
            found = true;
        }
    }
    if !found
        && let Some(path) = shared_file()
        && let Ok(text) = fs::read_to_string(path)
    {
        let profile = env::var("AWS_PROFILE").unwrap_or_else(|_| "default".to_owned());
        let mut values = profile_of(&text, &profile);
        for key in &IDENTITY[..3] {
            if let Some(value) = values.remove(key.as_ref()) {
                builder = builder.with_config(*key, value);
            }
        }
    }
    builder
}

fn shared_file() -> Option<PathBuf> {
    match env::var_os("AWS_SHARED_CREDENTIALS_FILE") {
        Some(path) => Some(path.into()),
        None => Some(PathBuf::from(env::var_os("HOME")?).join(".aws/credentials")),
    }
}

/// The values of a profile in the shared file of the AWS tools.
fn profile_of(text: &str, profile: &str) -> HashMap<String, String> {
    let mut values = HashMap::new();
    let mut ours = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            ours = name.trim() == profile;
        } else if let Some((name, value)) = line.split_once('=').filter(|_| ours) {
            let name = name.trim().to_ascii_lowercase();
            values.insert(name, value.trim().to_owned());
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn settings() -> S3Settings {
        S3Settings {
            bucket: "b".to_owned(),
            region: Some("eu-west-1".to_owned()),
            endpoint: None,
            path_style: false,
            keys: Some(("id".to_owned(), "secret".to_owned())),
            session_token: None,
            encrypt: false,
            key_id: None,
            secure: true,
            accelerate: false,
            dual_stack: false,
            fips: false,
            storage_class: None,
            acl: None,
            public_endpoint: None,
            common: Common {
                root_directory: String::new(),
                part_bytes: PART_BYTES_MIN,
                redirect: true,
                user_agent: None,
                skip_verify: false,
                retries: 3,
                retry_pause: Duration::from_millis(1),
            },
        }
    }

    #[test]
    fn endpoints_are_where_the_bucket_is() {
        type Change = fn(&mut S3Settings);
        let cases: [(Change, &str); 10] = [
            (|_| {}, "https://b.s3.eu-west-1.amazonaws.com"),
            (
                |s| s.path_style = true,
                "https://s3.eu-west-1.amazonaws.com",
            ),
            (|s| s.secure = false, "http://b.s3.eu-west-1.amazonaws.com"),
            (
                |s| s.region = Some("cn-north-1".to_owned()),
                "https://b.s3.cn-north-1.amazonaws.com.cn",
            ),
            (
                |s| s.dual_stack = true,
                "https://b.s3.dualstack.eu-west-1.amazonaws.com",
            ),
            (
                |s| (s.fips, s.dual_stack) = (true, true),
                "https://b.s3-fips.dualstack.eu-west-1.amazonaws.com",
            ),
            (
                |s| (s.accelerate, s.dual_stack) = (true, true),
                "https://b.s3-accelerate.dualstack.amazonaws.com",
            ),
            (
                |s| s.endpoint = Some("minio:9000".to_owned()),
                "https://b.minio:9000",
            ),
            (
                |s| (s.endpoint, s.path_style) = (Some("http://minio:9000/".to_owned()), true),
                "http://minio:9000",
            ),
            (
                |s| {
                    (s.endpoint, s.path_style, s.secure) = (Some("minio".to_owned()), true, false);
                },
                "http://minio",
            ),
        ];
        for (change, expected) in cases {
            let mut settings = settings();
            change(&mut settings);
            assert_eq!(settings.endpoint().as_deref(), Some(expected));
        }
    }

    #[tokio::test]
    async fn signed_urls_name_the_public_endpoint() {
        let mut settings = settings();
        settings.public_endpoint = Some("https://cdn.example.com".to_owned());
        settings.common.root_directory = "/a/b/".to_owned();
        let cloud = Cloud::s3(&settings, || [0; 16]).unwrap();
        let key = "docker/registry/v2/x".parse().unwrap();
        let url = crate::BlobStore::signed_url(&*cloud, &key)
            .await
            .unwrap()
            .expect("it is signed");
        let start = "https://b.cdn.example.com/a/b/docker/registry/v2/x?X-Amz-Algorithm=";
        assert!(url.starts_with(start), "{url}");
        assert!(url.contains("X-Amz-Expires=1200&"), "{url}");
        settings.common.redirect = false;
        let cloud = Cloud::s3(&settings, || [0; 16]).unwrap();
        let signed = crate::BlobStore::signed_url(&*cloud, &key).await;
        assert_eq!(signed.unwrap(), None);
    }

    #[test]
    fn profiles_of_the_shared_file() {
        let text = "[default]\naws_access_key_id = A\naws_secret_access_key=B=C\n\n# x\n[ other ]\nAWS_ACCESS_KEY_ID = D\n";
        let mut found = profile_of(text, "default");
        assert_eq!(found.remove("aws_access_key_id").as_deref(), Some("A"));
        assert_eq!(
            found.remove("aws_secret_access_key").as_deref(),
            Some("B=C")
        );
        assert_eq!(profile_of(text, "other")["aws_access_key_id"], "D");
        assert!(profile_of(text, "none").is_empty());
    }
}
