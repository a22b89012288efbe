//! Whether a request is retried, and after what delay, and how long it may wait for a response.
//!
//! Pure: takes the failure, the time and a random number, and returns a delay. Must never wait itself.

use crate::upstream::error::UpstreamError;
use docxy_protocol::backoff::{Backoff, Schedule};
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_protocol::limits::{PATIENCE_MARGIN, PING_AND_TOKEN_TIMEOUT, UPSTREAM_HEADER_TIMEOUT};
use docxy_protocol::patience::Patience;
use http::StatusCode;
use std::time::Duration;
use tokio::time::Instant;

/// The delays between attempts: most failures end at once.
pub(crate) const RETRY_SCHEDULE: Schedule =
    Schedule::exponential(Duration::from_millis(200), 4.0, Duration::from_secs(17));

/// Maximum number of retries in a row without progress.
pub(crate) const RETRIES_MAX: u32 = 6;

/// How long an operation retries before its failure goes to the engine. It is shorter than any
/// engine's timeout for a token, so that the engine receives our fault and does not time out itself.
const RETRY_TIMEOUT: Duration = Duration::from_secs(8);

/// The longest `Retry-After` that the server waits for itself. A response with a longer one goes to the
/// engine, which can decide better what to do.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);

/// Until when one operation retries before it has a response, and until when it waits for one, over all requests
/// that it sends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetryDeadline {
    retry_until: Instant,
    response_until: Instant,
}

impl RetryDeadline {
    /// The deadline for an operation that starts now, and whose client is so patient.
    pub(crate) fn starting_at(now: Instant, patience: Patience) -> Self {
        let patience = patience.duration().saturating_sub(PATIENCE_MARGIN);
        Self { retry_until: now + RETRY_TIMEOUT.min(patience), response_until: now + patience }
    }

    /// No retry, for a caller that retries itself.
    pub(crate) fn no_retry(now: Instant) -> Self {
        Self::no_retry_within(now, UPSTREAM_HEADER_TIMEOUT)
    }

    /// No retry, and a response within this time.
    pub(crate) fn no_retry_within(now: Instant, timeout: Duration) -> Self {
        Self { retry_until: now, response_until: now + timeout }
    }

    /// An earlier deadline, for a request that must have its response within this time.
    #[must_use]
    pub(crate) fn within(self, now: Instant, timeout: Duration) -> Self {
        Self { response_until: self.response_until.min(now + timeout), ..self }
    }

    /// The deadline of a fetch for the `/v2/` or a token that starts now. Several callers may wait for it, so the
    /// patience of the one that started it does not limit it.
    #[must_use]
    pub(crate) fn of_shared_fetch(self, now: Instant) -> Self {
        Self { response_until: now + PING_AND_TOKEN_TIMEOUT, ..self }
    }

    /// Until when a response is waited for.
    pub(crate) const fn response_until(self) -> Instant {
        self.response_until
    }

    /// The same without retries.
    #[must_use]
    pub(crate) fn without_retries(self, now: Instant) -> Self {
        Self { retry_until: now, ..self }
    }

    /// A later deadline, after a response that arrived for so long and then was interrupted: that time does not
    /// count.
    #[must_use]
    pub(crate) fn extended_by(self, time_receiving: Duration) -> Self {
        let retry_until = (self.retry_until + time_receiving).min(self.response_until);
        Self { retry_until, ..self }
    }

    /// The delay before another attempt; `None` if the last result is final. `retry_after` is the delay
    /// that the remote requests.
    pub(crate) fn delay_before_retry(
        self,
        backoff: &mut Backoff,
        now: Instant,
        jitter: f64,
        retry_after: Option<Duration>,
    ) -> Option<Duration> {
        if retry_after.is_some_and(|delay| delay > RETRY_AFTER_MAX) {
            return None;
        }
        let delay = backoff.next_delay(Duration::ZERO, jitter).max(retry_after.unwrap_or_default());
        (now + delay < self.retry_until).then_some(delay)
    }
}

/// The failure that a response's status reports, if it is the hop's own and not one about the image. A blob's
/// redirect may have led to an expired URL or a broken host, and the registry redirects to another one.
pub(crate) fn failure_of(hop: Hop, status: StatusCode, is_blob: bool) -> Option<UpstreamError> {
    let kind = match status {
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            FaultKind::of_status(status)
        }
        StatusCode::FORBIDDEN | StatusCode::GONE | StatusCode::INTERNAL_SERVER_ERROR
            if is_blob && hop == Hop::Cdn =>
        {
            FaultKind::MalformedResponse
        }
        _ => return None,
    };
    Some(UpstreamError::new(hop, kind, format!("answers {status}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_stop_before_an_engine_times_out() {
        let now = Instant::now();
        let mut backoff = Backoff::new(RETRY_SCHEDULE);
        let deadline = RetryDeadline::starting_at(now, Patience::default());
        let mut later = now;
        let mut attempts = 0;
        while let Some(delay) = deadline.delay_before_retry(&mut backoff, later, 1.0, None) {
            later += delay;
            attempts += 1;
        }
        assert_eq!(attempts, 3, "after 0.2, 0.8 and 3.2 s");
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let delay = |retry_after| {
            deadline.delay_before_retry(&mut Backoff::new(RETRY_SCHEDULE), now, 1.0, retry_after)
        };
        assert_eq!(delay(seconds(3)), seconds(3));
        assert_eq!(delay(seconds(13)), None);
        assert_eq!(
            RetryDeadline::no_retry(now).delay_before_retry(
                &mut Backoff::new(RETRY_SCHEDULE),
                now,
                0.0,
                None
            ),
            None
        );
    }

    #[test]
    fn time_spent_receiving_extends_the_deadline() {
        let now = Instant::now();
        let (receiving, first_delay) = (Duration::from_secs(15), Duration::from_millis(200));
        let delay = |deadline: RetryDeadline| {
            deadline.delay_before_retry(&mut Backoff::new(RETRY_SCHEDULE), now + receiving, 1.0, None)
        };
        let of = |seconds| RetryDeadline::starting_at(now, Patience::new(Duration::from_secs(seconds)));
        assert_eq!(delay(of(30)), None);
        assert_eq!(delay(of(30).extended_by(receiving)), Some(first_delay));
        assert_eq!(delay(of(16).extended_by(receiving)), None, "no engine waits for it");
        assert_eq!(
            delay(RetryDeadline::no_retry(now).extended_by(receiving)),
            None,
            "sends one request only"
        );
    }

    #[test]
    fn a_response_comes_before_the_patience_of_the_client_ends() {
        let now = Instant::now();
        let seconds = Duration::from_secs;
        let deadline = RetryDeadline::starting_at(now, Patience::new(seconds(25)));
        assert_eq!(deadline.response_until(), now + seconds(24));
        assert_eq!(deadline.within(now, seconds(10)).response_until(), now + seconds(10));
        assert_eq!(deadline.within(now, seconds(60)).response_until(), now + seconds(24));
        let none_left = RetryDeadline::starting_at(now, Patience::new(Duration::ZERO));
        assert_eq!(none_left.response_until(), now);
    }

    #[test]
    fn an_error_about_the_image_is_not_retried() {
        let is_transient = |hop, status, is_blob| {
            let failure = failure_of(hop, StatusCode::from_u16(status).unwrap(), is_blob);
            failure.is_some_and(|failure| failure.is_transient())
        };
        for status in [400, 401, 403, 404, 410, 416, 429, 500, 501] {
            assert!(!is_transient(Hop::Registry, status, true), "{status}");
            assert!(!is_transient(Hop::TokenService, status, false), "{status}");
            assert!(!is_transient(Hop::Cdn, status, false), "{status}");
        }
        for status in [403, 410, 500, 503] {
            assert!(is_transient(Hop::Cdn, status, true), "{status}");
        }
    }
}
