//! How long a request waits for the tunnel and the response: a little less than its engine does.
//!
//! An engine that times out shows its user no reason. The fault in a response names the hop that is down, so
//! it must arrive before.

use crate::gateway::Deadline;
use docxy_protocol::request::Operation;
use std::time::Duration;

/// `/v2/` and tokens: dockerd times out after 15 s.
const PING_AND_TOKEN_TIMEOUT: Duration = Duration::from_secs(12);

/// containerd and programs that use it time out on a response head after 30 s.
const CONTAINERD_TIMEOUT: Duration = Duration::from_secs(25);

/// The deadline of this operation for this engine. Other engines have no timeout; `stall_timeout` applies.
pub(super) fn deadline(operation: &Operation, user_agent: Option<&str>, stall_timeout: Duration) -> Deadline {
    Deadline::after(match operation {
        Operation::Ping | Operation::Token(_) => PING_AND_TOKEN_TIMEOUT.min(stall_timeout),
        _ if user_agent.is_some_and(|agent| agent.starts_with("containerd/")) => {
            CONTAINERD_TIMEOUT.min(stall_timeout)
        }
        _ => stall_timeout,
    })
}
