//! What holds for every key and every input.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::keys::parts;
use super::super::reader::Notes;
use super::*;

/// Sets every key that takes effect and can stand beside the others.
pub(super) const EVERYTHING: &str = "\
version: '0.1'
log:
  level: warn
  formatter: json
  fields: {service: registry, answer: 42}
  accesslog: {disabled: true}
storage:
  filesystem: {rootdirectory: /srv/registry, directio: false}
  delete: {enabled: true}
  maintenance:
    readonly: {enabled: true}
    uploadpurging: {enabled: true, age: 48h, interval: 12h, dryrun: true}
metadata: {path: /srv/metadata.db, snapshots: {interval: 2h, keep: 4}}
access: {anonymouspull: true, administrators: [root]}
auth:
  htpasswd: {realm: Registry Realm, path: /auth/htpasswd}
http:
  addr: localhost:5000
  net: tcp
  host: https://registry.example.com/my/x
  prefix: /my/nested/registry
  relativeurls: true
  secret: asecretforlocaldevelopment
  draintimeout: 60s
  trustedproxies: [10.0.0.0/8, '2001:db8::7']
  headers: {X-Content-Type-Options: [nosniff]}
  headertimeout: 20s
  idletimeout: 90s
  timeout: 1h
  maxconnections: 500
  sendbuffer: 65536
  tls:
    certificate: /tls/cert.pem
    key: /tls/key.pem
    clientcas: [/tls/ca.pem]
    clientauth: verify-client-cert-if-given
    minimumtls: tls1.2
    ciphersuites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]
  http2: {disabled: true}
  h2c: {enabled: true}
  debug: {addr: 'localhost:5001', prometheus: {enabled: true, path: /numbers}}
health:
  storagedriver: {enabled: true, interval: 10s, threshold: 3}
  file:
    - {file: /tmp/down, interval: 5s}
  http:
    - {uri: 'http://a.example.com/', headers: {X-A: [b]}, statuscode: 204, timeout: 3s, interval: 10s, threshold: 2}
  tcp:
    - {addr: 'redis.example.com:6379', timeout: 3s, interval: 10s, threshold: 2}
validation:
  enabled: true
  disabled: false
  manifests:
    urls: {allow: ['^https://[^/]*example\\.com/'], deny: ['^https://bad']}
    indexes:
      platforms: list
      platformlist: [{architecture: amd64, os: linux}]
    references: optional
catalog: {maxentries: 50}
tags: {maxtags: 60}
gc: {enabled: false, grace: 1h, interval: 1m, rate: 5, window: '22:00-06:00', deleteuntaggedafter: 48h, keeppulledwithin: 1h}
scrub: {enabled: false, interval: 240h, rate: 1000000}
middleware:
  registry: [{name: repository, options: {allow: ['^approved/'], deny: [secret]}}]
  storage:
    - {name: redirect, options: {baseurl: 'https://cdn.example.com/base'}}
    - {name: rewrite, options: {scheme: https, host: front.example.com, trimpathprefix: /base}}
limits: {manifestbytes: 65536, tagspermanifestpush: 7, uploadsessions: 8}
";

/// The alternatives that cannot stand in the same file.
const ALTERNATIVES: [&str; 13] = [
    "version: 0.1\nmetadata: {postgres: {host: /run/postgresql}}\nstorage: {filesystem: {rootdirectory: /r}, cache: {blobdescriptor: redis}}\nhttp: {addr: ':1'}\nredis: {addr: 'h:1', clientname: c, db: 1, protocol: 3, username: u, password: x, minretrybackoff: 1s, maxretrybackoff: 2s, dialtimeout: 1s, readtimeout: 1s, writetimeout: 1s, disableidentity: true, identitysuffix: s, tls: {enabled: true, certificate: /c, key: /k, rootcas: [/a], clientcas: [/b]}}\n",
    "version: 0.1\nmetadata: {postgres: {host: /run/postgresql}}\nstorage: {filesystem: {rootdirectory: /r}, cache: {blobdescriptor: redis}}\nhttp: {addr: ':1'}\nredis: {addrs: ['h:1'], mastername: m, sentinelusername: u, sentinelpassword: x}\n",
    "version: 0.1\nmetadata: {postgres: {host: /run/postgresql}}\nstorage: {filesystem: {rootdirectory: /r}, cache: {blobdescriptor: redis}}\nhttp: {addr: ':1'}\nredis: {addrs: ['h:1', 'h:2'], maxredirects: 5, readonly: true, routerandomly: true}\n",
    "version: 0.1\nmetadata: {path: /m}\nhttp: {addr: ':1'}\nstorage: {s3: {bucket: b, region: r, regionendpoint: 'https://h', accesskey: a, secretkey: s, sessiontoken: t, forcepathstyle: false, encrypt: true, keyid: k, secure: false, skipverify: true, v4auth: true, chunksize: 5242880, rootdirectory: /a, storageclass: standard_ia, objectacl: public-read, useragent: u, usedualstack: true, usefipsendpoint: true, accelerate: false, redirectendpoint: 'https://p'}, redirect: {disable: true}}\n",
    "version: 0.1\nmetadata: {path: /m}\nhttp: {addr: ':1'}\nstorage: {oss: {bucket: b, region: oss-cn-hangzhou, endpoint: b.oss-cn-hangzhou.aliyuncs.com, internal: true, accesskeyid: a, accesskeysecret: s, encrypt: true, secure: true, chunksize: 5242880, rootdirectory: a}}\n",
    "version: 0.1\nmetadata: {path: /m}\nhttp: {addr: ':1'}\nstorage: {swift: {username: u, password: p, authurl: 'https://h/v3', authversion: 3, container: c, tenant: t, tenantid: i, domain: d, domainid: i, tenantdomain: d, tenantdomainid: i, trustid: i, region: r, endpointtype: internal, insecureskipverify: true, chunksize: 1048576, prefix: a, secretkey: s, tempurlcontainerkey: true, tempurlmethods: [GET]}}\n",
    "version: 0.1\nmetadata: {path: /m}\nhttp: {addr: ':1'}\nstorage: {gcs: {bucket: b, keyfile: /k}}\n",
    "version: 0.1\nmetadata: {path: /m}\nhttp: {addr: ':1'}\nstorage: {azure: {accountname: a, container: c, accountkey: k, trimlegacyrootprefix: true}}\n",
    "version: 0.1\nmetadata: {path: /m}\nhttp: {addr: ':1'}\nstorage: {gcs: {bucket: b, credentials: {type: service_account, private_key: x}, chunksize: 5242880, rootdirectory: a/b, useragent: u}}\n",
    "version: 0.1\nmetadata: {path: /m}\nhttp: {addr: ':1'}\nstorage: {azure: {accountname: a, container: c, realm: r, rootdirectory: a, credentials: {type: client_secret, clientid: i, tenantid: t, secret: s}, serviceurl: 'http://h/a', max_retries: 2, retry_delay: 1s, skipverify: true, legacyrootprefix: true}}\n",
    "version: 0.1\nstorage: {inmemory: {}}\nhttp: {addr: 'localhost:1'}\nauth: {silly: {realm: r, service: s}}\n",
    "version: 0.1\nstorage: {inmemory: {}}\nhttp: {addr: 'localhost:1'}\nauth: {none: {}}\n",
    "version: 0.1\nmetadata: {path: /m}\nhttp: {addr: ':1'}\nstorage: {s3: {bucket: b, region: r}}\nmiddleware: {storage: [{name: cloudfront, options: {baseurl: d.example.com, privatekey: /k, keypairid: K, duration: 1h, ipfilteredby: awsregion, awsregion: 'us-east-1, us-west-2', updatefrequency: 6h, updatefrenquency: 6h, iprangesurl: 'https://ranges.example.com'}}]}\n",
];

/// PostgreSQL, by words and by a URL.
const POSTGRES: [&str; 3] = [
    "version: 0.1\nstorage: {filesystem: {rootdirectory: /srv/registry}}\nhttp: {addr: 'localhost:1'}\nmetadata: {postgres: {host: db, passwordfile: /password}}\n",
    "version: 0.1\nstorage: {filesystem: {rootdirectory: /srv/registry}}\nhttp: {addr: 'localhost:1'}\nmetadata: {postgres: {host: db, port: 5433, user: u, password: p, database: d, sslmode: verify-full, rootcert: /ca.pem, maxconnections: 5, connecttimeout: 1s, waittimeout: 1s, statementtimeout: 1s, locktimeout: 1s, preparedstatements: false}}\n",
    "version: 0.1\nstorage: {filesystem: {rootdirectory: /srv/registry}}\nhttp: {addr: 'localhost:1'}\nmetadata: {postgres: {url: 'postgres://u:p@db.example.com/d', replicas: ['postgres://u@b.example.com/d']}}\n",
];

/// The paths of a document with list indexes and free keys in the notation of the table.
fn paths(node: &Node, path: &str, found: &mut BTreeSet<String>) {
    found.insert(path.to_owned());
    match &node.value {
        Value::Scalar(_) => {}
        Value::List(items) => items
            .iter()
            .for_each(|item| paths(item, &format!("{path}[]"), found)),
        Value::Map(map) => map.iter().for_each(|pair| {
            let free = ["log.fields", "http.headers", "health.http[].headers"].contains(&path);
            let key = if free { "*" } else { &pair.key };
            let below = if path.is_empty() {
                key.to_owned()
            } else {
                format!("{path}.{key}")
            };
            paths(&pair.value, &below, found);
        }),
    }
}

#[test]
fn every_effective_key_is_read_by_a_section() {
    let mut read = BTreeSet::new();
    let mut set = BTreeSet::new();
    for text in std::iter::once(EVERYTHING)
        .chain(ALTERNATIVES)
        .chain(POSTGRES)
    {
        let notes = Notes::default();
        let source = Source::File {
            path: "c.yml",
            text: text.as_bytes(),
        };
        let loaded = load_noting(source, [], &notes).unwrap();
        assert!(loaded.warnings.is_empty(), "{:#?}", loaded.warnings);
        paths(&loaded.document.root, "", &mut set);
        read.append(&mut notes.reads.borrow_mut());
    }
    let effective: BTreeSet<&str> = entries()
        .filter(|entry| entry.status == Status::Effective)
        .map(|entry| entry.path)
        .collect();
    let unread: Vec<_> = effective.difference(&read).collect();
    assert!(
        unread.is_empty(),
        "in the table but read by no section: {unread:?}"
    );
    let idle: Vec<_> = read.difference(&effective).collect();
    assert!(
        idle.is_empty(),
        "read by a section but not effective in the table: {idle:?}"
    );
    let unset: Vec<_> = effective
        .iter()
        .filter(|path| !set.contains(**path))
        .collect();
    assert!(
        unset.is_empty(),
        "missing in the documents of this test: {unset:?}"
    );
}

#[test]
fn every_other_key_is_named_to_its_operator() {
    for entry in entries().filter(|entry| entry.status != Status::Effective) {
        // Writes the path as nested flow sections with a value that is not blank.
        let mut text = "x".to_owned();
        for word in entry.path.split('.').rev() {
            let (name, list) = (word.trim_end_matches("[]"), word.ends_with("[]"));
            let name = if name == "*" { "free" } else { name };
            let value = if list { format!("[{text}]") } else { text };
            text = format!("{{{name}: {value}}}");
        }
        let inner = &text[1..text.len() - 1];
        let rest = if inner.starts_with("storage") {
            ""
        } else {
            "storage: inmemory\n"
        };
        let text = format!("version: 0.1\n{rest}{inner}\n");
        let said = match try_load(&text, &[]) {
            Ok(loaded) => loaded
                .warnings
                .iter()
                .map(|warning| format!("{warning}\n"))
                .collect(),
            Err(error) => error.to_string(),
        };
        let named = entry.path.split('.').scan(String::new(), |path, word| {
            *path = super::super::check::join(path, word.trim_end_matches("[]"));
            Some(path.clone())
        });
        assert!(
            named.into_iter().any(|path| said.contains(&path)),
            "{}: {said}",
            entry.path
        );
    }
}

#[test]
fn what_is_shown_loads_again() {
    let loaded_once = loaded(EVERYTHING, &[("REGISTRY_LOG_LEVEL", "error")]);
    let shown = show(&loaded_once);
    assert!(
        shown.contains("  level: error  # environment variable REGISTRY_LOG_LEVEL\n"),
        "{shown}"
    );
    assert!(
        shown.contains("  secret: \"[hidden]\"  # config.yml:23:11\n"),
        "{shown}"
    );
    assert!(!shown.contains("asecret"), "{shown}");
    let again = loaded(&shown, &[]);
    let mut expected = loaded_once.config;
    expected.http.secret = Some(Secret::new("[hidden]"));
    assert_eq!(format!("{:?}", again.config), format!("{expected:?}"));

    let postgres = loaded(POSTGRES[0], &[]);
    let again = loaded(&show(&postgres), &[]);
    assert_eq!(
        format!("{:?}", again.config),
        format!("{:?}", postgres.config)
    );
    let masked = show(&loaded(POSTGRES[2], &[]));
    assert!(
        !masked.contains("db.example.com") && !masked.contains("5432"),
        "{masked}"
    );

    let default = show(&load(Source::Default, []).unwrap());
    assert!(
        default.contains("  rootdirectory: ./holdfast-data\n"),
        "{default}"
    );
    assert!(
        default.contains("  path: ./holdfast-data/holdfast/metadata.db\n"),
        "{default}"
    );
    assert!(!default.contains('#'), "{default}");
    assert_eq!(
        format!("{:?}", loaded(&default, &[]).config),
        format!("{:?}", Config::embedded_default())
    );
    for text in ALTERNATIVES {
        let shown = show(&loaded(text, &[]));
        assert_eq!(
            shown.contains("  inmemory: {}\n"),
            text.contains("inmemory"),
            "{shown}"
        );
        assert!(!shown.contains("private_key: x"), "{shown}");
        assert_eq!(
            format!("{:?}", loaded(&shown, &[]).config),
            format!("{:?}", config(text, &[]))
        );
    }
}

#[test]
fn the_reference_page_names_every_key_once() {
    let page = reference_markdown();
    for entry in entries() {
        let row = format!("| `{}` |", entry.path);
        assert_eq!(page.matches(&row).count(), 1, "{row}");
    }
    assert_eq!(page.matches("\n## ").count(), parts().count());
    // A stray bar in a text would break the table.
    assert!(
        page.lines()
            .filter(|line| line.starts_with('|'))
            .all(|line| line.matches('|').count() == 5)
    );
}

#[test]
fn the_schema_knows_every_key() {
    let schema = json_schema();
    for entry in entries() {
        let mut at = &schema;
        for word in entry.path.split('.') {
            at = match word.trim_end_matches("[]") {
                "*" => &at["additionalProperties"],
                name => &at["properties"][name],
            };
            if word.ends_with("[]") {
                at = &at["items"];
            }
        }
        let described = at["description"].as_str().unwrap_or_default();
        assert!(described.starts_with(entry.about), "{}: {at}", entry.path);
    }
}

/// Pieces from which hostile documents are put together.
const PIECES: [&str; 36] = [
    "version: 0.1\n",
    "storage:",
    "http:",
    "auth:",
    "log:",
    "health:",
    " inmemory",
    "\n  ",
    "\n",
    ": ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    "&a ",
    "*a",
    "<<: ",
    "? ",
    "| ",
    "> ",
    "'",
    "\"",
    "#",
    "!!str ",
    "%TAG ",
    "---\n",
    "\t",
    "é",
    "\u{feff}",
    "tls:",
    "headers:",
    "\\x",
    "~",
    ",",
    "1e999",
];

proptest! {
    #[test]
    fn no_bytes_make_loading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let _ = load(Source::File { path: "c.yml", text: &bytes }, []);
    }

    #[test]
    fn no_text_makes_loading_panic(pieces in proptest::collection::vec(0..PIECES.len(), 0..200)) {
        let text: String = pieces.into_iter().map(|piece| PIECES[piece]).collect();
        let source = Source::File { path: "c.yml", text: text.as_bytes() };
        if let Ok(loaded) = load(source, []) {
            show(&loaded);
        }
    }

    #[test]
    fn no_value_of_any_key_makes_loading_panic(
        index in 0..entries().count(),
        value in "\\PC{0,40}|[-0-9.:/\\[\\]{}a-z]{0,20}",
    ) {
        let path = entries().nth(index).unwrap().path;
        let name = path.replace("[]", ".0").replace('*', "free").replace('.', "_");
        let variable = (format!("REGISTRY_{}", name.to_uppercase()), value);
        if let Ok(loaded) = load(Source::Default, [variable]) {
            let shown = show(&loaded);
            let source = Source::File { path: "c.yml", text: shown.as_bytes() };
            prop_assert!(load(source, []).is_ok(), "{}", shown);
        }
    }
}
