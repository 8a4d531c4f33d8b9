//! The `http.tls` section.
//!
//! Our TLS library starts at version 1.2 and knows only suites that are safe today. Settings that
//! ask for less are served with more and said so; settings that leave nothing to serve stop the
//! start.

use std::path::PathBuf;

use super::document::quoted;
use super::reader::Section;

/// TLS of the main server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Certificate chain, PEM.
    pub certificate: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
    /// Authorities for client certificates; empty means none are asked for.
    pub client_cas: Vec<PathBuf>,
    /// What is asked of client certificates when there are authorities.
    pub client_auth: ClientAuth,
    /// Oldest version.
    pub minimum: TlsVersion,
    /// Suites to offer; empty means all safe ones. Suites of TLS 1.3 are offered in any case, as in
    /// Go, whose list concerns TLS 1.2 only.
    pub cipher_suites: Vec<&'static str>,
}

/// What is asked of client certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// One is required and verified.
    RequireAndVerify,
    /// One is required and not verified.
    RequireAny,
    /// One that is given is verified.
    VerifyIfGiven,
    /// One is asked for and neither required nor verified.
    Request,
}

/// A version of TLS that can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// Suites that can be served, by Go's names; two of them have an older name without the hash.
const SERVED: [(&str, &str); 11] = [
    ("TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
    ("TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
    (
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_CHACHA20_POLY1305_SHA256",
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    ),
];

/// Suites that Distribution 2.8 or 3 accepts and that are no longer safe.
const UNSAFE: [&str; 17] = [
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_3DES_EDE_CBC_SHA",
];

impl Tls {
    /// Reads the section; without a certificate there is no TLS.
    pub(super) fn read(tls: &Section<'_>) -> Option<Self> {
        let certificate = tls.path_of("certificate");
        let key = tls.path_of("key");
        let read = Self {
            certificate: certificate.clone().unwrap_or_default(),
            key: key.clone().unwrap_or_default(),
            client_cas: client_cas(tls),
            client_auth: client_auth(tls),
            minimum: minimum(tls),
            cipher_suites: cipher_suites(tls),
        };
        match (certificate, key) {
            (Some(_), Some(_)) => {
                if tls.has("clientauth") && read.client_cas.is_empty() {
                    tls.warn("clientauth", "has no effect without http.tls.clientcas");
                }
                Some(read)
            }
            (Some(_), None) => {
                tls.refuse(
                    "certificate",
                    "is set, but http.tls.key is not; TLS needs both",
                );
                None
            }
            (None, Some(_)) => {
                tls.refuse(
                    "key",
                    "is set, but http.tls.certificate is not; TLS needs both",
                );
                None
            }
            (None, None) => {
                if !read.client_cas.is_empty() {
                    let text = "is set, but without http.tls.certificate there is no TLS and clients would not be verified";
                    tls.refuse("clientcas", text);
                }
                for name in ["clientauth", "minimumtls", "ciphersuites"] {
                    if tls.has(name) {
                        tls.warn(name, "has no effect without http.tls.certificate");
                    }
                }
                None
            }
        }
    }
}

fn client_cas(tls: &Section<'_>) -> Vec<PathBuf> {
    tls.list("clientcas")
        .into_iter()
        .map(|(node, path)| {
            if path.is_empty() || path.contains('\0') {
                tls.refuse_at(
                    &node.at,
                    "http.tls.clientcas",
                    "expected the path of a file",
                );
            }
            path.into()
        })
        .collect()
}

fn client_auth(tls: &Section<'_>) -> ClientAuth {
    let written = tls.choice("clientauth", |found| {
        format!(
            "unknown client authentication {found:?}, expected require-and-verify-client-cert, require-any-client-cert, verify-client-cert-if-given or request-client-cert"
        )
    });
    match written {
        "require-any-client-cert" => ClientAuth::RequireAny,
        "verify-client-cert-if-given" => ClientAuth::VerifyIfGiven,
        "request-client-cert" => ClientAuth::Request,
        _ => ClientAuth::RequireAndVerify,
    }
}

fn minimum(tls: &Section<'_>) -> TlsVersion {
    let written = tls.choice("minimumtls", |found| {
        format!("unknown minimum TLS level '{found}' specified for http.tls.minimumtls, expected tls1.2 or tls1.3")
    });
    match written {
        "tls1.3" => TlsVersion::V1_3,
        "tls1.2" => TlsVersion::V1_2,
        old => {
            tls.warn(
                "minimumtls",
                format!("{old} is no longer safe and counts as tls1.2"),
            );
            TlsVersion::V1_2
        }
    }
}

fn cipher_suites(tls: &Section<'_>) -> Vec<&'static str> {
    let written = tls.list("ciphersuites");
    let mut suites = Vec::new();
    let mut unknown = false;
    for (node, name) in &written {
        if let Some((_, suite)) = SERVED.iter().find(|(served, _)| served == name) {
            suites.push(*suite);
        } else if UNSAFE.contains(name) {
            tls.warn_at(
                &node.at,
                format!("http.tls.ciphersuites: {name} is no longer safe and is left out"),
            );
        } else {
            unknown = true;
            let text = format!(
                "unknown TLS cipher suite {} specified for http.tls.cipherSuites",
                quoted(name)
            );
            tls.refuse_at(&node.at, "http.tls.ciphersuites", text);
        }
    }
    if suites.is_empty() && !written.is_empty() && !unknown {
        tls.refuse(
            "ciphersuites",
            "names no suite that is safe; remove the list to offer all that are",
        );
    }
    suites.sort_unstable();
    suites.dedup();
    suites
}
