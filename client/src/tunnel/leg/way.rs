//! The ways to a server: each leg directly, and the TCP leg through the proxy that the environment names.
//!
//! Must never know how a way is dialed.

use docxy_transport::Leg;
use std::fmt;
use std::str::FromStr;

/// A way to a server, from the best at equal goodput to the last: small requests are shorter over QUIC, and a proxy is
/// one more hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// QUIC.
    Quic,
    /// TLS over TCP, directly, or through the proxy that the user has named.
    Tcp,
    /// The same through the proxy that the environment names.
    Proxy,
}

/// The text is no way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a way is quic, tcp or proxy")]
pub struct WayError;

impl Way {
    /// All, the best first.
    pub const ALL: [Self; 3] = [Self::Quic, Self::Tcp, Self::Proxy];

    /// Its leg.
    #[must_use]
    pub const fn leg(self) -> Leg {
        match self {
            Self::Quic => Leg::Quic,
            Self::Tcp | Self::Proxy => Leg::Tcp,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quic => "quic",
            Self::Tcp => "tcp",
            Self::Proxy => "proxy",
        })
    }
}

impl FromStr for Way {
    type Err = WayError;

    fn from_str(text: &str) -> Result<Self, WayError> {
        Self::ALL.into_iter().find(|way| way.to_string() == text).ok_or(WayError)
    }
}

/// A value for each way.
#[derive(Debug, Clone, Default)]
pub(super) struct PerWay<T>([T; 3]);

impl<T> PerWay<T> {
    pub(super) const fn new(quic: T, tcp: T, proxy: T) -> Self {
        Self([quic, tcp, proxy])
    }

    pub(super) const fn get(&self, way: Way) -> &T {
        &self.0[way as usize]
    }

    pub(super) const fn get_mut(&mut self, way: Way) -> &mut T {
        &mut self.0[way as usize]
    }
}
