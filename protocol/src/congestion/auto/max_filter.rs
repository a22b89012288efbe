//! The highest value of the last few rounds.
//!
//! Windowed, so that a rate that the path once had is forgotten when it has it no more.

use std::collections::VecDeque;

/// Rounds for which a value counts: one whole cycle of probing, so that what the last probe found
/// is known until the next one.
const WINDOW_ROUNDS: u64 = 10;

/// Entries are newest last and strictly falling, so the front is the maximum.
#[derive(Debug, Clone, Default)]
pub(super) struct MaxFilter(VecDeque<(u64, f64)>);

impl MaxFilter {
    /// The maximum, 0 if there is none.
    pub(super) fn get(&self) -> f64 {
        self.0.front().map_or(0.0, |(_, value)| *value)
    }

    pub(super) fn insert(&mut self, round: u64, value: f64) {
        while self.0.back().is_some_and(|(_, last)| *last <= value) {
            self.0.pop_back();
        }
        self.0.push_back((round, value));
    }

    /// Forgets what is too old. The last value stays: a path doesn't lose its rate by being unused.
    pub(super) fn expire(&mut self, round: u64) {
        while self.0.len() > 1 && self.0.front().is_some_and(|(at, _)| at + WINDOW_ROUNDS < round) {
            self.0.pop_front();
        }
    }

    /// Believes this value and nothing older.
    pub(super) fn reset(&mut self, round: u64, value: f64) {
        self.0.clear();
        self.0.push_back((round, value));
    }

    /// Takes all values as of this round: the path is another, but not slower.
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
