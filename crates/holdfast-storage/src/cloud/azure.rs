//! Azure Blob Storage.
//!
//! Distribution 2.8 began the names of its blobs with a slash, which version 3 does not find any more. A container is
//! taken as it is found: with the slash when only such names are there.

use std::env;
use std::sync::Arc;

use object_store::azure::{AzureConfigKey, MicrosoftAzure, MicrosoftAzureBuilder};

use super::Cloud;
use super::bucket::{Bucket, COPY_BYTES_MAX};
use super::settings::{Common, Limits, unusable};
use crate::Result;

/// Blocks may be of any size, but there is a limit to their number.
const CUT_BYTES: usize = 256 * 1024;
/// Most blocks of a blob.
const BLOCKS_MAX: usize = 50_000;
/// What every name below a registry's root begins with.
const TREE: &str = "docker/registry/v2/";
/// Variables of the Azure tools that say who we are.
const IDENTITY: [(&str, AzureConfigKey); 6] = [
    ("AZURE_CLIENT_ID", AzureConfigKey::ClientId),
    ("AZURE_CLIENT_SECRET", AzureConfigKey::ClientSecret),
    ("AZURE_TENANT_ID", AzureConfigKey::AuthorityId),
    ("AZURE_AUTHORITY_HOST", AzureConfigKey::AuthorityHost),
    (
        "AZURE_FEDERATED_TOKEN_FILE",
        AzureConfigKey::FederatedTokenFile,
    ),
    ("IDENTITY_ENDPOINT", AzureConfigKey::MsiEndpoint),
];

/// A container of Azure Blob Storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureSettings {
    /// The storage account.
    pub account: String,
    /// The container.
    pub container: String,
    /// The URL of the service.
    pub service_url: String,
    /// Who we are.
    pub credentials: AzureCredentials,
    /// Whether names begin with a slash, as Distribution 2.8 had it; looked for if unset.
    pub leading_slash: Option<bool>,
    /// What is set alike for every service.
    pub common: Common,
}

/// Who we are to Azure.
#[derive(Clone, PartialEq, Eq)]
pub enum AzureCredentials {
    /// The key of the account.
    SharedKey(String),
    /// An application of the directory.
    ClientSecret {
        /// Its id.
        client: String,
        /// Its directory.
        tenant: String,
        /// Its secret.
        secret: String,
    },
    /// What the environment or the machine says.
    Default,
}

impl std::fmt::Debug for AzureCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            AzureCredentials::SharedKey(_) => "SharedKey",
            AzureCredentials::ClientSecret { .. } => "ClientSecret",
            AzureCredentials::Default => "Default",
        })
    }
}

impl Cloud {
    /// Opens a container, and looks how the names in it begin.
    pub async fn azure(settings: &AzureSettings, random: fn() -> [u8; 16]) -> Result<Arc<Cloud>> {
        let common = &settings.common;
        let plain = settings.client(&settings.service_url, &settings.container)?;
        let mut bucket = Bucket {
            driver: "azure",
            making: plain.clone(),
            listing: plain.clone(),
            service: plain.clone(),
            signer: Some(plain),
            multiparts: None,
            root: common.root(),
            listed_root: "",
            copy_bytes_max: COPY_BYTES_MAX,
        };
        let leading_slash = match settings.leading_slash {
            Some(known) => known,
            None => {
                let slashed = Bucket {
                    listed_root: "/",
                    ..bucket.clone()
                };
                let found = async |bucket: &Bucket| {
                    let page = bucket.list(TREE, true, None, 1).await?;
                    Ok::<_, crate::Error>(!page.objects.is_empty())
                };
                !found(&bucket).await? && found(&slashed).await?
            }
        };
        if leading_slash {
            // `object_store` has no empty names between slashes; with the container in the URL of the service
            // there is one at the right place. Only a lister cannot be made so.
            let url = format!(
                "{}/{}",
                settings.service_url.trim_end_matches('/'),
                settings.container
            );
            let slashed = settings.client(&url, "")?;
            bucket.making = slashed.clone();
            bucket.service = slashed.clone();
            bucket.signer = Some(slashed);
            bucket.listed_root = "/";
        }
        let limits = Limits::new(common, CUT_BYTES, BLOCKS_MAX);
        Ok(Cloud::new(bucket, limits, common, random))
    }
}

impl AzureSettings {
    fn client(&self, url: &str, container: &str) -> Result<Arc<MicrosoftAzure>> {
        let mut builder = MicrosoftAzureBuilder::new()
            .with_account(&self.account)
            .with_container_name(container)
            .with_endpoint(url.trim_end_matches('/').to_owned())
            .with_retry(self.common.retry())
            .with_client_options(self.common.client()?);
        builder = match &self.credentials {
            AzureCredentials::SharedKey(key) => builder.with_access_key(key),
            AzureCredentials::ClientSecret {
                client,
                tenant,
                secret,
            } => builder.with_client_secret_authorization(client, secret, tenant),
            AzureCredentials::Default => {
                for (variable, key) in IDENTITY {
                    if let Ok(value) = env::var(variable)
                        && !value.is_empty()
                    {
                        builder = builder.with_config(key, value);
                    }
                }
                builder
            }
        };
        let built = builder.build();
        built
            .map(Arc::new)
            .map_err(|error| unusable(error.to_string()))
    }
}
