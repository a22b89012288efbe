//! Networks of client addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network whose addresses are treated as one site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Network(IpAddr);

impl Network {
    /// The /24 of an IPv4 address, mapped or not, or the /48 of an IPv6 address. One site usually has such
    /// a network, and a new lease or a privacy address rarely leaves it.
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => (v4 & Ipv4Addr::new(255, 255, 255, 0)).into(),
            IpAddr::V6(v6) => (v6 & Ipv6Addr::new(0xffff, 0xffff, 0xffff, 0, 0, 0, 0, 0)).into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str) -> Network {
        Network::of(address.parse().unwrap())
    }

    #[test]
    fn a_network_is_the_same_in_each_notation_of_its_addresses() {
        assert_eq!(network("192.0.2.7"), network("::ffff:192.0.2.9"));
        assert_eq!(network("2001:db8:1:2::3"), network("2001:db8:1:ffff::"));
        assert_ne!(network("2001:db8:1::"), network("2001:db8:2::"));
        assert_ne!(network("::1"), network("0.0.0.1"));
    }
}
