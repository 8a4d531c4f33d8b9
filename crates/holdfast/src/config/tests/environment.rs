//! The rules of `REGISTRY_*` overrides.

use super::*;

const FILESYSTEM: &str =
    "version: 0.1\nstorage: {filesystem: {rootdirectory: /a}}\nhttp: {addr: ':5000'}\n";

fn root(config: &Config) -> &str {
    match &config.storage.driver {
        Driver::Filesystem { root_directory, .. } => root_directory.to_str().unwrap(),
        _ => "memory",
    }
}

#[test]
fn scalars_are_reachable_by_name() {
    let config = config(
        FILESYSTEM,
        &[
            ("REGISTRY_LOG_LEVEL", "debug"),
            ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/data"),
            ("REGISTRY_STORAGE_DELETE_ENABLED", "true"),
            ("REGISTRY_HTTP_TLS_CERTIFICATE", "/c.pem"),
            ("REGISTRY_HTTP_TLS_KEY", "/k.pem"),
            ("REGISTRY_HTTP_ADDR", "[::]:5001"),
            ("REGISTRY_HTTP_SECRET", "@odd: *text"),
            ("REGISTRY_METADATA_PATH", "/meta.db"),
            ("REGISTRY_access_AnonymousPull", "true"),
            ("REGISTRY_LIMITS_MANIFESTBYTES", "65536"),
            ("OTHER_LOG_LEVEL", "nonsense"),
            ("REGISTRY_CONFIGURATION_PATH", "/etc/x.yml"),
            ("REGISTRY_AUTH_FILE", "/run/user/0/containers/auth.json"),
        ],
    );
    assert_eq!(config.log.level, LogLevel::Debug);
    assert_eq!(root(&config), "/data");
    assert!(config.storage.delete_enabled);
    assert_eq!(
        config.http.tls.unwrap().certificate,
        std::path::Path::new("/c.pem")
    );
    assert_eq!(config.http.listen.to_string(), "[::]:5001");
    assert_eq!(config.http.secret.unwrap().reveal(), "@odd: *text");
    assert_eq!(config.metadata, Metadata::File("/meta.db".into()));
    assert!(config.access.anonymous_pull);
    assert_eq!(config.limits.manifest_bytes, 65536);
}

#[test]
fn sections_are_replaced_before_they_are_filled() {
    let config = config(
        FILESYSTEM,
        &[
            ("REGISTRY_HTTP_DEBUG_ADDR", ":6001"),
            ("REGISTRY_HTTP", "{addr: ':80', relativeurls: true}"),
            ("REGISTRY_STORAGE_DELETE", r#"{"enabled": true}"#),
        ],
    );
    assert_eq!(config.http.listen.to_string(), ":80");
    assert!(config.http.relative_urls);
    assert_eq!(config.http.debug.unwrap().port, 6001);
    assert!(config.storage.delete_enabled);
}

#[test]
fn a_driver_word_replaces_the_section() {
    let config = config(
        "version: 0.1\nstorage: {inmemory: , delete: {enabled: true}}\nhttp: {addr: ':1'}\n",
        &[
            ("REGISTRY_STORAGE", "filesystem"),
            ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/b"),
        ],
    );
    assert_eq!(root(&config), "/b");
    assert!(!config.storage.delete_enabled);
}

#[test]
fn two_drivers_are_named_with_their_places() {
    assert_eq!(
        refusal(FILESYSTEM, &[("REGISTRY_STORAGE_INMEMORY", "{}")]),
        "environment variable REGISTRY_STORAGE_INMEMORY: storage: must provide exactly one storage type. Provided: [filesystem inmemory] \
         (filesystem at config.yml:2:11, inmemory at environment variable REGISTRY_STORAGE_INMEMORY)"
    );
    let both = refusal(FILESYSTEM, &[("REGISTRY_STORAGE_S3_BUCKET", "b")]);
    assert!(both.contains("Provided: [filesystem s3]"), "{both}");
}

#[test]
fn the_built_in_driver_gives_way() {
    let variables = [("REGISTRY_STORAGE_INMEMORY".to_owned(), "{}".to_owned())];
    let config = load(Source::Default, variables).unwrap().config;
    assert_eq!(root(&config), "memory");
    assert!(config.storage.delete_enabled);
    let variables = [(
        "REGISTRY_STORAGE_DELETE_ENABLED".to_owned(),
        "false".to_owned(),
    )];
    let config = load(Source::Default, variables).unwrap().config;
    assert_eq!(root(&config), "./holdfast-data");
    assert!(!config.storage.delete_enabled);
}

#[test]
fn the_auth_trio_works_with_and_without_its_first() {
    let rest = [
        ("REGISTRY_AUTH_HTPASSWD_PATH", "/auth/htpasswd"),
        ("REGISTRY_AUTH_HTPASSWD_REALM", "Registry Realm"),
    ];
    let expected = Auth::Htpasswd {
        realm: "Registry Realm".to_owned(),
        path: "/auth/htpasswd".into(),
    };
    assert_eq!(config(BASE, &rest).auth, expected);
    let trio = [("REGISTRY_AUTH", "htpasswd"), rest[0], rest[1]];
    assert_eq!(config(BASE, &trio).auth, expected);
    let silly = format!("{BASE}auth: {{silly: {{realm: r, service: s}}}}\n");
    assert_eq!(config(&silly, &trio).auth, expected);
    assert!(
        refusal(&silly, &rest)
            .contains("must provide exactly one type. Provided: [silly htpasswd]")
    );
    assert_eq!(
        config(&silly, &[("REGISTRY_AUTH", "none")]).auth,
        Auth::None
    );
    assert_eq!(
        refusal(&silly, &[("REGISTRY_AUTH", "")]),
        "environment variable REGISTRY_AUTH: is empty; write none to turn authentication off"
    );
}

#[test]
fn both_forms_of_maintenance_keys_work() {
    let with = format!("{FILESYSTEM}x: 1\n")
        .replace("/a}", "/a}, maintenance: {readonly: {enabled: false}}");
    for text in [FILESYSTEM, with.as_str()] {
        for variable in [
            ("REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED", "true"),
            (
                "REGISTRY_STORAGE_MAINTENANCE_READONLY",
                r#"{"enabled":true}"#,
            ),
        ] {
            assert!(config(text, &[variable]).storage.read_only, "{variable:?}");
        }
        let off = (
            "REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_ENABLED",
            "false",
        );
        assert!(!config(text, &[off]).storage.upload_purging.enabled);
    }
}

#[test]
fn free_keys_are_met_in_any_case_or_made_in_lower_case() {
    let text = format!("{BASE}log: {{fields: {{Region: a}}}}\n")
        .replace("addr", "headers: {X-One: [a]}, addr");
    let config = config(
        &text,
        &[
            ("REGISTRY_LOG_FIELDS_REGION", "b"),
            ("REGISTRY_LOG_FIELDS_ENVIRONMENT", "prod"),
            ("REGISTRY_LOG_FIELDS_BUILD_NUMBER", "7"),
            ("REGISTRY_HTTP_HEADERS_X-Foo", "[bar]"),
            ("REGISTRY_HTTP_HEADERS_X-ONE_1", "c"),
        ],
    );
    let fields: Vec<_> = config
        .log
        .fields
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    assert_eq!(
        fields,
        ["Region=\"b\"", "build_number=7", "environment=\"prod\""]
    );
    let headers: Vec<_> = config
        .http
        .headers
        .iter()
        .map(|header| (header.name.as_str(), header.values.join(",")))
        .collect();
    assert_eq!(
        headers,
        [("X-One", "a,c".to_owned()), ("x-foo", "bar".to_owned())]
    );
    assert_eq!(
        refusal(BASE, &[("REGISTRY_HTTP_HEADERS_X-Foo", "bar")]),
        "environment variable REGISTRY_HTTP_HEADERS_X-Foo: http.headers.x-foo: expected a list such as [bar], found a single value"
    );
}

#[test]
fn list_items_are_counted_from_zero_and_appended() {
    let config = config(
        BASE,
        &[
            ("REGISTRY_HTTP_TLS_CERTIFICATE", "c"),
            ("REGISTRY_HTTP_TLS_KEY", "k"),
            ("REGISTRY_HTTP_TLS_CLIENTCAS_0", "/a.pem"),
            ("REGISTRY_HTTP_TLS_CLIENTCAS_1", "/b.pem"),
            ("REGISTRY_HEALTH_TCP_0_ADDR", "db:5432"),
            ("REGISTRY_HEALTH_TCP_0_TIMEOUT", "2s"),
        ],
    );
    assert_eq!(config.http.tls.unwrap().client_cas.len(), 2);
    assert_eq!(config.health.tcp[0].addr.port, 5432);
    assert_eq!(
        refusal(BASE, &[("REGISTRY_HTTP_TLS_CLIENTCAS_1", "/a.pem")]),
        "environment variable REGISTRY_HTTP_TLS_CLIENTCAS_1: undefined index 1: http.tls.clientcas has 0 items, so the next one is 0"
    );
}

#[test]
fn redis_is_reachable_by_both_names() {
    for name in [
        "REGISTRY_REDIS_ADDRS_0",
        "REGISTRY_REDIS_OPTIONS_ADDRS_0",
        "REGISTRY_REDIS_ADDR",
    ] {
        assert_eq!(
            warnings(BASE, &[(name, "redis:6379")]),
            [format!(
                "environment variable {name}: redis is not used: storage.cache.blobdescriptor is not redis"
            )]
        );
    }
}

#[test]
fn what_nobody_knows_is_a_warning() {
    // The first ones appear in every pod beside a Kubernetes service named "registry".
    for name in [
        "REGISTRY_PORT",
        "REGISTRY_SERVICE_HOST",
        "REGISTRY_PORT_5000_TCP_ADDR",
        "REGISTRY_",
        "REGISTRY__",
        "REGISTRY_HTTP_FOO",
        "REGISTRY_LOG_LEVEL_DEEPER",
        "REGISTRY_LOG_HOOKS_FIRST_TYPE",
        "REGISTRY_STORAGE_PORT",
    ] {
        assert_eq!(
            warnings(BASE, &[(name, "tcp://10.0.0.1:5000")]).len(),
            1,
            "{name}"
        );
    }
    assert_eq!(
        warnings(BASE, &[("REGISTRY_HTTP_ADRR", ":1")]),
        [
            "environment variable REGISTRY_HTTP_ADRR: is not recognized and has no effect; did you mean http.addr?"
        ]
    );
    assert_eq!(
        warnings(BASE, &[("REGISTRY_VERSION", "2.8.3")]),
        [
            "environment variable REGISTRY_VERSION: has no effect: the version belongs to the configuration file"
        ]
    );
}

#[test]
fn a_value_that_does_not_fit_names_its_variable() {
    for (name, value, message) in [
        (
            "REGISTRY_HTTP_DRAINTIMEOUT",
            "soon",
            "http.draintimeout: expected a duration such as 10s or 1h30m, found \"soon\"",
        ),
        (
            "REGISTRY_STORAGE_DELETE_ENABLED",
            "perhaps",
            "storage.delete.enabled: expected true or false without quotes, found \"perhaps\"",
        ),
        (
            "REGISTRY_CATALOG_MAXENTRIES",
            "many",
            "catalog.maxentries: expected a whole number, found \"many\"",
        ),
        (
            "REGISTRY_HTTP",
            "word",
            "http: expected a section, found a single value",
        ),
        (
            "REGISTRY_HTTP_TLS",
            "[1]",
            "http.tls: expected a section, found a list",
        ),
        ("REGISTRY_HTTP_HEADERS", "{", "not valid YAML: "),
        (
            "REGISTRY_LOG_LEVEL",
            "loud",
            "log.level: invalid loglevel loud Must be one of [error, warn, info, debug]",
        ),
    ] {
        let text = refusal(BASE, &[(name, value)]);
        let start = format!("environment variable {name}: {message}");
        assert!(text.starts_with(&start), "{text}");
    }
    assert!(
        refusal(
            "version: 0.1\nstorage: inmemory\nhttp: word\n",
            &[("REGISTRY_HTTP_ADDR", ":1")]
        )
        .contains("http is not a section but \"word\", set at config.yml:3:7")
    );
}

#[test]
fn a_bare_number_is_nanoseconds() {
    let variables = [("REGISTRY_HTTP_DRAINTIMEOUT", "10")];
    let drain = config(BASE, &variables).http.drain_timeout;
    assert_eq!(drain, std::time::Duration::from_nanos(10));
    assert_eq!(
        warnings(BASE, &variables),
        [
            "environment variable REGISTRY_HTTP_DRAINTIMEOUT: http.draintimeout: 10 without a unit is 10 nanoseconds; write 10s for seconds"
        ]
    );
}
