//! When to dial again. A pure function of what happened, so that the policy can be read and
//! tested as such.

use std::time::Duration;

/// How the last attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// No connection, or one that was lost.
    Failed,
    /// The server said that it doesn't want us.
    Refused,
}

/// Time between the beginnings of two attempts while the loss is fresh: most outages are short,
/// and somebody is waiting.
const FRESH: Duration = Duration::from_millis(2500);

/// How long a loss is fresh.
const FRESH_FOR: Duration = Duration::from_secs(120);

/// The longest time between two attempts.
const LONGEST: Duration = Duration::from_secs(15);

/// Time between attempts after a refusal: the operator may change their mind, but not by the
/// second, and a server should not be hammered by those it doesn't want.
const REFUSED: Duration = Duration::from_secs(60);

/// Time from the beginning of one attempt to the beginning of the next. `down_for` is how long
/// there has been no tunnel, `jitter` a random number from 0 to 1: clients that lost one server at
/// the same time must not all come back at the same time.
pub(super) fn between(outcome: Outcome, down_for: Duration, jitter: f64) -> Duration {
    let base = match outcome {
        Outcome::Refused => REFUSED,
        Outcome::Failed if down_for < FRESH_FOR => FRESH,
        // Grows with the time so far, so that the step from one to the other isn't felt.
        Outcome::Failed => (down_for / 48).clamp(FRESH, LONGEST),
    };
    base.mul_f64(0.8 + 0.2 * jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_loss_is_retried_often_and_an_old_one_seldom() {
        let seconds =
            |outcome, down, jitter| between(outcome, Duration::from_secs(down), jitter).as_secs_f64();
        assert_eq!(seconds(Outcome::Failed, 0, 1.0), 2.5);
        assert_eq!(seconds(Outcome::Failed, 119, 0.0), 2.0);
        assert_eq!(seconds(Outcome::Failed, 480, 1.0), 10.0);
        assert_eq!(seconds(Outcome::Failed, 1_000_000, 1.0), 15.0);
        assert_eq!(seconds(Outcome::Refused, 0, 1.0), 60.0);
    }
}
