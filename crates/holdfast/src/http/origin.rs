//! The front of every URL that the registry hands out: scheme, host and prefix.
//!
//! Source: Distribution. `http.host` wins; then `http.relativeurls`; then `Forwarded` (RFC 7239), which
//! silences the `X-Forwarded-*` headers even when it cannot be read; then those; then the request itself.

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
    let (scheme, host) = origin(peer, headers);
    match host {
        Some(host) => format!("{scheme}://{host}{prefix}"),
        None => prefix.clone(),
    }
}

fn origin(peer: Peer, headers: &HeaderMap) -> (String, Option<String>) {
    let mut scheme = if peer.tls { "https" } else { "http" }.to_owned();
    let mut host = text(headers, HOST).map(str::to_owned);
    if let Some(forwarded) = text(headers, "forwarded") {
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

/// The first of `X-Forwarded-For`, else `X-Real-Ip`, else the peer.
pub(super) fn client(peer: Peer, headers: &HeaderMap) -> Client {
    let forwarded = text(headers, "x-forwarded-for").and_then(|list| list.split(',').next());
    let named = [forwarded, text(headers, "x-real-ip")];
    match named
        .into_iter()
        .flatten()
        .find_map(|text| text.trim().parse().ok())
    {
        Some(address) => Client::Forwarded(address),
        None => peer.address.map_or(Client::Local, Client::Peer),
    }
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
}
