//! What has become of the packets of one direction.
//! Must never lose one: offered = delivered + dropped + in flight, at any time.

use std::ops::{Add, AddAssign, Sub};

use serde::Serialize;

/// Packets and their bytes, IP headers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// How many.
    pub packets: u64,
    /// How large together.
    pub bytes: u64,
}

/// What has become of the packets that one end sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// What the sender handed to the link.
    pub offered: Tally,
    /// What the receiver got.
    pub delivered: Tally,
    /// What it did not get, by cause.
    pub dropped: Drops,
}

/// Dropped packets, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Drops {
    /// Went in or came out during an outage.
    pub outage: Tally,
    /// All UDP is blocked.
    pub udp_blocked: Tally,
    /// Its UDP flow or port is blocked.
    pub flow_blocked: Tally,
    /// Beyond what the UDP policer lets through.
    pub policed: Tally,
    /// Lost for no reason of its own.
    pub lost: Tally,
    /// The bottleneck's queue was full.
    pub queue_full: Tally,
    /// The receiving end's device did not take it.
    pub refused: Tally,
}

/// Why a packet was dropped: one for each field of [`Drops`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "documented at Drops")]
pub enum Cause {
    Outage,
    UdpBlocked,
    FlowBlocked,
    Policed,
    Lost,
    QueueFull,
    Refused,
}

impl Counters {
    /// What is still on its way.
    pub fn in_flight(&self) -> Tally {
        self.offered - self.delivered - self.dropped.total()
    }
}

impl Drops {
    /// All of them together.
    pub fn total(&self) -> Tally {
        let Self { outage, udp_blocked, flow_blocked, policed, lost, queue_full, refused } = *self;
        outage + udp_blocked + flow_blocked + policed + lost + queue_full + refused
    }

    pub(super) fn count(&mut self, cause: Cause, bytes: u64) {
        let tally = match cause {
            Cause::Outage => &mut self.outage,
            Cause::UdpBlocked => &mut self.udp_blocked,
            Cause::FlowBlocked => &mut self.flow_blocked,
            Cause::Policed => &mut self.policed,
            Cause::Lost => &mut self.lost,
            Cause::QueueFull => &mut self.queue_full,
            Cause::Refused => &mut self.refused,
        };
        *tally += Tally::packet(bytes);
    }
}

impl Tally {
    pub(super) const fn packet(bytes: u64) -> Self {
        Self { packets: 1, bytes }
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { packets: self.packets + other.packets, bytes: self.bytes + other.bytes }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Tally {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { packets: self.packets - other.packets, bytes: self.bytes - other.bytes }
    }
}
