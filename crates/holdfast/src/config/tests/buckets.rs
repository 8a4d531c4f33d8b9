//! Object stores.

use std::time::Duration;

use holdfast_storage::cloud::{
    AuthVersion, AzureCredentials, EndpointType, GcsCredentials, S3Settings, SwiftSettings,
};

use super::*;

fn config(storage: &str) -> String {
    format!(
        "version: 0.1\nstorage: {{{storage}}}\nhttp: {{addr: ':5000'}}\nmetadata: {{path: /m}}\n"
    )
}

fn s3(keys: &str) -> S3Settings {
    match loaded(&config(&format!("s3: {{bucket: b, {keys}}}")), &[])
        .config
        .storage
        .driver
    {
        Driver::S3(settings) => *settings,
        other => panic!("{other:?}"),
    }
}

#[test]
fn addressing_follows_the_release_that_wrote_the_file() {
    // 2.8 puts the bucket into the path with an endpoint of one's own, and has no key for it.
    assert!(s3("regionendpoint: 'http://minio:9000'").path_style);
    assert!(s3("regionendpoint: minio, forcepathstyle: true").path_style);
    assert!(!s3("regionendpoint: minio, forcepathstyle: false").path_style);
    assert!(!s3("region: eu-west-1").path_style);
    assert!(s3("region: eu-west-1, forcepathstyle: true").path_style);
}

fn oss(keys: &str) -> S3Settings {
    let text =
        format!("oss: {{bucket: b, accesskeyid: hidden-id, accesskeysecret: hidden-key, {keys}}}");
    match loaded(&config(&text), &[]).config.storage.driver {
        Driver::S3(settings) => *settings,
        other => panic!("{other:?}"),
    }
}

#[test]
fn oss_is_its_front_end_for_s3() {
    let settings = oss("region: oss-cn-hangzhou");
    assert_eq!(settings.bucket, "b");
    assert_eq!(settings.region.as_deref(), Some("cn-hangzhou"));
    let keys = ("hidden-id".to_owned(), "hidden-key".to_owned());
    assert_eq!(settings.keys, Some(keys));
    assert!(settings.secure && !settings.encrypt);
    assert_eq!(settings.common.part_bytes, 10 * 1024 * 1024);
    assert!(!format!("{settings:?}").contains("hidden"));
    let settings =
        oss("region: r, secure: false, encrypt: true, chunksize: 5242880, rootdirectory: /images");
    assert!(!settings.secure && settings.encrypt);
    assert_eq!((settings.key_id, settings.acl), (None, None));
    assert_eq!(settings.common.part_bytes, 5_242_880);
    assert_eq!(settings.common.root_directory, "/images");

    for (keys, endpoint, path_style) in [
        (
            "region: oss-cn-hangzhou",
            "s3.oss-cn-hangzhou.aliyuncs.com",
            false,
        ),
        (
            "region: cn-hangzhou",
            "s3.oss-cn-hangzhou.aliyuncs.com",
            false,
        ),
        (
            "region: us-west-1, internal: true",
            "s3.oss-us-west-1-internal.aliyuncs.com",
            false,
        ),
        (
            "region: r, internal: true, endpoint: b.oss-cn-beijing.aliyuncs.com",
            "s3.oss-cn-beijing.aliyuncs.com",
            false,
        ),
        (
            "region: r, endpoint: oss-cn-beijing-internal.aliyuncs.com",
            "s3.oss-cn-beijing-internal.aliyuncs.com",
            false,
        ),
        (
            "region: r, endpoint: 'https://s3.oss-accelerate.aliyuncs.com/'",
            "https://s3.oss-accelerate.aliyuncs.com",
            false,
        ),
        (
            "region: r, endpoint: '10.0.0.1:9000'",
            "10.0.0.1:9000",
            true,
        ),
        (
            "region: r, endpoint: 'http://[::1]:9000'",
            "http://[::1]:9000",
            true,
        ),
    ] {
        let settings = oss(keys);
        assert_eq!(settings.endpoint.as_deref(), Some(endpoint), "{keys}");
        assert_eq!(settings.path_style, path_style, "{keys}");
    }
}

const SWIFT: &str = "username: u, password: hidden-password, container: c";

fn swift(keys: &str) -> (SwiftSettings, Vec<String>) {
    let text = config(&format!("swift: {{{SWIFT}, {keys}}}"));
    match loaded(&text, &[]).config.storage.driver {
        Driver::Swift(settings) => (*settings, warnings(&text, &[])),
        other => panic!("{other:?}"),
    }
}

#[test]
fn swift_is_what_distribution_2_8_had() {
    let (settings, warnings) =
        swift("authurl: 'https://h/v3', secretkey: hidden-key, tempurlmethods: [PUT, GET]");
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(settings.container, "c");
    assert_eq!(settings.common.part_bytes, 20 * 1024 * 1024);
    assert!(settings.temporary_urls.allowed && !settings.temporary_urls.of_container);
    assert_eq!(settings.temporary_urls.key.as_deref(), Some("hidden-key"));
    assert_eq!(settings.identity.password, "hidden-password");
    assert_eq!(settings.identity.endpoint_type, EndpointType::Public);
    assert!(!format!("{settings:?}").contains("hidden"));
    for (keys, expected) in [
        ("authurl: 'https://h/auth/v1.0'", AuthVersion::V1),
        ("authurl: 'https://h/v2.0'", AuthVersion::V2),
        ("authurl: 'https://h/identity/v3/auth'", AuthVersion::V3),
        ("authurl: 'https://h/v3', authversion: 2", AuthVersion::V2),
    ] {
        assert_eq!(swift(keys).0.identity.version, expected, "{keys}");
    }
    let keys = "authurl: 'https://h/v2.0', tenant: t, domain: d, region: r, endpointtype: internal, prefix: /a/b, insecureskipverify: true";
    let (settings, warnings) = swift(keys);
    assert_eq!(settings.identity.tenant.as_deref(), Some("t"));
    assert_eq!(settings.identity.region.as_deref(), Some("r"));
    assert_eq!(settings.identity.endpoint_type, EndpointType::Internal);
    assert_eq!(settings.common.root_directory, "/a/b");
    assert_eq!(settings.identity.domain, None);
    assert!(settings.common.skip_verify);
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].contains("storage.swift.domain: has no effect"),
        "{warnings:?}"
    );
    let (settings, warnings) =
        swift("authurl: 'https://h/auth/v1.0', region: r, endpointtype: admin");
    assert_eq!(settings.identity.region, None);
    assert_eq!(settings.identity.endpoint_type, EndpointType::Public);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    let (settings, warnings) = swift("authurl: 'https://h/v3', rootdirectory: /images");
    assert_eq!(settings.common.root_directory, "");
    assert!(
        warnings[0].contains("storage.swift.rootdirectory"),
        "{warnings:?}"
    );
}

#[test]
fn defaults_are_distributions() {
    let settings = s3("region: eu-west-1");
    assert_eq!(settings.common.part_bytes, 10 * 1024 * 1024);
    assert!(settings.secure && settings.common.redirect && !settings.encrypt);
    assert_eq!((settings.storage_class, settings.acl), (None, None));
    let settings = s3("region: r, storageclass: reduced_redundancy, objectacl: Public-Read");
    assert_eq!(
        settings.storage_class.as_deref(),
        Some("REDUCED_REDUNDANCY")
    );
    assert_eq!(settings.acl.as_deref(), Some("public-read"));
    let unredirected = config("s3: {bucket: b, region: r}, redirect: {disable: true}");
    let Driver::S3(settings) = loaded(&unredirected, &[]).config.storage.driver else {
        panic!("it is S3");
    };
    assert!(!settings.common.redirect);
}

#[test]
fn another_name_of_s3_and_variables_of_the_environment() {
    let text = config("s3aws: {bucket: b, region: r}");
    assert!(matches!(
        loaded(&text, &[]).config.storage.driver,
        Driver::S3(_)
    ));
    let variables = [
        ("REGISTRY_STORAGE", "s3"),
        ("REGISTRY_STORAGE_S3_BUCKET", "c"),
        ("REGISTRY_STORAGE_S3_REGION", "us-west-2"),
        ("REGISTRY_STORAGE_S3_SECURE", "false"),
    ];
    let Driver::S3(settings) = loaded(&config("inmemory: "), &variables)
        .config
        .storage
        .driver
    else {
        panic!("it is S3");
    };
    assert_eq!(settings.bucket, "c");
    assert!(!settings.secure);
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    for (storage, expected) in [
        (
            "s3: {bucket: b}",
            "storage.s3.region: is required without regionendpoint",
        ),
        ("s3: {region: r}", "storage.s3.bucket: is required"),
        (
            "s3: {bucket: b, region: r, v4auth: false}",
            "storage.s3.v4auth: version 2 of the signature",
        ),
        (
            "s3: {bucket: b, region: r, chunksize: 5242879}",
            "storage.s3.chunksize: expected a whole number from 5242880 to 5368709120",
        ),
        (
            "s3: {bucket: b, region: r, accesskey: a}",
            "storage.s3.secretkey: is required with accesskey",
        ),
        (
            "s3: {bucket: b, region: r, storageclass: COLD}",
            "storage.s3.storageclass: expected one of NONE, STANDARD",
        ),
        (
            "s3: {bucket: b, region: r, rootdirectory: a//b}",
            "storage.s3.rootdirectory: expected names",
        ),
        (
            "s3: {bucket: b, region: r, accelerate: true, forcepathstyle: true}",
            "storage.s3.accelerate: has its own endpoints",
        ),
        (
            "oss: {bucket: b, accesskeyid: a, accesskeysecret: s}",
            "storage.oss.region: is required",
        ),
        (
            "oss: {bucket: b, region: r, accesskeysecret: s}",
            "storage.oss.accesskeyid: is required",
        ),
        (
            "oss: {bucket: b, region: r.s, accesskeyid: a, accesskeysecret: s}",
            "storage.oss.region: expected a region",
        ),
        (
            "oss: {bucket: b, region: r, accesskeyid: a, accesskeysecret: s, chunksize: 1048576}",
            "storage.oss.chunksize: expected a whole number from 5242880",
        ),
        (
            "oss: {bucket: b, region: r, accesskeyid: a, accesskeysecret: s, encryptionkeyid: k}",
            "storage.oss.encryptionkeyid: refused",
        ),
        (
            "oss: {bucket: b, region: r, accesskeyid: a, accesskeysecret: s, endpoint: images.example.com}",
            "storage.oss.endpoint: expected a host below aliyuncs.com",
        ),
        (
            "swift: {username: u, password: p, container: c}",
            "storage.swift.authurl: is required",
        ),
        (
            "swift: {username: u, password: p, container: c, authurl: 'https://h/identity'}",
            "storage.swift.authversion: cannot be told from authurl",
        ),
        (
            "swift: {username: u, password: p, container: c/d, authurl: 'https://h/v3'}",
            "storage.swift.container: expected a name without slashes",
        ),
        (
            "swift: {username: u, password: p, container: c, authurl: 'https://h/v3', prefix: a/}",
            "storage.swift.prefix: ends with a slash",
        ),
        (
            "swift: {username: u, password: p, container: c, authurl: 'https://h/v3', chunksize: 1000}",
            "storage.swift.chunksize: expected a whole number from 1048576",
        ),
        (
            "swift: {username: u, password: p, container: c, authurl: 'https://h/v3', endpointtype: x}",
            "storage.swift.endpointtype: expected public, internal or admin",
        ),
        (
            "swift: {username: u, password: p, container: c, authurl: 'https://h/v3', accesskey: k}",
            "storage.swift.accesskey: refused",
        ),
        (
            "gcs: {bucket: b, keyfile: /k, credentials: {a: b}}",
            "storage.gcs.credentials: is set beside keyfile",
        ),
        (
            "azure: {accountname: a, container: c}",
            "storage.azure.credentials.type: is required without accountkey",
        ),
        (
            "azure: {accountname: a, container: c, credentials: {type: shared_key}}",
            "storage.azure.accountkey: is required",
        ),
        (
            "azure: {accountname: a, container: c, credentials: {type: client_secret}}",
            "client_secret takes clientid, tenantid and secret",
        ),
        (
            "azure: {accountname: a, container: c, connectionstring: x}",
            "storage.azure.connectionstring: refused",
        ),
    ] {
        let text = refusal(&config(storage), &[]);
        assert!(text.contains(expected), "{storage}\n{text}");
    }
    let without = config("s3: {bucket: b, region: r}").replace("metadata: {path: /m}\n", "");
    let text = refusal(&without, &[]);
    assert!(
        text.contains("metadata.path: is required with an object store"),
        "{text}"
    );
}

#[test]
fn credentials_are_taken_and_never_shown() {
    let text =
        config("gcs: {bucket: b, credentials: {type: service_account, private_key: hidden-key}}");
    let found = loaded(&text, &[]);
    let Driver::Gcs(gcs) = &found.config.storage.driver else {
        panic!("it is GCS");
    };
    let expected = r#"{"private_key":"hidden-key","type":"service_account"}"#;
    assert_eq!(gcs.credentials, GcsCredentials::Json(expected.to_owned()));
    assert!(!format!("{:?}", found.config).contains("hidden-key"));

    let text =
        config("azure: {accountname: a, container: c, accountkey: hidden-key, retry_delay: 2s}");
    let found = loaded(&text, &[]);
    let Driver::Azure(azure) = &found.config.storage.driver else {
        panic!("it is Azure");
    };
    assert_eq!(
        azure.credentials,
        AzureCredentials::SharedKey("hidden-key".to_owned())
    );
    assert_eq!(azure.service_url, "https://a.blob.core.windows.net");
    assert_eq!((azure.leading_slash, azure.common.retries), (None, 5));
    assert_eq!(azure.common.retry_pause, Duration::from_secs(2));
    assert!(!format!("{:?}", found.config).contains("hidden-key"));

    let found =
        s3("region: r, accesskey: hidden-id, secretkey: hidden-key, sessiontoken: hidden-token");
    assert!(!format!("{found:?}").contains("hidden"));
}
