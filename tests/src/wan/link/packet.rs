//! What the emulator reads of an IP packet: its size, its flow, and the marks that filters on real networks look for.
//! Must never fail: a packet that cannot be parsed counts as neither UDP nor TCP.

const TCP: u8 = 6;
const UDP: u8 = 17;

/// The parts of an IP packet that a link needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The length of the packet with all headers.
    pub bytes: u64,
    /// Whether it is IPv6.
    pub is_ipv6: bool,
    /// The payload.
    pub payload: Payload,
}

/// The payload of an IP packet. A fragment without a transport header has no more than its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// UDP.
    Udp(Option<Datagram>),
    /// TCP.
    Tcp(Option<Segment>),
    /// Everything else.
    Other,
}

/// A UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Its flow.
    pub flow: Flow,
    /// The length of its content.
    pub bytes: u64,
}

/// A TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its flow.
    pub flow: Flow,
    /// The length of its content.
    pub bytes: u64,
    /// Whether it opens a connection: SYN, with or without ACK.
    pub is_syn: bool,
    /// Whether its content begins with a TLS record that holds a ServerHello.
    pub is_server_hello: bool,
}

/// A flow between the two ends of a link: a protocol and two ports, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    protocol: Protocol,
    lower: u16,
    upper: u16,
}

/// A transport protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Packet {
    /// Parses the headers of an IPv4 or IPv6 packet. IPv6 extension headers are not followed.
    pub fn read(packet: &[u8]) -> Self {
        let is_ipv6 = packet.first().is_some_and(|first| first >> 4 == 6);
        Self { bytes: packet.len() as u64, is_ipv6, payload: payload(packet).unwrap_or(Payload::Other) }
    }
}

impl Payload {
    /// The flow, if it has one.
    pub fn flow(&self) -> Option<Flow> {
        match self {
            Self::Udp(datagram) => datagram.map(|datagram| datagram.flow),
            Self::Tcp(segment) => segment.map(|segment| segment.flow),
            Self::Other => None,
        }
    }
}

impl Flow {
    /// The flow between two ports, in either order.
    pub fn between(protocol: Protocol, one: u16, other: u16) -> Self {
        Self { protocol, lower: one.min(other), upper: one.max(other) }
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
            let fragment_offset = read_u16(packet, 6)? & 0x1fff;
            (*packet.get(9)?, usize::from(packet[0] & 0xf) * 4, fragment_offset == 0)
        }
        6 => (*packet.get(6)?, 40, true),
        _ => return None,
    };
    let transport = packet.get(header..).filter(|_| is_first_fragment);
    Some(match protocol {
        TCP => Payload::Tcp(transport.and_then(segment)),
        UDP => Payload::Udp(transport.and_then(datagram)),
        _ => Payload::Other,
    })
}

fn datagram(transport: &[u8]) -> Option<Datagram> {
    const HEADER_BYTES: usize = 8;
    let flow = flow(Protocol::Udp, transport)?;
    let content = transport.get(HEADER_BYTES..)?;
    Some(Datagram { flow, bytes: content.len() as u64 })
}

fn segment(transport: &[u8]) -> Option<Segment> {
    const SYN: u8 = 2;
    let flow = flow(Protocol::Tcp, transport)?;
    let content = transport.get(usize::from(*transport.get(12)? >> 4) * 4..)?;
    Some(Segment {
        flow,
        bytes: content.len() as u64,
        is_syn: *transport.get(13)? & SYN != 0,
        is_server_hello: is_server_hello(content),
    })
}

/// A handshake record of TLS (RFC 8446, section 5.1), whose first message is a ServerHello.
fn is_server_hello(content: &[u8]) -> bool {
    matches!(content, [22, 3, _, _, _, 2, ..])
}

fn flow(protocol: Protocol, transport: &[u8]) -> Option<Flow> {
    Some(Flow::between(protocol, read_u16(transport, 0)?, read_u16(transport, 2)?))
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 packet with this transport part.
    fn ipv4(protocol: u8, fragment_offset: u16, transport: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 20];
        packet[0] = 0x45;
        packet[6..8].copy_from_slice(&fragment_offset.to_be_bytes());
        packet[9] = protocol;
        packet.extend_from_slice(transport);
        packet
    }

    fn ipv6(protocol: u8, transport: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        (packet[0], packet[6]) = (0x60, protocol);
        packet.extend_from_slice(transport);
        packet
    }

    /// From port 2000 to port 1000.
    fn udp(content: &[u8]) -> Vec<u8> {
        [&[0x07, 0xd0, 0x03, 0xe8, 0, 0, 0, 0], content].concat()
    }

    /// From port 2000 to port 1000, with 12 bytes of options.
    fn tcp(flags: u8, content: &[u8]) -> Vec<u8> {
        let mut transport = vec![0; 32];
        transport[..4].copy_from_slice(&[0x07, 0xd0, 0x03, 0xe8]);
        (transport[12], transport[13]) = (0x80, flags);
        transport.extend_from_slice(content);
        transport
    }

    fn segment(packet: &[u8]) -> Segment {
        match Packet::read(packet).payload {
            Payload::Tcp(Some(segment)) => segment,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_flow_is_the_same_in_both_directions() {
        let flow = Flow::between(Protocol::Udp, 1000, 2000);
        assert_eq!(flow, Flow::between(Protocol::Udp, 2000, 1000));
        assert_ne!(flow, Flow::between(Protocol::Tcp, 1000, 2000));
        assert!(flow.has(1000) && flow.has(2000) && !flow.has(1500));
    }

    #[test]
    fn udp_has_a_flow_and_a_length() {
        let flow = Flow::between(Protocol::Udp, 1000, 2000);
        let expected = Datagram { flow, bytes: 5 };
        let packet = ipv4(UDP, 0, &udp(b"hello"));
        assert_eq!(
            Packet::read(&packet),
            Packet { bytes: 33, is_ipv6: false, payload: Payload::Udp(Some(expected)) }
        );
        let packet = Packet::read(&ipv6(UDP, &udp(b"hello")));
        assert_eq!(packet, Packet { bytes: 53, is_ipv6: true, payload: Payload::Udp(Some(expected)) });
    }

    #[test]
    fn tcp_has_a_flow_and_a_length_without_options() {
        let flow = Flow::between(Protocol::Tcp, 1000, 2000);
        let expected = Segment { flow, bytes: 5, is_syn: false, is_server_hello: false };
        assert_eq!(segment(&ipv4(TCP, 0, &tcp(0x10, b"hello"))), expected);
        assert_eq!(segment(&ipv6(TCP, &tcp(0x10, b"hello"))), expected);
        assert!(segment(&ipv4(TCP, 0, &tcp(0x12, b""))).is_syn, "SYN and ACK");
    }

    #[test]
    fn a_server_hello_is_recognised_at_the_start_of_a_segment() {
        let is_server_hello = |content: &[u8]| segment(&ipv4(TCP, 0, &tcp(0x18, content))).is_server_hello;
        assert!(is_server_hello(&[22, 3, 3, 0, 122, 2, 0, 0, 118]));
        assert!(!is_server_hello(&[22, 3, 1, 0, 122, 1, 0, 0, 118]), "a ClientHello");
        assert!(!is_server_hello(&[23, 3, 3, 0, 122, 2]), "application data");
        assert!(!is_server_hello(b"HTTP/1.1"));
    }

    #[test]
    fn a_later_fragment_has_a_protocol_without_a_flow() {
        assert_eq!(Packet::read(&ipv4(UDP, 185, &udp(b"hello"))).payload, Payload::Udp(None));
        assert_eq!(Packet::read(&ipv4(TCP, 185, &tcp(0x10, b"hello"))).payload, Payload::Tcp(None));
    }

    #[test]
    fn other_protocols_and_short_packets_have_no_flow() {
        const ICMP: u8 = 1;
        assert_eq!(Packet::read(&ipv4(ICMP, 0, &udp(b""))).payload, Payload::Other);
        assert_eq!(Packet::read(&[]).payload, Payload::Other);
        assert_eq!(Packet::read(&[0x45]).payload, Payload::Other);
        assert_eq!(Packet::read(&ipv4(UDP, 0, &[7])).payload, Payload::Udp(None));
        assert_eq!(Packet::read(&ipv4(TCP, 0, &tcp(0, b"")[..13])).payload, Payload::Tcp(None));
    }
}
