//! `[resolve]`, for all registries or for one: addresses of hosts that are not resolved by DNS, like
//! `/etc/hosts` with ports.

use docxy_protocol::link::Host;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// A host's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct StaticAddress {
    /// The IP address.
    pub ip: IpAddr,
    /// The port to dial instead of the one in the URL, if any.
    pub port: Option<u16>,
}

impl TryFrom<String> for StaticAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { ip: address.ip(), port: Some(address.port()) });
        }
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
        let ip = bare.map_or_else(|| text.parse(), |text| text.parse::<Ipv6Addr>().map(IpAddr::V6));
        let ip = ip.map_err(|_| format!("{text:?} is not an address like 10.0.0.2 or 10.0.0.2:443"))?;
        Ok(Self { ip, port: None })
    }
}

/// The table, keyed by host.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ResolveTable(BTreeMap<LowercaseHost, StaticAddress>);

impl ResolveTable {
    pub(super) fn into_entries(self) -> BTreeMap<String, StaticAddress> {
        self.0.into_iter().map(|(host, to)| (host.0, to)).collect()
    }
}

/// A host in lower case.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct LowercaseHost(String);

impl TryFrom<String> for LowercaseHost {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.parse::<Host>() {
            Ok(_) => Ok(Self(text.to_ascii_lowercase())),
            Err(_) => Err(format!("{text:?} is not a host name without a port")),
        }
    }
}
