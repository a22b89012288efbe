//! In which order a connection sends the segments of its bodies: start-time fair queueing (Goyal, Vin and Cheng,
//! 1996), with segments as packets.
//!
//! Must never let a body wait for all that another one has in its window, or send later segments of a body before
//! earlier ones.

use docxy_transport::{Body, SendStream};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The queue of one connection. Each segment has a turn, and lower turns are sent first. Each body has the turns
/// one after the other, beginning with the oldest that is being sent: so a new body is sent beside the segments in
/// service and not after all that wait behind them, bodies with equal turns alternate packet by packet, and a body
/// that paused gets no credit for that. Small responses have urgency 0 and go before all of them.
///
/// Within a body, older segments are sent first, also when they are retransmitted. (Measured at 200 ms and 5 %
/// loss: with one urgency for all, the first 12 s carry 75.8 instead of 82.9 % of 100 Mbit/s, and 67.9 instead of
/// 78.6 % of 300 Mbit/s, because the path carries later segments while the reader waits for the next one.)
#[derive(Debug, Default)]
pub(crate) struct FairQueue {
    turns: Arc<Mutex<Turns>>,
    /// Those of bodies for which no engine waits: they are sent after all others, by turns of their own.
    background: Arc<Mutex<Turns>>,
}

#[derive(Debug, Default)]
struct Turns {
    /// How many segments of each turn are written and not delivered. One that is still being written may wait for
    /// its registry, and must hold back no other.
    in_service: BTreeMap<i32, usize>,
    /// The last turn that began.
    last: i32,
}

/// One body in the queue.
#[derive(Debug)]
pub(crate) struct QueuedBody {
    queue: Arc<Mutex<Turns>>,
    body: Body,
    last: i32,
}

/// The turn of one segment.
#[derive(Debug)]
pub(crate) struct Turn {
    queue: Arc<Mutex<Turns>>,
    body: Body,
    number: i32,
}

/// The turn of a segment that is written and not delivered, until it is dropped.
#[derive(Debug)]
pub(super) struct InService(Turn);

impl FairQueue {
    /// Adds a body.
    pub(crate) fn add(&self, is_in_background: bool) -> QueuedBody {
        let (turns, body) = match is_in_background {
            false => (&self.turns, Body::default()),
            true => (&self.background, Body::in_background()),
        };
        QueuedBody { queue: Arc::clone(turns), body, last: 0 }
    }
}

impl QueuedBody {
    /// The turn of the body's next segment.
    pub(crate) fn next_turn(&mut self) -> Turn {
        let mut turns = self.queue.lock();
        let in_service = turns.in_service.first_key_value().map_or(turns.last, |(turn, _)| *turn);
        // After 2^31 segments, a petabyte, the order is wrong, and nothing else is.
        self.last = in_service.max(self.last.saturating_add(1));
        turns.last = turns.last.max(self.last);
        Turn { queue: Arc::clone(&self.queue), body: self.body.clone(), number: self.last }
    }
}

impl Turn {
    /// Gives the stream of the segment this turn.
    pub(crate) fn apply_to(&self, stream: &mut SendStream) {
        stream.set_turn(&self.body, self.number);
    }

    /// All bytes of the segment are written.
    pub(super) fn written(self) -> InService {
        *self.queue.lock().in_service.entry(self.number).or_default() += 1;
        InService(self)
    }
}

impl Drop for InService {
    fn drop(&mut self) {
        let Self(Turn { queue, number, .. }) = self;
        let mut turns = queue.lock();
        if let Some(count) = turns.in_service.get_mut(number) {
            *count -= 1;
            if *count == 0 {
                turns.in_service.remove(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes this many segments, which are not delivered yet.
    fn write(body: &mut QueuedBody, count: usize) -> Vec<InService> {
        (0..count).map(|_| body.next_turn().written()).collect()
    }

    fn numbers(turns: &[InService]) -> Vec<i32> {
        turns.iter().map(|turn| turn.0.number).collect()
    }

    #[test]
    fn a_second_body_begins_beside_the_segment_in_service() {
        let queue = FairQueue::default();
        let (mut first, mut second) = (queue.add(false), queue.add(false));
        drop(write(&mut queue.add(true), 5));
        let mut window = write(&mut first, 20);
        assert_eq!(numbers(&window), (1..=20).collect::<Vec<_>>());
        drop(window.drain(..7));
        assert_eq!(numbers(&write(&mut second, 3)), [8, 9, 10]);
    }

    #[test]
    fn bodies_alternate() {
        let queue = FairQueue::default();
        let mut bodies = [queue.add(false), queue.add(false), queue.add(false)];
        let written: Vec<_> = bodies.iter_mut().map(|body| write(body, 3)).collect();
        assert!(written.iter().all(|turns| numbers(turns) == [1, 2, 3]), "{written:?}");
    }

    #[test]
    fn a_body_that_pauses_gets_no_credit_and_holds_back_no_other() {
        let queue = FairQueue::default();
        let (mut paused, mut busy, mut new) = (queue.add(false), queue.add(false), queue.add(false));
        drop(write(&mut paused, 1));
        // Its registry stalls within its next segment.
        let half = paused.next_turn();
        for _ in 0..50 {
            drop(write(&mut busy, 1));
        }
        let window = write(&mut busy, 4);
        let current = window[0].0.number;
        assert_eq!(numbers(&write(&mut new, 1)), [current]);
        drop(half);
        assert_eq!(numbers(&write(&mut paused, 1)), [current]);
    }

    #[test]
    fn an_idle_connection_goes_on_where_it_stopped() {
        let queue = FairQueue::default();
        let (mut old, mut new) = (queue.add(false), queue.add(false));
        drop(write(&mut old, 9));
        let (new, old) = (numbers(&write(&mut new, 1)), numbers(&write(&mut old, 1)));
        assert_eq!((new, old), (vec![9], vec![10]), "a segment is the greatest difference");
    }
}
