//! The receiver: acknowledges like quinn-proto with [`ACK_THRESHOLD`](docxy_protocol::limits::ACK_THRESHOLD),
//! and detects duplicates.

use crate::Time;
use crate::simulator::rtt_estimator::MAX_ACK_DELAY;
use crate::simulator::sender::Packet;
use std::time::Duration;

/// quinn's default: an immediate acknowledgement when the second packet after a missing one arrives.
const REORDERING_THRESHOLD: u64 = 2;

/// An acknowledgement of the first `arrived_count` packets that arrived; the link keeps their order. If it is
/// lost, the next one covers the same packets, as ACK ranges do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ack {
    pub(crate) flow: usize,
    pub(crate) arrived_count: usize,
    /// Time since the newest of these packets arrived.
    pub(crate) ack_delay: Duration,
}

pub(crate) struct Receiver {
    /// Packets that may be unacknowledged; one more triggers an immediate acknowledgement.
    ack_threshold: u32,
    /// Packet numbers in the order of arrival.
    pub(crate) arrived: Vec<u64>,
    /// Which chunks of the data have arrived.
    received_chunks: Vec<bool>,
    newest_arrival: Time,
    unacked: u32,
    /// When the next acknowledgement has to be sent.
    pub(crate) ack_deadline: Option<Time>,
    /// First missing packet number that no acknowledgement has reported yet.
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

    /// Receives a packet. Returns whether its data is new.
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

    /// Returns an acknowledgement if one is due.
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
