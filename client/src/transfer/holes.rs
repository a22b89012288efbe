//! Which bytes of a body have to be asked for again. Pure arithmetic.
//!
//! Must never leave a byte out: what is neither kept nor in a hole would be missing in the engine's
//! copy.

use std::ops::Range;

/// Holes asked for at most. Each is a request to the registry, with its redirect, and on a lossy
/// line there may be one in every segment that was under way.
const MOST: usize = 8;

/// The smallest stretch, in bytes, worth a request of its own for the hole behind it.
const WORTH_KEEPING: u64 = 64 * 1024;

/// The holes in `wanted` when `kept`, in order and without overlaps, has arrived. Stretches that
/// aren't worth it are given up: a kept range lies either within a hole or outside all of them.
pub(super) fn missing(wanted: Range<u64>, kept: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for range in kept.iter().filter(|range| !range.is_empty()) {
        match runs.last_mut() {
            Some(run) if run.end == range.start => run.end = range.end,
            _ => runs.push(range.clone()),
        }
    }
    // What the reader comes to next costs no hole, however small it is.
    let next = runs.first().is_some_and(|run| run.start <= wanted.start).then(|| runs.remove(0));
    runs.retain(|run| run.end - run.start >= WORTH_KEEPING);
    let most = if runs.last().is_some_and(|run| run.end >= wanted.end) { MOST } else { MOST - 1 };
    while runs.len() > most {
        let Some(smallest) = (0..runs.len()).min_by_key(|n| runs[*n].end - runs[*n].start) else { break };
        runs.remove(smallest);
    }
    let mut holes = Vec::new();
    let mut reached = wanted.start;
    for run in next.into_iter().chain(runs) {
        if run.start > reached {
            holes.push(reached..run.start);
        }
        reached = reached.max(run.end);
    }
    if reached < wanted.end {
        holes.push(reached..wanted.end);
    }
    holes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const K: u64 = 1024;

    #[test]
    fn only_holes_are_asked_for_again() {
        let kept = [10 * K..20 * K, 20 * K..600 * K, 700 * K..1000 * K];
        assert_eq!(missing(10 * K..2000 * K, &kept), [600 * K..700 * K, 1000 * K..2000 * K]);
        assert_eq!(missing(0..2000 * K, &kept), [0..10 * K, 600 * K..700 * K, 1000 * K..2000 * K]);
        assert_eq!(missing(0..10, &[]), vec![0..10; 1]);
        assert_eq!(missing(0..10, std::slice::from_ref(&(0..10))), []);
        assert_eq!(missing(5..5, &[]), []);
    }

    #[test]
    fn crumbs_are_no_reason_to_ask_twice() {
        assert_eq!(
            missing(0..1000 * K, &[100 * K..101 * K, 500 * K..600 * K]),
            [0..500 * K, 600 * K..1000 * K]
        );
        let next = missing(0..1000 * K, std::slice::from_ref(&(0..7)));
        assert_eq!(next, vec![7..1000 * K; 1], "what the reader comes to next is always kept");
    }

    proptest! {
        /// Kept ranges outside the holes and the holes together are all that is wanted, each byte once.
        #[test]
        fn nothing_is_left_out_and_little_is_given_up(
            lengths in prop::collection::vec((0_u64..300 * K, 0_u64..600 * K), 0..40),
            rest in 0_u64..1_000_000,
            start in 0_u64..1_000_000,
        ) {
            let mut kept = Vec::new();
            let mut at = start;
            for (gap, length) in lengths {
                kept.push(at + gap..at + gap + length);
                at += gap + length;
            }
            let wanted = start..at + rest;
            let holes = missing(wanted.clone(), &kept);
            prop_assert!(holes.len() <= MOST);
            prop_assert!(holes.windows(2).all(|pair| pair[0].end < pair[1].start));
            let mut all = holes.clone();
            for range in kept.into_iter().filter(|range| !range.is_empty()) {
                let inside = holes.iter().any(|hole| hole.start <= range.start && range.end <= hole.end);
                let outside = holes.iter().all(|hole| range.end <= hole.start || hole.end <= range.start);
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
