//! The networks whose machines may use this client, as users write them.

use docxy_protocol::text::excerpt;
use ipnet::IpNet;
use serde::Deserialize;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Networks, perhaps none, or all. This machine itself needs none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Networks(Vec<IpNet>);

/// The text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a network: write it as 192.168.1.0/24, 192.168.1.7 or fd00::/8, several with commas, or all"
)]
pub struct NetworksError(String);

impl Networks {
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them contains this address.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address.to_canonical()))
    }

    fn all() -> Self {
        let any = [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()];
        Self(any.into_iter().map(|address| IpNet::new_assert(address, 0)).collect())
    }
}

/// The networks, with commas.
impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&shown.join(","))
    }
}

/// Networks with commas; `all` or `true`; `false` is none.
impl FromStr for Networks {
    type Err = NetworksError;

    fn from_str(text: &str) -> Result<Self, NetworksError> {
        match text.trim() {
            "all" | "true" => Ok(Self::all()),
            "false" => Ok(Self::default()),
            networks => networks.split(',').map(network).collect::<Result<_, _>>().map(Self),
        }
    }
}

fn network(text: &str) -> Result<IpNet, NetworksError> {
    let text = text.trim();
    let one = || text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
    text.parse().or_else(|_| one()).map_err(|_| NetworksError(excerpt(text).to_string()))
}

/// How a config file may name them.
#[derive(Deserialize)]
#[serde(untagged, expecting = "networks are a list as in [\"192.168.1.0/24\"], or true for all")]
enum Written {
    All(bool),
    One(String),
    List(Vec<String>),
}

impl TryFrom<Written> for Networks {
    type Error = NetworksError;

    fn try_from(written: Written) -> Result<Self, NetworksError> {
        match written {
            Written::All(true) => Ok(Self::all()),
            Written::All(false) => Ok(Self::default()),
            Written::One(text) => text.parse(),
            Written::List(list) => list.iter().map(|text| network(text)).collect::<Result<_, _>>().map(Self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses() {
        for (networks, address, expected) in [
            ("192.168.1.0/24", "192.168.1.77", true),
            ("192.168.1.0/24", "::ffff:192.168.1.77", true),
            ("192.168.1.0/24", "192.168.2.1", false),
            ("192.168.1.5/24", "192.168.1.77", true),
            ("10.0.0.7, fd00::/8", "fd12::1", true),
            ("10.0.0.7, fd00::/8", "10.0.0.8", false),
            ("all", "2001:db8::1", true),
            ("true", "203.0.113.9", true),
            ("false", "203.0.113.9", false),
        ] {
            let found: Networks = networks.parse().unwrap();
            assert_eq!(found.contain(address.parse().unwrap()), expected, "{networks} {address}");
        }
    }

    #[test]
    fn what_is_no_network_is_named() {
        for text in ["", "lan", "192.168.1.0/33", "192.168.1.0/24,,", "10.0.0.0/8 192.168.0.0/16"] {
            let error = text.parse::<Networks>().unwrap_err().to_string();
            assert!(error.contains("is not a network"), "{text}: {error}");
        }
    }

    #[test]
    fn config_files_hold_a_list_or_all() {
        #[derive(Deserialize)]
        struct File {
            allow_remote: Networks,
        }
        let read = |value: &str| {
            toml_edit::de::from_str::<File>(&format!("allow_remote = {value}"))
                .map(|file| file.allow_remote.to_string())
        };
        assert_eq!(read("['192.168.1.0/24', '10.0.0.7']").unwrap(), "192.168.1.0/24,10.0.0.7/32");
        assert_eq!(read("true").unwrap(), "0.0.0.0/0,::/0");
        assert_eq!(read("false").unwrap(), "");
        assert!(read("['lan']").unwrap_err().to_string().contains("\"lan\" is not a network"));
        assert!(read("7").unwrap_err().to_string().contains("networks are a list"));
    }
}
