//! How long a request waits, for the tunnel and for the answer: as long as its engine does, less a
//! little.
//!
//! An engine that gives up by itself tells its user nothing; our answer names the hop that is
//! down. So the answer has to come before the engine's own time-out.

use crate::tunnel::Patience;
use docxy_protocol::request::Operation;
use std::time::Duration;

/// `/v2/` and tokens: dockerd gives up after 15 s.
const DOORSTEP: Duration = Duration::from_secs(12);

/// containerd (and what is built on it) gives up on an answer's head after 30 s.
const CONTAINERD: Duration = Duration::from_secs(25);

/// The patience with this operation of the engine that sent it. Everybody else waits without end,
/// but a person doesn't: `longest`.
pub(super) fn of(operation: &Operation, user_agent: Option<&str>, longest: Duration) -> Patience {
    Patience::of(match operation {
        Operation::Ping | Operation::Token(_) => DOORSTEP.min(longest),
        _ if user_agent.is_some_and(|agent| agent.starts_with("containerd/")) => CONTAINERD.min(longest),
        _ => longest,
    })
}
