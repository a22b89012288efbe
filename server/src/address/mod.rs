//! The address that clients dial, for links.
//!
//! It is set by the operator or read from the interfaces. Must never be guessed or requested from a third
//! party: a link with a wrong address fails on another machine, where it cannot be corrected.

pub(crate) mod public_ip;

use docxy_protocol::link::Host;
use docxy_protocol::text::excerpt;
use public_ip::is_public;
use serde::Deserialize;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Why there is no address for a link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not `HOST[:PORT]`.
    #[error(
        "{0:?} is not HOST or HOST:PORT that clients can dial (like vpn.example.org, 203.0.113.7:443 or [2001:db8::7]:443)"
    )]
    Malformed(String),
    /// The machine is behind NAT, or this is a container.
    #[error(
        "no interface has a public address (behind NAT it cannot be guessed): pass the address \
         that clients are to dial with --public HOST[:PORT], here or to `run`, which remembers it, or put public = \"HOST[:PORT]\" into \
         the config file"
    )]
    Unknown,
    /// The interfaces cannot be listed.
    #[error("the interfaces cannot be listed ({0}): pass --public HOST[:PORT]")]
    Interfaces(String),
    /// For port 0 the system chooses another port at each start.
    #[error("the listen address names no port: pass --public HOST:PORT")]
    NoPort,
}

/// The address that the operator gave.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PublicAddress {
    /// A name or an address.
    pub host: Host,
    /// The port, if it is not the one that the server listens on.
    pub port: Option<u16>,
}

impl FromStr for PublicAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let malformed = || AddressError::Malformed(excerpt(text));
        let (host, port) = split_port(text);
        let port = match port {
            Some(port) => Some(port.parse().ok().filter(|p| *p != 0).ok_or_else(malformed)?),
            None => None,
        };
        let host = host.parse().map_err(|_| malformed())?;
        Ok(Self { host, port })
    }
}

impl TryFrom<String> for PublicAddress {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

/// The host and port for a link: the operator's, or else the first public address of an interface and the
/// first port that the server listens on.
///
/// # Errors
/// If there is no host or no port.
pub fn for_links(given: Option<&PublicAddress>, listen: &[SocketAddr]) -> Result<(Host, u16), AddressError> {
    let host = match given {
        Some(given) => given.host.clone(),
        None => {
            let address = first_public(&interfaces()?).ok_or(AddressError::Unknown)?;
            address.to_string().parse().expect("an address without a zone is a host")
        }
    };
    let port = given
        .and_then(|given| given.port)
        .or_else(|| listen.first().map(SocketAddr::port).filter(|p| *p != 0))
        .ok_or(AddressError::NoPort)?;
    Ok((host, port))
}

fn interfaces() -> Result<Vec<IpAddr>, AddressError> {
    let all = if_addrs::get_if_addrs().map_err(|e| AddressError::Interfaces(e.to_string()))?;
    Ok(all.iter().map(if_addrs::Interface::ip).collect())
}

/// Prefers IPv4, because some clients have no IPv6.
fn first_public(addresses: &[IpAddr]) -> Option<IpAddr> {
    let mut public = addresses.iter().copied().filter(|address| is_public(*address));
    let first = public.next()?;
    Some(if first.is_ipv4() { first } else { public.find(IpAddr::is_ipv4).unwrap_or(first) })
}

/// Splits `HOST[:PORT]`; an IPv6 address may come bare, or in brackets.
fn split_port(text: &str) -> (&str, Option<&str>) {
    if text.parse::<Ipv6Addr>().is_ok() {
        return (text, None);
    }
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|t| t.split_once(']'))
        && host.parse::<Ipv6Addr>().is_ok()
    {
        return match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            // With anything else after the bracket, the text is not a host.
            None if rest.is_empty() => (host, None),
            None => (text, None),
        };
    }
    match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(String, Option<u16>)> {
        let address = text.parse::<PublicAddress>().ok()?;
        Some((address.host.to_string(), address.port))
    }

    fn first(addresses: &[&str]) -> Option<String> {
        let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        first_public(&addresses).map(|a| a.to_string())
    }

    #[test]
    fn a_public_address_comes_with_or_without_a_port() {
        for (text, host, port) in [
            ("vpn.example.org", "vpn.example.org", None),
            ("vpn.example.org:443", "vpn.example.org", Some(443)),
            ("203.0.113.7:443", "203.0.113.7", Some(443)),
            ("2001:db8::7", "2001:db8::7", None),
            ("[2001:db8::7]", "2001:db8::7", None),
            ("[2001:db8::7]:443", "2001:db8::7", Some(443)),
        ] {
            assert_eq!(read(text), Some((host.to_owned(), port)), "{text}");
        }
        for text in
            ["", ":443", "host:", "host:0", "host:70000", "a b", "https://host", "[::1", "[::1]x", "[host]:1"]
                .into_iter()
                .chain(["-", "..", "0.0.0.0", "0.0.0.0:443", "::", "[::]:443", "999.1.1.1"])
        {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn only_a_public_address_is_chosen() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.0.8",
            "198.18.0.1",
            "203.0.113.7",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "2001:db8::1",
            "2001:0:53aa:64c::1",
            "2002:c000:204::1",
            "ff02::1",
            "::ffff:8.8.8.8",
        ] {
            assert_eq!(first(&[address]), None, "{address}");
        }
        for address in ["8.8.8.8", "100.128.0.1", "2a01:4f8::1", "2001:4860::8888"] {
            assert_eq!(first(&[address]).as_deref(), Some(address));
        }
    }

    #[test]
    fn ipv4_is_preferred_and_the_first_one_wins() {
        assert_eq!(first(&["10.0.0.1", "2a01:4f8::1", "8.8.8.8", "9.9.9.9"]).as_deref(), Some("8.8.8.8"));
        assert_eq!(first(&["fe80::1", "2a01:4f8::1", "2a01:4f8::2"]).as_deref(), Some("2a01:4f8::1"));
    }

    #[test]
    fn the_port_is_the_one_given_else_the_one_listened_on() {
        let listen = |text: &str| vec![text.parse::<SocketAddr>().unwrap()];
        let port = |given: &str, listen: &[SocketAddr]| {
            for_links(Some(&given.parse().unwrap()), listen).map(|(_, port)| port)
        };
        assert_eq!(port("host:443", &listen("[::]:61443")), Ok(443));
        assert_eq!(port("host", &listen("[::]:61443")), Ok(61443));
        assert_eq!(port("host", &listen("[::]:0")), Err(AddressError::NoPort));
    }
}
