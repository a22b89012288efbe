//! The delay before the next connection attempt. A pure function, so that tests need no clock.

use std::time::Duration;

/// How the last attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DialOutcome {
    /// No connection, or a lost one.
    Failed,
    /// The server refuses this client.
    Refused,
}

/// Time between the starts of two attempts soon after a loss: most outages are short, and requests wait.
const FRESH_INTERVAL: Duration = Duration::from_millis(2500);

/// How long after a loss `FRESH_INTERVAL` applies.
const FRESH_PERIOD: Duration = Duration::from_secs(120);

/// The longest time between two attempts.
const INTERVAL_MAX: Duration = Duration::from_secs(15);

/// Time between attempts after a refusal: the operator may change that, but not within seconds, and refused
/// clients must not load a server.
const REFUSED_INTERVAL: Duration = Duration::from_secs(60);

/// Time from the start of one attempt to the start of the next. `down_for` is how long there is no tunnel.
/// `jitter` is a random number from 0 to 1: clients that lost a server at the same time must not return at
/// the same time.
pub(super) fn delay(outcome: DialOutcome, down_for: Duration, jitter: f64) -> Duration {
    let base = match outcome {
        DialOutcome::Refused => REFUSED_INTERVAL,
        DialOutcome::Failed if down_for < FRESH_PERIOD => FRESH_INTERVAL,
        // It grows with the outage, so that the step between the two is small.
        DialOutcome::Failed => (down_for / 48).clamp(FRESH_INTERVAL, INTERVAL_MAX),
    };
    base.mul_f64(0.8 + 0.2 * jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_frequent_after_a_loss_and_rare_later() {
        let seconds = |outcome, down, jitter| delay(outcome, Duration::from_secs(down), jitter).as_secs_f64();
        assert_eq!(seconds(DialOutcome::Failed, 0, 1.0), 2.5);
        assert_eq!(seconds(DialOutcome::Failed, 119, 0.0), 2.0);
        assert_eq!(seconds(DialOutcome::Failed, 480, 1.0), 10.0);
        assert_eq!(seconds(DialOutcome::Failed, 1_000_000, 1.0), 15.0);
        assert_eq!(seconds(DialOutcome::Refused, 0, 1.0), 60.0);
    }
}
