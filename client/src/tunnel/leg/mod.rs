//! Which leg carries a session: QUIC, or TLS over TCP.
//!
//! [`LegPolicy`] decides for one server, from what large bodies really get on each leg. Pure: time, randomness and
//! measurements are arguments. Must never dial, wait, or read a clock.
//!
//! ```text
//!             dial_order                         observe: a reason             beside_up
//!  no session ──────────▶ the first that is up ───────────────▶ dial the other ────────▶ trial
//!      ▲                    in use alone  ◀──────────────────────────────────────────── lost
//!      └───── lost ─────────────┘         ◀─ the other leg in use, this one rests ◀──── won
//! ```

mod goodput;
mod knowledge;
mod policy;
mod reason;
mod rest;
mod strikes;
mod trial;

pub use goodput::Carried;
pub use knowledge::{Knowledge, LegKnowledge, RestKnowledge};
pub use policy::{DialOrder, Instruction, LegPolicy, SessionLoss, Traffic};
pub use reason::{TrialReason, UseReason};
pub use rest::{REST_MAX, RestCause};
pub use trial::Carriers;

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A way of carrying a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Leg {
    /// One QUIC connection.
    Quic,
    /// HTTP/2 over TLS over TCP.
    Tcp,
}

impl Leg {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Quic => Self::Tcp,
            Self::Tcp => Self::Quic,
        }
    }
}

impl fmt::Display for Leg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quic => "quic",
            Self::Tcp => "tcp",
        })
    }
}

/// Which legs a client may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LegChoice {
    /// The better one, by measurement.
    #[default]
    Auto,
    /// This one alone.
    Only(Leg),
}

/// The text is not a [`LegChoice`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a leg is auto, quic or tcp")]
pub struct LegChoiceError;

impl FromStr for LegChoice {
    type Err = LegChoiceError;

    fn from_str(text: &str) -> Result<Self, LegChoiceError> {
        match text {
            "auto" => Ok(Self::Auto),
            "quic" => Ok(Self::Only(Leg::Quic)),
            "tcp" => Ok(Self::Only(Leg::Tcp)),
            _ => Err(LegChoiceError),
        }
    }
}

impl fmt::Display for LegChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Only(leg) => leg.fmt(f),
        }
    }
}

/// A value for each leg.
#[derive(Debug, Clone, Default)]
struct PerLeg<T> {
    quic: T,
    tcp: T,
}

impl<T> PerLeg<T> {
    const fn get(&self, leg: Leg) -> &T {
        match leg {
            Leg::Quic => &self.quic,
            Leg::Tcp => &self.tcp,
        }
    }

    const fn get_mut(&mut self, leg: Leg) -> &mut T {
        match leg {
            Leg::Quic => &mut self.quic,
            Leg::Tcp => &mut self.tcp,
        }
    }
}
