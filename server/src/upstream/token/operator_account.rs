//! The operator's own account at a registry, and whether it can be used now.
//!
//! Must never let each waiting request try a wrong password: registries lock accounts for that.

use super::service::{Token, TokenUnavailable};
use crate::settings::Account;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// How long the account is not used after a refusal: a wrong password stays wrong for a while.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_secs(60);

/// Maximum number of concurrent token requests with the account after it was accepted. If its password has just
/// been changed, so many requests try the old one. Before it is accepted, there is one request.
const CONCURRENT_REQUESTS_MAX: u32 = 4;

/// The account, if there is one.
#[derive(Debug)]
pub(crate) struct OperatorAccount {
    account: Option<Account>,
    /// Whether the token service accepted it in the last request.
    accepted: AtomicBool,
    refused_at: Mutex<Option<Instant>>,
    requests: Semaphore,
}

impl OperatorAccount {
    pub(crate) fn new(account: Option<Account>) -> Self {
        let requests = Semaphore::new(CONCURRENT_REQUESTS_MAX as usize);
        Self { account, accepted: AtomicBool::new(false), refused_at: Mutex::new(None), requests }
    }

    /// The configured account.
    pub(crate) const fn configured(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// Whether there is an account that was not refused recently.
    pub(crate) fn is_usable(&self) -> bool {
        let refused_at = *self.refused_at.lock();
        self.account.is_some() && refused_at.is_none_or(|since| since.elapsed() >= PAUSE_AFTER_REFUSAL)
    }

    /// Stops using the account for a while, and logs that once.
    pub(crate) fn pause(&self, reason: &TokenUnavailable) {
        self.accepted.store(false, Ordering::Relaxed);
        if !self.is_usable() {
            return;
        }
        *self.refused_at.lock() = Some(Instant::now());
        let reason = match reason {
            TokenUnavailable::Refused(..) => "refused; check user and password".to_owned(),
            TokenUnavailable::Limited(_) => "the token service answers 429".to_owned(),
            TokenUnavailable::Unusable(fault) | TokenUnavailable::Failed(fault) => fault.to_string(),
        };
        tracing::warn!(%reason, "the operator's account cannot be used; requests are anonymous");
    }

    /// Requests a token with the account, in turn.
    ///
    /// # Errors
    /// The error of `request`. A refusal, without a request, if there is no account, or it was refused while this
    /// caller waited.
    pub(crate) async fn request_token<'a, F>(
        &'a self,
        request: impl FnOnce(&'a Account) -> F,
    ) -> Result<Token, TokenUnavailable>
    where
        F: Future<Output = Result<Token, TokenUnavailable>>,
    {
        let Some(account) = &self.account else { return Err(TokenUnavailable::NONE) };
        let permits = if self.accepted.load(Ordering::Relaxed) { 1 } else { CONCURRENT_REQUESTS_MAX };
        // Cannot fail: the semaphore is never closed.
        let _permit = self.requests.acquire_many(permits).await;
        if !self.is_usable() {
            return Err(TokenUnavailable::NONE);
        }
        let token = request(account).await;
        match &token {
            Ok(_) => self.accepted.store(true, Ordering::Relaxed),
            Err(refused @ TokenUnavailable::Refused(..)) => self.pause(refused),
            // A fault says nothing about the password. But before the first success the account is paused,
            // so that the waiting requests continue anonymously.
            Err(unavailable) if !self.accepted.load(Ordering::Relaxed) => self.pause(unavailable),
            Err(_) => {}
        }
        token
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_protocol::secret::Secret;
    use std::sync::atomic::AtomicUsize;

    fn account() -> OperatorAccount {
        OperatorAccount::new(Some(Account { user: "operator".into(), password: Secret::new("p") }))
    }

    fn token() -> Token {
        Token { secret: Secret::new("t"), lifetime: Duration::from_secs(300) }
    }

    /// 60 concurrent callers. Returns the number of requests, and of granted tokens.
    async fn sixty(account: &OperatorAccount, granted: bool) -> (usize, usize) {
        let requests = AtomicUsize::new(0);
        let request = |_: &Account| async {
            requests.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            granted.then(token).ok_or(TokenUnavailable::NONE)
        };
        let all = futures_util::future::join_all((0..60).map(|_| account.request_token(request))).await;
        (requests.into_inner(), all.into_iter().filter(Result::is_ok).count())
    }

    #[tokio::test]
    async fn a_wrong_password_is_tried_once_and_then_paused() {
        let account = account();
        assert_eq!(sixty(&account, false).await, (1, 0));
        assert!(!account.is_usable());
        assert_eq!(sixty(&account, true).await, (0, 0));
    }

    #[tokio::test]
    async fn a_right_password_serves_all_and_a_changed_one_is_tried_by_few() {
        let account = account();
        assert_eq!(sixty(&account, true).await, (60, 60));
        let (requests, granted) = sixty(&account, false).await;
        assert!(requests <= CONCURRENT_REQUESTS_MAX as usize && granted == 0, "{requests}");
        assert_eq!(sixty(&OperatorAccount::new(None), true).await, (0, 0));
    }
}
