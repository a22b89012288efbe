//! Which way a session takes: QUIC, TLS over TCP, or the same through a proxy that the environment names.
//!
//! [`LegPolicy`] decides for one server, from what large bodies really get on each way. Pure: time, randomness and
//! measurements are arguments. Must never dial, wait, or read a clock.
//!
//! ```text
//!             dial_order                         observe: a reason             beside_up
//!  no session ──────────▶ the first that is up ───────────────▶ dial another ──────────▶ trial
//!      ▲                    in use alone  ◀──────────────────────────────────────────── lost
//!      └───── lost ─────────────┘         ◀─ the other way in use, this one rests ◀──── won
//! ```

mod goodput;
mod knowledge;
mod policy;
mod reason;
mod recent_losses;
mod rest;
mod trial;
mod way;

pub use goodput::Carried;
pub use knowledge::{Knowledge, RestKnowledge, WayKnowledge};
pub use policy::{DialOrder, Instruction, LegPolicy, SessionLoss, Traffic};
pub use reason::{TrialReason, UseReason};
pub use rest::{REST_MAX, RestCause};
pub use trial::Carriers;
pub use way::{Way, WayError};

pub use crate::tunnel::config::LegChoice;
pub use docxy_transport::Leg;
