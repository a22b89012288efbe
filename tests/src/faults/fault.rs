//! The faults by name. `inject` implements them.

use std::str::FromStr;

/// A fault that happens once in a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// No fault, for comparison.
    None,
    /// The server is killed, and restarted later.
    ServerKilled,
    /// All packets are dropped for a while.
    Outage,
    /// The laptop gets another address.
    NewAddress,
    /// All packets from the ports that the client has used are dropped forever.
    NewPortOnly,
    /// The CDN closes the connection in a layer five times.
    CdnCut,
    /// The CDN stops sending in the middle of a layer.
    CdnStall,
    /// The CDN closes the connection in a layer, and the registry's next URL has expired.
    ExpiredUrl,
    /// All tokens expire, and then the CDN closes the connection in a layer.
    ExpiredToken,
    /// 10 % of all packets are lost, in both directions, from then on.
    Loss,
    /// The engine is interrupted, and pulls again.
    Cancel,
    /// The CDN closes the connection in a layer, and the registry then responds with 503 twice.
    Registry503,
    /// The server gets SIGTERM, and is started again after its end.
    Drain,
    /// The same with a server that hands its transfers back, three times.
    Restart,
}

impl Fault {
    /// The faults of the ladder.
    pub const ALL: [Self; 13] = [
        Self::ServerKilled,
        Self::Outage,
        Self::NewAddress,
        Self::NewPortOnly,
        Self::CdnCut,
        Self::CdnStall,
        Self::ExpiredUrl,
        Self::ExpiredToken,
        Self::Loss,
        Self::Cancel,
        Self::Registry503,
        Self::Drain,
        Self::Restart,
    ];

    /// The name in tables and options.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ServerKilled => "server-killed",
            Self::Outage => "outage",
            Self::NewAddress => "new-address",
            Self::NewPortOnly => "new-port-only",
            Self::CdnCut => "cdn-cut",
            Self::CdnStall => "cdn-stall",
            Self::ExpiredUrl => "expired-url",
            Self::ExpiredToken => "expired-token",
            Self::Loss => "loss",
            Self::Cancel => "cancel",
            Self::Registry503 => "registry-503",
            Self::Drain => "drain",
            Self::Restart => "restart",
        }
    }

    /// The description in tables and help.
    pub const fn description(self) -> &'static str {
        match self {
            Self::None => "no fault, for comparison",
            Self::ServerKilled => "the server is killed, and restarted 10 s later",
            Self::Outage => "all packets are dropped for 30 s",
            Self::NewAddress => "the laptop's address changes",
            Self::NewPortOnly => "the ports that the client has used so far are blocked forever",
            Self::CdnCut => "the CDN closes the connection in a layer, five times",
            Self::CdnStall => "the CDN stops sending in the middle of a layer",
            Self::ExpiredUrl => "the CDN closes the connection in a layer, and the next URL has expired",
            Self::ExpiredToken => {
                "all tokens expire, and then the CDN closes the connection in a layer (private image)"
            }
            Self::Loss => "10 % of all packets are lost from then on",
            Self::Cancel => "the engine is interrupted, and pulls again",
            Self::Registry503 => {
                "the CDN closes the connection in a layer, and the registry responds with 503 twice"
            }
            Self::Drain => {
                "the server gets SIGTERM and is started again (in half of the runs the link slows down, and the drain's 30 s run out)"
            }
            Self::Restart => "the server has --handover, gets SIGTERM and is started again, three times",
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = Self::ALL.into_iter().chain([Self::None]);
        let found = all.into_iter().find(|fault| fault.name() == text);
        found.ok_or_else(|| format!("no fault {text:?}; --help lists them"))
    }
}
