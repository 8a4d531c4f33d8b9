//! Keys of `http`.

use super::Kind::{Choice, Duration, Flag, Integer, Path, Section, Text};
use super::{Entry, key};

const NO_ACME: &str = "certificates are not fetched by this release, and starting without them would mean plain HTTP; set http.tls.certificate and http.tls.key";

const CLIENT_AUTH: &[&str] = &[
    "require-and-verify-client-cert",
    "require-any-client-cert",
    "verify-client-cert-if-given",
    "request-client-cert",
];

#[rustfmt::skip] // One key per line reads as the table it is.
pub(super) const ENTRIES: &[Entry] = &[
    key("http.addr", Text, "", "Address to listen on: `host:port`, `:port`, `[::]:port`, or a socket path with `net: unix`. Unset: a free port on all interfaces."),
    key("http.net", Choice(&["tcp", "unix"]), "tcp", "Kind of that address."),
    key("http.host", Text, "", "Base of the URLs given to clients, such as `https://registry.example.com`."),
    key("http.prefix", Text, "/", "Path under which the API is served."),
    key("http.relativeurls", Flag, "false", "Sends Location headers without scheme and host."),
    key("http.secret", Text, "", "Key that signs the state of uploads; when unset, one is made once and kept in the database.").secret(),
    key("http.draintimeout", Duration, "0s", "Time given to running requests at shutdown; 0 means none."),
    key("http.trustedproxies[]", Text, "", "Address or network (`10.0.0.0/8`) of a proxy whose `Forwarded`, `X-Forwarded-*` and `X-Real-Ip` headers count; those of others do not; with an empty list those of Unix sockets alone. Unset: scheme and host count from everybody, as in Distribution, the client's address from proxies that are not on the internet. A Unix socket always counts."),
    key("http.headers.*[]", Text, "", "A value of a header added to every answer of the API."),
    key("http.headertimeout", Duration, "30s", "Time in which the headers of the next request on a connection must arrive, HTTP/1 pauses between requests included."),
    key("http.idletimeout", Duration, "2m", "Longest pause within a request body, or while a client takes no more of an answer; an HTTP/2 connection on which nothing moves for as long is closed."),
    key("http.timeout", Duration, "", "Longest time for a request that transfers no blob; unset means no limit."),
    key("http.maxconnections", Integer { min: 1, max: 1_000_000 }, "20000", "Most connections at one time."),
    key("http.sendbuffer", Integer { min: 0, max: 1 << 30 }, "131072", "Bytes that the kernel may hold for a client less than a millisecond away; it takes twice the number. For others it decides by itself, and with 0 for all."),
    key("http.tls.certificate", Path, "", "Certificate chain, PEM."),
    key("http.tls.key", Path, "", "Private key of the certificate, PEM."),
    key("http.tls.clientcas[]", Path, "", "Authority for client certificates, PEM; naming one turns client certificates on."),
    key("http.tls.clientauth", Choice(CLIENT_AUTH), "require-and-verify-client-cert", "What is asked of client certificates."),
    key("http.tls.minimumtls", Choice(&["tls1.0", "tls1.1", "tls1.2", "tls1.3"]), "tls1.2", "Oldest TLS version; 1.0 and 1.1 are taken as 1.2."),
    key("http.tls.ciphersuites[]", Text, "", "A cipher suite for TLS 1.2, by its Go name; unset means all safe ones."),
    key("http.tls.letsencrypt", Section, "", "Certificates from an ACME service.").refused(NO_ACME),
    key("http.tls.letsencrypt.cachefile", Path, "", "Directory of the certificates.").refused(NO_ACME),
    key("http.tls.letsencrypt.email", Text, "", "Contact of the account.").refused(NO_ACME),
    key("http.tls.letsencrypt.hosts[]", Text, "", "A host name to fetch a certificate for.").refused(NO_ACME),
    key("http.tls.letsencrypt.directoryurl", Text, "", "The ACME service.").refused(NO_ACME),
    key("http.http2.disabled", Flag, "false", "Offers HTTP/1.1 only."),
    key("http.h2c.enabled", Flag, "false", "Accepts HTTP/2 without TLS."),
    key("http.debug.addr", Text, "", "Address of a second, plain HTTP server for health and debugging; keep it private."),
    key("http.debug.prometheus", Section, "", "Metrics for Prometheus."),
    key("http.debug.prometheus.enabled", Flag, "false", "Serves metrics on the debug server."),
    key("http.debug.prometheus.path", Text, "/metrics", "Path of the metrics."),
];
