//! A cache that nodes share.

use std::time::Duration;

use super::*;

const SHARED: &str = "version: 0.1
metadata: {postgres: {host: /run/postgresql}}
storage: {filesystem: {rootdirectory: /r}, cache: {blobdescriptor: redis}}
http: {addr: ':5000'}
";

fn redis(section: &str) -> Redis {
    let text = format!("{SHARED}redis: {{{section}}}\n");
    assert_eq!(warnings(&text, &[]), [""; 0]);
    config(&text, &[]).redis.expect("it is used")
}

fn hosts(addresses: &[Address]) -> Vec<String> {
    addresses.iter().map(Address::to_string).collect()
}

#[test]
fn the_form_of_2_8() {
    let text = format!(
        "{SHARED}redis: {{addr: 'redis:6379', password: x, db: 2, dialtimeout: 10ms, readtimeout: 20ms, writetimeout: 30ms, \
         pool: {{maxidle: 16, maxactive: 64, idletimeout: 300s}}}}\n"
    );
    let said = warnings(&text, &[]);
    for key in ["maxidle", "maxactive", "idletimeout"] {
        let named = format!("redis.pool.{key} has no effect here: one connection");
        assert!(said.iter().any(|said| said.contains(&named)), "{said:?}");
    }
    assert_eq!(said.len(), 3);
    let redis = config(&text, &[]).redis.expect("it is used");
    assert!(
        matches!(redis.servers, RedisServers::One(address) if address.to_string() == "redis:6379")
    );
    assert_eq!(redis.password.unwrap().reveal(), "x");
    assert_eq!(redis.database, 2);
    assert_eq!(redis.dial_timeout, Duration::from_millis(10));
    assert_eq!(redis.read_timeout, Duration::from_millis(20));
    assert_eq!(redis.write_timeout, Duration::from_millis(30));
    assert_eq!(redis.tls, None);
}

#[test]
fn one_address_several_or_those_of_sentinels() {
    let servers = |section: &str| redis(section).servers;
    assert!(
        matches!(servers("addrs: [':6379']"), RedisServers::One(address) if address.host == "localhost")
    );
    match servers("addrs: ['a:1', 'b:2'], maxredirects: -1, routerandomly: true") {
        RedisServers::Cluster {
            nodes,
            redirects,
            replicas,
        } => {
            assert_eq!(hosts(&nodes), ["a:1", "b:2"]);
            assert_eq!((redirects, replicas), (0, true));
        }
        other => panic!("{other:?}"),
    }
    match servers("addrs: ['[::1]:26379'], mastername: m, sentinelusername: u, sentinelpassword: p")
    {
        RedisServers::Sentinels {
            sentinels,
            master,
            username,
            password,
        } => {
            assert_eq!(hosts(&sentinels), ["[::1]:26379"]);
            assert_eq!((master.as_str(), username.as_deref()), ("m", Some("u")));
            assert_eq!(password.unwrap().reveal(), "p");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn tls_is_spoken_when_anything_says_so() {
    let tls = |section: &str| redis(&format!("addr: 'h:1', tls: {{{section}}}")).tls;
    assert_eq!(tls("enabled: true"), Some(RedisTls::default()));
    assert_eq!(tls(""), None);
    let roots = tls("rootcas: [/a], clientcas: [/b]").unwrap().root_cas;
    assert_eq!(roots, ["/a", "/b"].map(std::path::PathBuf::from));
    let client = tls("certificate: /c, key: /k").unwrap().client;
    assert_eq!(client, Some(("/c".into(), "/k".into())));

    let text = format!("{SHARED}redis: {{addr: 'h:1', tls: {{enabled: false, rootcas: [/a]}}}}\n");
    assert!(warnings(&text, &[])[0].contains("redis.tls.enabled: is false"));
    assert_eq!(config(&text, &[]).redis.unwrap().tls, None);
}

#[test]
fn whoever_does_not_get_it_is_told_why() {
    let sqlite = SHARED.replace("metadata: {postgres: {host: /run/postgresql}}\n", "");
    let elsewhere = SHARED.replace("blobdescriptor: redis", "blobdescriptor: inmemory");
    let unknown = SHARED.replace("blobdescriptor: redis", "blobdescriptor: memcached");
    for (text, wanted) in [
        (
            format!("{sqlite}redis: {{addr: 'h:1'}}\n"),
            "redis is not used: it is a cache for nodes that share metadata.postgres",
        ),
        (
            format!("{elsewhere}redis: {{addr: 'h:1'}}\n"),
            "redis is not used: storage.cache.blobdescriptor is not redis",
        ),
        (
            elsewhere.clone(),
            "the metadata index makes a descriptor cache unnecessary",
        ),
        (
            unknown,
            "\"memcached\" is not a cache; inmemory and redis are",
        ),
        (
            SHARED.to_owned(),
            "storage.cache.blobdescriptor: redis has no address and is not used",
        ),
        (
            format!("{elsewhere}redis: {{db: 1}}\n"),
            "redis is not used: it has no address",
        ),
        (
            format!("{SHARED}redis: {{addr: 'h:1', addrs: ['g:1']}}\n"),
            "redis.addr: has no effect beside redis.addrs",
        ),
        (
            format!("{SHARED}redis: {{addr: 'h:1', readonly: true}}\n"),
            "redis.readonly: has no effect with one server",
        ),
        (
            format!("{SHARED}redis: {{addrs: ['h:1', 'h:2'], db: 1}}\n"),
            "redis.db: has no effect with a cluster",
        ),
        (
            format!("{SHARED}redis: {{addr: 'h:1', readtimeout: -1s}}\n"),
            "redis.readtimeout: a limit is needed here",
        ),
        (
            format!("{SHARED}redis: {{addr: 'h:1', poolsize: 3}}\n"),
            "redis.poolsize has no effect here: one connection",
        ),
    ] {
        let said = warnings(&text, &[]);
        assert!(
            said.iter().any(|said| said.contains(wanted)),
            "{text}{said:?}"
        );
    }
    // Nobody who does not ask for it hears of it.
    assert_eq!(warnings(BASE, &[]), [""; 0]);
}

#[test]
fn wrong_values_are_refused() {
    for (section, wanted) in [
        ("addr: redis", "redis.addr: expected host:port"),
        (
            "addrs: ['h:1', 'h:0']",
            "redis.addrs: expected a host and a port",
        ),
        (
            "addr: 'h:1', protocol: 1",
            "redis.protocol: there are versions 2 and 3",
        ),
        ("addr: 'h:1', db: x", "redis.db: expected a whole number"),
        (
            "addr: 'h:1', tls: {key: /k}",
            "redis.tls.key: needs redis.tls.certificate",
        ),
        (
            "addr: 'h:1', readtimeout: soon",
            "redis.readtimeout: expected a duration",
        ),
    ] {
        let said = refusal(&format!("{SHARED}redis: {{{section}}}\n"), &[]);
        assert!(said.contains(wanted), "{section}: {said}");
    }
}

#[test]
fn passwords_are_not_shown() {
    let text = format!(
        "{SHARED}redis: {{addrs: ['h:1'], mastername: m, password: hunter2, sentinelpassword: hunter3}}\n"
    );
    let shown = show(&loaded(&text, &[]));
    assert!(
        !shown.contains("hunter") && shown.contains("mastername: m"),
        "{shown}"
    );
}
