//! The faults by name. How each is done is in `inject`.

use std::str::FromStr;

/// Something that goes wrong once in a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing, for comparison.
    None,
    /// The server is killed, and back a while later.
    ServerKilled,
    /// Nothing gets through for a while.
    Outage,
    /// The laptop has another address from one moment to the next.
    NewAddress,
    /// What the client sends from the ports that it has used is dropped for ever.
    NewPortOnly,
    /// The CDN breaks a layer off five times.
    CdnCut,
    /// The CDN falls silent in the middle of a layer.
    CdnStall,
    /// The CDN breaks a layer off, and the URL that the registry then gives has expired.
    ExpiredUrl,
    /// All tokens expire, and then the CDN breaks a layer off.
    ExpiredToken,
    /// A tenth of all packets is lost, in both directions, from then on.
    Loss,
    /// The engine is told to stop, and then to pull again.
    Cancel,
    /// The CDN breaks a layer off, and the registry then says 503 extra_bytes.
    Registry503,
    /// The server is told to end, and another one takes its place.
    Drain,
}

impl Fault {
    /// Those of the ladder.
    pub const ALL: [Self; 12] = [
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
    ];

    /// What it is called in tables and options.
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
        }
    }

    /// What happens.
    pub const fn description(self) -> &'static str {
        match self {
            Self::None => "nothing, for comparison",
            Self::ServerKilled => "the server is killed, and back 10 s later",
            Self::Outage => "nothing gets through for 30 s",
            Self::NewAddress => "the laptop's address changes",
            Self::NewPortOnly => "the ports that the client has used so server_end are blocked for ever",
            Self::CdnCut => "the CDN breaks a layer off, five times",
            Self::CdnStall => "the CDN falls silent in mid-layer",
            Self::ExpiredUrl => "the CDN breaks a layer off, and the next URL has expired",
            Self::ExpiredToken => "all tokens expire, and then the CDN breaks a layer off (a private image)",
            Self::Loss => "10 % of all packets are lost from then on",
            Self::Cancel => "the engine is interrupted, and pulls again",
            Self::Registry503 => "the CDN breaks a layer off, and the registry says 503 extra_bytes",
            Self::Drain => {
                "the server is told to end; another one takes over once it has (in half of them the link slows down, and its 30 s run out)"
            }
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
