//! A value that many ask for at once and that is fetched once for all of them.
//!
//! A failure is shared as well: those who waited for an attempt that failed don't repeat it one
//! after the other, each as slow as the last.

use super::token_service::NoToken;
use docxy_protocol::fault::Fault;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// No value is kept longer, whatever a remote says.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Less life than this is little: three looks of whoever renews values ahead, and a slow answer.
const LATE: Duration = Duration::from_secs(75);

/// The place of one value.
#[derive(Debug)]
pub(super) struct OneFlight<T> {
    slot: tokio::sync::Mutex<Slot<T>>,
    /// Whether the value was used when little of its life was left.
    used_late: AtomicBool,
}

#[derive(Debug)]
struct Slot<T> {
    held: Option<(T, Instant)>,
    failed: Option<(Fault, Instant)>,
}

/// What a fetch brings: a value, and for how long it may be kept (zero: not at all).
#[derive(Debug)]
pub(super) struct Fetched<T> {
    pub(super) value: T,
    pub(super) lifetime: Duration,
}

impl<T> Default for OneFlight<T> {
    fn default() -> Self {
        Self {
            slot: tokio::sync::Mutex::new(Slot { held: None, failed: None }),
            used_late: AtomicBool::new(false),
        }
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
        let mut slot = self.slot.lock().await;
        if let Some((value, until)) = &slot.held
            && Instant::now() < *until
        {
            if Instant::now() + LATE > *until {
                self.used_late.store(true, Ordering::Relaxed);
            }
            return Ok(value.clone());
        }
        if let Some((fault, when)) = &slot.failed
            && *when >= asked
        {
            return Err(fault.clone().into());
        }
        match fetch().await {
            Ok(Fetched { value, lifetime }) => {
                slot.held = Some((value.clone(), Instant::now() + lifetime.min(LONGEST)));
                Ok(value)
            }
            Err(NoToken::Fault(fault)) => {
                slot.failed = Some((fault.clone(), Instant::now()));
                Err(fault.into())
            }
            Err(limited @ NoToken::Limited(_)) => Err(limited),
        }
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
        if let Ok(Fetched { value, lifetime }) = fetch().await {
            self.slot.lock().await.held = Some((value, Instant::now() + lifetime.min(LONGEST)));
        }
    }

    /// Forgets the value if it is the one meant; a newer one in its place stays.
    pub(super) async fn forget(&self, is_meant: impl FnOnce(&T) -> bool) {
        let mut slot = self.slot.lock().await;
        if slot.held.as_ref().is_some_and(|(value, _)| is_meant(value)) {
            slot.held = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_protocol::fault::{FaultKind, Hop};
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

    #[tokio::test]
    async fn those_who_waited_for_a_failure_do_not_repeat_it() {
        let flight = OneFlight::<u8>::default();
        let fetched = AtomicUsize::new(0);
        let ask = || {
            flight.get(|| async {
                fetched.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                Err(Fault::new(Hop::Auth, FaultKind::TimedOut, "slow").into())
            })
        };
        let (a, b) = tokio::join!(ask(), ask());
        assert!(a.is_err() && b.is_err());
        assert_eq!(fetched.load(Ordering::SeqCst), 1);
        assert!(ask().await.is_err());
        assert_eq!(fetched.load(Ordering::SeqCst), 2, "who comes later tries again");
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
