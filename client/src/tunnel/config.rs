//! What the tunnel needs to know. Knows nothing of files, flags and variables.

use docxy_host::net::proxy::ProxyRules;
use docxy_protocol::congestion::{Choice, Rate};
use docxy_protocol::link::Link;
use docxy_transport::Leg;
use serde::Deserialize;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The servers, and how to send to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TunnelConfig {
    /// One link for each server; at least one. Where two are equally good, the first is used.
    pub links: Vec<JoinedLink>,
    /// How both ends send.
    pub congestion: Congestion,
    /// How fast they may send at most, whatever `congestion` says.
    pub max_rate: Rates,
    /// The legs to dial.
    pub leg: LegChoice,
    /// The proxy on the way to the servers, if any.
    pub proxy: Option<ProxyChoice>,
    /// The directory for what outlives the process; `None` remembers it in memory.
    pub cache: Option<PathBuf>,
    /// The directory by which the programs of this user keep to the limit of connections; `None` is no limit.
    pub runtime: Option<PathBuf>,
}

/// The proxy on the way to the servers. Only the TCP leg can use one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyChoice {
    /// One more way beside the direct ones: the environment names it.
    Beside(ProxyRules),
    /// The only way: the user has named it.
    Only(ProxyRules),
}

/// Rates of both directions; `None` is no rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// From the server to this client.
    pub down: Option<Rate>,
    /// From this client to the server.
    pub up: Option<Rate>,
}

/// A link that the user has joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedLink {
    /// The link.
    pub link: Link,
    /// What its server may see.
    pub trust: Trust,
}

/// What a server may see of its clients' requests. The greater one may see more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, derive_more::Display)]
pub enum Trust {
    /// Requests without a credential.
    #[display("untrusted")]
    Untrusted,
    /// Passwords and tokens, too.
    #[display("trusted")]
    Trusted,
}

/// The legs to dial.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum LegChoice {
    /// The better one, by measurement.
    #[default]
    Auto,
    /// This one.
    Only(Leg),
}

/// The text is no choice of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("leg is auto, quic or tcp")]
pub struct LegChoiceError;

impl FromStr for LegChoice {
    type Err = LegChoiceError;

    fn from_str(text: &str) -> Result<Self, LegChoiceError> {
        match text {
            "auto" => Ok(Self::Auto),
            leg => leg.parse().map(Self::Only).map_err(|_| LegChoiceError),
        }
    }
}

impl TryFrom<String> for LegChoice {
    type Error = LegChoiceError;

    fn try_from(text: String) -> Result<Self, LegChoiceError> {
        text.parse()
    }
}

/// The congestion control of both ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Congestion {
    /// How the server sends to this client.
    pub down: Choice,
    /// How this client sends to the server.
    pub up: Choice,
}

impl From<Rates> for Congestion {
    fn from(Rates { down, up }: Rates) -> Self {
        let choice = |rate: Option<Rate>| rate.map_or(Choice::Auto, Choice::Fixed);
        Self { down: choice(down), up: choice(up) }
    }
}

impl fmt::Display for Congestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.down, self.up) {
            (Choice::Fixed(down), Choice::Fixed(up)) => write!(f, "down={down},up={up}"),
            (Choice::Fixed(down), _) => write!(f, "down={down}"),
            (_, Choice::Fixed(up)) => write!(f, "up={up}"),
            (Choice::Cubic, _) => f.write_str("cubic"),
            (Choice::Auto, _) => f.write_str("auto"),
        }
    }
}
