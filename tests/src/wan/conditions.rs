//! What a link is like, as plain data: the conditions in each direction.
//! Must never hold state: what has happened on a link is in [`Pipe`](super::Pipe).

use std::time::Duration;

use super::Rate;

/// A link between a left and a right end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// What packets from left to right meet.
    pub left_to_right: Conditions,
    /// What packets from right to left meet.
    pub right_to_left: Conditions,
}

/// One of a link's two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What the left end sends.
    LeftToRight,
    /// What the right end sends.
    RightToLeft,
}

/// What one direction of a link does to packets. A packet meets the fields from bottom to top: outage, UDP rule,
/// loss, queue, rate, delay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// From one end to the other, for a packet that finds no queue.
    pub delay: Duration,
    /// Up to this much more, drawn anew for each packet. Order is kept: a late packet holds up those behind it, so a
    /// dense flow arrives in bunches, as over Wi-Fi.
    pub jitter: Duration,
    /// The bottleneck; `None` has no queue either.
    pub rate: Option<Rate>,
    /// How much may wait for the bottleneck.
    pub queue: Queue,
    /// Packets lost for no reason of their own.
    pub loss: Loss,
    /// Where they are lost.
    pub loss_point: LossPoint,
    /// What is done to UDP alone.
    pub udp: UdpRule,
    /// Outages that come again and again.
    pub outages: Option<Outages>,
}

/// The limit of a drop-tail queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// One bandwidth-delay product of the link, as a router's buffer is commonly sized.
    Bdp,
    /// So many bytes.
    Bytes(u64),
}

/// How packets are lost. Shares are between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// None is.
    None,
    /// Each with the same chance.
    Random {
        /// The share of packets that are lost.
        share: f64,
    },
    /// In bursts: Gilbert-Elliott's two states, of which the bad one loses everything.
    Bursty {
        /// The share of packets that are lost, in the long run; below 1.
        share: f64,
        /// Packets in a burst, on average; at least 1.
        burst: f64,
    },
}

/// Where on the direction packets are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossPoint {
    /// A lost packet costs the bottleneck nothing (as in netem).
    BeforeQueue,
    /// A lost packet has used its share of the bottleneck, as on a bad last mile.
    AfterQueue,
}

/// What is done to UDP and to nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpRule {
    /// Nothing.
    Pass,
    /// A token bucket drops what goes beyond `rate`.
    Policed {
        /// What is let through in the long run.
        rate: Rate,
        /// How much may come at once, in bytes.
        burst: u64,
    },
    /// All of it is dropped.
    Blocked,
}

/// Outages that come again and again: the last `duration` of each period `period`. They depend on the link's clock alone,
/// so those of both directions coincide, and a link is up when it is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outages {
    /// From the beginning of one to the beginning of the next.
    pub period: Duration,
    /// How long each lasts.
    pub duration: Duration,
}

impl Link {
    /// The same conditions both directions.
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

    /// There and back, for packets that find no queue.
    pub fn rtt(&self) -> Duration {
        self.left_to_right.delay + self.right_to_left.delay
    }

    /// How many bytes may wait for the bottleneck of one direction.
    pub fn queue_limit(&self, direction: Direction) -> u64 {
        /// Below that, a short link would drop the bursts that any sender makes.
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
    /// Both of them.
    pub const BOTH: [Self; 2] = [Self::LeftToRight, Self::RightToLeft];

    /// Its place in [`Direction::BOTH`].
    pub const fn index(self) -> usize {
        match self {
            Self::LeftToRight => 0,
            Self::RightToLeft => 1,
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
        outages: None,
    };

    /// A clean link of this rate whose both directions together take `rtt`.
    pub const fn clean(rate: Rate, rtt: Duration) -> Self {
        Self { delay: Duration::from_nanos(rtt.as_nanos() as u64 / 2), rate: Some(rate), ..Self::PERFECT }
    }
}

impl UdpRule {
    /// Policed with the burst that policers commonly grant: 50 ms at `rate`, and never less than two packets.
    pub const fn policed(rate: Rate) -> Self {
        const TWO_PACKETS: u64 = 3000;
        const BURSTS_PER_SECOND: u64 = 20;
        let burst = rate.bits_per_second() / 8 / BURSTS_PER_SECOND;
        Self::Policed { rate, burst: if burst > TWO_PACKETS { burst } else { TWO_PACKETS } }
    }
}

impl Outages {
    /// Whether there is one `now`, on the link's clock.
    pub fn is_out(&self, now: Duration) -> bool {
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
    fn outages_come_at_the_end_of_each_period() {
        let outages = Outages { period: 1000 * MS, duration: 100 * MS };
        for (at, out) in [(0, false), (899, false), (900, true), (999, true), (1000, false), (1950, true)] {
            assert_eq!(outages.is_out(at * MS), out, "{at} ms");
        }
    }
}
