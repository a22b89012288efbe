//! Windowed maximum (BBR's max filter): the highest value of the last rounds.
//!
//! Must never keep a rate that the path no longer has: a value counts for a limited number of rounds.

use std::collections::VecDeque;

/// Rounds for which a value counts: one whole ProbeBandwidth cycle, so that the rate of one Up phase is known
/// until the next.
const WINDOW_ROUNDS: u64 = 10;

/// Entries have ascending rounds and strictly falling values, so the front is the maximum.
#[derive(Debug, Clone, Default)]
pub(super) struct MaxFilter(VecDeque<(u64, f64)>);

impl MaxFilter {
    /// The maximum, or 0 without a value.
    pub(super) fn get(&self) -> f64 {
        self.0.front().map_or(0.0, |(_, value)| *value)
    }

    pub(super) fn insert(&mut self, round: u64, value: f64) {
        while self.0.back().is_some_and(|(_, last)| *last <= value) {
            self.0.pop_back();
        }
        self.0.push_back((round, value));
    }

    /// Removes expired values. The last value stays, since a path does not lose bandwidth by being unused.
    pub(super) fn expire(&mut self, round: u64) {
        while self.0.len() > 1 && self.0.front().is_some_and(|(at, _)| at + WINDOW_ROUNDS < round) {
            self.0.pop_front();
        }
    }

    /// Replaces all values by this one.
    pub(super) fn reset(&mut self, round: u64, value: f64) {
        self.0.clear();
        self.0.push_back((round, value));
    }

    /// Sets the age of all values to this round. For a path that has changed, but not become slower.
    pub(super) fn refresh(&mut self, round: u64) {
        self.0.iter_mut().for_each(|(at, _)| *at = round);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maximum_expires_after_ten_rounds() {
        let mut filter = MaxFilter::default();
        assert_eq!(filter.get(), 0.0);
        for (round, value) in [(0, 5.0), (1, 9.0), (2, 3.0), (3, 7.0), (4, 6.0)] {
            filter.insert(round, value);
        }
        assert_eq!(filter.get(), 9.0);
        filter.expire(11);
        assert_eq!(filter.get(), 9.0);
        filter.expire(12);
        assert_eq!(filter.get(), 7.0);
        filter.expire(100);
        assert_eq!(filter.get(), 6.0, "the last one stays");
    }

    #[test]
    fn reset_and_refresh_replace_the_window() {
        let mut filter = MaxFilter::default();
        filter.insert(1, 9.0);
        filter.reset(2, 4.0);
        assert_eq!(filter.get(), 4.0);
        filter.refresh(20);
        filter.insert(21, 3.0);
        filter.expire(30);
        assert_eq!(filter.get(), 4.0);
    }
}
