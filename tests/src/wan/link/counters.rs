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
    /// Packets that did not, by cause.
    pub dropped: Drops,
}

/// Dropped packets, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Drops {
    /// Sent or due to arrive during an outage.
    pub outage: Traffic,
    /// All UDP is blocked.
    pub udp_blocked: Traffic,
    /// The packet's UDP flow or port is blocked.
    pub flow_blocked: Traffic,
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
    UdpBlocked,
    FlowBlocked,
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
        let Self { outage, udp_blocked, flow_blocked, policed, lost, queue_full, refused } = *self;
        outage + udp_blocked + flow_blocked + policed + lost + queue_full + refused
    }

    pub(in crate::wan) fn count(&mut self, cause: DropCause, bytes: u64) {
        let traffic = match cause {
            DropCause::Outage => &mut self.outage,
            DropCause::UdpBlocked => &mut self.udp_blocked,
            DropCause::FlowBlocked => &mut self.flow_blocked,
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
