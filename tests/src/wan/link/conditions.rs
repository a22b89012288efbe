//! The conditions of a link in each direction, as plain data.
//! Must never hold state: that is in [`Pipe`](crate::wan::Pipe).

use std::time::Duration;

use crate::wan::link::{
    middlebox::rules::{TcpRule, UdpRule},
    rate::Rate,
};

/// A link between a left and a right end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Conditions for packets from left to right.
    pub left_to_right: Conditions,
    /// Conditions for packets from right to left.
    pub right_to_left: Conditions,
}

/// One of a link's two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the left end to the right end.
    LeftToRight,
    /// From the right end to the left end.
    RightToLeft,
}

/// Everything that one direction of a link does to packets. A packet passes outages first, then the rules for UDP,
/// TCP, IPv6 and a port, then loss, queue, rate and delay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// One-way delay of a packet that waits in no queue.
    pub delay: Duration,
    /// Each packet is delayed by up to this much more, drawn at random. Packets are never reordered: a late packet
    /// delays those that follow, so a dense flow arrives in bursts, as over Wi-Fi.
    pub jitter: Duration,
    /// The bottleneck's rate. With `None` there is no queue either.
    pub rate: Option<Rate>,
    /// The limit of the bottleneck's queue.
    pub queue: Queue,
    /// Random loss.
    pub loss: Loss,
    /// Whether the loss happens before or after the queue.
    pub loss_point: LossPoint,
    /// What is done to UDP alone.
    pub udp: UdpRule,
    /// What is done to TCP alone.
    pub tcp: TcpRule,
    /// Whether all IPv6 packets are dropped.
    pub drops_ipv6: bool,
    /// TCP from or to this port is reset, and UDP dropped.
    pub reset_port: Option<u16>,
    /// Periodic outages.
    pub outages: Option<Recurrence>,
}

/// The limit of a drop-tail queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// One bandwidth-delay product of the link, a common size of router buffers.
    Bdp,
    /// This many bytes.
    Bytes(u64),
}

/// The loss model. Shares are between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// No loss.
    None,
    /// Independent loss: each packet with the same probability.
    Random {
        /// The share of packets that are lost.
        share: f64,
    },
    /// Loss in bursts: the Gilbert-Elliott model, whose bad state loses every packet.
    Bursty {
        /// The share of packets that are lost in the long run; below 1.
        share: f64,
        /// The mean length of a burst in packets; at least 1.
        burst: f64,
    },
}

/// Where packets are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossPoint {
    /// A lost packet uses no capacity of the bottleneck (as in netem).
    BeforeQueue,
    /// A lost packet has used capacity of the bottleneck, as on a bad last mile.
    AfterQueue,
}

/// Bad times that come again and again: the last `duration` of each `period`. They depend on the link's clock alone,
/// so those of both directions coincide, and a new link begins with a good time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recurrence {
    /// From the start of one bad time to the start of the next.
    pub period: Duration,
    /// The length of each bad time.
    pub duration: Duration,
}

impl Link {
    /// The same conditions in both directions.
    pub const fn symmetric(conditions: Conditions) -> Self {
        Self { left_to_right: conditions, right_to_left: conditions }
    }

    /// The conditions of one direction.
    pub fn direction(&self, direction: Direction) -> &Conditions {
        match direction {
            Direction::LeftToRight => &self.left_to_right,
            Direction::RightToLeft => &self.right_to_left,
        }
    }

    /// Both directions, to change them alike.
    pub fn both_mut(&mut self) -> [&mut Conditions; 2] {
        [&mut self.left_to_right, &mut self.right_to_left]
    }

    /// The round-trip time of packets that wait in no queue.
    pub fn rtt(&self) -> Duration {
        self.left_to_right.delay + self.right_to_left.delay
    }

    /// The limit of one direction's queue in bytes.
    pub fn queue_limit(&self, direction: Direction) -> u64 {
        /// With less, a short link would drop the bursts that any sender makes.
        const QUEUE_BYTES_MIN: u64 = 32 * 1024;
        let Conditions { queue, rate, .. } = self.direction(direction);
        match (queue, rate) {
            (Queue::Bytes(bytes), _) => *bytes,
            (Queue::Bdp, Some(rate)) => rate.bytes_in(self.rtt()).max(QUEUE_BYTES_MIN),
            (Queue::Bdp, None) => u64::MAX,
        }
    }
}

impl Direction {
    /// Both directions.
    pub const BOTH: [Self; 2] = [Self::LeftToRight, Self::RightToLeft];

    /// Its index in [`Direction::BOTH`].
    pub const fn index(self) -> usize {
        match self {
            Self::LeftToRight => 0,
            Self::RightToLeft => 1,
        }
    }

    /// The other direction.
    pub const fn reverse(self) -> Self {
        match self {
            Self::LeftToRight => Self::RightToLeft,
            Self::RightToLeft => Self::LeftToRight,
        }
    }
}

impl Conditions {
    /// No bottleneck, no delay, no loss.
    pub const PERFECT: Self = Self {
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        rate: None,
        queue: Queue::Bdp,
        loss: Loss::None,
        loss_point: LossPoint::BeforeQueue,
        udp: UdpRule::Pass,
        tcp: TcpRule::Pass,
        drops_ipv6: false,
        reset_port: None,
        outages: None,
    };

    /// A clean link of this rate; `rtt` is shared by both directions.
    pub const fn clean(rate: Rate, rtt: Duration) -> Self {
        Self { delay: Duration::from_nanos(rtt.as_nanos() as u64 / 2), rate: Some(rate), ..Self::PERFECT }
    }
}

impl Recurrence {
    /// Whether `now`, on the link's clock, is a bad time.
    pub fn is_active(&self, now: Duration) -> bool {
        let into = now.as_nanos() % self.period.as_nanos().max(1);
        into >= self.period.saturating_sub(self.duration).as_nanos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_default_queue_is_one_bandwidth_delay_product_of_both_delays() {
        let mut link = Link::symmetric(Conditions::clean(Rate::mbit(100), 200 * MS));
        assert_eq!(link.queue_limit(Direction::LeftToRight), 2_500_000);
        link.right_to_left.delay = 300 * MS;
        assert_eq!(link.queue_limit(Direction::LeftToRight), 5_000_000);
        link.left_to_right.queue = Queue::Bytes(7);
        assert_eq!(link.queue_limit(Direction::LeftToRight), 7);
    }

    #[test]
    fn bad_times_come_at_the_end_of_each_period() {
        let outages = Recurrence { period: 1000 * MS, duration: 100 * MS };
        for (at, out) in [(0, false), (899, false), (900, true), (999, true), (1000, false), (1950, true)] {
            assert_eq!(outages.is_active(at * MS), out, "{at} ms");
        }
    }
}
