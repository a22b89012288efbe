//! The delays between attempts: the one backoff of both programs. A schedule is data.
//!
//! Must never wait, read a clock or make random numbers itself: the caller passes the time since the first failure
//! and a random number, so that tests need no clock.

use std::time::Duration;

/// The part of each delay that is random: clients and transfers that failed together must not return together.
const JITTER: f64 = 0.2;

/// How the delays between attempts grow.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// The first delay.
    pub first: Duration,
    /// How long after the first failure all delays are the first one.
    pub steady: Duration,
    /// From then on, each delay is this many times as long as the one before.
    pub growth: f64,
    /// The longest delay.
    pub max: Duration,
}

/// The next delay of a schedule.
#[derive(Debug, Clone)]
pub struct Backoff {
    schedule: Schedule,
    next: Duration,
    retries: u32,
}

impl Schedule {
    /// Delays that do not grow.
    #[must_use]
    pub const fn constant(delay: Duration) -> Self {
        Self { first: delay, steady: Duration::ZERO, growth: 1.0, max: delay }
    }

    /// Delays that grow from the first failure on.
    #[must_use]
    pub const fn exponential(first: Duration, growth: f64, max: Duration) -> Self {
        Self { first, steady: Duration::ZERO, growth, max }
    }
}

impl Backoff {
    /// A backoff before its first delay.
    #[must_use]
    pub const fn new(schedule: Schedule) -> Self {
        Self { schedule, next: schedule.first, retries: 0 }
    }

    /// Starts the schedule again, after progress.
    pub const fn reset(&mut self) {
        *self = Self::new(self.schedule);
    }

    /// The delays since the start of the schedule.
    #[must_use]
    pub const fn retries(&self) -> u32 {
        self.retries
    }

    /// The delay before the next attempt. `since_failure` is the time since the first failure, and `random` a
    /// random number from 0 to 1.
    pub fn next_delay(&mut self, since_failure: Duration, random: f64) -> Duration {
        let delay = self.next;
        if since_failure >= self.schedule.steady {
            self.next = delay.mul_f64(self.schedule.growth).min(self.schedule.max);
        }
        self.retries = self.retries.saturating_add(1);
        delay.mul_f64(1.0 - JITTER + JITTER * random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DOUBLING: Schedule = Schedule::exponential(SECOND, 2.0, Duration::from_secs(5));

    fn delays(schedule: Schedule, random: f64) -> [f64; 5] {
        let mut backoff = Backoff::new(schedule);
        std::array::from_fn(|_| backoff.next_delay(Duration::ZERO, random).as_secs_f64())
    }

    #[test]
    fn delays_grow_to_the_longest() {
        assert_eq!(delays(DOUBLING, 1.0), [1.0, 2.0, 4.0, 5.0, 5.0]);
        assert_eq!(delays(DOUBLING, 0.0), [0.8, 1.6, 3.2, 4.0, 4.0]);
        assert_eq!(delays(Schedule::constant(SECOND), 1.0), [1.0; 5]);
    }

    #[test]
    fn progress_starts_the_schedule_again() {
        let mut backoff = Backoff::new(DOUBLING);
        backoff.next_delay(Duration::ZERO, 1.0);
        backoff.next_delay(Duration::ZERO, 1.0);
        assert_eq!(backoff.retries(), 2);
        backoff.reset();
        assert_eq!((backoff.retries(), backoff.next_delay(Duration::ZERO, 1.0)), (0, SECOND));
    }

    #[test]
    fn a_steady_time_comes_before_the_growth() {
        let mut backoff = Backoff::new(Schedule { steady: 10 * SECOND, ..DOUBLING });
        let seconds = |delay: Duration| delay.as_secs();
        let delays = [0, 5, 9, 10, 11, 13, 17].map(|since| seconds(backoff.next_delay(since * SECOND, 1.0)));
        assert_eq!(delays, [1, 1, 1, 1, 2, 4, 5]);
    }

    proptest! {
        #[test]
        fn no_delay_is_longer_than_the_longest(randoms in prop::collection::vec(0.0..=1.0, 1..100)) {
            let mut backoff = Backoff::new(DOUBLING);
            for random in randoms {
                let delay = backoff.next_delay(Duration::ZERO, random);
                prop_assert!(delay >= SECOND.mul_f64(0.8) && delay <= DOUBLING.max);
            }
        }
    }
}
