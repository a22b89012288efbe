//! The ranges of one blob that are on their way, and the readers that need them.
//!
//! Pure. Must never give the same range to two flights, except what one has already requested when another begins.

use crate::transfer::registry::Waiting;
use bytes::Bytes;
use docxy_protocol::fault::{Fault, Hop};
use std::collections::{HashMap, VecDeque};
use std::ops::Range;

/// How far a flight is ahead of its furthest reader, at most: enough that one task receives while the other one hashes.
const LEAD_BYTES: u64 = 512 * 1024;

/// At this distance from its first byte a flight is begun, so that its round trip is over when its reader is there:
/// 0.7 s of 100 Mbit/s.
const START_BYTES: u64 = 8 * 1024 * 1024;

/// What a flight keeps of its last bytes, at least. Readers that are further behind read from the disk.
const RECENT_BYTES: u64 = 1024 * 1024;

/// A reader at this distance from the next byte of a flight waits for it: another request would not be faster.
const NEAR_BYTES: u64 = 2 * 1024 * 1024;

/// Stored runs below this length, in bytes, between missing ones are requested again: another request, with its redirect,
/// takes longer.
const STORED_RUN_BYTES_MIN: u64 = 1024 * 1024;

/// The owner of a flight that no reader has begun: its bytes come ahead. No reader has this number.
const NO_READER: u64 = 0;

/// The flights and the readers of one blob.
#[derive(Debug, Default)]
pub(super) struct Flights {
    flights: Vec<Flight>,
    readers: HashMap<u64, Reader>,
    next_id: u64,
    /// Whether it has had a reader.
    was_read: bool,
    /// The only reader that gets bytes, while all others are held back.
    holder: Option<u64>,
    /// The end of what a neighbour has brought to readers that were held back.
    brought: u64,
}

/// A range that is on its way.
#[derive(Debug)]
struct Flight {
    id: u64,
    bytes: Range<u64>,
    /// The position of its next byte.
    position: u64,
    /// Its last bytes, before `position`.
    recent: VecDeque<Bytes>,
    recent_bytes: u64,
    /// The reader whose request it uses.
    owner: u64,
    /// Whether its bytes come after those of all other requests.
    is_in_background: bool,
    /// What it waits for, if it does.
    waiting: Waiting,
    /// It brings no more, and is there for its last bytes only.
    is_over: bool,
}

#[derive(Debug)]
struct Reader {
    /// From its next byte to its last.
    bytes: Range<u64>,
    /// Whether nobody waits for it.
    is_in_background: bool,
    /// Why the byte at this position does not come.
    fault: Option<(u64, Fault)>,
}

/// What a reader does next.
#[derive(Debug)]
pub(super) enum Step {
    /// These are its next bytes, which another reader's request may have brought.
    Bytes { bytes: Bytes, is_owner: bool },
    /// A flight brings them.
    Wait(Waiting),
    /// They may be wrong, which is being found out.
    Held,
    /// No flight brings them: they are stored, or missing.
    Look,
    /// They do not come.
    Failed(Fault),
}

/// What a flight does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// Receive more, up to this position.
    Until(u64),
    /// Wait for its readers.
    Wait,
    /// It is complete, or has no reader.
    End,
}

impl Flights {
    /// Adds a reader of these bytes. One for which somebody waits does not wait for what comes in the background.
    pub(super) fn add_reader(&mut self, bytes: Range<u64>, is_in_background: bool) -> u64 {
        let id = self.new_id();
        self.readers.insert(id, Reader { bytes, is_in_background, fault: None });
        self.was_read = true;
        id
    }

    /// Whether it has had a reader.
    pub(super) const fn was_read(&self) -> bool {
        self.was_read
    }

    pub(super) fn remove_reader(&mut self, id: u64) {
        self.readers.remove(&id);
        self.forget();
    }

    /// What this reader does, whose next byte is at this position.
    pub(super) fn step(&mut self, id: u64, at: u64) -> Step {
        if let Some(reader) = self.readers.get_mut(&id) {
            reader.bytes.start = at;
            if let Some((_, fault)) = reader.fault.take_if(|(byte, _)| *byte == at) {
                return Step::Failed(fault);
            }
        }
        if self.is_held_from(id) {
            return Step::Held;
        }
        let covering = self.flights.iter().filter(|flight| flight.bytes.contains(&at));
        for flight in covering {
            if let Some(bytes) = flight.recent(at) {
                return Step::Bytes { bytes, is_owner: flight.owner == id };
            }
            if flight.is_near(at) && self.serves(flight, id) {
                return Step::Wait(flight.waiting.clone());
            }
        }
        Step::Look
    }

    /// Whether this reader waits for what the flight brings.
    fn serves(&self, flight: &Flight, reader: u64) -> bool {
        !flight.is_in_background || self.is_in_background(reader)
    }

    fn is_in_background(&self, reader: u64) -> bool {
        self.readers.get(&reader).is_some_and(|reader| reader.is_in_background)
    }

    /// The first part of these missing bytes that no flight brings soon to this reader.
    pub(super) fn unclaimed(&self, missing: Range<u64>, reader: u64) -> Option<Range<u64>> {
        let mut at = missing.start;
        while at < missing.end {
            let flights = || self.flights.iter().filter(|flight| self.serves(flight, reader));
            let near = |flight: &&Flight| flight.bytes.contains(&at) && flight.is_near(at);
            let Some(flight) = flights().find(near) else {
                let others = flights().filter(|flight| !flight.is_over && at < flight.bytes.end);
                // One that is far behind goes on to here. One that has passed is of no use.
                let ends = others.filter_map(|flight| {
                    let is_behind = flight.bytes.start <= at && flight.position <= at;
                    if is_behind {
                        Some(flight.bytes.end)
                    } else {
                        Some(flight.bytes.start).filter(|start| *start > at)
                    }
                });
                return Some(at..ends.min().unwrap_or(missing.end).min(missing.end));
            };
            at = flight.bytes.end;
        }
        None
    }

    /// Begins a flight for this reader, of bytes that are [`unclaimed`](Self::unclaimed).
    pub(super) fn claim(&mut self, owner: u64, bytes: Range<u64>) -> u64 {
        let is_in_background = self.is_in_background(owner);
        for flight in &mut self.flights {
            let is_replaced = flight.is_in_background && !is_in_background && flight.position < bytes.end;
            if (flight.position <= bytes.start || is_replaced) && bytes.start < flight.bytes.end {
                flight.bytes.end = bytes.start.max(flight.position);
            }
        }
        let (id, position) = (self.new_id(), bytes.start);
        let (recent, waiting) = (VecDeque::new(), Waiting::default());
        let (recent_bytes, is_over) = (0, false);
        self.flights.push(Flight {
            id,
            bytes,
            position,
            recent,
            recent_bytes,
            owner,
            is_in_background,
            waiting,
            is_over,
        });
        id
    }

    /// Begins a flight of bytes that come ahead of their readers. `None` if another one brings some of them.
    pub(super) fn claim_ahead(&mut self, bytes: Range<u64>) -> Option<u64> {
        let is_free =
            self.holder.is_none() && self.unclaimed(bytes.clone(), NO_READER).as_ref() == Some(&bytes);
        is_free.then(|| self.claim(NO_READER, bytes))
    }

    /// Holds all readers back. `false` if there is one, or something is on its way.
    pub(super) fn hold(&mut self) -> bool {
        let is_free = self.holder.is_none() && self.readers.is_empty() && self.flights.is_empty();
        if is_free {
            self.holder = Some(NO_READER);
        }
        is_free
    }

    /// This reader is not held back.
    pub(super) fn set_holder(&mut self, id: u64) {
        self.holder = self.holder.map(|_| id);
    }

    /// Whether this reader is held back.
    pub(super) fn is_held_from(&self, id: u64) -> bool {
        self.holder.is_some_and(|holder| holder != id)
    }

    /// Whether a reader is held back.
    pub(super) fn has_other_readers(&self) -> bool {
        self.readers.keys().any(|id| self.is_held_from(*id))
    }

    /// Holds nobody back any more. A neighbour has brought the bytes before this position.
    pub(super) fn release(&mut self, brought: u64) {
        (self.holder, self.brought) = (None, brought);
    }

    /// The end of what a neighbour has brought.
    pub(super) const fn brought(&self) -> u64 {
        self.brought
    }

    /// Whether some bytes come ahead of their readers.
    pub(super) fn are_ahead(&self) -> bool {
        self.flights.iter().any(|flight| flight.owner == NO_READER && !flight.is_over)
    }

    /// What this flight does.
    pub(super) fn demand(&self, id: u64) -> Demand {
        let Some(flight) = self.flights.iter().find(|flight| flight.id == id) else { return Demand::End };
        let left = flight.position..flight.bytes.end;
        if flight.owner == NO_READER && !left.is_empty() {
            return Demand::Until(left.end);
        }
        let lead = if flight.position == flight.bytes.start { START_BYTES } else { LEAD_BYTES };
        let mut demand = Demand::End;
        for Reader { bytes, .. } in self.readers.values() {
            if left.is_empty() || bytes.start >= left.end || bytes.end <= left.start {
                continue;
            }
            if left.start < bytes.start + lead {
                return Demand::Until(left.end);
            }
            demand = Demand::Wait;
        }
        demand
    }

    /// These bytes have arrived. Returns their position.
    pub(super) fn arrived(&mut self, id: u64, bytes: Bytes) {
        let Some(flight) = self.flight(id) else { return };
        flight.position += bytes.len() as u64;
        flight.recent_bytes += bytes.len() as u64;
        flight.recent.push_back(bytes);
        while let Some(first) = flight.recent.front().map(|bytes| bytes.len() as u64)
            && flight.recent_bytes - first >= RECENT_BYTES
        {
            flight.recent_bytes -= first;
            flight.recent.pop_front();
        }
    }

    /// What this flight waits for.
    pub(super) fn set_waiting(&mut self, id: u64, waiting: Waiting) {
        if let Some(flight) = self.flight(id) {
            flight.waiting = waiting;
        }
    }

    /// The flight has ended, perhaps early. Its readers look elsewhere for the rest.
    pub(super) fn ended(&mut self, id: u64) {
        if let Some(flight) = self.flight(id) {
            (flight.is_over, flight.bytes.end) = (true, flight.position);
        }
        self.forget();
    }

    /// The flight has failed, and so do its readers; only its owner if another reader's request may succeed.
    pub(super) fn failed(&mut self, id: u64, fault: &Fault) {
        let Some(flight) = self.flights.iter().find(|flight| flight.id == id) else { return };
        let is_of_request = matches!(fault.hop, Hop::Engine | Hop::Registry | Hop::TokenService);
        // One that is far behind tries again when it gets there.
        let near = flight.position.saturating_sub(RECENT_BYTES)..flight.position + NEAR_BYTES;
        for (reader, Reader { bytes, fault: failed, .. }) in &mut self.readers {
            if near.contains(&bytes.start) && (!is_of_request || *reader == flight.owner) {
                *failed = Some((bytes.start.max(flight.position), fault.clone()));
            }
        }
        self.ended(id);
    }

    /// Drops what has ended, unless its last bytes are read.
    fn forget(&mut self) {
        let Self { flights, readers, .. } = self;
        flights.retain(|flight| {
            let is_read = |reader: &Reader| flight.recent_range().contains(&reader.bytes.start);
            !flight.is_over || readers.values().any(is_read)
        });
    }

    fn flight(&mut self, id: u64) -> Option<&mut Flight> {
        self.flights.iter_mut().find(|flight| flight.id == id)
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

impl Flight {
    /// What is in memory.
    const fn recent_range(&self) -> Range<u64> {
        self.position - self.recent_bytes..self.position
    }

    /// The bytes from this position on that are in memory.
    fn recent(&self, at: u64) -> Option<Bytes> {
        if at >= self.position {
            return None;
        }
        let mut start = self.position;
        // Most readers are near the end.
        for bytes in self.recent.iter().rev() {
            start -= bytes.len() as u64;
            if start <= at {
                // It fits, since it is less than the length of the bytes.
                return Some(bytes.slice((at - start) as usize..));
            }
        }
        None
    }

    /// Whether the byte at this position comes soon.
    const fn is_near(&self, at: u64) -> bool {
        self.position <= at && at - self.position <= NEAR_BYTES
    }
}

/// The ranges to request if these are missing: short stored runs between them are requested, too.
pub(super) fn gaps(missing: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut gaps: Vec<Range<u64>> = Vec::new();
    for range in missing {
        match gaps.last_mut() {
            Some(last) if range.start - last.end < STORED_RUN_BYTES_MIN => last.end = range.end,
            _ => gaps.push(range),
        }
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_protocol::fault::FaultKind;

    const M: u64 = 1024 * 1024;
    const SIZE: u64 = 64 * M;

    fn arrive(flights: &mut Flights, id: u64, until: u64) {
        while let Demand::Until(_) = flights.demand(id)
            && flights.flight(id).unwrap().position < until
        {
            flights.arrived(id, Bytes::from_static(&[7; 64 * 1024]));
        }
    }

    fn claim(flights: &mut Flights, reader: u64, missing: Range<u64>) -> u64 {
        let bytes = flights.unclaimed(missing, reader).unwrap();
        flights.claim(reader, bytes)
    }

    #[test]
    fn the_furthest_reader_drives_a_flight_and_the_others_follow() {
        let mut flights = Flights::default();
        let (fast, slow) = (flights.add_reader(0..SIZE, false), flights.add_reader(0..SIZE, false));
        let flight = claim(&mut flights, slow, 0..SIZE);
        assert_eq!(flights.unclaimed(0..SIZE, 0), None);
        arrive(&mut flights, flight, SIZE);
        assert_eq!(flights.demand(flight), Demand::Wait, "no reader reads");
        assert!(matches!(flights.step(slow, 0), Step::Bytes { is_owner: true, .. }));
        let mut at = 0;
        while let Step::Bytes { bytes, is_owner: false } = flights.step(fast, at) {
            at += bytes.len() as u64;
            flights.step(fast, at);
            arrive(&mut flights, flight, SIZE.min(at + LEAD_BYTES));
            if at == 8 * M {
                break;
            }
        }
        assert_eq!(at, 8 * M);
        assert!(matches!(flights.step(slow, 0), Step::Look), "the disk has them");
        flights.remove_reader(fast);
        assert_eq!(flights.demand(flight), Demand::Wait);
        flights.remove_reader(slow);
        assert_eq!(flights.demand(flight), Demand::End);
    }

    #[test]
    fn a_reader_far_ahead_claims_its_own_range() {
        let mut flights = Flights::default();
        let readers: Vec<_> = (0..4).map(|n| flights.add_reader(n * 16 * M..SIZE, false)).collect();
        let ids: Vec<_> =
            (0..4).map(|n| claim(&mut flights, readers[n as usize], n * 16 * M..SIZE)).collect();
        for (n, id) in (0..).zip(&ids) {
            assert_eq!(flights.demand(*id), Demand::Until((n + 1) * 16 * M));
        }
        assert!(matches!(flights.step(readers[0], 17 * M), Step::Wait(_)), "soon there");
        assert!(matches!(flights.step(readers[0], 20 * M), Step::Look), "too far");
        assert_eq!(flights.unclaimed(20 * M..SIZE, 0), Some(20 * M..32 * M));
        flights.ended(ids[2]);
        assert_eq!(flights.unclaimed(31 * M..SIZE, 0), Some(31 * M..32 * M));
        assert_eq!(flights.unclaimed(32 * M..SIZE, 0), Some(32 * M..48 * M));
    }

    #[test]
    fn what_a_flight_has_passed_and_the_disk_has_lost_is_claimed_again() {
        let mut flights = Flights::default();
        let (first, second) = (flights.add_reader(0..SIZE, false), flights.add_reader(0..SIZE, false));
        let flight = claim(&mut flights, first, 0..SIZE);
        flights.step(first, 32 * M);
        arrive(&mut flights, flight, 32 * M);
        assert!(matches!(flights.step(second, M), Step::Look));
        assert_eq!(flights.unclaimed(M..SIZE, 0), Some(M..SIZE));
    }

    #[test]
    fn a_failure_of_a_request_is_its_readers_alone() {
        for (hop, is_everybodys) in [(Hop::Registry, false), (Hop::Cdn, true)] {
            let mut flights = Flights::default();
            let (owner, other) = (flights.add_reader(0..SIZE, false), flights.add_reader(0..SIZE, false));
            let flight = claim(&mut flights, owner, 0..SIZE);
            flights.arrived(flight, Bytes::from_static(&[7; 64 * 1024]));
            flights.failed(flight, &Fault::new(hop, FaultKind::TimedOut, "slow"));
            for (reader, fails) in [(owner, true), (other, is_everybodys)] {
                assert!(matches!(flights.step(reader, 0), Step::Bytes { .. }), "it has come before");
                assert_eq!(matches!(flights.step(reader, 64 * 1024), Step::Failed(_)), fails);
            }
            assert_eq!(flights.unclaimed(64 * 1024..SIZE, 0), Some(64 * 1024..SIZE));
        }
    }

    #[test]
    fn what_comes_ahead_is_requested_by_no_reader() {
        let mut flights = Flights::default();
        let ahead: Vec<_> = (0..4).rev().map(|n| flights.claim_ahead(n * M..(n + 1) * M).unwrap()).collect();
        assert!(flights.are_ahead() && !flights.was_read());
        assert_eq!(flights.claim_ahead(0..M), None, "it comes already");
        assert_eq!(flights.demand(ahead[3]), Demand::Until(M), "it waits for no reader");
        let reader = flights.add_reader(0..SIZE, false);
        assert_eq!(flights.unclaimed(0..SIZE, 0), Some(4 * M..SIZE));
        let rest = claim(&mut flights, reader, 0..SIZE);
        assert!(matches!(flights.step(reader, 0), Step::Wait(_)));
        flights.arrived(ahead[3], Bytes::from_static(&[7; 1000]));
        assert!(matches!(flights.step(reader, 0), Step::Bytes { is_owner: false, .. }));
        // They do not come after all.
        for id in ahead {
            flights.ended(id);
        }
        assert!(flights.was_read() && !flights.are_ahead());
        assert!(matches!(flights.step(reader, 1000), Step::Look));
        assert_eq!(flights.unclaimed(1000..SIZE, 0), Some(1000..4 * M));
        assert_eq!(flights.demand(rest), Demand::Until(SIZE));
    }

    #[test]
    fn what_somebody_waits_for_does_not_come_in_the_background() {
        let mut flights = Flights::default();
        let (warm, engine) = (flights.add_reader(0..SIZE, true), flights.add_reader(0..SIZE, false));
        let background = claim(&mut flights, warm, 0..SIZE);
        flights.arrived(background, Bytes::from_static(&[7; 1000]));
        assert!(matches!(flights.step(engine, 0), Step::Bytes { .. }), "it is here");
        assert!(matches!(flights.step(engine, 1000), Step::Look));
        let own = claim(&mut flights, engine, 1000..SIZE);
        assert_eq!(flights.demand(background), Demand::End);
        assert_eq!(flights.demand(own), Demand::Until(SIZE));
        assert!(matches!(flights.step(warm, 1000), Step::Wait(_)), "the engine's brings it");
        assert_eq!(flights.unclaimed(1000..SIZE, warm), None);
    }

    #[test]
    fn what_may_be_wrong_goes_to_nobody_but_its_holder() {
        let mut flights = Flights::default();
        assert!(flights.hold() && !flights.hold());
        assert_eq!(flights.claim_ahead(0..M), None);
        let holder = flights.add_reader(M..SIZE, false);
        flights.set_holder(holder);
        assert!(!flights.has_other_readers());
        let reader = flights.add_reader(0..SIZE, false);
        assert!(flights.has_other_readers() && flights.is_held_from(reader) && !flights.is_held_from(holder));
        let flight = claim(&mut flights, holder, M..SIZE);
        flights.arrived(flight, Bytes::from_static(&[7; 1000]));
        assert!(matches!(flights.step(holder, M), Step::Bytes { .. }));
        assert!(matches!(flights.step(reader, M), Step::Held));
        flights.release(M);
        assert!(matches!(flights.step(reader, M), Step::Bytes { .. }));
        assert!(matches!(flights.step(reader, 0), Step::Look) && !flights.hold());
    }

    #[test]
    fn short_stored_runs_cost_no_request() {
        assert_eq!(gaps(vec![0..M, M + 1000..5 * M, 7 * M..8 * M]), [0..5 * M, 7 * M..8 * M]);
        assert_eq!(gaps(Vec::new()), []);
    }
}
