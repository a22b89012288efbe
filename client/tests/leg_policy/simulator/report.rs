//! What a simulation measured.

use crate::Time;
use docxy_client::tunnel::leg::{TrialReason, Way};
use std::time::Duration;

/// What happened.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The legs that carried sessions, each with its start.
    pub(crate) legs: Vec<(Time, Way)>,
    /// Trials and attempts beside a session.
    pub(crate) attempts: Vec<(Time, Way, TrialReason)>,
    /// Megabytes by second while bodies are under way, and what the better leg could have carried: by minute.
    pub(crate) minutes: Vec<(f64, f64)>,
    /// Bytes that the legs on trial carried before they won or lost.
    pub(crate) trial_bytes: u64,
    /// The longest times without a byte while bodies were under way and the same leg worked, with their ends.
    pub(crate) stalls: Vec<(Time, Duration)>,
    /// When each pull was complete.
    pub(crate) completed: Vec<Time>,
}

impl Report {
    /// The leg in use at this time.
    pub(crate) fn leg_at(&self, at: Time) -> Option<Way> {
        self.legs.iter().rev().find(|(since, _)| *since <= at).map(|(_, leg)| *leg)
    }

    /// When this leg was in use first, from `at` on.
    pub(crate) fn first_use(&self, leg: Way, at: Time) -> Option<Time> {
        if self.leg_at(at) == Some(leg) {
            return Some(at);
        }
        self.legs.iter().find(|(since, used)| *since >= at && *used == leg).map(|(since, _)| *since)
    }

    /// The times at which the leg changed.
    pub(crate) fn moves(&self) -> Vec<Time> {
        self.legs.windows(2).filter(|pair| pair[0].1 != pair[1].1).map(|pair| pair[1].0).collect()
    }

    /// The most moves within half an hour.
    pub(crate) fn moves_in_half_an_hour(&self) -> usize {
        let moves = self.moves();
        let window = Duration::from_secs(30 * 60);
        let counts = moves
            .iter()
            .enumerate()
            .map(|(n, end)| moves[..=n].iter().filter(|at| **at + window > *end).count());
        counts.max().unwrap_or(0)
    }

    /// What was carried from one time to another, as a part of what the better leg could have carried.
    pub(crate) fn share(&self, from: Time, to: Time) -> f64 {
        let minute = |time: Time| (time.as_secs() / 60) as usize;
        let minutes = &self.minutes[minute(from)..minute(to).min(self.minutes.len())];
        let (carried, possible) =
            minutes.iter().fold((0.0, 0.0), |sum, minute| (sum.0 + minute.0, sum.1 + minute.1));
        if possible == 0.0 { 1.0 } else { carried / possible }
    }
}
