//! Whether a request is retried, and after what delay.
//!
//! Pure: takes the failure, the time and a random number, and returns a delay. Must never wait itself.

use docxy_protocol::fault::Hop;
use http::{HeaderMap, StatusCode, header};
use std::time::Duration;
use tokio::time::Instant;

/// The most retries in a row without progress.
const RETRIES_MAX: u32 = 6;

/// The delay before the first retry: most failures end at once. Each further delay is four times as
/// long.
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(250);

/// The longest delay between two attempts.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(20);

/// How long an operation retries before its failure goes to the engine. It is shorter than any
/// engine's timeout for a token, so that the engine receives our fault and doesn't time out itself.
const RETRY_TIMEOUT: Duration = Duration::from_secs(8);

/// The longest `Retry-After` that the server waits for itself. A response with a longer one goes to the
/// engine, which can decide better what to do.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);

/// Returns a random number from 0 to 1, so that transfers that fail together don't retry together.
pub(in crate::upstream) type Jitter = fn() -> f64;

/// The retries that are left. Progress restores them.
#[derive(Debug, Default)]
pub(in crate::upstream) struct RetryBudget {
    used: u32,
}

impl RetryBudget {
    /// Restores all retries, after progress.
    pub(in crate::upstream) fn reset(&mut self) {
        self.used = 0;
    }

    /// Uses one retry and returns the delay before it; `None` if no retry is left.
    pub(in crate::upstream) fn next_delay(&mut self, jitter: f64) -> Option<Duration> {
        if self.used >= RETRIES_MAX {
            return None;
        }
        let delay = FIRST_RETRY_DELAY.saturating_mul(4_u32.pow(self.used)).min(RETRY_DELAY_MAX);
        self.used += 1;
        Some(delay.mul_f64(0.5 + 0.5 * jitter))
    }
}

/// Until when one operation retries before it has a response, over all requests that it sends.
#[derive(Debug, Clone, Copy)]
pub(in crate::upstream) struct RetryDeadline {
    until: Instant,
}

impl RetryDeadline {
    /// The usual deadline for an operation that starts now.
    pub(in crate::upstream) fn starting_at(now: Instant) -> Self {
        Self { until: now + RETRY_TIMEOUT }
    }

    /// No retry, for a caller that retries itself.
    pub(in crate::upstream) const fn no_retry(now: Instant) -> Self {
        Self { until: now }
    }

    /// A later deadline, after a response that arrived for so long and then broke off: that time doesn't
    /// count.
    #[must_use]
    pub(in crate::upstream) fn extended_by(self, time_receiving: Duration) -> Self {
        Self { until: self.until + time_receiving }
    }

    /// The delay before another attempt; `None` if the last result is final. `retry_after` is the delay
    /// that the remote requests.
    pub(in crate::upstream) fn delay_before_retry(
        self,
        budget: &mut RetryBudget,
        now: Instant,
        jitter: f64,
        retry_after: Option<Duration>,
    ) -> Option<Duration> {
        if retry_after.is_some_and(|delay| delay > RETRY_AFTER_MAX) {
            return None;
        }
        let delay = budget.next_delay(jitter)?.max(retry_after.unwrap_or_default());
        (now + delay < self.until).then_some(delay)
    }
}

/// Whether a response's status may be transient. An error about the image never is. A blob's redirect
/// may have led to an expired URL or a broken host, and the registry redirects to another one.
pub(in crate::upstream) fn is_transient(hop: Hop, status: StatusCode, is_blob: bool) -> bool {
    match status {
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => true,
        StatusCode::FORBIDDEN | StatusCode::GONE | StatusCode::INTERNAL_SERVER_ERROR => {
            is_blob && hop == Hop::Cdn
        }
        _ => false,
    }
}

/// The delay that the remote requests (RFC 9110, section 10.2.3). A date counts as the longest delay.
pub(in crate::upstream) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?;
    let seconds = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    Some(seconds.map_or(Duration::MAX, Duration::from_secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(jitter: f64) -> Vec<u128> {
        let mut budget = RetryBudget::default();
        std::iter::from_fn(|| budget.next_delay(jitter)).map(|delay| delay.as_millis()).collect()
    }

    #[test]
    fn six_retries_have_growing_delays() {
        assert_eq!(delays(1.0), [250, 1000, 4000, 16_000, 20_000, 20_000]);
        assert_eq!(delays(0.0), [125, 500, 2000, 8000, 10_000, 10_000]);
    }

    #[test]
    fn progress_restores_all_retries() {
        let mut budget = RetryBudget::default();
        while budget.next_delay(1.0).is_some() {}
        budget.reset();
        assert_eq!(budget.next_delay(1.0), Some(FIRST_RETRY_DELAY));
    }

    #[test]
    fn retries_stop_before_an_engine_times_out() {
        let now = Instant::now();
        let mut budget = RetryBudget::default();
        let deadline = RetryDeadline::starting_at(now);
        let mut later = now;
        let mut attempts = 0;
        while let Some(delay) = deadline.delay_before_retry(&mut budget, later, 1.0, None) {
            later += delay;
            attempts += 1;
        }
        assert_eq!(attempts, 3, "after 0.25, 1 and 4 s");
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let delay =
            |retry_after| deadline.delay_before_retry(&mut RetryBudget::default(), now, 1.0, retry_after);
        assert_eq!(delay(seconds(3)), seconds(3));
        assert_eq!(delay(seconds(13)), None);
        assert_eq!(
            RetryDeadline::no_retry(now).delay_before_retry(&mut RetryBudget::default(), now, 0.0, None),
            None
        );
    }

    #[test]
    fn time_spent_receiving_extends_the_deadline() {
        let now = Instant::now();
        let (receiving, first_delay) = (Duration::from_secs(15), Duration::from_millis(250));
        let delay = |deadline: RetryDeadline| {
            deadline.delay_before_retry(&mut RetryBudget::default(), now + receiving, 1.0, None)
        };
        assert_eq!(delay(RetryDeadline::starting_at(now)), None);
        assert_eq!(delay(RetryDeadline::starting_at(now).extended_by(receiving)), Some(first_delay));
        assert_eq!(
            delay(RetryDeadline::no_retry(now).extended_by(receiving)),
            None,
            "sends one request only"
        );
    }

    #[test]
    fn an_error_about_the_image_is_not_retried() {
        for status in [400, 401, 403, 404, 410, 416, 429, 500, 501] {
            let status = StatusCode::from_u16(status).unwrap();
            assert!(!is_transient(Hop::Registry, status, true), "{status}");
            assert!(!is_transient(Hop::Auth, status, false), "{status}");
            assert!(!is_transient(Hop::Cdn, status, false), "{status}");
        }
        for status in [403, 410, 500, 503] {
            assert!(is_transient(Hop::Cdn, StatusCode::from_u16(status).unwrap(), true), "{status}");
        }
    }

    #[test]
    fn a_retry_after_date_counts_as_too_long() {
        let headers = |value: &str| HeaderMap::from_iter([(header::RETRY_AFTER, value.parse().unwrap())]);
        assert_eq!(retry_after(&headers("3")), Some(Duration::from_secs(3)));
        assert_eq!(retry_after(&headers("Fri, 31 Dec 1999 23:59:59 GMT")), Some(Duration::MAX));
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
