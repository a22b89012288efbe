//! A TCP reset in the place of a connection's other end (RFC 9293, section 3.5.2).
//! Must never answer a reset: two of them would go on forever.

use super::envelope::{Envelope, Transport};

const TCP: Transport = Transport { protocol: 6, checksum_at: 16 };

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// The reset that answers a segment.
pub(super) fn reset(segment: &Envelope<'_>) -> Option<Vec<u8>> {
    let header = segment.transport.get(..20)?;
    let (ports, flags) = (&header[..4], header[13]);
    if flags & RST != 0 {
        return None;
    }
    let content = segment.transport.get(usize::from(header[12] >> 4) * 4..)?.len() as u32;
    let acknowledged = if flags & ACK != 0 {
        None
    } else {
        let sequence = u32::from_be_bytes(header[4..8].try_into().ok()?);
        let length = content + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        Some(sequence.wrapping_add(length))
    };
    // A segment with an acknowledgement says which sequence number its sender expects.
    let sequence = if acknowledged.is_none() { &header[8..12] } else { &[0; 4] };
    let flags = if acknowledged.is_none() { RST } else { RST | ACK };
    let acknowledgement = acknowledged.unwrap_or(0).to_be_bytes();
    let reset =
        [&ports[2..], &ports[..2], sequence, &acknowledgement, &[0x50, flags, 0, 0, 0, 0, 0, 0]].concat();
    Some(segment.reply(TCP, reset))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From 10.0.0.1, port 1000, to 10.0.0.2, port 443.
    fn segment(flags: u8, content: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x45;
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        packet[20..24].copy_from_slice(&[0x03, 0xe8, 0x01, 0xbb]);
        packet[24..28].copy_from_slice(&7000u32.to_be_bytes());
        packet[28..32].copy_from_slice(&9000u32.to_be_bytes());
        (packet[32], packet[33]) = (0x50, flags);
        packet.extend_from_slice(content);
        packet
    }

    /// Sequence number, acknowledgement number and flags of the answer.
    fn answer(packet: &[u8]) -> Option<(u32, u32, u8)> {
        let answer = reset(&Envelope::open(packet).unwrap())?;
        assert_eq!(answer[12..20], [10, 0, 0, 2, 10, 0, 0, 1], "the addresses are exchanged");
        assert_eq!(answer[20..24], [0x01, 0xbb, 0x03, 0xe8], "the ports are exchanged");
        let number = |at: usize| u32::from_be_bytes(answer[at..at + 4].try_into().unwrap());
        Some((number(24), number(28), answer[33]))
    }

    #[test]
    fn a_syn_is_acknowledged_and_reset() {
        assert_eq!(answer(&segment(SYN, b"")), Some((0, 7001, RST | ACK)));
    }

    #[test]
    fn in_a_connection_the_reset_has_the_expected_number() {
        assert_eq!(answer(&segment(ACK, b"hello")), Some((9000, 0, RST)));
        assert_eq!(answer(&segment(SYN | ACK, b"")), Some((9000, 0, RST)));
    }

    #[test]
    fn a_reset_has_no_answer() {
        assert_eq!(answer(&segment(RST, b"")), None);
        assert_eq!(answer(&segment(RST | ACK, b"")), None);
    }
}
