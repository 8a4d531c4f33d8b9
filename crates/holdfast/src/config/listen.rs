//! Addresses to listen on and to connect to.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// Longest path of a Unix socket that the kernel accepts, without its closing NUL.
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address.
    Tcp(Address),
    /// A Unix socket.
    Unix(PathBuf),
}

/// A host and a port. An empty host means all interfaces, port 0 a free one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Address {
    /// Reads `host:port`, `:port` or `[v6]:port`; empty text is a free port on all interfaces.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        const FORMS: &str = "expected host:port, :port or [::]:port";
        if text.is_empty() {
            return Ok(Self::default());
        }
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| format!("{FORMS}, found {text:?} without a port"))?;
        let port = port
            .parse()
            .ok()
            .filter(|_| port.bytes().all(|byte| byte.is_ascii_digit()))
            .ok_or_else(|| format!("{FORMS}, found the port {port:?}"))?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let inner = rest.strip_suffix(']').unwrap_or_default();
                let address = inner.split('%').next().unwrap_or_default();
                if !address.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) {
                    return Err(format!("{FORMS}, found {text:?}"));
                }
                inner
            }
            None => host,
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
        let bare_v6 = host.contains(':') && !text.starts_with('[');
        if bare_v6 || !host.chars().all(plain) {
            return Err(format!("{FORMS}, found {text:?}"));
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }

    /// Whether only this machine can reach it, as far as the text tells.
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix(path) => path.display().fmt(formatter),
        }
    }
}

/// Reads the path of a socket.
pub(super) fn socket(text: &str) -> Result<PathBuf, String> {
    match text.len() {
        0 => Err("expected the path of a socket, because http.net is unix".to_owned()),
        length if length > MAX_SOCKET_PATH_BYTES => Err(format!(
            "a socket path has at most {MAX_SOCKET_PATH_BYTES} bytes, this one has {length}"
        )),
        _ if text.contains('\0') => Err("a path cannot contain a NUL character".to_owned()),
        _ => Ok(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, host, port) in [
            (":5000", "", 5000),
            ("", "", 0),
            ("localhost:5000", "localhost", 5000),
            ("0.0.0.0:80", "0.0.0.0", 80),
            ("[::]:5000", "::", 5000),
            ("[::1]:0", "::1", 0),
            ("[fe80::1%eth0]:5000", "fe80::1%eth0", 5000),
            ("registry.internal:443", "registry.internal", 443),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(
                (address.host.as_str(), address.port),
                (host, port),
                "{text}"
            );
            if !text.is_empty() {
                assert_eq!(address.to_string(), text);
            }
        }
        for text in [
            "5000",
            "host",
            "host:",
            "host:x",
            ":65536",
            ":+80",
            "::1:80",
            "[::1]",
            "[x]:1",
            "[::1:80",
            "http://x:80",
            "a b:1",
            "a\n:1",
        ] {
            assert!(Address::parse(text).is_err(), "{text:?}");
        }
        assert!(Address::parse("127.0.0.1:1").unwrap().is_loopback());
        assert!(Address::parse("[::1]:1").unwrap().is_loopback());
        assert!(!Address::parse(":1").unwrap().is_loopback());
    }
}
