//! Decides on a connection's first packet. Anybody can send one with any source address, and each accepted
//! one costs a handshake.
//!
//! Must never depend on the number of authenticated connections: those have limits of their own.

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

/// Decides on a first packet. `busy`: there are so many unauthenticated connections that an address must be validated.
/// `ending`: the server hands back what runs.
pub(super) fn decide(incoming: &Incoming, busy: bool, ending: bool) -> Decision {
    decision(incoming.is_validated(), busy, ending)
}

const fn decision(is_validated: bool, busy: bool, ending: bool) -> Decision {
    if ending {
        Decision::Refuse
    } else if busy && !is_validated {
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
        assert_eq!(decision(false, false, false), Decision::Accept);
        assert_eq!(decision(false, true, false), Decision::Retry);
        assert_eq!(decision(true, true, false), Decision::Accept);
        assert_eq!(decision(true, false, true), Decision::Refuse);
    }
}
