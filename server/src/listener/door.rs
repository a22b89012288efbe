//! Who may begin a handshake. Strangers can send first packets with any source address, and each
//! that is believed costs a handshake and a place.

use docxy_protocol::limits::{CONNECTIONS_BEFORE_RETRY, MAX_CONNECTIONS};
use quinn::Incoming;

/// What becomes of a first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Shake hands.
    Admit,
    /// Ask for proof of the address first (RFC 9000, section 8.1.2). It costs a round trip.
    Prove,
    /// Say no, so that it goes elsewhere at once.
    Refuse,
}

/// Looks at a first packet, with so many connections there.
pub(super) fn judge(incoming: &Incoming, connections: usize, draining: bool) -> Verdict {
    let proven = incoming.remote_address_validated() || !incoming.may_retry();
    verdict(proven, connections, draining)
}

const fn verdict(proven: bool, connections: usize, draining: bool) -> Verdict {
    if draining || connections >= MAX_CONNECTIONS {
        Verdict::Refuse
    } else if connections >= CONNECTIONS_BEFORE_RETRY && !proven {
        Verdict::Prove
    } else {
        Verdict::Admit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proof_is_asked_for_under_load_and_a_full_or_ending_server_refuses() {
        assert_eq!(verdict(false, 0, false), Verdict::Admit);
        assert_eq!(verdict(false, CONNECTIONS_BEFORE_RETRY, false), Verdict::Prove);
        assert_eq!(verdict(true, CONNECTIONS_BEFORE_RETRY, false), Verdict::Admit);
        assert_eq!(verdict(true, MAX_CONNECTIONS, false), Verdict::Refuse);
        assert_eq!(verdict(false, 0, true), Verdict::Refuse);
    }
}
