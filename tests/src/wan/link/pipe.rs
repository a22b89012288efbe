//! The core of the emulator: what happens to each packet in one direction. A packet's fate is decided once, when it
//! arrives, from the conditions and from earlier packets.
//! Must never read a clock, use a socket or hold a random number generator: time and randomness are arguments, so
//! runs replay.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

use rand::{Rng, RngExt};

use crate::wan::link::{
    bottleneck::{Bottleneck, TimeScale},
    conditions::{Conditions, LossPoint},
    counters::{Counters, DropCause, Traffic},
    loss_model::LossModel,
    middlebox::Middlebox,
    packet::{Flow, Packet, Payload},
};

/// One direction of a link. All times are on the link's own monotonic clock, which starts at zero.
#[derive(Clone, Debug)]
pub struct Pipe {
    conditions: Conditions,
    middlebox: Middlebox,
    loss_model: LossModel,
    bottleneck: Bottleneck,
    /// The end of the current outage, in addition to the periodic ones.
    outage_end: Duration,
    /// The timing of the packet admitted last: no later packet arrives before it.
    last: Timing,
    counters: Counters,
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Hold it until it arrives, then call [`Pipe::arrive`].
    Deliver(Timing),
    /// Drop it.
    Drop(DropCause),
}

/// When a packet moves on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Its last bit leaves the bottleneck.
    pub departs: Duration,
    /// It arrives at the other end.
    pub arrives: Duration,
}

/// How to change the timing of packets in flight after a change of conditions.
#[derive(Clone, Copy, Debug)]
pub struct Reschedule(TimeScale);

impl Pipe {
    /// A direction without any packets; its bottleneck's queue holds `queue_limit` bytes.
    pub fn new(conditions: Conditions, queue_limit: u64) -> Self {
        Self {
            conditions,
            middlebox: Middlebox::new(Duration::ZERO, &conditions),
            loss_model: LossModel::new(conditions.loss),
            bottleneck: Bottleneck::new(conditions.rate, queue_limit),
            outage_end: Duration::ZERO,
            last: Timing::default(),
            counters: Counters::default(),
        }
    }

    /// Decides about a packet that is sent `now`, and counts it.
    pub fn admit(&mut self, now: Duration, packet: &Packet, rng: &mut impl Rng) -> Verdict {
        self.counters.offered += Traffic::packet(packet.bytes);
        let timing = self.schedule(now, packet, rng);
        self.verdict(timing, packet)
    }

    /// Decides about a packet that a middlebox sends `now` in the sender's place, and counts it as offered. It passes
    /// the queue and the delay, as any other, but no filter.
    pub fn admit_forged(&mut self, now: Duration, packet: &Packet, rng: &mut impl Rng) -> Verdict {
        self.counters.offered += Traffic::packet(packet.bytes);
        let departs = self.bottleneck.admit(now, packet.bytes).ok_or(DropCause::QueueFull);
        let timing = departs.map(|departs| self.travel(departs, rng));
        self.verdict(timing, packet)
    }

    /// Whether a packet that is due `now` gets out. An outage also drops packets that are in flight.
    pub fn arrive(&mut self, now: Duration, packet: &Packet) -> bool {
        let out = self.in_outage(now);
        if out {
            self.counters.dropped.count(DropCause::Outage, packet.bytes);
        }
        !out
    }

    /// Counts an arrived packet: the receiver accepted it, or its device refused it.
    pub fn record_handover(&mut self, packet: &Packet, taken: bool) {
        let traffic = Traffic::packet(packet.bytes);
        if !taken {
            self.counters.dropped.count(DropCause::Refused, packet.bytes);
            return;
        }
        self.counters.delivered += traffic;
        if matches!(packet.payload, Payload::Tcp(_)) {
            self.counters.delivered_tcp += traffic;
        }
    }

    /// Sets other conditions from `now` on. Queued packets leave at the new rate; packets past the queue keep their
    /// timing.
    pub fn change(&mut self, now: Duration, conditions: Conditions, queue_limit: u64) -> Reschedule {
        self.middlebox.change(now, &conditions);
        if self.loss_model.loss() != conditions.loss {
            self.loss_model = LossModel::new(conditions.loss);
        }
        self.conditions = conditions;
        let reschedule = Reschedule(self.bottleneck.change(now, conditions.rate, queue_limit));
        self.last = reschedule.apply(self.last);
        reschedule
    }

    /// Drops all packets until `end`.
    pub fn outage_until(&mut self, end: Duration) {
        self.outage_end = end;
    }

    /// All flows that have used this direction.
    pub fn flows(&self) -> &BTreeSet<Flow> {
        self.middlebox.flows()
    }

    /// Drops these flows from now on.
    pub fn block_flows(&mut self, flows: &BTreeSet<Flow>) {
        self.middlebox.block_flows(flows);
    }

    /// Drops UDP and TCP from or to this port from now on.
    pub fn block_port(&mut self, port: u16) {
        self.middlebox.block_port(port);
    }

    /// Undoes all blocks of flows and ports.
    pub fn unblock(&mut self) {
        self.middlebox.unblock();
    }

    /// Counters of all packets so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The most bytes that were queued at once.
    pub fn peak_queue(&self) -> u64 {
        self.bottleneck.peak()
    }

    fn schedule(&mut self, now: Duration, packet: &Packet, rng: &mut impl Rng) -> Result<Timing, DropCause> {
        if self.in_outage(now) {
            return Err(DropCause::Outage);
        }
        self.middlebox.check(now, packet)?;
        let lost_at = self.loss_model.loses_next(rng).then_some(self.conditions.loss_point);
        if lost_at == Some(LossPoint::BeforeQueue) {
            return Err(DropCause::Lost);
        }
        let departs = self.bottleneck.admit(now, packet.bytes).ok_or(DropCause::QueueFull)?;
        if lost_at == Some(LossPoint::AfterQueue) {
            return Err(DropCause::Lost);
        }
        Ok(self.travel(departs, rng))
    }

    /// The timing of a packet that leaves the bottleneck at `departs`.
    fn travel(&mut self, departs: Duration, rng: &mut impl Rng) -> Timing {
        let arrives = (departs + self.conditions.delay + self.jitter(rng)).max(self.last.arrives);
        self.last = Timing { departs, arrives };
        self.last
    }

    fn verdict(&mut self, timing: Result<Timing, DropCause>, packet: &Packet) -> Verdict {
        match timing {
            Ok(timing) => Verdict::Deliver(timing),
            Err(cause) => {
                self.counters.dropped.count(cause, packet.bytes);
                Verdict::Drop(cause)
            }
        }
    }

    fn in_outage(&self, now: Duration) -> bool {
        now < self.outage_end || self.conditions.outages.is_some_and(|outages| outages.is_active(now))
    }

    fn jitter(&self, rng: &mut impl Rng) -> Duration {
        if self.conditions.jitter.is_zero() {
            return Duration::ZERO;
        }
        self.conditions.jitter.mul_f64(rng.random())
    }
}

impl Reschedule {
    /// The new timing of a packet that was admitted before the change.
    pub fn apply(&self, timing: Timing) -> Timing {
        let departs = self.0.apply(timing.departs);
        Timing { departs, arrives: departs + (timing.arrives - timing.departs) }
    }
}
