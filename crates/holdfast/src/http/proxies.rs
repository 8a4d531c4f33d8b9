//! Proxies: whose word is taken for who a client is, and under which name it reached the registry.
//!
//! Distribution believes everybody. A forged scheme or host only gets its forger wrong URLs; a forged address gets
//! into logs, and into decisions about addresses. So with nothing configured names are believed from everybody, as
//! there, and addresses from peers that are not on the internet, as proxies are. With `http.trustedproxies` both
//! count from those alone. The other end of a Unix socket is on this machine, and always believed.

use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

/// The proxies in front.
#[derive(Debug, Default)]
pub(crate) struct Proxies {
    /// As configured; `None` when nothing is.
    trusted: Option<Vec<IpNet>>,
}

impl Proxies {
    pub(crate) fn new(trusted: Option<Vec<IpNet>>) -> Proxies {
        let canonical = |networks: Vec<IpNet>| networks.into_iter().map(canonical).collect();
        Proxies {
            trusted: trusted.map(canonical),
        }
    }

    /// Whether this peer may say under which scheme and host the registry was reached.
    pub(super) fn may_name_the_registry(&self, peer: Option<SocketAddr>) -> bool {
        self.trusted.is_none() || self.may_name_clients(peer)
    }

    /// Whether this peer may say on whose behalf it asks.
    pub(super) fn may_name_clients(&self, peer: Option<SocketAddr>) -> bool {
        peer.is_none_or(|peer| self.has(peer.ip()))
    }

    /// Whether this is the address of a proxy, as far as is known.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        // A socket for both kinds shows IPv4 in the clothes of IPv6.
        let address = address.to_canonical();
        match &self.trusted {
            Some(trusted) => trusted.iter().any(|network| network.contains(&address)),
            None => is_inside(address),
        }
    }
}

/// The IPv4 network where one is written in the clothes of IPv6.
fn canonical(network: IpNet) -> IpNet {
    /// Bits of an IPv6 address that say that it is one of IPv4.
    const CLOTHES: u8 = 96;
    let length = network.prefix_len().checked_sub(CLOTHES);
    match (network.addr().to_canonical(), network, length) {
        (IpAddr::V4(address), IpNet::V6(_), Some(length)) => {
            Ipv4Net::new(address, length).map_or(network, IpNet::V4)
        }
        _ => network,
    }
}

/// Whether no host on the internet has this address.
fn is_inside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            // Between a provider and its customers, and in some clusters (RFC 6598).
            let shared = address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64;
            address.is_loopback() || address.is_private() || address.is_link_local() || shared
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_a_proxy() {
        let configured = |networks: &[&str]| {
            let networks = networks.iter().map(|network| network.parse().unwrap());
            Proxies::new(Some(networks.collect()))
        };
        let unset = Proxies::default();
        let some = configured(&[
            "192.0.2.0/24",
            "2001:db8::7/128",
            "::ffff:198.51.100.0/120",
            "::/64",
        ]);
        let none = configured(&[]);
        for (address, by_default, by_list) in [
            ("127.0.0.1", true, false),
            ("10.1.2.3", true, false),
            ("172.16.0.1", true, false),
            ("172.32.0.1", false, false),
            ("192.168.3.4", true, false),
            ("169.254.1.1", true, false),
            ("100.64.0.1", true, false),
            ("100.127.255.255", true, false),
            ("100.128.0.1", false, false),
            ("::ffff:10.1.2.3", true, false),
            ("::1", true, true),
            ("fd12::1", true, false),
            ("fe80::1", true, false),
            ("192.0.2.7", false, true),
            ("::ffff:192.0.2.7", false, true),
            ("192.0.3.7", false, false),
            ("198.51.100.7", false, true),
            ("::ffff:198.51.100.7", false, true),
            ("198.51.101.7", false, false),
            ("2001:db8::7", false, true),
            ("2001:db8::8", false, false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(unset.has(address), by_default, "{address}");
            assert_eq!(some.has(address), by_list, "{address}");
            assert!(!none.has(address), "{address}");
            let peer = Some(SocketAddr::new(address, 1));
            assert!(unset.may_name_the_registry(peer), "{address}");
            assert_eq!(some.may_name_the_registry(peer), by_list, "{address}");
            assert_eq!(unset.may_name_clients(peer), by_default, "{address}");
        }
        for proxies in [unset, some, none] {
            assert!(proxies.may_name_the_registry(None) && proxies.may_name_clients(None));
        }
    }
}
