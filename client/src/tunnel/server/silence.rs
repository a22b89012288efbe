//! How long a session may be silent before it is suspected. A pure function of the round-trip time.
//!
//! An idle session is pinged when nothing was heard for [`KEEP_ALIVE_INTERVAL`], and the answer takes a round trip. So a
//! session that works is silent for `KEEP_ALIVE_INTERVAL + rtt`, and for another round trip or more if the ping or its
//! answer was lost. The limit is between that and the promise of `/health`, which is that a death shows within
//! [`SUSPECTED_WITHIN`] of the last datagram that arrives:
//!
//! | round trip | limit | what it bears |
//! |---|---|---|
//! | to 375 ms | 2.75 s | one lost ping |
//! | to 400 ms | 2 s and two round trips | one lost ping |
//! | to 711 ms | 2.8 s, by the promise | an answer that is an eighth of a round trip late |
//! | longer | 2 s and 9/8 of a round trip | the same |
//!
//! On the longest lines the answer to a ping comes too late for the promise, whatever the limit is: after 3 s if the
//! round trip takes 1 s, and after 4.5 s if it takes 2.5 s. There a session that works must not be suspected at each
//! ping, so a death shows later, but as soon as an answer is overdue: within 3.33 s and 5.02 s. No session begins on a
//! line of 2.5 s, since a dial waits no longer than that; one may become so slow.
//!
//! The round-trip time is the estimate of the path, which grows with a queue. A queue that makes the estimate too long
//! delays nothing up to 711 ms, since the promise bounds the limit.

use crate::tunnel::liveness::POLL_INTERVAL;
use docxy_protocol::limits::KEEP_ALIVE_INTERVAL;
use std::time::Duration;

/// The promise of `/health`, where the line makes it possible.
const SUSPECTED_WITHIN: Duration = Duration::from_secs(3);

/// The limit which keeps the promise: a datagram is noticed up to a poll after it has arrived.
const LIMIT_MAX: Duration = SUSPECTED_WITHIN.checked_sub(POLL_INTERVAL).expect("a poll takes less");

/// So long, or two round trips, the answer to a ping may take: the ping that is sent again after a loss is answered by
/// then.
const ANSWER_MIN: Duration = Duration::from_millis(750);
const ANSWER_ROUND_TRIPS: u32 = 2;

/// The part of a round trip by which an answer may be late in any case: paths vary.
const LATE_PART: u32 = 8;

/// A silence that is longer than this makes a session suspected whose round trips take so long.
pub(super) fn silence_limit(rtt: Duration) -> Duration {
    let bears_a_loss = KEEP_ALIVE_INTERVAL + ANSWER_MIN.max(rtt * ANSWER_ROUND_TRIPS);
    let answered = KEEP_ALIVE_INTERVAL + rtt + rtt / LATE_PART;
    bears_a_loss.min(LIMIT_MAX).max(answered)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_limit_depends_on_the_round_trip() {
        for (rtt, limit) in [
            (0, 2750),
            (20, 2750),
            (200, 2750),
            (375, 2750),
            (390, 2780),
            (400, 2800),
            // A bulk transfer on a line of 200 ms.
            (600, 2800),
            (700, 2800),
            (800, 2900),
            (1000, 3125),
            (2400, 4700),
            (2500, 4812),
        ] {
            assert_eq!(silence_limit(ms(rtt)).as_millis(), limit, "{rtt} ms");
        }
    }

    #[test]
    fn a_death_is_told_within_three_seconds_where_the_answer_to_a_ping_comes_earlier() {
        for rtt in 0..=711 {
            let limit = silence_limit(ms(rtt));
            assert!(limit + POLL_INTERVAL <= ms(3000), "{rtt} ms: {limit:?}");
        }
        // After that, within a quarter of a second of the moment at which a line of a second has answered.
        let told = silence_limit(ms(1000)) + POLL_INTERVAL;
        assert!(told <= KEEP_ALIVE_INTERVAL + ms(1000) + ms(350), "{told:?}");
    }

    #[test]
    fn an_idle_session_that_answers_its_pings_is_not_suspected() {
        for rtt in 1..5000 {
            let silent = KEEP_ALIVE_INTERVAL + ms(rtt);
            let limit = silence_limit(ms(rtt));
            assert!(limit >= silent + ms(rtt) / LATE_PART, "{rtt} ms: {limit:?}");
            assert!(limit <= silent + ms(rtt).max(ANSWER_MIN), "{rtt} ms: {limit:?}");
        }
    }
}
