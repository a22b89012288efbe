//! Decides on a connection's first packet. Anybody can send one with any source address, and each accepted
//! one costs a handshake.
//!
//! Must never depend on the number of authenticated connections: those have limits of their own.

use docxy_protocol::limits::UNAUTHENTICATED_CONNECTIONS_BEFORE_RETRY;
use docxy_transport::Incoming;

/// The decision on a first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Start the handshake.
    Accept,
    /// Send a Retry, so that the client proves its address (RFC 9000, section 8.1.2). It costs a round trip.
    Retry,
    /// Refuse the connection, so that the client dials another server at once.
    Refuse,
}

/// Decides on a first packet, given the number of unauthenticated connections. `ending`: the server hands back what
/// runs.
pub(super) fn decide(incoming: &Incoming, unauthenticated: usize, ending: bool) -> Decision {
    decision(incoming.is_validated(), unauthenticated, ending)
}

const fn decision(is_validated: bool, unauthenticated: usize, ending: bool) -> Decision {
    if ending {
        Decision::Refuse
    } else if unauthenticated >= UNAUTHENTICATED_CONNECTIONS_BEFORE_RETRY && !is_validated {
        Decision::Retry
    } else {
        Decision::Accept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_validated_under_load_and_a_server_that_ends_refuses() {
        assert_eq!(decision(false, 0, false), Decision::Accept);
        assert_eq!(decision(false, UNAUTHENTICATED_CONNECTIONS_BEFORE_RETRY, false), Decision::Retry);
        assert_eq!(decision(true, UNAUTHENTICATED_CONNECTIONS_BEFORE_RETRY, false), Decision::Accept);
        assert_eq!(decision(true, 0, true), Decision::Refuse);
    }
}
