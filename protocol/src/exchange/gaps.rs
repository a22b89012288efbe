//! Which ranges of a partly stored blob are requested.
//!
//! Must never leave out a missing byte.

use std::ops::Range;

/// Stored runs below this length, in bytes, between missing ones are requested again: another request, with its redirect,
/// takes longer.
const STORED_RUN_BYTES_MIN: u64 = 1024 * 1024;

/// The ranges to request if these are missing, which must be in order: short stored runs between them are requested, too.
#[must_use]
pub fn gaps(missing: Vec<Range<u64>>) -> Vec<Range<u64>> {
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

    const M: u64 = 1024 * 1024;

    #[test]
    fn short_stored_runs_cost_no_request() {
        assert_eq!(gaps(vec![0..M, M + 1000..5 * M, 7 * M..8 * M]), [0..5 * M, 7 * M..8 * M]);
        assert_eq!(gaps(Vec::new()), []);
    }
}
