//! Both directions of a link with the packets that are on their way.
//! Must never do I/O: what is read goes in by `accept`, what is to be written comes out of `deliver`.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use super::{
    Direction, Link, Packet, Way,
    direction::{Timing, Verdict},
    lateness::Lateness,
};

/// A running link.
#[derive(Debug)]
pub(super) struct Emulation {
    link: Link,
    lanes: [Lane; 2],
}

/// One direction in use.
#[derive(Debug)]
pub(super) struct Lane {
    direction: Direction,
    dice: Pcg64Mcg,
    on_their_way: VecDeque<InFlight>,
    /// Buffers of delivered packets, for the next ones.
    spare: Vec<Vec<u8>>,
    lateness: Lateness,
}

#[derive(Debug)]
struct InFlight {
    timing: Timing,
    packet: Vec<u8>,
}

impl Emulation {
    pub(super) fn new(link: Link, seed: u64) -> Self {
        let lanes = Way::BOTH.map(|way| Lane {
            direction: Direction::new(*link.way(way), link.queue_limit(way)),
            // Neighbouring seeds must not share the other direction's dice.
            dice: Pcg64Mcg::seed_from_u64(seed.wrapping_mul(2).wrapping_add(way.index() as u64)),
            on_their_way: VecDeque::new(),
            spare: Vec::new(),
            lateness: Lateness::default(),
        });
        Self { link, lanes }
    }

    pub(super) fn link(&self) -> Link {
        self.link
    }

    pub(super) fn lane(&self, way: Way) -> &Lane {
        &self.lanes[way.index()]
    }

    pub(super) fn lane_mut(&mut self, way: Way) -> &mut Lane {
        &mut self.lanes[way.index()]
    }

    /// When the next packet is due, if any is on its way.
    pub(super) fn next_arrival(&self) -> Option<Duration> {
        self.lanes.iter().filter_map(|lane| Some(lane.on_their_way.front()?.timing.arrives)).min()
    }

    pub(super) fn change(&mut self, now: Duration, link: Link) {
        self.link = link;
        for way in Way::BOTH {
            let lane = &mut self.lanes[way.index()];
            let retiming = lane.direction.change(now, *link.way(way), link.queue_limit(way));
            for packet in &mut lane.on_their_way {
                packet.timing = retiming.apply(packet.timing);
            }
        }
    }

    pub(super) fn outage_until(&mut self, end: Duration) {
        self.each_direction(|direction| direction.outage_until(end));
    }

    /// Blocks, both ways, the UDP flows that have been seen either way.
    pub(super) fn block_udp_flows(&mut self) {
        let seen: BTreeSet<_> =
            self.lanes.iter().flat_map(|lane| lane.direction.udp_flows()).copied().collect();
        self.each_direction(|direction| direction.block_udp_flows(&seen));
    }

    pub(super) fn block_udp_port(&mut self, port: u16) {
        self.each_direction(|direction| direction.block_udp_port(port));
    }

    pub(super) fn unblock_udp(&mut self) {
        self.each_direction(Direction::unblock_udp);
    }

    fn each_direction(&mut self, act: impl Fn(&mut Direction)) {
        for lane in &mut self.lanes {
            act(&mut lane.direction);
        }
    }
}

impl Lane {
    pub(super) fn direction(&self) -> &Direction {
        &self.direction
    }

    pub(super) fn lateness(&self) -> Lateness {
        self.lateness
    }

    /// Takes in a packet that an end has sent.
    pub(super) fn accept(&mut self, now: Duration, packet: &[u8]) {
        if let Verdict::Deliver(timing) = self.direction.admit(now, &Packet::read(packet), &mut self.dice) {
            let mut buffer = self.spare.pop().unwrap_or_default();
            buffer.clear();
            buffer.extend_from_slice(packet);
            self.on_their_way.push_back(InFlight { timing, packet: buffer });
        }
    }

    /// Hands the packet that is due `now` to `receiver`, which says whether it took it. `false` if none is due.
    pub(super) fn deliver(&mut self, now: Duration, receiver: impl FnOnce(&[u8]) -> bool) -> bool {
        let Some(InFlight { timing, packet }) =
            self.on_their_way.pop_front_if(|packet| packet.timing.arrives <= now)
        else {
            return false;
        };
        let bytes = packet.len() as u64;
        if self.direction.arrive(now, bytes) {
            self.lateness.record(now - timing.arrives);
            self.direction.handed_over(bytes, receiver(&packet));
        }
        self.spare.push(packet);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wan::{Conditions, Rate};

    const MS: Duration = Duration::from_millis(1);

    fn delivered(lane: &mut Lane, now: Duration) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        while lane.deliver(now, |packet| {
            packets.push(packet.to_vec());
            true
        }) {}
        packets
    }

    #[test]
    fn packets_come_out_whole_in_order_and_when_due() {
        let link = Link::symmetric(Conditions::clean(Rate::mbit(100), 20 * MS));
        let mut emulation = Emulation::new(link, 1);
        let lane = emulation.lane_mut(Way::LeftToRight);
        lane.accept(Duration::ZERO, b"first");
        lane.accept(MS, b"second");
        assert_eq!(delivered(lane, 10 * MS), Vec::<Vec<u8>>::new());
        assert_eq!(delivered(lane, 11 * MS), [b"first"]);
        assert_eq!(delivered(lane, 12 * MS), [b"second"]);
        assert_eq!(emulation.next_arrival(), None);
    }

    #[test]
    fn a_change_retimes_what_is_queued() {
        let slow = Conditions { rate: Some(Rate::mbit(1)), ..Conditions::PERFECT };
        let mut emulation = Emulation::new(Link::symmetric(slow), 1);
        emulation.lane_mut(Way::RightToLeft).accept(Duration::ZERO, &[0; 1250]);
        assert_eq!(emulation.next_arrival(), Some(10 * MS));
        let faster = Conditions { rate: Some(Rate::mbit(10)), ..slow };
        emulation.change(5 * MS, Link::symmetric(faster));
        assert_eq!(emulation.next_arrival(), Some(5 * MS + MS / 2));
    }
}
