//! The delays between connection attempts, as data.

use docxy_protocol::backoff::Schedule;
use std::time::Duration;

/// After a failed or lost connection, from the start of one attempt to the start of the next. Most outages are
/// short, and requests wait, so the delay does not grow for two minutes. Then it grows with the outage, to the
/// longest one after about ten more minutes.
pub(super) const DIAL_SCHEDULE: Schedule = Schedule {
    first: Duration::from_millis(2500),
    steady: Duration::from_secs(120),
    growth: 1.02,
    max: Duration::from_secs(15),
};

/// After the server said that it ends, for [`RESTART_WINDOW`]: a service manager starts the next process at once, and
/// running pulls wait for it. A server that ends needs no handshake to refuse an attempt.
pub(super) const RESTART_SCHEDULE: Schedule = Schedule::constant(Duration::from_millis(250));

/// How long after the end of a server the next process is expected at any moment.
pub(super) const RESTART_WINDOW: Duration = Duration::from_secs(10);

/// How long a server that drains is left alone once others have taken over: without clients it ends a second later, and
/// the next process needs a moment.
pub(super) const LEFT_SCHEDULE: Schedule = Schedule::constant(Duration::from_secs(5));

/// How long a spare server stays connected after the one that it stands in for is back.
pub(super) const SPARE_LINGER: Duration = Duration::from_secs(60);

/// After a refusal: the operator may change that, but not within seconds, and refused clients must not load a
/// server.
pub(super) const REFUSED_SCHEDULE: Schedule = Schedule::constant(Duration::from_secs(60));

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_protocol::backoff::Backoff;

    #[test]
    fn attempts_are_frequent_after_a_loss_and_rare_later() {
        let (mut backoff, mut since) = (Backoff::new(DIAL_SCHEDULE), Duration::ZERO);
        let mut delay_at = |at| {
            loop {
                let delay = backoff.next_delay(since, 1.0);
                since += delay;
                if since > Duration::from_secs(at) {
                    return delay.as_secs_f64();
                }
            }
        };
        assert_eq!(delay_at(0), 2.5);
        assert_eq!(delay_at(119), 2.5);
        assert!((9.0..11.0).contains(&delay_at(480)));
        assert_eq!(delay_at(1000), 15.0);
        assert_eq!(Backoff::new(DIAL_SCHEDULE).next_delay(Duration::ZERO, 0.0).as_secs_f64(), 2.0);
        let mut refused = Backoff::new(REFUSED_SCHEDULE);
        assert_eq!([(); 3].map(|()| refused.next_delay(Duration::ZERO, 1.0).as_secs()), [60; 3]);
    }
}
