//! The networks that this machine is in, of those whose addresses are not routed beyond a site.
//!
//! Must never contain an address that a packet leaves the site for.

use ipnet::IpNet;
use std::net::IpAddr;

/// The private and link-local networks of this machine's interfaces, and its loopback.
#[derive(Debug)]
pub(super) struct LocalNetworks(Vec<IpNet>);

impl LocalNetworks {
    /// Those of now. None if the system does not tell.
    pub(super) fn now() -> Self {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        let network = |interface: &if_addrs::Interface| {
            let length = match &interface.addr {
                if_addrs::IfAddr::V4(v4) => v4.prefixlen,
                if_addrs::IfAddr::V6(v6) => v6.prefixlen,
            };
            IpNet::new(interface.ip(), length).ok()
        };
        Self(interfaces.iter().filter_map(network).collect())
    }

    /// Whether a machine with this address is in one of them.
    pub(super) fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_of_site(address) && self.0.iter().any(|network| network.contains(&address))
    }
}

/// Private (RFC 1918, RFC 4193), link-local, or loopback.
fn is_of_site(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local() || v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_machines_of_the_own_site_networks_are_local() {
        let networks = ["192.168.1.7/24", "203.0.113.7/24", "fd00:1::7/64", "fe80::7/64", "127.0.0.1/8"];
        let networks = LocalNetworks(networks.iter().map(|network| network.parse().unwrap()).collect());
        for (address, expected) in [
            ("192.168.1.200", true),
            ("::ffff:192.168.1.200", true),
            ("192.168.2.200", false),
            ("10.0.0.1", false),
            ("203.0.113.9", false),
            ("fd00:1::9", true),
            ("fd00:2::9", false),
            ("fe80::9", true),
            ("2001:db8::9", false),
            ("127.0.0.2", true),
        ] {
            assert_eq!(networks.contain(address.parse().unwrap()), expected, "{address}");
        }
        assert!(LocalNetworks::now().contain(IpAddr::from([127, 0, 0, 1])));
    }
}
