//! Which bytes of a blob are there: chunks in the file, and pieces in memory that do not fill a chunk yet or are not
//! written yet.
//!
//! Pure. Must never report a byte as there that can be neither read from the file nor from memory.

use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes that have a checksum of their own. The last chunk of a blob may be shorter.
pub(super) const CHUNK_BYTES: u64 = 256 * 1024;

/// The bytes of a blob.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    size: u64,
    /// The checksum of each chunk in the file. Has room for the chunks up to the last of them.
    stored: Vec<Option<u32>>,
    stored_count: u64,
    memory: BTreeMap<u64, Pieces>,
    memory_bytes: u64,
}

/// Pieces of one chunk in memory, each with its position in the blob, in order and without overlaps.
#[derive(Debug, Clone, Default)]
pub(super) struct Pieces {
    pieces: Vec<(u64, Bytes)>,
    bytes: u64,
}

/// What [`Chunks::add`] did.
#[derive(Debug, Default)]
pub(super) struct Added {
    /// Chunks that have all their bytes now, in memory.
    pub(super) complete: Vec<u64>,
    /// Whether bytes were there already.
    pub(super) overlapped: bool,
}

impl Chunks {
    /// A blob with these chunks in its file.
    pub(super) fn new(size: u64, stored: Vec<Option<u32>>) -> Self {
        let stored_count = stored.iter().flatten().count() as u64;
        Self { size, stored, stored_count, ..Self::default() }
    }

    /// The number of chunks of a blob of this size.
    pub(super) const fn count(size: u64) -> u64 {
        size.div_ceil(CHUNK_BYTES)
    }

    /// The bytes of a chunk.
    pub(super) fn range(&self, n: u64) -> Range<u64> {
        n * CHUNK_BYTES..((n + 1) * CHUNK_BYTES).min(self.size)
    }

    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Bytes in memory.
    pub(super) const fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stored_count == 0 && self.memory.is_empty()
    }

    /// Whether all chunks are in the file.
    pub(super) const fn is_stored(&self) -> bool {
        self.stored_count == Self::count(self.size)
    }

    /// The checksum of a chunk in the file.
    pub(super) fn checksum(&self, n: u64) -> Option<u32> {
        self.stored.get(usize::try_from(n).ok()?).copied().flatten()
    }

    /// The checksums of all chunks.
    pub(super) fn checksums(&self) -> impl Iterator<Item = Option<u32>> {
        (0..Self::count(self.size)).map(|n| self.checksum(n))
    }

    /// The parts of a range that are not there, in order.
    pub(super) fn missing(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let end = range.end.min(self.size);
        let mut missing: Vec<Range<u64>> = Vec::new();
        let mut miss = |part: Range<u64>| match missing.last_mut() {
            Some(last) if last.end == part.start => last.end = part.end,
            _ => missing.push(part),
        };
        let mut at = range.start;
        while at < end {
            let n = at / CHUNK_BYTES;
            let chunk_end = self.range(n).end.min(end);
            if self.checksum(n).is_none() {
                for (start, piece) in self.memory.get(&n).iter().flat_map(|pieces| &pieces.pieces) {
                    let start = (*start).min(chunk_end);
                    if start > at {
                        miss(at..start);
                    }
                    at = at.max(start + piece.len() as u64);
                }
                if at < chunk_end {
                    miss(at..chunk_end);
                }
            }
            at = chunk_end;
        }
        missing
    }

    /// The bytes in memory from this position to the end of their piece.
    pub(super) fn in_memory(&self, at: u64) -> Option<Bytes> {
        let pieces = &self.memory.get(&(at / CHUNK_BYTES))?.pieces;
        let (start, piece) = pieces.iter().rev().find(|(start, _)| *start <= at)?;
        let skipped = usize::try_from(at - start).ok().filter(|skipped| *skipped < piece.len())?;
        Some(piece.slice(skipped..))
    }

    /// All pieces of a chunk in memory that has all its bytes.
    pub(super) fn complete(&self, n: u64) -> Option<&Pieces> {
        let range = self.range(n);
        self.memory.get(&n).filter(|pieces| pieces.bytes == range.end - range.start)
    }

    /// Adds bytes, which end before the end of the blob. Those that are there stay.
    pub(super) fn add(&mut self, at: u64, bytes: &Bytes) -> Added {
        let mut added = Added::default();
        let new = self.missing(at..at + bytes.len() as u64);
        added.overlapped = new.iter().map(|part| part.end - part.start).sum::<u64>() < bytes.len() as u64;
        for Range { mut start, end } in new {
            while start < end {
                let n = start / CHUNK_BYTES;
                let part_end = self.range(n).end.min(end);
                let piece = bytes.slice((start - at) as usize..(part_end - at) as usize);
                self.memory_bytes += piece.len() as u64;
                self.memory.entry(n).or_default().insert(start, piece);
                if self.complete(n).is_some() {
                    added.complete.push(n);
                }
                start = part_end;
            }
        }
        added
    }

    /// A chunk is in the file now, and no longer in memory.
    pub(super) fn set_stored(&mut self, n: u64, checksum: u32) {
        self.remove_from_memory(n);
        let index = n as usize;
        if self.stored.len() <= index {
            self.stored.resize(index + 1, None);
        }
        self.stored_count += u64::from(self.stored[index].replace(checksum).is_none());
    }

    /// A chunk is no longer in the file.
    pub(super) fn remove_stored(&mut self, n: u64) {
        if let Some(stored) = self.stored.get_mut(n as usize) {
            self.stored_count -= u64::from(stored.take().is_some());
        }
    }

    /// Drops a chunk that is in memory. Returns the number of its bytes.
    pub(super) fn remove_from_memory(&mut self, n: u64) -> u64 {
        let bytes = self.memory.remove(&n).map_or(0, |pieces| pieces.bytes);
        self.memory_bytes -= bytes;
        bytes
    }

    /// Drops the chunks in memory that do not have all their bytes. Returns the number of their bytes.
    pub(super) fn remove_incomplete(&mut self) -> u64 {
        let incomplete: Vec<_> =
            self.memory.keys().copied().filter(|n| self.complete(*n).is_none()).collect();
        incomplete.into_iter().map(|n| self.remove_from_memory(n)).sum()
    }
}

impl Pieces {
    fn insert(&mut self, at: u64, piece: Bytes) {
        self.bytes += piece.len() as u64;
        let index = self.pieces.partition_point(|(start, _)| *start < at);
        self.pieces.insert(index, (at, piece));
    }

    /// The bytes in one piece.
    pub(super) fn copy_to(&self, buffer: &mut BytesMut) {
        buffer.clear();
        self.pieces.iter().for_each(|(_, piece)| buffer.extend_from_slice(piece));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: u64 = 2 * CHUNK_BYTES + 1000;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The same calls to a map from position to byte, at a grid of 500 positions.
        #[test]
        fn what_was_added_is_there_and_nothing_else(
            calls in prop::collection::vec((0..6_u8, 0..3_u64, 0..SIZE, 0..400_000_u64), 1..40),
        ) {
            let mut chunks = Chunks::new(SIZE, Vec::new());
            let mut model: BTreeMap<u64, u8> = BTreeMap::new();
            let (mut stored, grid) = ([false; 3], || (0..SIZE).step_by(1049));
            for (call, (what, n, at, length)) in calls.into_iter().enumerate() {
                let byte = call as u8;
                match what {
                    0..=3 => {
                        let end = (at + length).min(SIZE);
                        let added = chunks.add(at, &Bytes::from(vec![byte; (end - at) as usize]));
                        for position in grid().filter(|position| (at..end).contains(position)) {
                            model.entry(position).or_insert(byte);
                        }
                        for n in added.complete {
                            let (range, mut buffer) = (chunks.range(n), BytesMut::new());
                            chunks.complete(n).unwrap().copy_to(&mut buffer);
                            prop_assert_eq!(buffer.len() as u64, range.end - range.start);
                            for position in grid().filter(|position| range.contains(position)) {
                                prop_assert_eq!(buffer[(position - range.start) as usize], model[&position]);
                            }
                        }
                    }
                    4 if chunks.complete(n).is_some() => {
                        chunks.set_stored(n, 7);
                        stored[n as usize] = true;
                    }
                    4 => {
                        chunks.remove_stored(n);
                        let range = chunks.range(n);
                        model.retain(|position, _| !stored[n as usize] || !range.contains(position));
                        stored[n as usize] = false;
                    }
                    _ => {
                        let complete: Vec<_> = (0..3).map(|n| stored[n as usize] || chunks.complete(n).is_some()).collect();
                        chunks.remove_incomplete();
                        model.retain(|position, _| complete[(*position / CHUNK_BYTES) as usize]);
                    }
                }
                let missing = chunks.missing(0..u64::MAX);
                prop_assert!(missing.windows(2).all(|pair| pair[0].end < pair[1].start), "{missing:?}");
                for position in grid() {
                    let is_missing = missing.iter().any(|part| part.contains(&position));
                    prop_assert_eq!(is_missing, !model.contains_key(&position), "{}", position);
                    let byte = chunks.in_memory(position).map(|bytes| bytes[0]);
                    let is_stored = stored[(position / CHUNK_BYTES) as usize];
                    prop_assert_eq!(byte, model.get(&position).copied().filter(|_| !is_stored));
                }
                prop_assert_eq!(chunks.is_stored(), stored == [true; 3]);
            }
        }
    }
}
