//! Where this client serves its neighbours, and the addresses of neighbours, as users write them.

use docxy_host::net::listen_address::ListenAddress;
use docxy_protocol::text::excerpt;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The default port for neighbours.
pub const DEFAULT_SHARE_PORT: u16 = 5082;

/// Whether, and where, neighbours are served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WrittenShare")]
pub struct Share(pub Option<SocketAddr>);

/// The address of a neighbour's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct NeighbourAddress(pub SocketAddr);

/// The text is no place to share at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is neither true, false, a port, nor an address to share at: write it as 5082 or 192.168.1.7:5082"
)]
pub struct ShareError(String);

/// The text is no address of a neighbour.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address of a neighbour: write it as 192.168.1.7, 192.168.1.7:5082 or [fd00::7]:5082")]
pub struct NeighbourAddressError(String);

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        let all = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        match text.trim() {
            "true" => Ok(Self(Some(all(DEFAULT_SHARE_PORT)))),
            "false" => Ok(Self(None)),
            address => match address.parse() {
                Ok(ListenAddress::Port(port)) => Ok(Self(Some(all(port)))),
                Ok(ListenAddress::Localhost(port)) => Ok(Self(Some((Ipv4Addr::LOCALHOST, port).into()))),
                Ok(ListenAddress::Exact(address)) => Ok(Self(Some(address))),
                Err(_) => Err(ShareError(excerpt(address))),
            },
        }
    }
}

impl FromStr for NeighbourAddress {
    type Err = NeighbourAddressError;

    fn from_str(text: &str) -> Result<Self, NeighbourAddressError> {
        let text = text.trim();
        let alone = || text.parse::<IpAddr>().map(|address| (address, DEFAULT_SHARE_PORT).into());
        text.parse().or_else(|_| alone()).map(Self).map_err(|_| NeighbourAddressError(excerpt(text)))
    }
}

impl TryFrom<String> for NeighbourAddress {
    type Error = NeighbourAddressError;

    fn try_from(text: String) -> Result<Self, NeighbourAddressError> {
        text.parse()
    }
}

/// How a config file may say it.
#[derive(Deserialize)]
#[serde(untagged, expecting = "share is true, false, a port, or an address as in \"192.168.1.7:5082\"")]
enum WrittenShare {
    Is(bool),
    Port(u16),
    Address(String),
}

impl TryFrom<WrittenShare> for Share {
    type Error = ShareError;

    fn try_from(written: WrittenShare) -> Result<Self, ShareError> {
        match written {
            WrittenShare::Is(is) => is.to_string().parse(),
            WrittenShare::Port(port) => port.to_string().parse(),
            WrittenShare::Address(text) => text.parse(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sharing_has_a_port_and_neighbours_an_address() {
        #[derive(Deserialize)]
        struct File {
            share: Share,
            neighbours: Vec<NeighbourAddress>,
        }
        for (share, address) in [
            ("true", Some("[::]:5082")),
            ("false", None),
            ("7000", Some("[::]:7000")),
            ("'192.168.1.7:7000'", Some("192.168.1.7:7000")),
            ("'localhost:0'", Some("127.0.0.1:0")),
        ] {
            let text = format!("share = {share}\nneighbours = ['192.168.1.9', '[fd00::7]:7001']");
            let file: File = toml_edit::de::from_str(&text).unwrap();
            assert_eq!(file.share.0, address.map(|address| address.parse().unwrap()), "{share}");
            let named: Vec<_> = file.neighbours.iter().map(|neighbour| neighbour.0.to_string()).collect();
            assert_eq!(named, ["192.168.1.9:5082", "[fd00::7]:7001"]);
        }
        assert!("lan".parse::<Share>().unwrap_err().to_string().contains("\"lan\" is neither"));
        assert!("office".parse::<NeighbourAddress>().unwrap_err().to_string().contains("is no address"));
    }
}
