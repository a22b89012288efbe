//! The addresses of a packet, and a packet in the opposite direction.
//! Must never write a packet whose checksums are wrong: a host would drop it silently.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A packet's addresses, and what they carry.
pub(super) struct Envelope<'a> {
    sender: IpAddr,
    receiver: IpAddr,
    /// The packet without its IP header.
    pub(super) transport: &'a [u8],
}

/// A transport protocol, and where its header has the checksum.
#[derive(Clone, Copy)]
pub(super) struct Transport {
    pub(super) protocol: u8,
    pub(super) checksum_at: usize,
}

const TTL: u8 = 64;

impl<'a> Envelope<'a> {
    /// `None` if the packet is too short, or no IP.
    pub(super) fn open(packet: &'a [u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => {
                let address = |at| Some(IpAddr::V4(Ipv4Addr::from(read_array::<4>(packet, at)?)));
                let header = usize::from(packet[0] & 0xf) * 4;
                let (sender, receiver) = (address(12)?, address(16)?);
                Some(Self { sender, receiver, transport: packet.get(header..)? })
            }
            6 => {
                let address = |at| Some(IpAddr::V6(Ipv6Addr::from(read_array::<16>(packet, at)?)));
                Some(Self { sender: address(8)?, receiver: address(24)?, transport: packet.get(40..)? })
            }
            _ => None,
        }
    }

    /// A packet from the receiver to the sender; the checksum field of `content` is zero before.
    pub(super) fn reply(&self, transport: Transport, mut content: Vec<u8>) -> Vec<u8> {
        let length = content.len() as u16;
        let (from, to) = (octets(self.receiver), octets(self.sender));
        let pseudo_header = [from.as_slice(), &to, &[0, transport.protocol], &length.to_be_bytes()].concat();
        let checksum = checksum(&[pseudo_header, content.clone()].concat());
        content[transport.checksum_at..transport.checksum_at + 2].copy_from_slice(&checksum.to_be_bytes());

        let mut packet = if self.sender.is_ipv4() {
            ipv4_header(transport.protocol, length, &from, &to)
        } else {
            [&[0x60, 0, 0, 0][..], &length.to_be_bytes(), &[transport.protocol, TTL], &from[..], &to].concat()
        };
        packet.extend_from_slice(&content);
        packet
    }
}

fn ipv4_header(protocol: u8, length: u16, from: &[u8], to: &[u8]) -> Vec<u8> {
    const HEADER_BYTES: u16 = 20;
    let total = (HEADER_BYTES + length).to_be_bytes();
    let mut header = [&[0x45, 0][..], &total, &[0, 0, 0, 0, TTL, protocol, 0, 0], from, to].concat();
    let checksum = checksum(&header);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    header
}

/// The Internet checksum (RFC 1071), with zero written as its other form, as UDP needs it.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    let mut sum: u32 = words.map(u32::from).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    match !(sum as u16) {
        0 => 0xffff,
        checksum => checksum,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn read_array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_rfc_1071() {
        // Its section 3 adds these words to 0xddf2.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(checksum(&[0xff]), 0x00ff, "an odd byte is the high one of its word");
        assert_eq!(checksum(&[0xff, 0xff]), 0xffff);
    }
}
