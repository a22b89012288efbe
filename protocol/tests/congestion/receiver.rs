//! The receiving end: acknowledges like quinn-proto that was asked for one in ten, counts what is new.

use crate::Time;
use crate::rtt::MAX_ACK_DELAY;
use crate::sender::Packet;
use std::time::Duration;

/// quinn's default: a packet is missed at once when the second after it comes.
const REORDERING: u64 = 2;

/// An acknowledgement. The link keeps order, so a count says which packets: the first so many that
/// arrived. One that is lost is covered by the next, as with ranges.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ack {
    pub(crate) flow: usize,
    pub(crate) arrived: usize,
    /// Since the newest of them arrived.
    pub(crate) delay: Duration,
}

pub(crate) struct Receiver {
    /// One packet more than these is acknowledged at once.
    threshold: u32,
    /// Packet numbers, as they came.
    pub(crate) arrived: Vec<u64>,
    /// Which pieces of the data are there.
    pieces: Vec<bool>,
    newest: Time,
    unacknowledged: u32,
    /// When an acknowledgement has to leave.
    pub(crate) deadline: Option<Time>,
    /// The first number that is missing and that no acknowledgement has shown to be.
    missing: Option<u64>,
}

impl Receiver {
    pub(crate) fn new(threshold: u32) -> Self {
        Self {
            threshold,
            arrived: Vec::new(),
            pieces: Vec::new(),
            newest: Time::ZERO,
            unacknowledged: 0,
            deadline: None,
            missing: None,
        }
    }

    /// Takes a packet; says whether its data is new.
    pub(crate) fn on_packet(&mut self, now: Time, packet: &Packet) -> bool {
        let expected = self.arrived.last().map_or(0, |last| last + 1);
        if packet.number > expected {
            self.missing.get_or_insert(expected);
        }
        self.arrived.push(packet.number);
        self.newest = now;
        self.unacknowledged += 1;
        let at_once = packet.ack_at_once
            || self.unacknowledged > self.threshold
            || self.missing.is_some_and(|missing| packet.number - missing >= REORDERING);
        let due = if at_once { now } else { now + MAX_ACK_DELAY };
        self.deadline = Some(self.deadline.map_or(due, |deadline| deadline.min(due)));
        let piece = packet.piece as usize;
        if piece >= self.pieces.len() {
            self.pieces.resize(piece + 1, false);
        }
        !std::mem::replace(&mut self.pieces[piece], true)
    }

    /// An acknowledgement, if it is time for one.
    pub(crate) fn acknowledge(&mut self, now: Time, flow: usize) -> Option<Ack> {
        self.deadline.take_if(|deadline| *deadline <= now)?;
        self.unacknowledged = 0;
        self.missing = match self.arrived[..] {
            [.., before, last] if last > before + 1 => Some(last - 1),
            _ => None,
        };
        Some(Ack { flow, arrived: self.arrived.len(), delay: now - self.newest })
    }
}
