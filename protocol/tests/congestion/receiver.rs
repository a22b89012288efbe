//! The receiving end: acknowledges like quinn-proto that was asked for one in ten, counts what is new.

use crate::Time;
use crate::rtt_estimator::MAX_ACK_DELAY;
use crate::sender::Packet;
use std::time::Duration;

/// quinn's default: a packet is missed at once when the second after it comes.
const REORDERING_THRESHOLD: u64 = 2;

/// An acknowledgement. The link keeps order, so a count says which packets: the first so many that
/// arrived. One that is lost is covered by the next, as with ranges.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ack {
    pub(crate) flow: usize,
    pub(crate) arrived_count: usize,
    /// Since the newest of them arrived.
    pub(crate) ack_delay: Duration,
}

pub(crate) struct Receiver {
    /// One packet more than these is acknowledged at once.
    ack_threshold: u32,
    /// Packet numbers, as they came.
    pub(crate) arrived: Vec<u64>,
    /// Which pieces of the data are there.
    received_chunks: Vec<bool>,
    newest_arrival: Time,
    unacked: u32,
    /// When an acknowledgement has to leave.
    pub(crate) ack_deadline: Option<Time>,
    /// The first number that is missing and that no acknowledgement has shown to be.
    first_missing: Option<u64>,
}

impl Receiver {
    pub(crate) fn new(ack_threshold: u32) -> Self {
        Self {
            ack_threshold,
            arrived: Vec::new(),
            received_chunks: Vec::new(),
            newest_arrival: Time::ZERO,
            unacked: 0,
            ack_deadline: None,
            first_missing: None,
        }
    }

    /// Takes a packet; says whether its data is new.
    pub(crate) fn on_packet(&mut self, now: Time, packet: &Packet) -> bool {
        let expected = self.arrived.last().map_or(0, |last| last + 1);
        if packet.number > expected {
            self.first_missing.get_or_insert(expected);
        }
        self.arrived.push(packet.number);
        self.newest_arrival = now;
        self.unacked += 1;
        let immediate = packet.immediate_ack
            || self.unacked > self.ack_threshold
            || self
                .first_missing
                .is_some_and(|first_missing| packet.number - first_missing >= REORDERING_THRESHOLD);
        let ack_time = if immediate { now } else { now + MAX_ACK_DELAY };
        self.ack_deadline = Some(self.ack_deadline.map_or(ack_time, |deadline| deadline.min(ack_time)));
        let chunk = packet.chunk as usize;
        if chunk >= self.received_chunks.len() {
            self.received_chunks.resize(chunk + 1, false);
        }
        !std::mem::replace(&mut self.received_chunks[chunk], true)
    }

    /// An acknowledgement, if it is time for one.
    pub(crate) fn take_ack(&mut self, now: Time, flow: usize) -> Option<Ack> {
        self.ack_deadline.take_if(|deadline| *deadline <= now)?;
        self.unacked = 0;
        self.first_missing = match self.arrived[..] {
            [.., before, last] if last > before + 1 => Some(last - 1),
            _ => None,
        };
        Some(Ack { flow, arrived_count: self.arrived.len(), ack_delay: now - self.newest_arrival })
    }
}
