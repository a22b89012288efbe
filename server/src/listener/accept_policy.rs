//! What becomes of a first packet. Anybody can send one from any source address, and each that is
//! accepted costs a handshake.
//!
//! Must never depend on how many clients are connected: unauthenticated connections are not in
//! their way, and they are not in the way of others.

use docxy_protocol::limits::UNAUTHENTICATED_CONNECTIONS_BEFORE_RETRY;
use quinn::Incoming;

/// What becomes of a first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Begin the handshake.
    Accept,
    /// Ask for proof of the address first (RFC 9000, section 8.1.2). It costs a round trip.
    Retry,
    /// Close, so that the client dials another server at once.
    Refuse,
}

/// Decides on a first packet, with so many connections that are not authenticated yet.
pub(super) fn decide(incoming: &Incoming, unauthenticated: usize, draining: bool) -> Verdict {
    let validated = incoming.remote_address_validated() || !incoming.may_retry();
    verdict(validated, unauthenticated, draining)
}

const fn verdict(validated: bool, unauthenticated: usize, draining: bool) -> Verdict {
    if draining {
        Verdict::Refuse
    } else if unauthenticated >= UNAUTHENTICATED_CONNECTIONS_BEFORE_RETRY && !validated {
        Verdict::Retry
    } else {
        Verdict::Accept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_validated_under_load_and_a_draining_server_refuses() {
        assert_eq!(verdict(false, 0, false), Verdict::Accept);
        assert_eq!(verdict(false, UNAUTHENTICATED_CONNECTIONS_BEFORE_RETRY, false), Verdict::Retry);
        assert_eq!(verdict(true, UNAUTHENTICATED_CONNECTIONS_BEFORE_RETRY, false), Verdict::Accept);
        assert_eq!(verdict(true, 0, true), Verdict::Refuse);
    }
}
