//! When to ask once more, and after what wait.
//!
//! Pure: what happened, the time and a chance come in, a wait comes out. Nothing here waits.

use docxy_protocol::fault::Hop;
use http::{HeaderMap, StatusCode, header};
use std::time::Duration;
use tokio::time::Instant;

/// Attempts after a failure, unless one of them brings something.
const ATTEMPTS: u32 = 6;

/// The wait before the first of them: most breaks are over at once. Each wait is four times the
/// last.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// How long an answer's first failures are kept from the engine: shorter than what any engine
/// gives a token, so that it hears of the failure from us in the end.
const PATIENCE: Duration = Duration::from_secs(8);

/// How long a registry may ask us to wait without its word going to the engine: it knows better
/// what to do meanwhile.
const SHORT: Duration = Duration::from_secs(5);

/// A random number from 0 to 1, so that those who were cut off together don't come back together.
pub(super) type Chance = fn() -> f64;

/// Attempts that are left, which progress renews.
#[derive(Debug, Default)]
pub(super) struct Budget {
    spent: u32,
}

impl Budget {
    /// Something came.
    pub(super) fn renew(&mut self) {
        self.spent = 0;
    }

    /// Takes one attempt; the wait before it, or `None` where none is left.
    pub(super) fn spend(&mut self, chance: f64) -> Option<Duration> {
        if self.spent >= ATTEMPTS {
            return None;
        }
        let wait = FIRST_WAIT.saturating_mul(4_u32.pow(self.spent)).min(LONGEST_WAIT);
        self.spent += 1;
        Some(wait.mul_f64(0.5 + 0.5 * chance))
    }
}

/// How long one operation goes on asking for a first answer, over all requests that it takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    until: Instant,
}

impl Patience {
    pub(super) fn from(now: Instant) -> Self {
        Self { until: now + PATIENCE }
    }

    /// For those who have their own way to go on.
    pub(super) const fn none(now: Instant) -> Self {
        Self { until: now }
    }

    /// The same where an answer had begun to come for so long: whoever waits for content waits for it
    /// longer than for a word.
    #[must_use]
    pub(super) fn but_for(self, coming: Duration) -> Self {
        Self { until: self.until + coming }
    }

    /// The wait before another attempt, where one is worth its while: `asked` is what the remote
    /// wants us to wait.
    pub(super) fn wait(
        self,
        budget: &mut Budget,
        now: Instant,
        chance: f64,
        asked: Option<Duration>,
    ) -> Option<Duration> {
        if asked.is_some_and(|asked| asked > SHORT) {
            return None;
        }
        let wait = budget.spend(chance)?.max(asked.unwrap_or_default());
        (now + wait < self.until).then_some(wait)
    }
}

/// Whether a first answer is one that another attempt may better. An error about the image never
/// is. A redirect of a `blob` may have led to a URL that has expired, or to a host in trouble; the
/// registry gives a new one.
pub(super) fn is_passing(hop: Hop, status: StatusCode, blob: bool) -> bool {
    match status {
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => true,
        StatusCode::FORBIDDEN | StatusCode::GONE | StatusCode::INTERNAL_SERVER_ERROR => {
            blob && hop == Hop::Cdn
        }
        _ => false,
    }
}

/// What the remote wants us to wait (RFC 9110, section 10.2.3). A date counts as "long".
pub(super) fn asked_to_wait(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?;
    let seconds = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    Some(seconds.map_or(Duration::MAX, Duration::from_secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(chance: f64) -> Vec<u128> {
        let mut budget = Budget::default();
        std::iter::from_fn(|| budget.spend(chance)).map(|wait| wait.as_millis()).collect()
    }

    #[test]
    fn six_attempts_are_made_at_growing_distances() {
        assert_eq!(waits(1.0), [250, 1000, 4000, 16_000, 20_000, 20_000]);
        assert_eq!(waits(0.0), [125, 500, 2000, 8000, 10_000, 10_000]);
    }

    #[test]
    fn progress_renews_them() {
        let mut budget = Budget::default();
        while budget.spend(1.0).is_some() {}
        budget.renew();
        assert_eq!(budget.spend(1.0), Some(FIRST_WAIT));
    }

    #[test]
    fn a_first_answer_is_waited_for_as_long_as_an_engine_would() {
        let now = Instant::now();
        let mut budget = Budget::default();
        let patience = Patience::from(now);
        let mut later = now;
        let mut attempts = 0;
        while let Some(wait) = patience.wait(&mut budget, later, 1.0, None) {
            later += wait;
            attempts += 1;
        }
        assert_eq!(attempts, 3, "after 0.25, 1 and 4 s");
        let asked = |seconds| Some(Duration::from_secs(seconds));
        let wait = |asked| patience.wait(&mut Budget::default(), now, 1.0, asked);
        assert_eq!(wait(asked(3)), asked(3));
        assert_eq!(wait(asked(13)), None);
        assert_eq!(Patience::none(now).wait(&mut Budget::default(), now, 0.0, None), None);
    }

    #[test]
    fn time_in_which_an_answer_came_is_not_held_against_it() {
        let now = Instant::now();
        let (silence, waited) = (Duration::from_secs(15), Duration::from_millis(250));
        let wait = |patience: Patience| patience.wait(&mut Budget::default(), now + silence, 1.0, None);
        assert_eq!(wait(Patience::from(now)), None);
        assert_eq!(wait(Patience::from(now).but_for(silence)), Some(waited));
        assert_eq!(wait(Patience::none(now).but_for(silence)), None, "asks once, whatever happens");
    }

    #[test]
    fn an_answer_about_the_image_is_never_asked_for_twice() {
        for status in [400, 401, 403, 404, 410, 416, 429, 500, 501] {
            let status = StatusCode::from_u16(status).unwrap();
            assert!(!is_passing(Hop::Registry, status, true), "{status}");
            assert!(!is_passing(Hop::Auth, status, false), "{status}");
            assert!(!is_passing(Hop::Cdn, status, false), "{status}");
        }
        for status in [403, 410, 500, 503] {
            assert!(is_passing(Hop::Cdn, StatusCode::from_u16(status).unwrap(), true), "{status}");
        }
    }

    #[test]
    fn a_date_to_come_back_at_is_too_far_away() {
        let headers = |value: &str| HeaderMap::from_iter([(header::RETRY_AFTER, value.parse().unwrap())]);
        assert_eq!(asked_to_wait(&headers("3")), Some(Duration::from_secs(3)));
        assert_eq!(asked_to_wait(&headers("Fri, 31 Dec 1999 23:59:59 GMT")), Some(Duration::MAX));
        assert_eq!(asked_to_wait(&HeaderMap::new()), None);
    }
}
