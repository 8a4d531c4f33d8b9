//! Google Cloud Storage.

use std::path::PathBuf;
use std::sync::Arc;
use std::{env, fmt, fs};

use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::signer::Signer;

use super::Cloud;
use super::bucket::{Bucket, COPY_BYTES_MAX};
use super::multiparts::{Multiparts, SignedListing};
use super::settings::{Common, Limits, unusable};
use crate::Result;

/// The least that the service takes as a part that is not the last.
const PART_BYTES_MIN: usize = 5 * 1024 * 1024;
/// Most parts of an object.
const PARTS_MAX: usize = 10_000;

/// A bucket of Google Cloud Storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcsSettings {
    /// Its name.
    pub bucket: String,
    /// Who we are.
    pub credentials: GcsCredentials,
    /// What is set alike for every service.
    pub common: Common,
}

/// Who we are to Google.
#[derive(Clone, PartialEq, Eq)]
pub enum GcsCredentials {
    /// The key file of a service account.
    File(PathBuf),
    /// What such a file says, as JSON.
    Json(String),
    /// What the environment or the machine says.
    Default,
}

/// Without what is secret.
impl fmt::Debug for GcsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GcsCredentials::File(path) => f.debug_tuple("File").field(path).finish(),
            GcsCredentials::Json(_) => f.write_str("Json"),
            GcsCredentials::Default => f.write_str("Default"),
        }
    }
}

impl Cloud {
    /// Opens a bucket of Google Cloud Storage. Nothing is asked of the service yet.
    pub fn gcs(settings: &GcsSettings, random: fn() -> [u8; 16]) -> Result<Arc<Cloud>> {
        let common = &settings.common;
        let (mut builder, mut key) = (GoogleCloudStorageBuilder::new(), None);
        let file = match &settings.credentials {
            GcsCredentials::File(path) => Some(path.clone()),
            GcsCredentials::Json(text) => {
                key = Some(text.clone());
                None
            }
            GcsCredentials::Default => {
                env::var_os("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from)
            }
        };
        if let Some(path) = file {
            let text = fs::read_to_string(&path)
                .map_err(|error| unusable(format!("cannot read {}: {error}", path.display())))?;
            if has_private_key(&text) {
                key = Some(text);
            } else {
                builder = builder.with_application_credentials(path.display().to_string());
            }
        }
        // Without a private key nothing can be signed here.
        let signs = key.as_deref().is_some_and(has_private_key);
        if let Some(key) = key {
            builder = builder.with_service_account_key(key);
        }
        let client = builder
            .with_bucket_name(&settings.bucket)
            .with_retry(common.retry())
            .with_client_options(common.client()?)
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        let client = Arc::new(client);
        let signer = signs.then(|| Arc::clone(&client) as Arc<dyn Signer>);
        let plain = common.plain_client()?;
        let bucket = Bucket {
            driver: "gcs",
            making: client.clone(),
            listing: client.clone(),
            service: client,
            multiparts: signer.clone().map(|signer| {
                Arc::new(SignedListing {
                    signer,
                    client: plain,
                }) as Arc<dyn Multiparts>
            }),
            signer,
            root: common.root(),
            listed_root: "",
            copy_bytes_max: COPY_BYTES_MAX,
        };
        let limits = Limits::new(common, PART_BYTES_MIN, PARTS_MAX);
        Ok(Cloud::new(bucket, limits, common, random))
    }
}

/// Whether this is the key file of a service account, with a key in it.
fn has_private_key(text: &str) -> bool {
    let parsed: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    parsed["private_key"]
        .as_str()
        .is_some_and(|key| key.contains("PRIVATE KEY"))
}
