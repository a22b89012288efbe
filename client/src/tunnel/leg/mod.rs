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
mod way;

pub use goodput::Carried;
pub use knowledge::{Knowledge, LegKnowledge, RestKnowledge};
pub use policy::{DialOrder, Instruction, LegPolicy, SessionLoss, Traffic};
pub use reason::{TrialReason, UseReason};
pub use rest::{REST_MAX, RestCause};
pub use trial::Carriers;
pub use way::Way;

pub use crate::tunnel::config::LegChoice;
pub use docxy_transport::Leg;

const fn other(leg: Leg) -> Leg {
    match leg {
        Leg::Quic => Leg::Tcp,
        Leg::Tcp => Leg::Quic,
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
