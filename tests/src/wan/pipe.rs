//! The core: what happens to each packet that one end sends. Decided once, when the packet comes, from the conditions
//! and from what has come before.
//! Must never read a clock, touch a socket or roll rng of its own: time and randomness are arguments, so runs replay.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

use rand::{Rng, RngExt};

use super::{
    Conditions, LossPoint,
    bottleneck::{Bottleneck, TimeScale},
    counters::{Counters, DropCause, Traffic},
    loss_model::LossModel,
    packet::{Flow, Packet},
    udp_filter::UdpFilter,
};

/// One direction of a link. All times are on the link's own clock, which starts at zero and never goes back.
#[derive(Clone, Debug)]
pub struct Pipe {
    conditions: Conditions,
    udp: UdpFilter,
    loss_model: LossModel,
    bottleneck: Bottleneck,
    /// When an outage that was asked for ends, beside those of the conditions.
    out_until: Duration,
    /// The packet admitted last: nothing arrives before what came before it.
    last: Timing,
    counters: Counters,
}

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Hold it until it arrives, then ask [`Pipe::arrive`].
    Deliver(Timing),
    /// Forget it.
    Drop(DropCause),
}

/// When a packet does what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Its last bit leaves the bottleneck.
    pub departs: Duration,
    /// The other end gets it.
    pub arrives: Duration,
}

/// How packets that are on their direction are to be timed anew after a change of conditions.
#[derive(Clone, Copy, Debug)]
pub struct Reschedule(TimeScale);

impl Pipe {
    /// A direction that has carried nothing yet; its bottleneck's queue holds `queue_limit` bytes.
    pub fn new(conditions: Conditions, queue_limit: u64) -> Self {
        Self {
            conditions,
            udp: UdpFilter::new(Duration::ZERO, conditions.udp),
            loss_model: LossModel::new(conditions.loss),
            bottleneck: Bottleneck::new(conditions.rate, queue_limit),
            out_until: Duration::ZERO,
            last: Timing::default(),
            counters: Counters::default(),
        }
    }

    /// Decides about a packet that comes `now`, and counts it.
    pub fn admit(&mut self, now: Duration, packet: &Packet, rng: &mut impl Rng) -> Verdict {
        self.counters.offered += Traffic::packet(packet.bytes);
        match self.pass(now, packet, rng) {
            Ok(timing) => Verdict::Deliver(timing),
            Err(cause) => {
                self.counters.dropped.count(cause, packet.bytes);
                Verdict::Drop(cause)
            }
        }
    }

    /// A packet of so many bytes has come to its end `now`: whether it may get out. An outage swallows what is on its
    /// direction too, wherever on the link it loses_next.
    pub fn arrive(&mut self, now: Duration, bytes: u64) -> bool {
        let out = self.is_out(now);
        if out {
            self.counters.dropped.count(DropCause::Outage, bytes);
        }
        !out
    }

    /// The receiver took a packet that had arrived, or its device did not.
    pub fn handed_over(&mut self, bytes: u64, taken: bool) {
        if taken {
            self.counters.delivered += Traffic::packet(bytes);
        } else {
            self.counters.dropped.count(DropCause::Refused, bytes);
        }
    }

    /// Other conditions from `now` on. What is queued leaves at the new rate; what is past the queue stays as it is.
    pub fn change(&mut self, now: Duration, conditions: Conditions, queue_limit: u64) -> Reschedule {
        self.udp.change(now, conditions.udp);
        if self.loss_model.loss() != conditions.loss {
            self.loss_model = LossModel::new(conditions.loss);
        }
        self.conditions = conditions;
        let reschedule = Reschedule(self.bottleneck.change(now, conditions.rate, queue_limit));
        self.last = reschedule.apply(self.last);
        reschedule
    }

    /// Nothing goes in or comes out until then.
    pub fn outage_until(&mut self, end: Duration) {
        self.out_until = end;
    }

    /// The UDP flows that have been seen in this direction.
    pub fn udp_flows(&self) -> &BTreeSet<Flow> {
        self.udp.flows()
    }

    /// Drops these UDP flows from now on.
    pub fn block_udp_flows(&mut self, flows: &BTreeSet<Flow>) {
        self.udp.block_flows(flows);
    }

    /// Drops UDP that has this port at either end from now on.
    pub fn block_udp_port(&mut self, port: u16) {
        self.udp.block_port(port);
    }

    /// Undoes all blocks of flows and ports.
    pub fn unblock_udp(&mut self) {
        self.udp.unblock();
    }

    /// What has become of the packets so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The most bytes that have been queued at once.
    pub fn peak_queue(&self) -> u64 {
        self.bottleneck.peak()
    }

    fn pass(&mut self, now: Duration, packet: &Packet, rng: &mut impl Rng) -> Result<Timing, DropCause> {
        if self.is_out(now) {
            return Err(DropCause::Outage);
        }
        self.udp.check(now, packet)?;
        let lost_at = self.loss_model.loses_next(rng).then_some(self.conditions.loss_point);
        if lost_at == Some(LossPoint::BeforeQueue) {
            return Err(DropCause::Lost);
        }
        let departs = self.bottleneck.admit(now, packet.bytes).ok_or(DropCause::QueueFull)?;
        if lost_at == Some(LossPoint::AfterQueue) {
            return Err(DropCause::Lost);
        }
        let arrives = (departs + self.conditions.delay + self.jitter(rng)).max(self.last.arrives);
        self.last = Timing { departs, arrives };
        Ok(self.last)
    }

    fn is_out(&self, now: Duration) -> bool {
        now < self.out_until || self.conditions.outages.is_some_and(|outages| outages.is_out(now))
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
