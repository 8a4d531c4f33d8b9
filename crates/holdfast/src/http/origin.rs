//! The front of every URL that the registry hands out: scheme, host and prefix.
//!
//! Source: Distribution. `http.host` wins; then `http.relativeurls`; then `Forwarded` (RFC 7239), which
//! silences the `X-Forwarded-*` headers even when it cannot be read; then those; then the request itself. Whose headers
//! count is said in `proxies.rs`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::HOST;

use super::{Peer, text};
use crate::app::HttpSettings;

/// Scheme, host and prefix without a trailing slash; only the prefix when URLs are relative.
pub(super) fn base(settings: &HttpSettings, peer: Peer, headers: &HeaderMap) -> String {
    if let Some(host) = &settings.host {
        return host.clone();
    }
    if settings.relative_urls {
        return settings.prefix.clone();
    }
    absolute(settings, peer, headers)
}

/// The same where only a whole URL will do, as far as the request tells.
pub(super) fn absolute(settings: &HttpSettings, peer: Peer, headers: &HeaderMap) -> String {
    if let Some(host) = &settings.host {
        return host.clone();
    }
    let prefix = &settings.prefix;
    let (scheme, host) = origin(settings, peer, headers);
    match host {
        Some(host) => format!("{scheme}://{host}{prefix}"),
        None => prefix.clone(),
    }
}

fn origin(settings: &HttpSettings, peer: Peer, headers: &HeaderMap) -> (String, Option<String>) {
    let mut scheme = if peer.tls { "https" } else { "http" }.to_owned();
    let mut host = text(headers, HOST).map(str::to_owned);
    if !settings.proxies.may_name_the_registry(peer.address) {
        // What it says of another host is not looked at.
    } else if let Some(forwarded) = text(headers, "forwarded") {
        for (name, value) in first_element(forwarded) {
            match name.as_str() {
                "proto" if is_scheme(&value) => scheme = value,
                "host" => host = Some(value),
                _ => {}
            }
        }
    } else {
        if let Some(value) = text(headers, "x-forwarded-proto").filter(|value| is_scheme(value)) {
            scheme = value.to_owned();
        }
        if let Some(value) = text(headers, "x-forwarded-host") {
            host = value.split(',').next().map(|first| first.trim().to_owned());
        }
    }
    (scheme, host.filter(|host| is_host(host)))
}

/// The name-value pairs of the first element of a `Forwarded` header, names in lower case.
fn first_element(header: &str) -> Vec<(String, String)> {
    let element = header.split(',').next().unwrap_or_default();
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| {
            (
                name.trim().to_ascii_lowercase(),
                value.trim().trim_matches('"').to_owned(),
            )
        })
        .collect()
}

fn is_scheme(text: &str) -> bool {
    matches!(text, "http" | "https")
}

/// Letters, digits and what a host, a port or an IPv6 literal needs: nothing that could end a header or a URL part.
fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
}

/// The client's address for logs.
pub(super) enum Client {
    /// Named by a proxy.
    Forwarded(IpAddr),
    /// The other end of the connection.
    Peer(SocketAddr),
    /// The other end of a Unix socket.
    Local,
}

/// Who asks. Each proxy adds to `X-Forwarded-For`, at its end, the address that it was asked from; what stands before the
/// first of them may be anything. So it is read from the end, as far as proxies wrote it. `X-Real-Ip` counts without it.
pub(super) fn client(settings: &HttpSettings, peer: Peer, headers: &HeaderMap) -> Client {
    let proxies = &settings.proxies;
    let client = peer.address.map_or(Client::Local, Client::Peer);
    if !proxies.may_name_clients(peer.address) {
        return client;
    }
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let named = lines
        .flat_map(|line| line.to_str().unwrap_or_default().rsplit(','))
        .map_while(address);
    let mut found = None;
    for address in named {
        found = Some(address);
        if !proxies.has(address) {
            break;
        }
    }
    let found = found.or_else(|| text(headers, "x-real-ip").and_then(address));
    found.map_or(client, Client::Forwarded)
}

/// An address as proxies write it, some with a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let with_port = || text.parse().map(|address: SocketAddr| address.ip());
    text.parse().or_else(|_| with_port()).ok()
}

impl Client {
    /// The address as a number, if there is one.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        match self {
            Client::Forwarded(address) => Some(*address),
            Client::Peer(address) => Some(address.ip()),
            Client::Local => None,
        }
    }

    /// The address without a port.
    pub(super) fn host(&self) -> String {
        match self {
            Client::Peer(address) => address.ip().to_string(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Client::Forwarded(address) => address.fmt(f),
            Client::Peer(address) => address.fmt(f),
            Client::Local => f.write_str("@"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::proxies::Proxies;

    #[test]
    fn who_wins() {
        let peer = Peer {
            address: None,
            tls: false,
        };
        let settings = |host: Option<&str>, relative| HttpSettings {
            host: host.map(str::to_owned),
            relative_urls: relative,
            prefix: "/p".into(),
            ..HttpSettings::default()
        };
        type Case = (
            Option<&'static str>,
            bool,
            &'static [(&'static str, &'static str)],
            &'static str,
        );
        let cases: &[Case] = &[
            (None, false, &[("host", "reg:5000")], "http://reg:5000/p"),
            (
                Some("https://x"),
                true,
                &[("host", "reg:5000")],
                "https://x",
            ),
            (None, true, &[("host", "reg:5000")], "/p"),
            (
                None,
                false,
                &[
                    ("host", "a"),
                    ("x-forwarded-proto", "https"),
                    ("x-forwarded-host", "b, c"),
                ],
                "https://b/p",
            ),
            (
                None,
                false,
                &[("host", "a"), ("x-forwarded-proto", "https,http")],
                "http://a/p",
            ),
            (
                None,
                false,
                &[
                    ("host", "a"),
                    (
                        "forwarded",
                        "for=1.2.3.4;proto=https;host=\"f:1\", proto=http",
                    ),
                    ("x-forwarded-host", "b"),
                ],
                "https://f:1/p",
            ),
            (
                None,
                false,
                &[
                    ("host", "a"),
                    ("forwarded", "nonsense"),
                    ("x-forwarded-host", "b"),
                ],
                "http://a/p",
            ),
            (None, false, &[("host", "a\"<b>")], "/p"),
            (None, false, &[], "/p"),
        ];
        for (host, relative, pairs, wanted) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in *pairs {
                headers.insert(http::HeaderName::from_static(name), value.parse().unwrap());
            }
            assert_eq!(
                base(&settings(*host, *relative), peer, &headers),
                *wanted,
                "{pairs:?}"
            );
        }
    }

    #[test]
    fn who_asks() {
        let listed = || Proxies::new(Some(vec!["192.0.2.0/24".parse().unwrap()]));
        let peer = |address: &str| Peer {
            address: Some(SocketAddr::new(address.parse().unwrap(), 1)),
            tls: false,
        };
        type Case = (
            fn() -> Proxies,
            &'static str,
            &'static [(&'static str, &'static str)],
            &'static str,
        );
        const FOR: &str = "x-forwarded-for";
        let cases: &[Case] = &[
            // With nothing configured: from inside, up to the first address that is not.
            (
                Proxies::default,
                "10.0.0.1",
                &[(FOR, "203.0.113.9")],
                "203.0.113.9",
            ),
            (
                Proxies::default,
                "::ffff:10.0.0.1",
                &[(FOR, "203.0.113.9")],
                "203.0.113.9",
            ),
            (
                Proxies::default,
                "10.0.0.1",
                &[(FOR, "1.1.1.1, 203.0.113.9,10.0.0.2")],
                "203.0.113.9",
            ),
            (
                Proxies::default,
                "10.0.0.1",
                &[(FOR, "1.1.1.1"), (FOR, "203.0.113.9")],
                "203.0.113.9",
            ),
            (
                Proxies::default,
                "10.0.0.1",
                &[(FOR, "10.0.0.3, 10.0.0.2")],
                "10.0.0.3",
            ),
            (
                Proxies::default,
                "10.0.0.1",
                &[(FOR, "203.0.113.9:4711")],
                "203.0.113.9",
            ),
            (
                Proxies::default,
                "10.0.0.1",
                &[(FOR, "[2001:db8::1]:4711")],
                "2001:db8::1",
            ),
            (
                Proxies::default,
                "10.0.0.1",
                &[(FOR, "1.1.1.1, unknown")],
                "10.0.0.1:1",
            ),
            (
                Proxies::default,
                "10.0.0.1",
                &[(FOR, "unknown, 10.0.0.2")],
                "10.0.0.2",
            ),
            (
                Proxies::default,
                "10.0.0.1",
                &[("x-real-ip", "203.0.113.9")],
                "203.0.113.9",
            ),
            (
                Proxies::default,
                "10.0.0.1",
                &[("x-real-ip", "1.1.1.1"), (FOR, "203.0.113.9")],
                "203.0.113.9",
            ),
            (Proxies::default, "10.0.0.1", &[], "10.0.0.1:1"),
            (
                Proxies::default,
                "203.0.113.5",
                &[(FOR, "1.1.1.1")],
                "203.0.113.5:1",
            ),
            (
                Proxies::default,
                "203.0.113.5",
                &[("x-real-ip", "1.1.1.1")],
                "203.0.113.5:1",
            ),
            // From a list: nobody else, and no further.
            (listed, "10.0.0.1", &[(FOR, "1.1.1.1")], "10.0.0.1:1"),
            (
                listed,
                "192.0.2.1",
                &[(FOR, "1.1.1.1, 10.0.0.2")],
                "10.0.0.2",
            ),
            (
                listed,
                "192.0.2.1",
                &[(FOR, "1.1.1.1, 10.0.0.2, 192.0.2.4")],
                "10.0.0.2",
            ),
        ];
        for (proxies, from, pairs, wanted) in cases {
            let settings = HttpSettings {
                proxies: proxies(),
                ..HttpSettings::default()
            };
            let mut headers = HeaderMap::new();
            for (name, value) in *pairs {
                headers.append(http::HeaderName::from_static(name), value.parse().unwrap());
            }
            let client = client(&settings, peer(from), &headers);
            assert_eq!(client.to_string(), *wanted, "{from} {pairs:?}");
        }
    }

    #[test]
    fn only_trusted_proxies_name_the_registry() {
        let settings = HttpSettings {
            proxies: Proxies::new(Some(vec!["192.0.2.0/24".parse().unwrap()])),
            ..HttpSettings::default()
        };
        for (header, value) in [
            ("x-forwarded-host", "front"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "host=front;proto=https"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, "inner".parse().unwrap());
            headers.insert(
                http::HeaderName::from_static(header),
                value.parse().unwrap(),
            );
            for (from, believed) in [("192.0.2.1", true), ("127.0.0.1", false)] {
                let peer = Peer {
                    address: Some(SocketAddr::new(from.parse().unwrap(), 1)),
                    tls: false,
                };
                let base = base(&settings, peer, &headers);
                assert_eq!(base != "http://inner", believed, "{from} {header}: {base}");
            }
        }
    }
}
