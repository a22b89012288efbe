//! How a large body is split into segments, each of which has its own stream.
//!
//! On a lossy path, each lost packet would delay the rest of one long stream, and the QUIC stack closes the
//! connection when the reassembly of a stream has 1024 gaps. Short parallel streams must never reach that
//! limit (see [`crate::limits::SEGMENT_BYTES`]).

use crate::limits::RESPONSE_STREAM_WINDOW;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The body and the segment size do not fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a body of {length} bytes cannot be split into segments of {size} bytes")]
pub struct SegmentLayoutError {
    length: u64,
    size: u32,
}

/// A body of known length, split into segments of one size; the last may be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, derive_more::Into, Serialize, Deserialize)]
#[serde(try_from = "(u64, u32)", into = "(u64, u32)")]
pub struct SegmentLayout {
    length: u64,
    size: u32,
}

impl SegmentLayout {
    /// A layout of at least one full segment, each of which fits into a stream's window.
    ///
    /// # Errors
    /// If the body is shorter than a segment, or a segment does not fit into a stream's window.
    pub fn new(length: u64, size: u32) -> Result<Self, SegmentLayoutError> {
        let error = SegmentLayoutError { length, size };
        // `full` is below `u32::MAX`, so that the count, which is rounded up, also fits.
        let full = length.checked_div(u64::from(size)).ok_or(error)?;
        let valid = full >= 1 && size <= RESPONSE_STREAM_WINDOW / 2 && full < u64::from(u32::MAX);
        if valid { Ok(Self { length, size }) } else { Err(error) }
    }

    /// Length of the whole body in bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Number of segments.
    #[must_use]
    pub const fn count(&self) -> u32 {
        // `new` checked that it fits.
        self.length.div_ceil(self.size as u64) as u32
    }

    /// The bytes of the body that segment `n` carries; empty after the last segment.
    #[must_use]
    pub fn range(&self, n: u32) -> Range<u64> {
        let start = (u64::from(n) * u64::from(self.size)).min(self.length);
        start..(start + u64::from(self.size)).min(self.length)
    }
}

impl TryFrom<(u64, u32)> for SegmentLayout {
    type Error = SegmentLayoutError;

    fn try_from((length, size): (u64, u32)) -> Result<Self, SegmentLayoutError> {
        Self::new(length, size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn invalid_layouts_are_rejected() {
        for (length, size) in [(0, 0), (10, 0), (5, 10), (u64::MAX, 1), (u64::MAX, u32::MAX)] {
            assert!(SegmentLayout::new(length, size).is_err(), "{length} in {size}");
        }
    }

    proptest! {
        /// The segments are in order and cover the body without gaps; none is empty, and none follows the
        /// last.
        #[test]
        fn segments_cover_the_body_exactly(size in 1_u32..=RESPONSE_STREAM_WINDOW / 2, extra in 1_u64..10_000_000) {
            let layout = SegmentLayout::new(u64::from(size) + extra, size).unwrap();
            prop_assume!(layout.count() < 100_000);
            let mut end = 0;
            for n in 0..layout.count() {
                let range = layout.range(n);
                prop_assert_eq!(range.start, end);
                prop_assert!(range.end > range.start && range.end - range.start <= u64::from(size));
                end = range.end;
            }
            prop_assert_eq!(end, layout.length());
            prop_assert!(layout.range(layout.count()).is_empty());
        }
    }
}
