//! The sections `storage.s3`, `storage.oss`, `storage.gcs` and `storage.azure`.

use std::net::IpAddr;
use std::time::Duration;

use holdfast_storage::cloud::{
    AzureCredentials, AzureSettings, Common, GcsCredentials, GcsSettings, S3Settings,
};

use super::document::{Meaning, Node, Value};
use super::reader::Section;

/// How often a request to S3 or Google Cloud Storage is made again, and after which pause at first.
const RETRIES: usize = 8;
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Parts of an upload to Azure; Distribution has no key for it.
const AZURE_PART_BYTES: usize = 10 * 1024 * 1024;

const STORAGE_CLASSES: [&str; 9] = [
    "NONE",
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "OUTPOSTS",
    "GLACIER_IR",
    "EXPRESS_ONEZONE",
];
const ACCESS_LISTS: [&str; 7] = [
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
];

pub(super) fn s3(s3: &Section<'_>, redirect: bool) -> S3Settings {
    if !s3.flag("v4auth") {
        s3.refuse(
            "v4auth",
            "version 2 of the signature is gone from S3 and not spoken here",
        );
    }
    let endpoint = s3.text("regionendpoint");
    let region = s3.text("region");
    if endpoint.is_none() && region.is_none() {
        s3.refuse("region", "is required without regionendpoint");
    }
    let keys = match (s3.text("accesskey"), s3.text("secretkey")) {
        (Some(id), Some(secret)) => Some((id, secret)),
        (None, None) => None,
        (Some(_), None) => {
            s3.refuse("secretkey", "is required with accesskey");
            None
        }
        (None, Some(_)) => {
            s3.refuse("accesskey", "is required with secretkey");
            None
        }
    };
    let session_token = s3.text("sessiontoken");
    if session_token.is_some() && keys.is_none() {
        s3.refuse(
            "sessiontoken",
            "belongs to accesskey and secretkey, which are not set",
        );
    }
    let key_id = s3.text("keyid");
    let encrypt = s3.flag("encrypt");
    if key_id.is_some() && !encrypt {
        s3.warn("keyid", "has no effect without encrypt: true");
    }
    let accelerate = s3.flag("accelerate");
    let forced = s3.flag("forcepathstyle");
    if accelerate && (endpoint.is_some() || forced) {
        s3.refuse(
            "accelerate",
            "has its own endpoints, with the bucket in the host name; remove regionendpoint and forcepathstyle",
        );
    }
    let path_style = if s3.has("forcepathstyle") {
        forced
    } else {
        endpoint.is_some()
    };
    S3Settings {
        bucket: s3.required_text("bucket"),
        region,
        endpoint,
        path_style,
        keys,
        session_token,
        encrypt,
        key_id,
        secure: s3.flag("secure"),
        accelerate,
        dual_stack: s3.flag("usedualstack"),
        fips: s3.flag("usefipsendpoint"),
        storage_class: word(s3, "storageclass", &STORAGE_CLASSES)
            .filter(|class| !matches!(class.as_str(), "NONE" | "STANDARD")),
        acl: word(s3, "objectacl", &ACCESS_LISTS).filter(|acl| acl != "private"),
        public_endpoint: s3.text("redirectendpoint"),
        common: Common {
            part_bytes: s3.count("chunksize"),
            skip_verify: s3.flag("skipverify"),
            user_agent: s3.text("useragent"),
            ..common(s3, "rootdirectory", redirect)
        },
    }
}

/// OSS, by its front end for S3. That wants the bucket in the host name.
pub(super) fn oss(oss: &Section<'_>, redirect: bool) -> S3Settings {
    let bucket = oss.required_text("bucket");
    let written = oss.required_text("region");
    let region = written.strip_prefix("oss-").unwrap_or(&written);
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !region.bytes().all(plain) {
        oss.refuse("region", "expected a region such as oss-cn-hangzhou");
    }
    let internal = oss.flag("internal");
    let (endpoint, path_style) = match oss.text("endpoint") {
        Some(endpoint) => oss_endpoint(&endpoint, &bucket).unwrap_or_else(|| {
            let text = "expected a host below aliyuncs.com, or an IP address; for a service of another name that \
                        speaks S3 write storage.s3 with regionendpoint";
            oss.refuse("endpoint", text);
            Default::default()
        }),
        None => {
            let network = if internal { "-internal" } else { "" };
            (format!("s3.oss-{region}{network}.aliyuncs.com"), false)
        }
    };
    S3Settings {
        bucket,
        region: Some(region.to_owned()),
        endpoint: Some(endpoint),
        path_style,
        keys: Some((
            oss.required_text("accesskeyid"),
            oss.required_text("accesskeysecret"),
        )),
        session_token: None,
        encrypt: oss.flag("encrypt"),
        key_id: None,
        secure: oss.flag("secure"),
        accelerate: false,
        dual_stack: false,
        fips: false,
        storage_class: None,
        acl: None,
        public_endpoint: None,
        common: Common {
            part_bytes: oss.count("chunksize"),
            ..common(oss, "rootdirectory", redirect)
        },
    }
}

/// The host of the front end that belongs to an endpoint of Distribution's, which names the bucket as a rule, and
/// whether the bucket belongs into the path. `None` for a host of which neither is known.
fn oss_endpoint(endpoint: &str, bucket: &str) -> Option<(String, bool)> {
    let (scheme, host) = match endpoint.split_once("://") {
        Some((scheme, host)) => (format!("{scheme}://"), host),
        None => (String::new(), endpoint),
    };
    let host = host.trim_end_matches('/');
    let authority: http::uri::Authority = host.parse().ok()?;
    let name = authority.host().trim_matches(['[', ']']);
    if name.parse::<IpAddr>().is_ok() {
        return Some((format!("{scheme}{host}"), true));
    }
    if !name.ends_with(".aliyuncs.com") {
        return None;
    }
    let service = host.strip_prefix(&format!("{bucket}.")).unwrap_or(host);
    let front_end = if service.starts_with("oss-") {
        "s3."
    } else {
        ""
    };
    Some((format!("{scheme}{front_end}{service}"), false))
}

pub(super) fn gcs(gcs: &Section<'_>, redirect: bool) -> GcsSettings {
    let written = gcs.get("credentials").filter(|node| !node.is_null());
    // The table is asked, so that this counts as read.
    let _ = gcs.text("credentials");
    let credentials = match (gcs.path_of("keyfile"), written) {
        (Some(path), None) => GcsCredentials::File(path),
        (None, Some(node)) => GcsCredentials::Json(json(node).to_string()),
        (None, None) => GcsCredentials::Default,
        (Some(_), Some(_)) => {
            gcs.refuse(
                "credentials",
                "is set beside keyfile; one of them says who we are",
            );
            GcsCredentials::Default
        }
    };
    GcsSettings {
        bucket: gcs.required_text("bucket"),
        credentials,
        common: Common {
            part_bytes: gcs.count("chunksize"),
            user_agent: gcs.text("useragent"),
            ..common(gcs, "rootdirectory", redirect)
        },
    }
}

pub(super) fn azure(azure: &Section<'_>, redirect: bool) -> AzureSettings {
    let account = azure.required_text("accountname");
    let realm = azure.text("realm").unwrap_or_default();
    let usual = format!("https://{account}.blob.{realm}");
    let credentials = azure.section("credentials");
    let key = azure.text("accountkey");
    let (kind, client, tenant, secret) = (
        credentials.text("type"),
        credentials.text("clientid"),
        credentials.text("tenantid"),
        credentials.text("secret"),
    );
    let credentials = match (kind.as_deref(), key) {
        (Some("shared_key") | None, Some(key)) => AzureCredentials::SharedKey(key),
        (Some("shared_key"), None) => {
            azure.refuse(
                "accountkey",
                "is required with credentials.type: shared_key",
            );
            AzureCredentials::Default
        }
        (Some("client_secret"), _) => {
            if client.is_none() || tenant.is_none() || secret.is_none() {
                let text = "client_secret takes clientid, tenantid and secret";
                credentials.refuse("type", text);
            }
            AzureCredentials::ClientSecret {
                client: client.unwrap_or_default(),
                tenant: tenant.unwrap_or_default(),
                secret: secret.unwrap_or_default(),
            }
        }
        (Some("default_credentials"), _) => AzureCredentials::Default,
        (None, None) => {
            let text =
                "is required without accountkey: shared_key, client_secret or default_credentials";
            credentials.refuse("type", text);
            AzureCredentials::Default
        }
        (Some(_), _) => {
            let text = "expected shared_key, client_secret or default_credentials";
            credentials.refuse("type", text);
            AzureCredentials::Default
        }
    };
    let (legacy, trimmed) = (
        azure.flag("legacyrootprefix"),
        azure.flag("trimlegacyrootprefix"),
    );
    if legacy && trimmed {
        azure.refuse(
            "trimlegacyrootprefix",
            "says the opposite of legacyrootprefix",
        );
    }
    AzureSettings {
        account,
        container: azure.required_text("container"),
        service_url: azure.text("serviceurl").unwrap_or(usual),
        credentials,
        leading_slash: (legacy || trimmed).then_some(legacy),
        common: Common {
            part_bytes: AZURE_PART_BYTES,
            skip_verify: azure.flag("skipverify"),
            retries: azure.count("max_retries"),
            retry_pause: azure.duration("retry_delay").unwrap_or(RETRY_PAUSE),
            ..common(azure, "rootdirectory", redirect)
        },
    }
}

/// What holds for every driver; `directory` is its key for the prefix of names.
pub(super) fn common(section: &Section<'_>, directory: &str, redirect: bool) -> Common {
    let root_directory = section.text(directory).unwrap_or_default();
    let plain = |part: &str| {
        let letter = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        !matches!(part, "" | "." | "..") && part.bytes().all(letter)
    };
    let inner = root_directory.trim_matches('/');
    if !inner.is_empty() && !inner.split('/').all(plain) {
        let text =
            "expected names of letters, digits, '.', '_' and '-' with single slashes between";
        section.refuse(directory, text);
    }
    Common {
        root_directory,
        part_bytes: 0,
        redirect,
        user_agent: None,
        skip_verify: false,
        retries: RETRIES,
        retry_pause: RETRY_PAUSE,
    }
}

/// One of these words, in any case and as they are spelt here.
fn word(section: &Section<'_>, name: &str, words: &[&str]) -> Option<String> {
    let written = section.text(name)?;
    let found = words
        .iter()
        .find(|word| word.eq_ignore_ascii_case(&written));
    if found.is_none() {
        section.refuse(name, format!("expected one of {}", words.join(", ")));
    }
    found.map(|word| (*word).to_owned())
}

/// A part of the configuration as JSON.
fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Map(map) => map
            .iter()
            .map(|pair| (pair.key.clone(), json(&pair.value)))
            .collect(),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Scalar(scalar) => match scalar.meaning {
            Meaning::Null => serde_json::Value::Null,
            Meaning::Bool(value) => value.into(),
            Meaning::Integer(_) | Meaning::Float(_) | Meaning::String => scalar.text.clone().into(),
        },
    }
}
