//! Addresses to listen on, as users write them: `127.0.0.1:5080`, `[::1]:5080`, `localhost:5080`, or a port alone.
//!
//! What a port alone stands for is for each program to say.

use docxy_protocol::text::excerpt;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::str::FromStr;

/// An address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenAddress {
    /// `5080` or `:5080`.
    Port(u16),
    /// `localhost:5080`, which is loopback of IPv4 and of IPv6.
    Localhost(u16),
    /// An IP address and a port.
    Exact(SocketAddr),
}

/// The text is no address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no address to listen on: write it as 5080, localhost:5080, 192.0.2.1:5080 or [2001:db8::1]:5080"
)]
pub struct ListenAddressError(String);

impl ListenAddress {
    /// The IP address and port, if it has both.
    #[must_use]
    pub const fn exact(self) -> Option<SocketAddr> {
        match self {
            Self::Exact(address) => Some(address),
            Self::Port(_) | Self::Localhost(_) => None,
        }
    }

    /// Its port.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Port(port) | Self::Localhost(port) => port,
            Self::Exact(address) => address.port(),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<Self, ListenAddressError> {
        let text = text.trim();
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        let parsed = match port.parse() {
            Ok(port) if host.is_empty() => Ok(Self::Port(port)),
            Ok(port) if host.eq_ignore_ascii_case("localhost") => Ok(Self::Localhost(port)),
            _ => text.parse().map(Self::Exact),
        };
        parsed.map_err(|_| ListenAddressError(excerpt(text)))
    }
}

/// The addresses in a config file: one or a list, each as text or as the number of a port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenAddresses(pub Vec<ListenAddress>);

impl<'de> Deserialize<'de> for ListenAddresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMany)
    }
}

struct OneOrMany;

impl<'de> Visitor<'de> for OneOrMany {
    type Value = ListenAddresses;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address like \"127.0.0.1:5080\", a port, or a list of these")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ListenAddresses, E> {
        text.parse().map(|address| ListenAddresses(vec![address])).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, port: i64) -> Result<ListenAddresses, E> {
        self.visit_str(&port.to_string())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<ListenAddresses, A::Error> {
        let mut all = Vec::new();
        while let Some(ListenAddresses(addresses)) = list.next_element()? {
            all.extend(addresses);
        }
        Ok(ListenAddresses(all))
    }
}

/// Why the system refuses an address, for the user.
#[must_use]
pub const fn advice_on(refusal: ErrorKind) -> Option<&'static str> {
    match refusal {
        ErrorKind::AddrNotAvailable => Some("no network interface of this machine has that address"),
        ErrorKind::PermissionDenied => Some("ports below 1024 are for root and for the installed service"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Config {
        listen: ListenAddresses,
    }

    #[test]
    fn a_refused_address_is_explained() {
        // Of a network for documentation (RFC 5737).
        let far = std::net::UdpSocket::bind("203.0.113.7:0").unwrap_err();
        assert!(advice_on(far.kind()).unwrap().contains("no network interface"));
        assert_eq!(advice_on(ErrorKind::AddrInUse), None);
    }

    #[test]
    fn a_port_may_stand_alone() {
        let exact = |text: &str| ListenAddress::Exact(text.parse().unwrap());
        for (text, expected) in [
            ("5081", ListenAddress::Port(5081)),
            (":5081", ListenAddress::Port(5081)),
            ("LocalHost:5081", ListenAddress::Localhost(5081)),
            ("127.0.0.1:5081", exact("127.0.0.1:5081")),
            (" [::]:5081 ", exact("[::]:5081")),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in ["", ":", "localhost", "127.0.0.1", "::1", "65536", "-1", "example.org:5081", "[::1]"] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_config_file_has_one_or_a_list() {
        let (local, port) =
            (ListenAddress::Exact("127.0.0.1:5090".parse().unwrap()), ListenAddress::Port(5081));
        for (text, expected) in [
            ("listen = '127.0.0.1:5090'", vec![local]),
            ("listen = 5081", vec![port]),
            ("listen = [':5081', '127.0.0.1:5090']", vec![port, local]),
            ("listen = []", vec![]),
        ] {
            assert_eq!(toml::from_str::<Config>(text).unwrap().listen.0, expected, "{text}");
        }
        for text in ["listen = 'nonsense'", "listen = 70000", "listen = ['1', 'x']", "listen = true"] {
            let error = toml::from_str::<Config>(text).unwrap_err();
            assert!(error.message().contains("5080"), "{error}");
        }
    }
}
