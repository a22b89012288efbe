//! How a large body is cut into segments, each of which travels on a stream of its own.
//!
//! Why at all: one long stream over a lossy line is delayed by every hole in it, and quinn gives
//! the whole connection up when one stream's reassembly has 1024 gaps. Short streams side by side
//! cannot get there (see [`crate::limits::SEGMENT`]).

use crate::limits::STREAM_WINDOW;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Why a layout was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a body of {length} bytes in segments of {size} makes no sense")]
pub struct LayoutError {
    length: u64,
    size: u32,
}

/// A body of known length, cut into segments of one size; the last may be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "(u64, u32)", into = "(u64, u32)")]
pub struct Layout {
    length: u64,
    size: u32,
}

impl Layout {
    /// A layout of at least one full segment, each of which fits into a stream's window.
    ///
    /// # Errors
    /// Where the body is too short to be cut, or a segment wouldn't fit into a stream's window.
    pub fn new(length: u64, size: u32) -> Result<Self, LayoutError> {
        let error = LayoutError { length, size };
        // One less than all, so that a count rounded up still fits.
        let full = length.checked_div(u64::from(size)).ok_or(error)?;
        let sensible = full >= 1 && size <= STREAM_WINDOW / 2 && full < u64::from(u32::MAX);
        if sensible { Ok(Self { length, size }) } else { Err(error) }
    }

    /// Bytes of the whole body.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// How many segments there are.
    #[must_use]
    pub const fn count(&self) -> u32 {
        // `new` made sure that it fits.
        self.length.div_ceil(self.size as u64) as u32
    }

    /// The bytes of the body that segment `n` carries; empty behind the end.
    #[must_use]
    pub fn range(&self, n: u32) -> Range<u64> {
        let start = (u64::from(n) * u64::from(self.size)).min(self.length);
        start..(start + u64::from(self.size)).min(self.length)
    }
}

impl TryFrom<(u64, u32)> for Layout {
    type Error = LayoutError;

    fn try_from((length, size): (u64, u32)) -> Result<Self, LayoutError> {
        Self::new(length, size)
    }
}

impl From<Layout> for (u64, u32) {
    fn from(layout: Layout) -> Self {
        (layout.length, layout.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn layouts_that_make_no_sense_are_refused() {
        for (length, size) in [(0, 0), (10, 0), (5, 10), (u64::MAX, 1), (u64::MAX, u32::MAX)] {
            assert!(Layout::new(length, size).is_err(), "{length} in {size}");
        }
    }

    proptest! {
        /// The segments are the body: in order, without a gap, none empty, none after the last.
        #[test]
        fn segments_cover_the_body_exactly(size in 1_u32..=STREAM_WINDOW / 2, extra in 1_u64..10_000_000) {
            let layout = Layout::new(u64::from(size) + extra, size).unwrap();
            prop_assume!(layout.count() < 100_000);
            let mut reached = 0;
            for n in 0..layout.count() {
                let range = layout.range(n);
                prop_assert_eq!(range.start, reached);
                prop_assert!(range.end > range.start && range.end - range.start <= u64::from(size));
                reached = range.end;
            }
            prop_assert_eq!(reached, layout.length());
            prop_assert!(layout.range(layout.count()).is_empty());
        }
    }
}
