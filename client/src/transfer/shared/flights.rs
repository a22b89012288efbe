//! The ranges of one blob that are on their way, and the readers that need them.
//!
//! Pure. Must never give the same range to two flights, except what one has already requested when another begins.

use crate::transfer::running::Waiting;
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
    /// Whether no engine waits for its bytes.
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
    /// Adds a reader of these bytes. A reader for which an engine waits does not wait for a flight in the background.
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

    /// Holds no reader back any more. A neighbour has brought the bytes before this position.
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
    /// The range whose bytes are in memory.
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

#[cfg(test)]
mod tests;
