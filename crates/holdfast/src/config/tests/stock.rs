//! Configurations that exist in the wild.

use std::time::Duration;

use super::*;

/// What the image of Distribution 2.8 ships.
const IMAGE_2: &str = "\
version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
";

/// What the image of Distribution 3 ships.
const IMAGE_3: &str = "\
version: 0.1
log:
  level: debug
  fields:
    service: registry
    environment: development
storage:
  delete:
    enabled: true
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/registry
  tag:
    concurrencylimit: 5
http:
  addr: :5000
  debug:
    addr: :5001
    prometheus:
      enabled: true
      path: /metrics
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
";

#[test]
fn the_image_of_version_2_loads() {
    let loaded = loaded(IMAGE_2, &[]);
    let config = loaded.config;
    assert_eq!(config.log.level, LogLevel::Info);
    assert_eq!(config.log.formatter, Formatter::Text);
    assert_eq!(config.log.fields["service"], "registry");
    assert!(config.log.access_log);
    assert!(!config.storage.delete_enabled);
    assert_eq!(
        config.storage.upload_purging.age,
        Duration::from_secs(168 * 3600)
    );
    assert_eq!(
        config.metadata,
        Metadata::File("/var/lib/registry/holdfast/metadata.db".into())
    );
    assert_eq!(config.http.listen.to_string(), ":5000");
    assert_eq!(config.http.headers[0].name, "X-Content-Type-Options");
    assert_eq!(config.http.headers[0].values, ["nosniff"]);
    let rhythm = config.health.storage_driver.unwrap();
    assert_eq!(
        (rhythm.interval, rhythm.threshold),
        (Duration::from_secs(10), 3)
    );
    assert_eq!(
        loaded
            .warnings
            .iter()
            .map(Warning::to_string)
            .collect::<Vec<_>>(),
        [
            "config.yml:6:3: storage.cache has no effect here: the metadata index makes a descriptor cache unnecessary"
        ]
    );
    assert_eq!(loaded.warnings[0].level, Level::Notice);
}

#[test]
fn the_image_of_version_3_loads() {
    let loaded = loaded(IMAGE_3, &[]);
    let config = loaded.config;
    assert_eq!(config.log.level, LogLevel::Debug);
    assert!(config.storage.delete_enabled);
    assert_eq!(config.http.debug.unwrap().to_string(), ":5001");
    assert_eq!(config.http.metrics.unwrap(), "/metrics");
    assert_eq!(
        loaded
            .warnings
            .iter()
            .map(Warning::to_string)
            .collect::<Vec<_>>(),
        [
            "config.yml:10:3: storage.cache has no effect here: the metadata index makes a descriptor cache unnecessary",
            "config.yml:15:5: storage.tag.concurrencylimit has no effect here: the metadata index finds the tags of a digest without a search",
        ]
    );
}

#[test]
fn the_embedded_default_loads_without_a_word() {
    let loaded = load(Source::Default, []).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let config = Config::embedded_default();
    assert_eq!(
        config.storage.driver,
        Driver::Filesystem {
            root_directory: "./holdfast-data".into(),
            direct_io: true,
        }
    );
    assert!(config.storage.delete_enabled);
    assert_eq!(config.auth, Auth::None);
    assert_eq!(config.http.max_connections, 20_000);
    assert_eq!(config.http.send_buffer, 128 * 1024);
    assert_eq!(config.limits.manifest_bytes, 4 * 1024 * 1024);
}

#[test]
fn everything_that_takes_effect_arrives() {
    let config = config(super::invariants::EVERYTHING, &[]);
    assert_eq!(config.log.formatter, Formatter::Json);
    assert_eq!(config.log.fields["answer"], 42);
    assert!(!config.log.access_log);
    assert!(config.storage.read_only);
    let purging = &config.storage.upload_purging;
    assert_eq!(purging.age, Duration::from_secs(48 * 3600));
    assert!(purging.dry_run);
    assert_eq!(config.metadata, Metadata::File("/srv/metadata.db".into()));
    assert!(config.access.anonymous_pull);
    assert_eq!(
        config.auth,
        Auth::Htpasswd {
            realm: "Registry Realm".to_owned(),
            path: "/auth/htpasswd".into()
        }
    );
    let http = &config.http;
    assert_eq!(
        http.host.as_ref().unwrap().as_str(),
        "https://registry.example.com/my/"
    );
    assert_eq!(http.prefix, "/my/nested/registry/");
    assert!(http.relative_urls && !http.http2 && http.h2c);
    assert_eq!(
        http.secret.as_ref().unwrap().reveal(),
        "asecretforlocaldevelopment"
    );
    assert_eq!(http.drain_timeout, Duration::from_secs(60));
    assert_eq!(http.timeout, Some(Duration::from_secs(3600)));
    assert_eq!(http.header_timeout, Duration::from_secs(20));
    assert_eq!(http.idle_timeout, Duration::from_secs(90));
    assert_eq!(http.max_connections, 500);
    let tls = http.tls.as_ref().unwrap();
    assert_eq!(tls.minimum, TlsVersion::V1_2);
    assert_eq!(tls.client_auth, ClientAuth::VerifyIfGiven);
    assert_eq!(tls.client_cas, [std::path::Path::new("/tls/ca.pem")]);
    assert_eq!(tls.cipher_suites, ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]);
    let health = &config.health;
    assert_eq!(health.files[0].rhythm.interval, Duration::from_secs(5));
    assert_eq!(health.http[0].status_code, 204);
    assert_eq!(health.http[0].timeout, Some(Duration::from_secs(3)));
    assert_eq!(health.tcp[0].addr.to_string(), "redis.example.com:6379");
    let validation = &config.validation;
    assert!(validation.enabled);
    assert!(validation.allows_url("https://good.example.com/layer"));
    assert!(!validation.allows_url("https://bad.example.com/layer"));
    assert_eq!(validation.references, References::Optional);
    assert!(
        matches!(&validation.platforms, Platforms::List(list) if list[0].architecture == "amd64")
    );
    assert_eq!(config.catalog.max_entries, 50);
    assert_eq!(config.tags.max_tags, 60);
    assert_eq!(config.limits.tags_per_manifest_push, 7);
    assert_eq!(config.limits.upload_sessions, 8);
    assert!(!config.scrub.enabled);
    assert_eq!(config.scrub.interval, Duration::from_secs(240 * 3600));
    assert_eq!(config.scrub.bytes_per_second, 1_000_000);
}

#[test]
fn older_spellings_move() {
    let text = format!("{BASE}loglevel: error\n");
    assert_eq!(config(&text, &[]).log.level, LogLevel::Error);
    assert_eq!(
        warnings(&text, &[]),
        ["config.yml:4:1: loglevel is an older spelling or misplaced; write log.level"]
    );
    let text = format!("{BASE}loglevel: error\nlog: {{level: debug}}\n");
    assert_eq!(config(&text, &[]).log.level, LogLevel::Debug);
    assert_eq!(
        warnings(&text, &[]),
        ["config.yml:4:1: loglevel has no effect beside log.level, which is set too"]
    );
    let text =
        "version: 0.1\nstorage: {inmemory: , redis: {addr: 'redis:6379'}}\nhttp: {addr: ':1'}\n";
    assert_eq!(
        warnings(text, &[]),
        [
            "config.yml:2:23: storage.redis is an older spelling or misplaced; write redis",
            "config.yml:2:23: redis is not used: storage.cache.blobdescriptor is not redis",
        ]
    );
}

#[test]
fn scalars_are_taken_as_distribution_takes_them() {
    for version in ["0.1", "'0.1'", "\"0.1\""] {
        config(&BASE.replace("0.1", version), &[]);
    }
    let relative = |value: &str| {
        let text = BASE.replace("http: {", &format!("http: {{relativeurls: {value}, "));
        config(&text, &[]).http.relative_urls
    };
    assert!(relative("yes") && relative("on") && relative("True"));
    assert!(!relative("no") && !relative("off") && !relative("~"));
    let secret = config(&BASE.replace("http: {", "http: {secret: 0123, "), &[])
        .http
        .secret;
    assert_eq!(secret.unwrap().reveal(), "0123");
    let config = config(
        "version: 0.1\nstorage: filesystem\ncatalog: {maxentries: -5}\nauth: NONE\n",
        &[],
    );
    assert_eq!(config.catalog.max_entries, 1000);
    assert_eq!(config.auth, Auth::None);
    assert_eq!(config.http.listen.to_string(), ":0");
    assert_eq!(
        config.storage.driver,
        Driver::Filesystem {
            root_directory: "/var/lib/registry".into(),
            direct_io: true,
        }
    );
}

#[test]
fn validation_switches_as_distribution_does() {
    for (keys, enabled) in [
        ("", true),
        ("enabled: true", true),
        ("enabled: false", true),
        ("disabled: true", false),
        ("disabled: true, enabled: true", true),
        ("disabled: false", true),
    ] {
        let text = format!("{BASE}validation: {{{keys}}}\n");
        assert_eq!(config(&text, &[]).validation.enabled, enabled, "{keys}");
    }
    let urls = |lists: &str, url: &str| {
        let text = format!("{BASE}validation: {{manifests: {{urls: {{{lists}}}}}}}\n");
        config(&text, &[]).validation.allows_url(url)
    };
    assert!(!urls("", "https://a.example/x"));
    assert!(urls("deny: ['^http:']", "https://a.example/x"));
    assert!(!urls("deny: ['^http:']", "http://a.example/x"));
    assert!(urls("allow: ['a.example']", "http://a.example/x"));
    assert!(!urls("allow: ['a.example']", "http://b.example/x"));
}

#[test]
fn idle_keys_share_one_warning() {
    let text = format!(
        "{BASE}notifications:\n  endpoints:\n    - {{name: a, url: 'http://a/'}}\nlog: {{reportcaller: true}}\nproxy: {{remoteurl: '', ttl: 1h}}\n"
    );
    assert_eq!(
        warnings(&text, &[]),
        [
            "not effective yet in this release: notifications (config.yml:4), log.reportcaller (config.yml:7), proxy.ttl (config.yml:8)"
        ]
    );
}

#[test]
fn unknown_keys_are_named_with_what_was_meant() {
    let text = "version: 0.1\nstorage: inmemory\nhttp:\n  addr: :5000\n  drainTimeout: 5s\nrootdirectry: x\ncertificates: y\nnotifications: {endpoint: []}\n";
    assert_eq!(
        warnings(text, &[]),
        [
            "config.yml:5:3: http.drainTimeout is not a known key and has no effect; did you mean http.draintimeout?",
            "config.yml:6:1: rootdirectry is not a known key and has no effect",
            "config.yml:7:1: certificates is not a known key and has no effect",
            "config.yml:8:17: notifications.endpoint is not a known key and has no effect; did you mean notifications.endpoints?",
        ]
    );
}
