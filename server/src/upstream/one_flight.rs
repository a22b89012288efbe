//! A value that many ask for at once and that is fetched once for all of them.
//!
//! Whoever waited for a fetch shares what came of it, whatever that was: the value, a refusal, a limit, a
//! failure. Nobody who waited asks again, each as slow or as unwelcome as the last.

use super::retry::asked_to_wait;
use super::token_service::NoToken;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// No value is kept longer, whatever a remote says.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Less life than this is little: three looks of whoever renews values ahead, and a slow answer.
const LATE: Duration = Duration::from_secs(75);

/// How long a refusal or a limit is believed: those who come a moment later, and the second request of
/// those who were refused, are not worth a request each. A failure may be over at once.
const NO_LIFETIME: Duration = Duration::from_secs(5);

/// The place of one value.
#[derive(Debug)]
pub(super) struct OneFlight<T> {
    last: tokio::sync::Mutex<Option<Outcome<T>>>,
    /// Whether the value was used when little of its life was left.
    used_late: AtomicBool,
}

/// What came of the last fetch.
#[derive(Debug)]
struct Outcome<T> {
    result: Result<T, NoToken>,
    /// When it came; whoever asked before shares it.
    at: Instant,
    /// Until when those who ask later get it as well.
    until: Instant,
}

/// What a fetch brings: a value, and for how long it may be kept (zero: not at all).
#[derive(Debug, Clone)]
pub(super) struct Fetched<T> {
    pub(super) value: T,
    pub(super) lifetime: Duration,
}

impl<T> Default for OneFlight<T> {
    fn default() -> Self {
        Self { last: tokio::sync::Mutex::new(None), used_late: AtomicBool::new(false) }
    }
}

impl<T: Clone> OneFlight<T> {
    /// The value at hand, or what `fetch` brings. While one caller fetches, the others wait.
    ///
    /// # Errors
    /// What `fetch` fails with, or has failed with while this caller waited.
    pub(super) async fn get<F>(&self, fetch: impl FnOnce() -> F) -> Result<T, NoToken>
    where
        F: Future<Output = Result<Fetched<T>, NoToken>>,
    {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        if let Some(Outcome { result, at, until }) = &*last
            && let now = Instant::now()
            && (now < *until || asked <= *at)
        {
            if result.is_ok() && now < *until && now + LATE > *until {
                self.used_late.store(true, Ordering::Relaxed);
            }
            return result.clone();
        }
        let outcome = Outcome::of(fetch().await);
        let result = outcome.result.clone();
        *last = Some(outcome);
        result
    }

    /// Whether the value was used late since this was asked last: whoever uses it next would have to
    /// wait for another one.
    pub(super) fn take_used_late(&self) -> bool {
        self.used_late.swap(false, Ordering::Relaxed)
    }

    /// Puts what `fetch` brings in the value's place, which is used until then. A failure changes
    /// nothing.
    pub(super) async fn renew<F>(&self, fetch: impl FnOnce() -> F)
    where
        F: Future<Output = Result<Fetched<T>, NoToken>>,
    {
        let outcome = Outcome::of(fetch().await);
        if outcome.result.is_ok() {
            *self.last.lock().await = Some(outcome);
        }
    }

    /// Forgets the value if it is the one meant; a newer one in its place stays.
    pub(super) async fn forget(&self, is_meant: impl FnOnce(&T) -> bool) {
        let mut last = self.last.lock().await;
        if last.as_ref().is_some_and(|outcome| outcome.result.as_ref().is_ok_and(is_meant)) {
            *last = None;
        }
    }
}

impl<T> Outcome<T> {
    fn of(fetched: Result<Fetched<T>, NoToken>) -> Self {
        let at = Instant::now();
        let (result, lifetime) = match fetched {
            Ok(Fetched { value, lifetime }) => (Ok(value), lifetime.min(LONGEST)),
            Err(why) => {
                let lifetime = match &why {
                    NoToken::Refused => NO_LIFETIME,
                    // Not beyond what the service itself asks for.
                    NoToken::Limited(answer) => {
                        asked_to_wait(answer.headers.map()).unwrap_or(NO_LIFETIME).min(NO_LIFETIME)
                    }
                    NoToken::Fault(_) => Duration::ZERO,
                };
                (Err(why), lifetime)
            }
        };
        Self { result, at, until: at + lifetime }
    }
}

#[cfg(test)]
mod tests {
    use super::super::small_answer::SmallAnswer;
    use super::*;
    use docxy_protocol::fault::{Fault, FaultKind, Hop};
    use docxy_protocol::headers::Headers;
    use http::{HeaderMap, HeaderValue, StatusCode, header};
    use std::sync::atomic::{AtomicUsize, Ordering};

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn many_askers_cost_one_request() {
        let flight = OneFlight::default();
        let fetched = AtomicUsize::new(0);
        let ask = || {
            flight.get(|| async {
                fetched.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                Ok(Fetched { value: 7, lifetime: MINUTE })
            })
        };
        let (a, b, c) = tokio::join!(ask(), ask(), ask());
        assert_eq!((a.unwrap(), b.unwrap(), c.unwrap()), (7, 7, 7));
        assert_eq!(fetched.load(Ordering::SeqCst), 1);
    }

    /// A 429 that wants this many seconds.
    fn limited(retry_after: &'static str) -> NoToken {
        let lines = HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static(retry_after))]);
        let headers = Headers::filter_response(&lines);
        let body = "slow down".into();
        NoToken::Limited(Box::new(SmallAnswer { status: StatusCode::TOO_MANY_REQUESTS, headers, body }))
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_waited_share_whatever_came_and_do_not_repeat_it() {
        let failed = || NoToken::Fault(Fault::new(Hop::Auth, FaultKind::TimedOut, "slow"));
        for (outcome, is_believed) in [
            (Ok(Fetched { value: 1_u8, lifetime: Duration::ZERO }), false),
            (Ok(Fetched { value: 2, lifetime: MINUTE }), true),
            (Err(NoToken::Refused), true),
            (Err(limited("60")), true),
            (Err(limited("0")), false),
            (Err(failed()), false),
        ] {
            let (flight, fetched) = (OneFlight::default(), AtomicUsize::new(0));
            let fetch = || async {
                fetched.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(MINUTE).await;
                outcome.clone()
            };
            let ask = || flight.get(fetch);
            let all = futures_util::future::join_all((0..60).map(|_| ask())).await;
            let expected = outcome.clone().map(|fetched| fetched.value);
            assert!(all.iter().all(|result| *result == expected), "{expected:?}");
            assert_eq!(fetched.load(Ordering::SeqCst), 1, "{expected:?}");
            assert_eq!(ask().await, expected);
            let later = if is_believed { 1 } else { 2 };
            assert_eq!(fetched.load(Ordering::SeqCst), later, "who comes later: {expected:?}");
        }
    }

    #[tokio::test]
    async fn a_value_that_was_used_late_is_renewed_while_it_is_still_good() {
        let flight = OneFlight::default();
        let fetch = |value, lifetime| move || async move { Ok(Fetched { value, lifetime }) };
        flight.get(fetch(1, 10 * MINUTE)).await.unwrap();
        assert_eq!(flight.get(fetch(9, MINUTE)).await.unwrap(), 1);
        assert!(!flight.take_used_late());
        flight.renew(fetch(2, MINUTE)).await;
        assert_eq!(flight.get(fetch(9, MINUTE)).await.unwrap(), 2);
        assert!(flight.take_used_late() && !flight.take_used_late());
        flight.renew(|| async { Err(Fault::new(Hop::Auth, FaultKind::TimedOut, "slow").into()) }).await;
        assert_eq!(flight.get(fetch(9, MINUTE)).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn nothing_outlives_its_lifetime_and_no_lifetime_is_too_long() {
        let flight = OneFlight::default();
        let fetch = |value, lifetime| flight.get(move || async move { Ok(Fetched { value, lifetime }) });
        assert_eq!(fetch(1, Duration::ZERO).await.unwrap(), 1);
        assert_eq!(fetch(2, Duration::MAX).await.unwrap(), 2);
        assert_eq!(fetch(3, MINUTE).await.unwrap(), 2);
        flight.forget(|value| *value == 9).await;
        assert_eq!(fetch(4, MINUTE).await.unwrap(), 2, "another value is meant");
        flight.forget(|value| *value == 2).await;
        assert_eq!(fetch(5, MINUTE).await.unwrap(), 5);
    }
}
