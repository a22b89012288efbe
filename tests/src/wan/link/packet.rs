//! What the emulator reads of an IP packet: its size, whether it is UDP, and its flow.
//! Must never fail: a packet that cannot be parsed counts as not UDP.

const UDP: u8 = 17;

/// The parts of an IP packet that a link needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The length of the packet with all headers.
    pub bytes: u64,
    /// The payload.
    pub payload: Payload,
}

/// The payload of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// UDP; a fragment without a UDP header has no flow.
    Udp(Option<Flow>),
    /// Everything else.
    Other,
}

/// A UDP flow between the two ends of a link: two ports, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    lower: u16,
    upper: u16,
}

impl Packet {
    /// Parses the headers of an IPv4 or IPv6 packet. IPv6 extension headers are not followed.
    pub fn read(packet: &[u8]) -> Self {
        Self { bytes: packet.len() as u64, payload: payload(packet).unwrap_or(Payload::Other) }
    }
}

impl Flow {
    /// The flow between two ports, in either order.
    pub fn between(one: u16, other: u16) -> Self {
        Self { lower: one.min(other), upper: one.max(other) }
    }

    /// Whether one of its ends has this port.
    pub fn has(&self, port: u16) -> bool {
        self.lower == port || self.upper == port
    }
}

/// `None` if the packet is too short.
fn payload(packet: &[u8]) -> Option<Payload> {
    let (protocol, header, is_first_fragment) = match packet.first()? >> 4 {
        4 => {
            let fragment_offset = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x1fff;
            (*packet.get(9)?, usize::from(packet[0] & 0xf) * 4, fragment_offset == 0)
        }
        6 => (*packet.get(6)?, 40, true),
        _ => return None,
    };
    if protocol != UDP {
        return Some(Payload::Other);
    }
    let port = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let ports = port(header).zip(port(header + 2)).filter(|_| is_first_fragment);
    Some(Payload::Udp(ports.map(|(source, destination)| Flow::between(source, destination))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 packet with ports 1000 and 2000.
    fn ipv4(protocol: u8, fragment_offset: u16) -> Vec<u8> {
        let mut packet = vec![0; 28];
        packet[0] = 0x45;
        packet[6..8].copy_from_slice(&fragment_offset.to_be_bytes());
        packet[9] = protocol;
        packet[20..22].copy_from_slice(&1000u16.to_be_bytes());
        packet[22..24].copy_from_slice(&2000u16.to_be_bytes());
        packet
    }

    #[test]
    fn udp_has_a_flow() {
        let flow = Flow::between(2000, 1000);
        assert_eq!(Packet::read(&ipv4(UDP, 0)), Packet { bytes: 28, payload: Payload::Udp(Some(flow)) });
        assert!(flow.has(1000) && flow.has(2000) && !flow.has(1500));

        let mut ipv6 = vec![0; 48];
        (ipv6[0], ipv6[6]) = (0x60, UDP);
        ipv6[40..44].copy_from_slice(&[0x07, 0xd0, 0x03, 0xe8]);
        assert_eq!(Packet::read(&ipv6).payload, Payload::Udp(Some(flow)));
    }

    #[test]
    fn a_later_fragment_is_udp_without_a_flow() {
        assert_eq!(Packet::read(&ipv4(UDP, 185)).payload, Payload::Udp(None));
    }

    #[test]
    fn other_protocols_and_short_packets_are_not_udp() {
        const TCP: u8 = 6;
        assert_eq!(Packet::read(&ipv4(TCP, 0)).payload, Payload::Other);
        assert_eq!(Packet::read(&[]).payload, Payload::Other);
        assert_eq!(Packet::read(&[0x45]).payload, Payload::Other);
        assert_eq!(Packet::read(&ipv4(UDP, 0)[..21]).payload, Payload::Udp(None));
    }
}
