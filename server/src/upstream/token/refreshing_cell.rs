//! A cached value that is fetched once for all callers that need it at the same time.
//!
//! All callers that wait for a fetch share its result, an error included. Must never let each waiting
//! caller repeat a failed fetch.

use super::service::TokenUnavailable;
use docxy_protocol::retry_after::retry_after;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The longest time that a value is cached, whatever the remote says.
const VALUE_LIFETIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// A value that is used with less than this left is renewed early: three times the renewal interval, and
/// a slow response.
const RENEW_BEFORE_EXPIRY: Duration = Duration::from_secs(75);

/// How long a refusal or a rate limit is cached, for the next callers and for the second request of a
/// refused engine. A fault is not cached, because it may be over at once.
const REFUSAL_LIFETIME_MAX: Duration = Duration::from_secs(5);

/// A cell for one value.
#[derive(Debug)]
pub(crate) struct RefreshingCell<T> {
    last: tokio::sync::Mutex<Option<FetchOutcome<T>>>,
    /// Whether the value was used shortly before its expiry.
    used_near_expiry: AtomicBool,
}

/// The result of the last fetch.
#[derive(Debug)]
struct FetchOutcome<T> {
    result: Result<T, TokenUnavailable>,
    /// When the fetch ended. Callers that came before share its result.
    at: Instant,
    /// Until when later callers get the result too.
    until: Instant,
}

/// A fetched value, and how long it may be cached (zero: not at all).
#[derive(Debug, Clone)]
pub(crate) struct Expiring<T> {
    pub(crate) value: T,
    pub(crate) lifetime: Duration,
}

impl<T> Default for RefreshingCell<T> {
    fn default() -> Self {
        Self { last: tokio::sync::Mutex::new(None), used_near_expiry: AtomicBool::new(false) }
    }
}

impl<T: Clone> RefreshingCell<T> {
    /// The cached value, or the result of `fetch`. While one caller fetches, the others wait.
    ///
    /// # Errors
    /// The error of `fetch`, or of another caller's `fetch` that this caller waited for.
    pub(crate) async fn get<F>(&self, fetch: impl FnOnce() -> F) -> Result<T, TokenUnavailable>
    where
        F: Future<Output = Result<Expiring<T>, TokenUnavailable>>,
    {
        let called = Instant::now();
        let mut last = self.last.lock().await;
        if let Some(FetchOutcome { result, at, until }) = &*last
            && let now = Instant::now()
            && (now < *until || called <= *at)
        {
            if result.is_ok() && now < *until && now + RENEW_BEFORE_EXPIRY > *until {
                self.used_near_expiry.store(true, Ordering::Relaxed);
            }
            return result.clone();
        }
        let outcome = FetchOutcome::new(fetch().await);
        let result = outcome.result.clone();
        *last = Some(outcome);
        result
    }

    /// The cached value, without a fetch. Waits for one that is running.
    pub(crate) async fn peek(&self) -> Option<T> {
        let last = self.last.lock().await;
        let outcome = last.as_ref().filter(|outcome| Instant::now() < outcome.until)?;
        if Instant::now() + RENEW_BEFORE_EXPIRY > outcome.until {
            self.used_near_expiry.store(true, Ordering::Relaxed);
        }
        outcome.result.as_ref().ok().cloned()
    }

    /// Whether the value was used near its expiry since the last call. If so, it should be renewed, because
    /// the next caller would have to wait for a fetch.
    pub(crate) fn take_used_near_expiry(&self) -> bool {
        self.used_near_expiry.swap(false, Ordering::Relaxed)
    }

    /// Replaces the value by the result of `fetch`. Until then, and after an error, the old value is used.
    pub(crate) async fn renew<F>(&self, fetch: impl FnOnce() -> F)
    where
        F: Future<Output = Result<Expiring<T>, TokenUnavailable>>,
    {
        let outcome = FetchOutcome::new(fetch().await);
        if outcome.result.is_ok() {
            *self.last.lock().await = Some(outcome);
        }
    }

    /// Removes the value if it matches; a newer value stays.
    pub(crate) async fn remove_if(&self, matches: impl FnOnce(&T) -> bool) {
        let mut last = self.last.lock().await;
        if last.as_ref().is_some_and(|outcome| outcome.result.as_ref().is_ok_and(matches)) {
            *last = None;
        }
    }
}

impl<T> FetchOutcome<T> {
    fn new(fetched: Result<Expiring<T>, TokenUnavailable>) -> Self {
        let at = Instant::now();
        let (result, lifetime) = match fetched {
            Ok(Expiring { value, lifetime }) => (Ok(value), lifetime.min(VALUE_LIFETIME_MAX)),
            Err(unavailable) => {
                let lifetime = match &unavailable {
                    TokenUnavailable::Refused(..) => REFUSAL_LIFETIME_MAX,
                    // At most the delay that the service requests.
                    TokenUnavailable::Limited(response) => retry_after(&response.headers)
                        .unwrap_or(REFUSAL_LIFETIME_MAX)
                        .min(REFUSAL_LIFETIME_MAX),
                    TokenUnavailable::Unusable(_) | TokenUnavailable::Failed(_) => Duration::ZERO,
                };
                (Err(unavailable), lifetime)
            }
        };
        Self { result, at, until: at + lifetime }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::error::UpstreamError;
    use crate::upstream::http::small_response::SmallResponse;
    use docxy_protocol::fault::{FaultKind, Hop};
    use docxy_protocol::headers::Headers;
    use http::{HeaderMap, HeaderValue, StatusCode, header};
    use std::sync::atomic::{AtomicUsize, Ordering};

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn concurrent_callers_share_one_fetch() {
        let cell = RefreshingCell::default();
        let fetched = AtomicUsize::new(0);
        let get = || {
            cell.get(|| async {
                fetched.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                Ok(Expiring { value: 7, lifetime: MINUTE })
            })
        };
        let (a, b, c) = tokio::join!(get(), get(), get());
        assert_eq!((a.unwrap(), b.unwrap(), c.unwrap()), (7, 7, 7));
        assert_eq!(fetched.load(Ordering::SeqCst), 1);
    }

    /// A 429 with this `Retry-After`, in seconds.
    fn limited(retry_after: &'static str) -> TokenUnavailable {
        let lines = HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static(retry_after))]);
        let headers = Headers::filter_response(&lines);
        let body = "slow down".into();
        TokenUnavailable::Limited(Box::new(SmallResponse {
            status: StatusCode::TOO_MANY_REQUESTS,
            headers,
            body,
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_callers_share_the_result_of_one_fetch() {
        let failed =
            || TokenUnavailable::Failed(UpstreamError::new(Hop::TokenService, FaultKind::TimedOut, "slow"));
        for (outcome, is_cached) in [
            (Ok(Expiring { value: 1_u8, lifetime: Duration::ZERO }), false),
            (Ok(Expiring { value: 2, lifetime: MINUTE }), true),
            (Err(TokenUnavailable::NONE), true),
            (Err(limited("60")), true),
            (Err(limited("0")), false),
            (Err(failed()), false),
        ] {
            let (cell, fetched) = (RefreshingCell::default(), AtomicUsize::new(0));
            let fetch = || async {
                fetched.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(MINUTE).await;
                outcome.clone()
            };
            let get = || cell.get(fetch);
            let all = futures_util::future::join_all((0..60).map(|_| get())).await;
            let expected = outcome.clone().map(|fetched| fetched.value);
            assert!(all.iter().all(|result| *result == expected), "{expected:?}");
            assert_eq!(fetched.load(Ordering::SeqCst), 1, "{expected:?}");
            assert_eq!(get().await, expected);
            let later = if is_cached { 1 } else { 2 };
            assert_eq!(fetched.load(Ordering::SeqCst), later, "a later caller: {expected:?}");
        }
    }

    #[tokio::test]
    async fn a_value_used_near_its_expiry_is_renewed_early() {
        let cell = RefreshingCell::default();
        let fetch = |value, lifetime| move || async move { Ok(Expiring { value, lifetime }) };
        cell.get(fetch(1, 10 * MINUTE)).await.unwrap();
        assert_eq!(cell.get(fetch(9, MINUTE)).await.unwrap(), 1);
        assert!(!cell.take_used_near_expiry());
        cell.renew(fetch(2, MINUTE)).await;
        assert_eq!(cell.get(fetch(9, MINUTE)).await.unwrap(), 2);
        assert!(cell.take_used_near_expiry() && !cell.take_used_near_expiry());
        cell.renew(|| async {
            Err(UpstreamError::new(Hop::TokenService, FaultKind::TimedOut, "slow").into())
        })
        .await;
        assert_eq!(cell.get(fetch(9, MINUTE)).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn no_value_outlives_its_lifetime_or_the_maximum() {
        let cell = RefreshingCell::default();
        let fetch = |value, lifetime| cell.get(move || async move { Ok(Expiring { value, lifetime }) });
        assert_eq!(fetch(1, Duration::ZERO).await.unwrap(), 1);
        assert_eq!(fetch(2, Duration::MAX).await.unwrap(), 2);
        assert_eq!(fetch(3, MINUTE).await.unwrap(), 2);
        cell.remove_if(|value| *value == 9).await;
        assert_eq!(fetch(4, MINUTE).await.unwrap(), 2, "another value was to be removed");
        cell.remove_if(|value| *value == 2).await;
        assert_eq!(fetch(5, MINUTE).await.unwrap(), 5);
    }
}
