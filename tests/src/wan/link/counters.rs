//! Counters of the packets in one direction.
//! Must never lose a packet: offered = delivered + dropped + in flight, at any time.

use std::ops::{Add, AddAssign, Sub};

use serde::Serialize;

/// A number of packets and bytes, IP headers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Counters of the packets that one end sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Packets that the sender handed to the link.
    pub offered: Traffic,
    /// Packets that reached the receiver.
    pub delivered: Traffic,
    /// Those of them that are TCP.
    pub delivered_tcp: Traffic,
    /// Packets that did not, by cause.
    pub dropped: Drops,
}

/// Dropped packets, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Drops {
    /// Sent or due to arrive during an outage.
    pub outage: Traffic,
    /// All IPv6 is dropped.
    pub ipv6_blocked: Traffic,
    /// All UDP is blocked.
    pub udp_blocked: Traffic,
    /// All TCP is blocked.
    pub tcp_blocked: Traffic,
    /// The packet's flow or port is blocked.
    pub flow_blocked: Traffic,
    /// The packet's flow has used its bytes.
    pub frozen: Traffic,
    /// QUIC is rejected. A packet of a handshake was answered in the receiver's place.
    pub quic_rejected: Traffic,
    /// A TLS ServerHello.
    pub server_hello: Traffic,
    /// TCP from or to a port that is reset. The sender got a reset.
    pub reset: Traffic,
    /// Beyond the rate of the UDP policer.
    pub policed: Traffic,
    /// Lost by the loss model.
    pub lost: Traffic,
    /// The bottleneck's queue was full.
    pub queue_full: Traffic,
    /// The receiving end's device refused the packet.
    pub refused: Traffic,
}

/// Why a packet was dropped: one variant for each field of [`Drops`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "documented at Drops")]
pub enum DropCause {
    Outage,
    Ipv6Blocked,
    UdpBlocked,
    TcpBlocked,
    FlowBlocked,
    Frozen,
    QuicRejected,
    ServerHello,
    Reset,
    Policed,
    Lost,
    QueueFull,
    Refused,
}

impl Counters {
    /// Packets in flight.
    pub fn in_flight(&self) -> Traffic {
        self.offered - self.delivered - self.dropped.total()
    }
}

impl Drops {
    /// The sum over all causes.
    pub fn total(&self) -> Traffic {
        self.by_cause().into_iter().fold(Traffic::default(), |sum, (_, traffic)| sum + traffic)
    }

    /// All causes with their names.
    pub fn by_cause(&self) -> [(&'static str, Traffic); 13] {
        [
            ("outage", self.outage),
            ("ipv6 blocked", self.ipv6_blocked),
            ("udp blocked", self.udp_blocked),
            ("tcp blocked", self.tcp_blocked),
            ("flow blocked", self.flow_blocked),
            ("frozen", self.frozen),
            ("quic rejected", self.quic_rejected),
            ("server hello", self.server_hello),
            ("reset", self.reset),
            ("policed", self.policed),
            ("lost", self.lost),
            ("queue full", self.queue_full),
            ("refused", self.refused),
        ]
    }

    pub(in crate::wan) fn count(&mut self, cause: DropCause, bytes: u64) {
        let traffic = match cause {
            DropCause::Outage => &mut self.outage,
            DropCause::Ipv6Blocked => &mut self.ipv6_blocked,
            DropCause::UdpBlocked => &mut self.udp_blocked,
            DropCause::TcpBlocked => &mut self.tcp_blocked,
            DropCause::FlowBlocked => &mut self.flow_blocked,
            DropCause::Frozen => &mut self.frozen,
            DropCause::QuicRejected => &mut self.quic_rejected,
            DropCause::ServerHello => &mut self.server_hello,
            DropCause::Reset => &mut self.reset,
            DropCause::Policed => &mut self.policed,
            DropCause::Lost => &mut self.lost,
            DropCause::QueueFull => &mut self.queue_full,
            DropCause::Refused => &mut self.refused,
        };
        *traffic += Traffic::packet(bytes);
    }
}

impl Traffic {
    pub(in crate::wan) const fn packet(bytes: u64) -> Self {
        Self { packets: 1, bytes }
    }
}

impl Add for Traffic {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { packets: self.packets + other.packets, bytes: self.bytes + other.bytes }
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Traffic {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { packets: self.packets - other.packets, bytes: self.bytes - other.bytes }
    }
}
