//! Keys of Distribution's storage drivers for object stores.
//!
//! A driver that this release does not have is refused by its own row: falling back to another place for the
//! content would look like losing it.

use super::Kind::{Any, Duration, Flag, Integer, Path, Section, Text};
use super::{COUNT, Entry, key};

const SWIFT: &str = "Swift is used through its S3 front end (middleware s3api): write storage.s3 with regionendpoint, bucket: the container, accesskey and secretkey of `openstack ec2 credentials create`, and forcepathstyle: true";
const NO_COPIES: &str = "uploads go straight to their place, so nothing is copied in parts";
const ONE_LOG: &str =
    "what requests to the storage do is logged with everything else, by log.level";
const NO_COUNT: &str = "requests are bounded by the memory for parts instead";

/// A row of a driver that is refused.
const fn swift(
    path: &'static str,
    kind: super::Kind,
    default: &'static str,
    about: &'static str,
) -> Entry {
    key(path, kind, default, about).refused(SWIFT)
}

#[rustfmt::skip] // One key per line reads as the table it is.
pub(super) const ENTRIES: &[Entry] = &[
    key("storage.s3", Section, "", "Amazon S3 and services that speak its protocol. `metadata.path` or `metadata.postgres` must be set."),
    key("storage.s3.accesskey", Text, "", "Access key; without one the variables of the AWS tools, their shared file, a web identity or the role of the machine give the credentials.").secret(),
    key("storage.s3.secretkey", Text, "", "Secret key.").secret(),
    key("storage.s3.sessiontoken", Text, "", "Session token of temporary keys.").secret(),
    key("storage.s3.region", Text, "", "Region of the bucket; may be left out with `regionendpoint`."),
    key("storage.s3.regionendpoint", Text, "", "Host or URL of another service. As in Distribution 2.8 the bucket is put into the path then, unless `forcepathstyle` is false."),
    key("storage.s3.forcepathstyle", Flag, "", "Puts the bucket into the path instead of the host name; true if unset and `regionendpoint` is set."),
    key("storage.s3.bucket", Text, "", "Name of the bucket."),
    key("storage.s3.encrypt", Flag, "false", "Asks for encryption at rest."),
    key("storage.s3.keyid", Text, "", "Key used for encryption at rest (KMS)."),
    key("storage.s3.secure", Flag, "true", "Uses HTTPS, where the endpoint does not say."),
    key("storage.s3.skipverify", Flag, "false", "Accepts any certificate."),
    key("storage.s3.v4auth", Flag, "true", "Signs with version 4; there is no other."),
    key("storage.s3.chunksize", Integer { min: 5_242_880, max: 5_368_709_120 }, "10485760", "Size of a part of a multipart upload; an object has at most 10,000 of them."),
    key("storage.s3.multipartcopychunksize", COUNT, "", "Size of a part of a multipart copy.").ignored(NO_COPIES),
    key("storage.s3.multipartcopymaxconcurrency", COUNT, "", "Parallel parts of a multipart copy.").ignored(NO_COPIES),
    key("storage.s3.multipartcopythresholdsize", COUNT, "", "Size from which a copy is multipart.").ignored(NO_COPIES),
    key("storage.s3.multipartcombinesmallpart", Flag, "", "Joins small parts.").ignored("small pieces are always gathered to whole parts"),
    key("storage.s3.rootdirectory", Text, "", "Prefix of every key."),
    key("storage.s3.storageclass", Text, "STANDARD", "Storage class of new objects; STANDARD and NONE leave it to the bucket."),
    key("storage.s3.objectacl", Text, "private", "Canned access list of new objects; private leaves it to the bucket."),
    key("storage.s3.useragent", Text, "", "User agent sent to the service."),
    key("storage.s3.usedualstack", Flag, "false", "Uses endpoints with IPv6."),
    key("storage.s3.accelerate", Flag, "false", "Uses transfer acceleration."),
    key("storage.s3.usefipsendpoint", Flag, "false", "Uses FIPS endpoints."),
    key("storage.s3.loglevel", Text, "", "What the client library logs.").ignored(ONE_LOG),
    key("storage.s3.logs3apirequests", Flag, "", "Logs requests to the service.").ignored(ONE_LOG),
    key("storage.s3.logs3apiresponseheaders", Any, "", "Logs headers of answers of the service.").ignored(ONE_LOG),
    key("storage.s3.redirectendpoint", Text, "", "Public host put into presigned URLs."),
    key("storage.s3aws", Section, "", "Another name of `storage.s3`.").alias("storage.s3"),
    key("storage.gcs", Section, "", "Google Cloud Storage. `metadata.path` or `metadata.postgres` must be set."),
    key("storage.gcs.bucket", Text, "", "Name of the bucket."),
    key("storage.gcs.keyfile", Path, "", "Key file of a service account; without it and `credentials` the environment or the machine gives the credentials, and clients are not redirected."),
    key("storage.gcs.credentials", Any, "", "Contents of such a key file.").secret(),
    key("storage.gcs.rootdirectory", Text, "", "Prefix of every key."),
    key("storage.gcs.chunksize", Integer { min: 5_242_880, max: 5_368_709_120 }, "16777216", "Size of a part of a multipart upload; an object has at most 10,000 of them."),
    key("storage.gcs.maxconcurrency", COUNT, "", "Parallel requests.").ignored(NO_COUNT),
    key("storage.gcs.useragent", Text, "", "User agent sent to the service."),
    key("storage.azure", Section, "", "Azure Blob Storage. `metadata.path` or `metadata.postgres` must be set."),
    key("storage.azure.accountname", Text, "", "Storage account."),
    key("storage.azure.accountkey", Text, "", "Key of the account.").secret(),
    key("storage.azure.container", Text, "", "Container of the content; it must exist."),
    key("storage.azure.realm", Text, "core.windows.net", "Domain of the service."),
    key("storage.azure.rootdirectory", Text, "", "Prefix of every name."),
    key("storage.azure.legacyrootprefix", Flag, "", "Names begin with a slash, as Distribution 2.8 wrote them; looked for if unset."),
    key("storage.azure.trimlegacyrootprefix", Flag, "", "Names begin without a slash; looked for if unset."),
    key("storage.azure.credentials.type", Text, "", "`shared_key`, `client_secret` or `default_credentials`; the first if unset and there is an `accountkey`."),
    key("storage.azure.credentials.clientid", Text, "", "Client for `client_secret`."),
    key("storage.azure.credentials.tenantid", Text, "", "Tenant for `client_secret`."),
    key("storage.azure.credentials.secret", Text, "", "Secret for `client_secret`.").secret(),
    key("storage.azure.serviceurl", Text, "", "URL of the service, if it is not `https://ACCOUNT.blob.REALM`."),
    key("storage.azure.connectionstring", Text, "", "Connection string.").secret().refused("write accountname, accountkey and, for a service of your own, serviceurl"),
    key("storage.azure.max_retries", COUNT, "5", "Most retries of a request."),
    key("storage.azure.retry_delay", Duration, "100ms", "First pause before a retry."),
    key("storage.azure.skipverify", Flag, "false", "Accepts any certificate."),
    swift("storage.swift", Section, "", "OpenStack Swift (Distribution 2.8)."),
    swift("storage.swift.username", Text, "", "User."),
    swift("storage.swift.password", Text, "", "Password.").secret(),
    swift("storage.swift.authurl", Text, "", "URL of the identity service."),
    swift("storage.swift.container", Text, "", "Container of the content."),
    swift("storage.swift.tenant", Text, "", "Name of the tenant."),
    swift("storage.swift.tenantid", Text, "", "Id of the tenant."),
    swift("storage.swift.domain", Text, "", "Name of the user's domain."),
    swift("storage.swift.domainid", Text, "", "Id of the user's domain."),
    swift("storage.swift.tenantdomain", Text, "", "Name of the tenant's domain."),
    swift("storage.swift.tenantdomainid", Text, "", "Id of the tenant's domain."),
    swift("storage.swift.trustid", Text, "", "Trust to act under."),
    swift("storage.swift.region", Text, "", "Region of the container."),
    swift("storage.swift.authversion", COUNT, "", "Version of the identity service."),
    swift("storage.swift.endpointtype", Text, "", "`public`, `internal` or `admin`."),
    swift("storage.swift.insecureskipverify", Flag, "false", "Accepts any certificate."),
    swift("storage.swift.chunksize", COUNT, "20971520", "Size of a segment."),
    swift("storage.swift.prefix", Text, "", "Prefix of every key."),
    swift("storage.swift.secretkey", Text, "", "Key that signs temporary URLs.").secret(),
    swift("storage.swift.accesskey", Text, "", "Access key for temporary URLs.").secret(),
    swift("storage.swift.tempurlcontainerkey", Flag, "false", "Uses the key of the container for temporary URLs."),
    swift("storage.swift.tempurlmethods[]", Text, "", "A method that temporary URLs allow."),
    key("storage.oss", Section, "", "Alibaba Cloud OSS (Distribution 2.8), by its front end for S3. `metadata.path` or `metadata.postgres` must be set."),
    key("storage.oss.accesskeyid", Text, "", "Access key.").secret(),
    key("storage.oss.accesskeysecret", Text, "", "Secret key.").secret(),
    key("storage.oss.region", Text, "", "Region of the bucket: `oss-cn-hangzhou`, or `cn-hangzhou`."),
    key("storage.oss.bucket", Text, "", "Name of the bucket."),
    key("storage.oss.endpoint", Text, "", "Host of the service below `aliyuncs.com`, with or without the bucket before it, if it is not that of the region. The bucket is put into the path where this is an IP address."),
    key("storage.oss.internal", Flag, "false", "Uses the internal network of the provider; without effect beside `endpoint`."),
    key("storage.oss.encrypt", Flag, "false", "Asks for encryption at rest with a key of OSS (AES256)."),
    key("storage.oss.encryptionkeyid", Text, "", "Key used for encryption at rest (KMS).").refused("the front end for S3 takes no key of KMS; make it the bucket's own encryption and remove this"),
    key("storage.oss.secure", Flag, "true", "Uses HTTPS, where the endpoint does not say."),
    key("storage.oss.chunksize", Integer { min: 5_242_880, max: 5_368_709_120 }, "10485760", "Size of a part of a multipart upload; an object has at most 10,000 of them."),
    key("storage.oss.rootdirectory", Text, "", "Prefix of every key."),
];
