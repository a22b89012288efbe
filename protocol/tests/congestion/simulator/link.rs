//! A simulated link. In the forward direction, packets pass an outage, a policer, random loss, a drop-tail
//! queue, the bottleneck and a delay, in this order. In the reverse direction, acknowledgements pass an
//! outage, random loss and a delay.
//!
//! Must never reorder packets.

use crate::simulator::receiver::Ack;
use crate::simulator::sender::Packet;
use crate::{PACKET_BYTES, Time, ms};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::collections::VecDeque;
use std::time::Duration;

/// Properties of a link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conditions {
    /// Rate of IP packets in bits per second.
    pub(crate) rate: u64,
    /// RTT without a queue; half of it in each direction.
    pub(crate) rtt: Duration,
    /// Maximum random delay added in each direction.
    pub(crate) jitter: Duration,
    /// Capacity of the drop-tail queue before the bottleneck, in bytes.
    pub(crate) queue_limit: u64,
    /// Random loss before the queue.
    pub(crate) loss: Loss,
    /// Random loss of acknowledgements.
    pub(crate) ack_loss: Loss,
    pub(crate) policer: Option<Policer>,
    /// An outage: nothing enters or leaves the link.
    pub(crate) down: bool,
}

/// Random loss.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Loss {
    /// Each packet with this probability.
    Random(f64),
    /// Gilbert-Elliott model whose bad state loses everything: loss rate, and mean burst length in packets.
    Bursty(f64, f64),
}

/// A token bucket that drops packets above its rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policer {
    /// Bits per second.
    pub(crate) rate: u64,
    /// Bytes.
    pub(crate) burst: u64,
}

/// Why a packet was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DropCause {
    Random,
    Queue,
    Policer,
    Outage,
}

impl Conditions {
    /// No loss, and a queue of one bandwidth-delay product.
    pub(crate) const fn clean(mbit: u64, rtt: Duration) -> Self {
        Self {
            rate: mbit * 1_000_000,
            rtt,
            jitter: Duration::ZERO,
            queue_limit: mbit * 125 * rtt.as_millis() as u64,
            loss: Loss::Random(0.0),
            ack_loss: Loss::Random(0.0),
            policer: None,
            down: false,
        }
    }

    /// The same with loss in both directions.
    pub(crate) const fn with_loss(self, loss: Loss) -> Self {
        Self { loss, ack_loss: loss, ..self }
    }

    /// How long the bottleneck takes to send a full packet.
    pub(crate) fn transmission_time(&self) -> Duration {
        Duration::from_nanos(PACKET_BYTES * 8_000_000_000 / self.rate)
    }
}

/// A link and the packets on it.
pub(crate) struct Link {
    conditions: Conditions,
    rng: Pcg64Mcg,
    in_burst_forward: bool,
    in_burst_reverse: bool,
    /// The policer's token bucket in bytes, and when it was last updated.
    tokens: f64,
    tokens_updated: Time,
    /// Packets and the time at which each entered the queue.
    queue: VecDeque<(Time, Packet)>,
    /// When the bottleneck has sent the first packet of the queue.
    next_departure: Time,
    forward: VecDeque<(Time, Packet)>,
    reverse: VecDeque<(Time, Ack)>,
    /// Queue delays of the packets that have left the queue since this was last drained.
    pub(crate) queue_delays: Vec<Duration>,
}

impl Link {
    pub(crate) fn new(conditions: Conditions, seed: u64) -> Self {
        Self {
            conditions,
            rng: Pcg64Mcg::seed_from_u64(seed),
            in_burst_forward: false,
            in_burst_reverse: false,
            tokens: conditions.policer.map_or(0.0, |policer| policer.burst as f64),
            tokens_updated: Time::ZERO,
            queue: VecDeque::new(),
            next_departure: Time::ZERO,
            forward: VecDeque::new(),
            reverse: VecDeque::new(),
            queue_delays: Vec::new(),
        }
    }

    /// Changes the conditions, except for packets that have left the queue or are about to.
    pub(crate) fn set_conditions(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// Sends a full packet.
    pub(crate) fn send(&mut self, now: Time, packet: Packet) -> Result<(), DropCause> {
        if self.conditions.down {
            return Err(DropCause::Outage);
        }
        if !self.passes_policer(now) {
            return Err(DropCause::Policer);
        }
        if is_lost(self.conditions.loss, &mut self.in_burst_forward, &mut self.rng) {
            return Err(DropCause::Random);
        }
        if (self.queue.len() as u64 + 1) * PACKET_BYTES > self.conditions.queue_limit {
            return Err(DropCause::Queue);
        }
        if self.queue.is_empty() {
            self.next_departure = now + self.conditions.transmission_time();
        }
        self.queue.push_back((now, packet));
        Ok(())
    }

    /// Sends an acknowledgement in the reverse direction, which may be lost.
    pub(crate) fn send_ack(&mut self, now: Time, ack: Ack) {
        if self.conditions.down
            || is_lost(self.conditions.ack_loss, &mut self.in_burst_reverse, &mut self.rng)
        {
            return;
        }
        let arrives = now + self.one_way_delay();
        push_in_order(&mut self.reverse, arrives, ack);
    }

    /// Time of the next event.
    pub(crate) fn next_event(&self) -> Time {
        let front = |time: Option<Time>| time.unwrap_or(Time::MAX);
        front((!self.queue.is_empty()).then_some(self.next_departure))
            .min(front(self.forward.front().map(|(arrives, _)| *arrives)))
            .min(front(self.reverse.front().map(|(arrives, _)| *arrives)))
    }

    /// Moves packets that the bottleneck has sent out of the queue.
    pub(crate) fn dequeue(&mut self, now: Time) {
        while self.next_departure <= now
            && let Some((enqueued, packet)) = self.queue.pop_front()
        {
            let arrives = self.next_departure + self.one_way_delay();
            push_in_order(&mut self.forward, arrives, packet);
            self.queue_delays.push(self.next_departure - enqueued);
            self.next_departure += self.conditions.transmission_time();
        }
    }

    /// The next packet that arrives at the receiver by `now`, or why it is dropped.
    pub(crate) fn deliver(&mut self, now: Time) -> Option<(Packet, Result<(), DropCause>)> {
        let (_, packet) = self.forward.pop_front_if(|(arrives, _)| *arrives <= now)?;
        Some((packet, if self.conditions.down { Err(DropCause::Outage) } else { Ok(()) }))
    }

    /// The next acknowledgement that arrives at the sender by `now`.
    pub(crate) fn deliver_ack(&mut self, now: Time) -> Option<Ack> {
        while let Some((_, ack)) = self.reverse.pop_front_if(|(arrives, _)| *arrives <= now) {
            if !self.conditions.down {
                return Some(ack);
            }
        }
        None
    }

    /// Queue delay of a packet that arrives now.
    pub(crate) fn queue_delay(&self) -> Duration {
        self.conditions.transmission_time() * u32::try_from(self.queue.len()).unwrap_or(u32::MAX)
    }

    fn one_way_delay(&mut self) -> Duration {
        let Conditions { rtt, jitter, .. } = self.conditions;
        rtt / 2 + if jitter.is_zero() { jitter } else { jitter.mul_f64(self.rng.random()) }
    }

    fn passes_policer(&mut self, now: Time) -> bool {
        let Some(Policer { rate, burst }) = self.conditions.policer else { return true };
        let earned = (now - self.tokens_updated).as_secs_f64() * rate as f64 / 8.0;
        self.tokens = (self.tokens + earned).min(burst as f64);
        self.tokens_updated = now;
        let has_tokens = self.tokens >= PACKET_BYTES as f64;
        if has_tokens {
            self.tokens -= PACKET_BYTES as f64;
        }
        has_tokens
    }
}

fn is_lost(loss: Loss, in_burst: &mut bool, rng: &mut Pcg64Mcg) -> bool {
    match loss {
        Loss::Random(share) => share > 0.0 && rng.random::<f64>() < share,
        Loss::Bursty(share, burst) => {
            let end = 1.0 / burst;
            let begin = end * share / (1.0 - share);
            *in_burst = rng.random::<f64>() < if *in_burst { 1.0 - end } else { begin };
            *in_burst
        }
    }
}

/// A late packet delays those after it.
fn push_in_order<T>(packets: &mut VecDeque<(Time, T)>, arrives: Time, packet: T) {
    let arrives = packets.back().map_or(arrives, |(last, _)| arrives.max(*last));
    packets.push_back((arrives, packet));
}

#[test]
fn bursty_loss_has_the_stated_rate_and_burst_length() {
    let mut link = Link::new(Conditions::clean(50, ms(250)), 1);
    let mut in_burst = false;
    let lost: Vec<bool> =
        (0..1_000_000).map(|_| is_lost(Loss::Bursty(0.02, 8.0), &mut in_burst, &mut link.rng)).collect();
    let count = lost.iter().filter(|lost| **lost).count() as f64;
    let bursts = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count() as f64;
    assert!((count / 1e6 - 0.02).abs() < 0.002, "{count} of a million lost");
    assert!((count / bursts - 8.0).abs() < 0.5, "{} in a burst", count / bursts);
}
