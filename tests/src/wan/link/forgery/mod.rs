//! Packets that a filter sends in another host's place: TCP resets, and answers to QUIC's handshakes.
//! Must never use more of a packet than any host on its path can read.

mod envelope;
mod quic_answer;
mod tcp_reset;

use envelope::Envelope;

use crate::wan::link::{conditions::Conditions, counters::DropCause, middlebox::rules::UdpRule};

/// What the sender of a dropped packet gets back, if anything.
pub(in crate::wan) fn answer(cause: DropCause, conditions: &Conditions, packet: &[u8]) -> Option<Vec<u8>> {
    match (cause, conditions.udp) {
        (DropCause::Reset, _) => tcp_reset::reset(&Envelope::open(packet)?),
        (DropCause::QuicRejected, UdpRule::Rejected(how)) => {
            quic_answer::answer(how, &Envelope::open(packet)?)
        }
        _ => None,
    }
}
