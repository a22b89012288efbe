//! What the policy is told, and what it decides.

use crate::tunnel::leg::goodput::Carried;
use crate::tunnel::leg::reason::{TrialReason, UseReason};
use crate::tunnel::leg::trial::Carriers;
use crate::tunnel::leg::way::Way;
use std::time::Duration;

/// The ways to dial, each only if none is up by then. The next one is dialed at once if the one before fails in any
/// way, also by an answer that is an error. The first session with a Welcome is used, and the other attempts dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialOrder {
    /// At least one.
    pub ways: Vec<Way>,
    /// How much later each is dialed than the one before.
    pub head_start: Duration,
}

/// How a session was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionLoss {
    /// Its handshake succeeded, and then there was no Welcome.
    Unanswered,
    /// It became silent or failed: its leg may be to blame.
    Broke,
    /// Its server or this client ended it.
    Ended,
}

/// What the sessions have carried, and what is known about their path.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traffic {
    /// By the session in use.
    pub in_use: Carried,
    /// By the session on trial.
    pub on_trial: Carried,
    /// The part of what the server sent lately that was lost since it sent too much, if it is known.
    pub loss: Option<f64>,
    /// The round-trip time.
    pub rtt: Duration,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instruction {
    /// Dial this way beside the one in use, from a fresh port. Report `beside_up` after its Welcome, or
    /// `beside_failed`.
    DialBeside(Way, TrialReason),
    /// Request new parts of large bodies on these sessions.
    Carry(Carriers),
    /// Use the session that was dialed beside, and close the other.
    MoveTo(Way, UseReason),
    /// Close the session that was dialed beside.
    CloseBeside,
}
