//! The names of the legs.

use derive_more::Display;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// A leg of the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Display, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Leg {
    /// QUIC over UDP.
    #[display("quic")]
    Quic,
    /// HTTP/2 over TLS over TCP.
    #[display("tcp")]
    Tcp,
}

/// The text names no leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a leg is quic or tcp")]
pub struct LegError;

impl FromStr for Leg {
    type Err = LegError;

    fn from_str(text: &str) -> Result<Self, LegError> {
        [Self::Quic, Self::Tcp].into_iter().find(|leg| leg.to_string() == text).ok_or(LegError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leg_has_its_name() {
        for leg in [Leg::Quic, Leg::Tcp] {
            assert_eq!(leg.to_string().parse(), Ok(leg));
        }
        assert_eq!("udp".parse::<Leg>(), Err(LegError));
    }
}
