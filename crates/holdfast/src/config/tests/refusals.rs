//! What stops the start, each with its place.

use super::*;

/// Appends lines to a file that is otherwise valid; they begin at line 4.
#[track_caller]
fn appended(lines: &str) -> String {
    refusal(&format!("{BASE}{lines}\n"), &[])
}

/// Puts keys into the `http` section in line 3, at column 8.
#[track_caller]
fn http(keys: &str) -> String {
    refusal(&BASE.replace("addr: ':5000'", keys), &[])
}

#[track_caller]
fn storage(keys: &str) -> String {
    refusal(
        &BASE.replace("storage: inmemory", &format!("storage: {{{keys}}}")),
        &[],
    )
}

#[test]
fn the_version_must_be_known() {
    for (version, found) in [("0.2", "0.2"), ("1", "1"), ("", ""), ("[0.1]", "")] {
        let text = refusal(&BASE.replace("0.1", version), &[]);
        let expected = format!("version: unsupported version: {found:?}, expected 0.1");
        assert!(text.contains(&expected), "{text}");
    }
    assert!(refusal("", &[]).contains("unsupported version"));
    assert!(refusal("- a list", &[]).contains("config.yml:1:1: expected sections"));
}

#[test]
fn storage_and_auth_take_exactly_one() {
    assert_eq!(
        refusal("version: 0.1\nhttp: {addr: ':1'}\n", &[]),
        "config.yml:1:1: storage: no storage configuration provided"
    );
    assert_eq!(
        storage("delete: {enabled: true}"),
        "config.yml:2:1: storage: no storage configuration provided"
    );
    assert_eq!(
        storage("inmemory: , filesystem: {rootdirectory: /a}"),
        "config.yml:2:23: storage: must provide exactly one storage type. Provided: [inmemory filesystem] (inmemory at config.yml:2:11, filesystem at config.yml:2:23)"
    );
    assert_eq!(
        appended("auth: {silly: {realm: r, service: s}, htpasswd: {realm: r, path: p}}"),
        "config.yml:4:39: auth: must provide exactly one type. Provided: [silly htpasswd] (silly at config.yml:4:8, htpasswd at config.yml:4:39)"
    );
}

#[test]
fn drivers_and_types_of_other_releases_are_refused() {
    let text = storage("filesytem: {rootdirectory: /a}");
    let expected =
        "config.yml:2:11: storage.filesytem: is not a storage driver of this release, which has ";
    assert!(text.starts_with(expected), "{text}");
    assert!(
        text.ends_with("; did you mean storage.filesystem?"),
        "{text}"
    );
    assert!(
        appended("auth: {token: {realm: r}}")
            .starts_with("config.yml:4:8: auth.token: refused: token auth")
    );
    assert!(appended("auth: token").starts_with("config.yml:4:7: auth.token: refused"));
    assert!(
        appended("auth: {ldap: {}}").starts_with("config.yml:4:8: auth.ldap: is not an auth type")
    );
}

#[test]
fn what_would_be_missed_dangerously_is_refused() {
    for (lines, start) in [
        (
            "proxy: {remoteurl: 'https://registry-1.docker.io'}",
            "config.yml:4:9: proxy.remoteurl: refused: the pull-through cache",
        ),
        (
            "policy: {repository: {classes: [image]}}",
            "config.yml:4:23: policy.repository.classes: refused",
        ),
        (
            "middleware: {registry: [{name: guard}]}",
            "config.yml:4:32: middleware.registry[0].name: there is no registry middleware \"guard\", and",
        ),
        (
            "middleware: {registry: [{options: {allow: [a]}}]}",
            "config.yml:4:25: middleware.registry[0].name: is required",
        ),
        (
            "middleware: {registry: [{name: repository, options: {allow: []}}]}",
            "config.yml:4:53: middleware.registry[0].options: needs a pattern under allow or deny",
        ),
        (
            "middleware: {registry: [{name: repository, options: {allow: ['(']}}]}",
            "config.yml:4:62: middleware.registry[0].options.allow: is not a pattern",
        ),
        (
            "middleware: {storage: [{name: guard}]}",
            "config.yml:4:31: middleware.storage[0].name: there is no storage middleware \"guard\", and",
        ),
        (
            "middleware: {storage: [{name: redirect, options: {baseurl: cdn.example.com}}]}",
            "config.yml:4:60: middleware.storage[0].options.baseurl: must be a URL with a scheme and a host",
        ),
        (
            "middleware: {storage: [{name: cloudfront, options: {baseurl: d.example.com, keypairid: K}}]}",
            "config.yml:4:43: middleware.storage[0].options.privatekey: is required",
        ),
        (
            "middleware: {storage: [{name: cloudfront, options: {baseurl: d.example.com, privatekey: /k, keypairid: K, ipfilteredby: awsregion}}]}",
            "config.yml:4:43: middleware.storage[0].options.awsregion: is required with ipfilteredby: awsregion",
        ),
        (
            "middleware: {repository: [{name: guard}]}",
            "config.yml:4:14: middleware.repository: refused: there is none, and",
        ),
    ] {
        let text = appended(lines);
        assert!(text.starts_with(start), "{text}");
    }
    let text = http("addr: ':1', tls: {letsencrypt: {cachefile: /x, email: e}}");
    assert!(
        text.starts_with("config.yml:3:26: http.tls.letsencrypt: refused: certificates"),
        "{text}"
    );
    // Left-overs of templates ask for nothing.
    loaded(
        &format!(
            "{BASE}proxy: {{remoteurl: ''}}\npolicy: {{repository: {{classes: []}}}}\nmiddleware: {{registry: }}\n"
        ),
        &[],
    );
}

#[test]
fn a_typo_that_would_leave_the_registry_open_is_refused() {
    for lines in [
        "athu: {htpasswd: {realm: r, path: /x}}",
        "auht: none",
        "auth: {htpasswd: {realm: r, path: /x, pth: /y}}",
        "http: {addr: ':1', tls: {certifcate: /x, keey: /y}}",
        "http: {addr: ':1', tsl: {certificate: /x, key: /y}}",
    ] {
        let text = appended(lines);
        assert!(
            text.contains("could leave the registry open"),
            "{lines}: {text}"
        );
    }
    for variable in [
        "REGISTRY_HTTP_TLS_CERT",
        "REGISTRY_AUHT",
        "REGISTRY_ATHU_HTPASSWD_PATH",
    ] {
        let text = refusal(BASE, &[(variable, "/x")]);
        assert!(
            text.contains("could leave the registry open"),
            "{variable}: {text}"
        );
    }
}

#[test]
fn each_error_has_its_place() {
    for (keys, message) in [
        (
            "addr: '5000'",
            "config.yml:3:14: http.addr: expected host:port, :port or [::]:port, found \"5000\" without a port",
        ),
        (
            "addr: ':1', net: udp",
            "config.yml:3:25: http.net: unknown address type udp, expected tcp or unix",
        ),
        (
            "net: unix",
            "config.yml:3:1: http.addr: expected the path of a socket, because http.net is unix",
        ),
        (
            "addr: ':1', draintimeout: abc",
            "config.yml:3:34: http.draintimeout: expected a duration such as 10s or 1h30m, found \"abc\"",
        ),
        (
            "addr: ':1', headertimeout: -1s",
            "config.yml:3:35: http.headertimeout: a duration below zero makes no sense here",
        ),
        (
            "addr: ':1', maxconnections: 0",
            "config.yml:3:36: http.maxconnections: expected a whole number from 1 to 1000000, found \"0\"",
        ),
        (
            "addr: ':1', trustedproxies: [10.0.0.1, 10.0.0.0/33]",
            "config.yml:3:47: http.trustedproxies: expected an address or a network such as 10.0.0.0/8, found \"10.0.0.0/33\"",
        ),
        (
            "addr: ':1', trustedproxies: [proxy]",
            "config.yml:3:37: http.trustedproxies: expected an address or a network such as 10.0.0.0/8, found \"proxy\"",
        ),
        (
            "addr: ':1', prefix: my",
            "config.yml:3:28: http.prefix: expected a path such as /registry/, found \"my\"",
        ),
        (
            "addr: ':1', prefix: /a/../b",
            "config.yml:3:28: http.prefix: expected a path such as /registry/, found \"/a/../b\"",
        ),
        (
            "addr: ':1', host: 'http://'",
            "config.yml:3:26: http.host: is not a URL: empty host",
        ),
        (
            "addr: ':1', host: 'https://u:p@h/'",
            "config.yml:3:26: http.host: is given to clients and cannot contain a user or password",
        ),
        (
            "addr: ':1', relativeurls: 'true'",
            "config.yml:3:34: http.relativeurls: expected true or false without quotes, found \"true\"",
        ),
        (
            "addr: ':1', secret: [a]",
            "config.yml:3:28: http.secret: expected one value, found a list",
        ),
        (
            "addr: ':1', headers: {X-A: nosniff}",
            "config.yml:3:35: http.headers.X-A: expected a list such as [nosniff], found a single value",
        ),
        (
            "addr: ':1', headers: {X-A: [\"a\\r\\nb\"]}",
            "config.yml:3:36: http.headers.X-A: a header cannot contain control characters",
        ),
        (
            "addr: ':1', headers: {'X A': [b]}",
            "config.yml:3:30: http.headers: \"X A\" is not the name of a header",
        ),
        (
            "addr: ':1', debug: {addr: ':1'}",
            "config.yml:3:34: http.debug.addr: is the same address as http.addr",
        ),
        (
            "addr: ':1', tls: {certificate: c}",
            "config.yml:3:39: http.tls.certificate: is set, but http.tls.key is not; TLS needs both",
        ),
        (
            "addr: ':1', tls: {key: k}",
            "config.yml:3:31: http.tls.key: is set, but http.tls.certificate is not; TLS needs both",
        ),
        (
            "addr: ':1', tls: {clientcas: [a]}",
            "config.yml:3:37: http.tls.clientcas: is set, but without http.tls.certificate there is no TLS and clients would not be verified",
        ),
        (
            "addr: ':1', tls: {certificate: c, key: k, clientauth: maybe}",
            "config.yml:3:62: http.tls.clientauth: unknown client authentication \"maybe\"",
        ),
        (
            "addr: ':1', tls: {certificate: c, key: k, minimumtls: tls9}",
            "config.yml:3:62: http.tls.minimumtls: unknown minimum TLS level 'tls9' specified for http.tls.minimumtls",
        ),
        (
            "addr: ':1', tls: {certificate: c, key: k, ciphersuites: [TLS_X]}",
            "config.yml:3:65: http.tls.ciphersuites: unknown TLS cipher suite \"TLS_X\" specified for http.tls.cipherSuites",
        ),
        (
            "addr: ':1', tls: {certificate: c, key: k, ciphersuites: [TLS_RSA_WITH_RC4_128_SHA]}",
            "config.yml:3:64: http.tls.ciphersuites: names no suite that is safe",
        ),
    ] {
        let text = http(keys);
        assert!(text.starts_with(message), "{keys}\n{text}");
    }
    for (lines, message) in [
        (
            "log: {level: loud}",
            "config.yml:4:14: log.level: invalid loglevel loud Must be one of [error, warn, info, debug]",
        ),
        (
            "log: {formatter: xml}",
            "config.yml:4:18: log.formatter: unsupported logging formatter: \"xml\"",
        ),
        (
            "auth: {htpasswd: {realm: r}}",
            "config.yml:4:8: auth.htpasswd.path: is required",
        ),
        (
            "auth: {htpasswd: {path: p, realm: \"a\\nb\"}}",
            "config.yml:4:35: auth.htpasswd.realm: goes into a header",
        ),
        (
            "auth: htpasswd",
            "config.yml:4:7: auth.htpasswd.path: is required\nconfig.yml:4:7: auth.htpasswd.realm: is required",
        ),
        (
            "health: {file: [{interval: 1s}]}",
            "config.yml:4:17: health.file[0].file: is required",
        ),
        (
            "health: {http: [{uri: 'ftp://x/'}]}",
            "config.yml:4:23: health.http[0].uri: expected a URL",
        ),
        (
            "health: {tcp: [{addr: 'a:1'}, {addr: 'a:1'}]}",
            "config.yml:4:38: health.tcp[1].addr: Check already exists: \"a:1\"",
        ),
        (
            "health: {tcp: {addr: x}}",
            "config.yml:4:15: health.tcp: expected a list, found a section",
        ),
        (
            "validation: {manifests: {urls: {allow: ['(']}}}",
            "config.yml:4:41: validation.manifests.urls.allow: is not a pattern: unclosed group",
        ),
        (
            "validation: {manifests: {indexes: {platforms: some}}}",
            "config.yml:4:47: validation.manifests.indexes.platforms: invalid platforms option \"some\"",
        ),
        (
            "tags: {maxtags: -1}",
            "config.yml:4:17: tags.maxtags: expected a whole number of at least 0, found \"-1\"",
        ),
        (
            "validation: {manifests: {urls: {allow: [~]}}}",
            "config.yml:4:41: validation.manifests.urls.allow: an item of the list is empty",
        ),
        (
            "limits: {manifestbytes: 67108865}",
            "config.yml:4:25: limits.manifestbytes: expected a whole number from 1024 to 67108864, found \"67108865\"",
        ),
        (
            "metadata: {path: /x.db}",
            "config.yml:4:18: metadata.path: a database that outlives",
        ),
        (
            "metadata: {postgres: {host: db}}",
            "config.yml:4:22: metadata.postgres: a database that outlives",
        ),
    ] {
        let text = appended(lines);
        assert!(text.starts_with(message), "{lines}\n{text}");
    }
    for (keys, message) in [
        (
            "inmemory: , maintenance: {uploadpurging: {enabled: true, interval: 1h, dryrun: false}}",
            "config.yml:2:37: storage.maintenance.uploadpurging: Unable to parse upload purge configuration: age missing",
        ),
        (
            "inmemory: , maintenance: {uploadpurging: {age: 168, interval: 1h, dryrun: false}}",
            "config.yml:2:58: storage.maintenance.uploadpurging.age: expected a duration with a unit, such as 168h",
        ),
        (
            "inmemory: , maintenance: {uploadpurging: {age: 1h, interval: 0s, dryrun: false}}",
            "config.yml:2:72: storage.maintenance.uploadpurging.interval: must be longer than zero",
        ),
        (
            "inmemory: , maintenance: {readonly: {enabled: 3}}",
            "config.yml:2:57: storage.maintenance.readonly.enabled: expected true or false",
        ),
    ] {
        let text = storage(keys);
        assert!(text.starts_with(message), "{keys}\n{text}");
    }
}

#[test]
fn all_problems_are_reported_in_order() {
    let text =
        "version: 0.3\nlog: {level: x}\nstorage: {tape: }\nhttp: {addr: x, draintimeout: y}\n";
    let problems = try_load(text, &[("REGISTRY_TAGS_MAXTAGS", "z")])
        .unwrap_err()
        .problems;
    let places: Vec<String> = problems
        .iter()
        .map(|problem| problem.at.to_string())
        .collect();
    assert_eq!(
        places,
        [
            "config.yml:1:10",
            "config.yml:2:14",
            "config.yml:3:11",
            "config.yml:4:14",
            "config.yml:4:31",
            "environment variable REGISTRY_TAGS_MAXTAGS",
        ]
    );
}

#[test]
fn softer_matters_are_warnings() {
    for (text, warning) in [
        (BASE.replace("addr: ':5000'", "net: tcp"), "config.yml:3:1: http.addr: is not set, so a free port"),
        (BASE.replace("http: {", "http: {host: 'registry.example.com', "), "config.yml:3:14: http.host: has no scheme"),
        (BASE.replace("http: {", "http: {host: 'localhost:5000', "), "config.yml:3:14: http.host: has no scheme"),
        (BASE.replace("http: {", "http: {draintimeout: 60, "), "config.yml:3:22: http.draintimeout: 60 without a unit is 60 nanoseconds"),
        (BASE.replace("http: {", "http: {draintimeout: -60s, "), "config.yml:3:22: http.draintimeout: is below zero"),
        (BASE.replace("http: {", "http: {tls: {certificate: c, key: k, minimumtls: tls1.0}, "), "config.yml:3:50: http.tls.minimumtls: tls1.0 is no longer safe"),
        (
            BASE.replace("http: {", "http: {tls: {certificate: c, key: k, ciphersuites: [TLS_RSA_WITH_AES_128_CBC_SHA, TLS_AES_128_GCM_SHA256]}, "),
            "config.yml:3:53: http.tls.ciphersuites: TLS_RSA_WITH_AES_128_CBC_SHA is no longer safe",
        ),
        (BASE.replace("inmemory", "{inmemory: , delete: {enabled: 'true'}}"), "config.yml:2:41: storage.delete.enabled: is text, so deletes stay off"),
        (format!("{BASE}auth: {{silly: {{realm: r, service: s}}}}\n"), "config.yml:4:7: auth: silly lets everyone in"),
        (format!("{BASE}access: {{anonymouspull: true}}\n"), "config.yml:4:25: access.anonymouspull: has no effect"),
        (format!("{BASE}reporting: {{bugsnag: {{apikey: x}}}}\n"), "config.yml:4:1: reporting has no effect here"),
        (BASE.replace("version", "version: 0.1\nversion"), "config.yml:2:1: \"version\" is repeated, it was first set at config.yml:1:1"),
    ] {
        let warnings = warnings(&text, &[]);
        assert!(warnings.len() == 1 && warnings[0].starts_with(warning), "{warnings:#?}");
    }
    let local = BASE.replace(":5000", "127.0.0.1:5000");
    let silent = format!("{local}auth: {{silly: {{realm: r, service: s}}}}\n");
    assert!(warnings(&silent, &[]).is_empty());
}

#[test]
fn a_purge_that_is_off_needs_no_details() {
    let text = BASE.replace(
        "inmemory",
        "{inmemory: , maintenance: {uploadpurging: {enabled: false, age: never}}}",
    );
    assert!(!config(&text, &[]).storage.upload_purging.enabled);
}

#[test]
fn floods_are_cut_short() {
    let unknown: String = (0..30_000)
        .map(|number| format!("unknown{number}: 1\n"))
        .collect();
    let warnings = warnings(
        &format!("{BASE}log: {{reportcaller: true}}\n{unknown}"),
        &[],
    );
    assert_eq!(warnings.len(), 101);
    assert!(
        warnings[0].starts_with("not effective yet"),
        "{}",
        warnings[0]
    );
    assert_eq!(warnings[100], "and 29901 more warnings");
    let patterns = "a, ".repeat(101);
    let text = appended(&format!(
        "validation: {{manifests: {{urls: {{deny: [{patterns}]}}}}}}"
    ));
    assert!(
        text.ends_with("has 101 patterns, at most 100 are used"),
        "{text}"
    );
    let headers: String = (0..101)
        .map(|number| format!("X-{number}: [a], "))
        .collect();
    let text = http(&format!("addr: ':1', headers: {{{headers}}}"));
    assert!(
        text.ends_with("has 101 headers, at most 100 can be set"),
        "{text}"
    );
    let wrong = "- {uri: }\n".repeat(10);
    let text = refusal(
        &format!("{BASE}health:\n http:\n{wrong}").replace("- {", " - {"),
        &[],
    );
    assert_eq!(text.lines().count(), 10);
}

#[test]
fn secrets_stay_out_of_messages() {
    let loaded = loaded(&BASE.replace("http: {", "http: {secret: hunter2, "), &[]);
    assert!(!format!("{loaded:?}").contains("hunter2"));
    let text = appended("health: {http: [{uri: 'http://a/', headers: {Authorization: hunter2}}]}");
    assert!(!text.contains("hunter2"), "{text}");
}
