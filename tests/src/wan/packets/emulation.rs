//! Both directions of a link with the packets in flight.
//! Must never do I/O: `accept` takes the packets that were read, `deliver` hands out those to be written.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use crate::wan::{
    link::{
        conditions::{Direction, Link},
        counters::DropCause,
        forgery,
        packet::Packet,
        pipe::{Pipe, Timing, Verdict},
    },
    packets::lateness_histogram::LatenessHistogram,
};

/// A running link.
#[derive(Debug)]
pub(in crate::wan) struct Emulation {
    link: Link,
    delay_lines: [DelayLine; 2],
}

/// One direction of a running link: its pipe, and the packets in flight.
#[derive(Debug)]
pub(in crate::wan) struct DelayLine {
    pipe: Pipe,
    rng: Pcg64Mcg,
    in_flight: VecDeque<InFlight>,
    /// Buffers of delivered packets, to be reused.
    spare: Vec<Vec<u8>>,
    lateness: LatenessHistogram,
}

#[derive(Debug)]
struct InFlight {
    timing: Timing,
    packet: Vec<u8>,
}

impl Emulation {
    pub(in crate::wan) fn new(link: Link, seed: u64) -> Self {
        let delay_lines = Direction::BOTH.map(|direction| DelayLine {
            pipe: Pipe::new(*link.direction(direction), link.queue_limit(direction)),
            // Two neighbouring seeds must not give two directions the same random numbers.
            rng: Pcg64Mcg::seed_from_u64(seed.wrapping_mul(2).wrapping_add(direction.index() as u64)),
            in_flight: VecDeque::new(),
            spare: Vec::new(),
            lateness: LatenessHistogram::default(),
        });
        Self { link, delay_lines }
    }

    pub(in crate::wan) fn link(&self) -> Link {
        self.link
    }

    pub(in crate::wan) fn delay_line(&self, direction: Direction) -> &DelayLine {
        &self.delay_lines[direction.index()]
    }

    pub(in crate::wan) fn delay_line_mut(&mut self, direction: Direction) -> &mut DelayLine {
        &mut self.delay_lines[direction.index()]
    }

    /// Takes a packet that an end has sent in this direction. A filter may answer it in the other end's place.
    pub(in crate::wan) fn accept(&mut self, now: Duration, direction: Direction, packet: &[u8]) {
        let Some(cause) = self.delay_line_mut(direction).accept(now, packet) else { return };
        if let Some(answer) = forgery::answer(cause, self.link.direction(direction), packet) {
            self.delay_line_mut(direction.reverse()).accept_forged(now, &answer);
        }
    }

    /// When the next packet arrives, if any is in flight.
    pub(in crate::wan) fn next_arrival(&self) -> Option<Duration> {
        self.delay_lines
            .iter()
            .filter_map(|delay_line| Some(delay_line.in_flight.front()?.timing.arrives))
            .min()
    }

    pub(in crate::wan) fn change(&mut self, now: Duration, link: Link) {
        self.link = link;
        for direction in Direction::BOTH {
            let delay_line = &mut self.delay_lines[direction.index()];
            let reschedule =
                delay_line.pipe.change(now, *link.direction(direction), link.queue_limit(direction));
            for packet in &mut delay_line.in_flight {
                packet.timing = reschedule.apply(packet.timing);
            }
        }
    }

    pub(in crate::wan) fn outage_until(&mut self, end: Duration) {
        self.for_each_pipe(|pipe| pipe.outage_until(end));
    }

    /// Blocks, in both directions, the flows that have used either direction.
    pub(in crate::wan) fn block_flows(&mut self) {
        let flows: BTreeSet<_> =
            self.delay_lines.iter().flat_map(|delay_line| delay_line.pipe.flows()).copied().collect();
        self.for_each_pipe(|pipe| pipe.block_flows(&flows));
    }

    pub(in crate::wan) fn block_port(&mut self, port: u16) {
        self.for_each_pipe(|pipe| pipe.block_port(port));
    }

    pub(in crate::wan) fn unblock(&mut self) {
        self.for_each_pipe(Pipe::unblock);
    }

    fn for_each_pipe(&mut self, act: impl Fn(&mut Pipe)) {
        for delay_line in &mut self.delay_lines {
            act(&mut delay_line.pipe);
        }
    }
}

impl DelayLine {
    pub(in crate::wan) fn pipe(&self) -> &Pipe {
        &self.pipe
    }

    pub(in crate::wan) fn lateness(&self) -> LatenessHistogram {
        self.lateness
    }

    /// Takes a packet that an end has sent. Returns why it was dropped, if it was.
    fn accept(&mut self, now: Duration, packet: &[u8]) -> Option<DropCause> {
        let verdict = self.pipe.admit(now, &Packet::read(packet), &mut self.rng);
        self.hold(verdict, packet)
    }

    /// Takes a packet that a filter has sent.
    fn accept_forged(&mut self, now: Duration, packet: &[u8]) {
        let verdict = self.pipe.admit_forged(now, &Packet::read(packet), &mut self.rng);
        self.hold(verdict, packet);
    }

    fn hold(&mut self, verdict: Verdict, packet: &[u8]) -> Option<DropCause> {
        match verdict {
            Verdict::Deliver(timing) => {
                let mut buffer = self.spare.pop().unwrap_or_default();
                buffer.clear();
                buffer.extend_from_slice(packet);
                self.in_flight.push_back(InFlight { timing, packet: buffer });
                None
            }
            Verdict::Drop(cause) => Some(cause),
        }
    }

    /// Hands the packet that is due `now` to `receiver`, which returns whether it accepted it. `false` if no packet
    /// is due.
    pub(in crate::wan) fn deliver(&mut self, now: Duration, receiver: impl FnOnce(&[u8]) -> bool) -> bool {
        let Some(InFlight { timing, packet }) =
            self.in_flight.pop_front_if(|packet| packet.timing.arrives <= now)
        else {
            return false;
        };
        let parsed = Packet::read(&packet);
        if self.pipe.arrive(now, &parsed) {
            self.lateness.record(now - timing.arrives);
            self.pipe.record_handover(&parsed, receiver(&packet));
        }
        self.spare.push(packet);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wan::link::{conditions::Conditions, rate::Rate};

    const MS: Duration = Duration::from_millis(1);

    fn delivered(delay_line: &mut DelayLine, now: Duration) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        while delay_line.deliver(now, |packet| {
            packets.push(packet.to_vec());
            true
        }) {}
        packets
    }

    #[test]
    fn packets_arrive_complete_in_order_and_on_time() {
        let link = Link::symmetric(Conditions::clean(Rate::mbit(100), 20 * MS));
        let mut emulation = Emulation::new(link, 1);
        let delay_line = emulation.delay_line_mut(Direction::LeftToRight);
        delay_line.accept(Duration::ZERO, b"first");
        delay_line.accept(MS, b"second");
        assert_eq!(delivered(delay_line, 10 * MS), Vec::<Vec<u8>>::new());
        assert_eq!(delivered(delay_line, 11 * MS), [b"first"]);
        assert_eq!(delivered(delay_line, 12 * MS), [b"second"]);
        assert_eq!(emulation.next_arrival(), None);
    }

    #[test]
    fn a_change_reschedules_queued_packets() {
        let slow = Conditions { rate: Some(Rate::mbit(1)), ..Conditions::PERFECT };
        let mut emulation = Emulation::new(Link::symmetric(slow), 1);
        emulation.delay_line_mut(Direction::RightToLeft).accept(Duration::ZERO, &[0; 1250]);
        assert_eq!(emulation.next_arrival(), Some(10 * MS));
        let faster = Conditions { rate: Some(Rate::mbit(10)), ..slow };
        emulation.change(5 * MS, Link::symmetric(faster));
        assert_eq!(emulation.next_arrival(), Some(5 * MS + MS / 2));
    }
}
