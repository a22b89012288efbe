//! The network that this machine is on, as far as a client can tell one from another.
//!
//! Only reads what the system shows to every user. Must never send anything.

#[cfg(target_os = "linux")]
mod linux;

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A network. Without a default gateway it is known by its prefixes alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The default gateway.
    pub gateway: Option<Gateway>,
    /// The prefixes of the interface of the default route, or of all interfaces if there is none: `192.0.2.0/24`.
    pub prefixes: Vec<String>,
}

/// A default gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// Its address.
    pub address: IpAddr,
    /// Its hardware address, if the system knows it: many networks have a gateway 192.168.1.1.
    pub hardware: Option<String>,
}

impl Network {
    /// The current network; `None` if the system does not show it.
    #[must_use]
    pub fn current() -> Option<Self> {
        #[cfg(target_os = "linux")]
        return linux::current();
        #[cfg(not(target_os = "linux"))]
        return None;
    }

    /// Whether both are the same, as far as is known: just after the start, the system may not know the gateway's
    /// hardware address yet.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        let same_gateway = match (&self.gateway, &other.gateway) {
            (Some(one), Some(other)) => {
                let unknown = one.hardware.is_none() || other.hardware.is_none();
                one.address == other.address && (unknown || one.hardware == other.hardware)
            }
            (None, None) => true,
            _ => false,
        };
        same_gateway && self.prefixes == other.prefixes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_with_the_same_addresses_differ_by_their_gateways() {
        let network = |hardware: Option<&str>| Network {
            gateway: Some(Gateway {
                address: "192.168.1.1".parse().unwrap(),
                hardware: hardware.map(str::to_owned),
            }),
            prefixes: vec!["192.168.1.0/24".into()],
        };
        let (home, work, unknown) =
            (network(Some("02:00:00:00:00:01")), network(Some("02:00:00:00:00:02")), network(None));
        assert!(home.matches(&home) && home.matches(&unknown) && unknown.matches(&work));
        assert!(!home.matches(&work));
        let alone = Network { gateway: None, ..home.clone() };
        assert!(alone.matches(&alone) && !alone.matches(&unknown));
        assert!(!alone.matches(&Network { prefixes: Vec::new(), ..alone.clone() }));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_has_a_network_and_it_does_not_change_by_itself() {
        let network = Network::current().unwrap();
        assert!(network.matches(&Network::current().unwrap()));
    }
}
