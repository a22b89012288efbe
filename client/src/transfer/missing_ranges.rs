//! The ranges of a body that must be requested again. Pure arithmetic.
//!
//! Must never leave a byte out: it would be missing in the copy of the engine.

use std::ops::Range;

/// Maximum number of ranges that are requested. Each is a request to the registry, with its redirect. On a lossy path
/// there may be a gap in every open segment.
const MISSING_RANGES_MAX: usize = 8;

/// Buffered runs below this length, in bytes, are discarded and requested again: each would cost another
/// request for the gap after it.
const BUFFERED_RUN_MIN: u64 = 64 * 1024;

/// The gaps in `wanted` if the ranges in `buffered`, in order and without overlaps, have arrived. Short runs
/// are given up: a buffered range is either inside a gap or outside all of them.
pub(super) fn missing(wanted: Range<u64>, buffered: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for range in buffered.iter().filter(|range| !range.is_empty()) {
        match runs.last_mut() {
            Some(run) if run.end == range.start => run.end = range.end,
            _ => runs.push(range.clone()),
        }
    }
    // The range at the start needs no request, however small it is.
    let next = runs.first().is_some_and(|run| run.start <= wanted.start).then(|| runs.remove(0));
    runs.retain(|run| run.end - run.start >= BUFFERED_RUN_MIN);
    let runs_max = if runs.last().is_some_and(|run| run.end >= wanted.end) {
        MISSING_RANGES_MAX
    } else {
        MISSING_RANGES_MAX - 1
    };
    while runs.len() > runs_max {
        let Some(smallest) = (0..runs.len()).min_by_key(|n| runs[*n].end - runs[*n].start) else { break };
        runs.remove(smallest);
    }
    let mut missing = Vec::new();
    let mut reached = wanted.start;
    for run in next.into_iter().chain(runs) {
        if run.start > reached {
            missing.push(reached..run.start);
        }
        reached = reached.max(run.end);
    }
    if reached < wanted.end {
        missing.push(reached..wanted.end);
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const K: u64 = 1024;

    #[test]
    fn only_gaps_are_requested_again() {
        let buffered = [10 * K..20 * K, 20 * K..600 * K, 700 * K..1000 * K];
        assert_eq!(missing(10 * K..2000 * K, &buffered), [600 * K..700 * K, 1000 * K..2000 * K]);
        assert_eq!(missing(0..2000 * K, &buffered), [0..10 * K, 600 * K..700 * K, 1000 * K..2000 * K]);
        assert_eq!(missing(0..10, &[]), vec![0..10; 1]);
        assert_eq!(missing(0..10, std::slice::from_ref(&(0..10))), []);
        assert_eq!(missing(5..5, &[]), []);
    }

    #[test]
    fn short_runs_cause_no_request() {
        assert_eq!(
            missing(0..1000 * K, &[100 * K..101 * K, 500 * K..600 * K]),
            [0..500 * K, 600 * K..1000 * K]
        );
        let next = missing(0..1000 * K, std::slice::from_ref(&(0..7)));
        assert_eq!(next, vec![7..1000 * K; 1], "the range at the start is always kept");
    }

    proptest! {
        /// The buffered ranges outside the gaps and the gaps are all that is wanted, each byte once.
        #[test]
        fn no_byte_is_left_out(
            lengths in prop::collection::vec((0_u64..300 * K, 0_u64..600 * K), 0..40),
            rest in 0_u64..1_000_000,
            start in 0_u64..1_000_000,
        ) {
            let mut buffered = Vec::new();
            let mut at = start;
            for (gap, length) in lengths {
                buffered.push(at + gap..at + gap + length);
                at += gap + length;
            }
            let wanted = start..at + rest;
            let missing = missing(wanted.clone(), &buffered);
            prop_assert!(missing.len() <= MISSING_RANGES_MAX);
            prop_assert!(missing.windows(2).all(|pair| pair[0].end < pair[1].start));
            let mut all = missing.clone();
            for range in buffered.into_iter().filter(|range| !range.is_empty()) {
                let inside = missing.iter().any(|gap| gap.start <= range.start && range.end <= gap.end);
                let outside = missing.iter().all(|gap| range.end <= gap.start || gap.end <= range.start);
                prop_assert!(inside != outside);
                if outside {
                    all.push(range);
                }
            }
            all.sort_by_key(|range| range.start);
            let mut reached = wanted.start;
            for range in all {
                prop_assert_eq!(range.start, reached);
                reached = range.end;
            }
            prop_assert_eq!(reached, wanted.end);
        }
    }
}
