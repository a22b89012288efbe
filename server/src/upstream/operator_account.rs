//! The operator's own account at a registry, and whether it can be used at the moment.
//!
//! A password that is wrong must never be tried by everybody who waits for it: registries lock accounts
//! for that.

use super::token_service::{NoToken, Token};
use crate::settings::Account;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// How long the account is left alone after it was refused: a password that is wrong is wrong for a
/// while.
const REFUSAL_LIFETIME: Duration = Duration::from_secs(60);

/// Requests that show it at a time once it has been accepted: as many as try a password in vain that
/// has just been changed. Before that there is one.
const AT_A_TIME: u32 = 4;

/// The account, if there is one.
#[derive(Debug)]
pub(super) struct OperatorAccount {
    account: Option<Account>,
    /// Whether the token service has accepted it, the last time that it was shown.
    accepted: AtomicBool,
    refused: Mutex<Option<Instant>>,
    turns: Semaphore,
}

impl OperatorAccount {
    pub(super) fn new(account: Option<Account>) -> Self {
        let turns = Semaphore::new(AT_A_TIME as usize);
        Self { account, accepted: AtomicBool::new(false), refused: Mutex::new(None), turns }
    }

    /// The account, for people.
    pub(super) const fn known(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// Whether there is one, and it was not refused a moment ago.
    pub(super) fn may_pay(&self) -> bool {
        let refused = *self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        self.account.is_some() && refused.is_none_or(|since| since.elapsed() >= REFUSAL_LIFETIME)
    }

    /// Leaves it alone for a while, and says so once.
    pub(super) fn rest(&self, why: &NoToken) {
        self.accepted.store(false, Ordering::Relaxed);
        if !self.may_pay() {
            return;
        }
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let why = match why {
            NoToken::Refused => "refused; check user and password".to_owned(),
            NoToken::Limited(_) => "the token service answers 429".to_owned(),
            NoToken::Fault(fault) => fault.to_string(),
        };
        tracing::warn!(%why, "the operator's account cannot pay; asking anonymously");
    }

    /// Asks for a token with it, in turn. `None` without asking where there is none, or it was refused
    /// by the time that its turn came.
    ///
    /// # Errors
    /// What `ask` fails with.
    pub(super) async fn ask<'a, F>(
        &'a self,
        ask: impl FnOnce(&'a Account) -> F,
    ) -> Result<Option<Token>, NoToken>
    where
        F: Future<Output = Result<Option<Token>, NoToken>>,
    {
        let Some(account) = &self.account else { return Ok(None) };
        let turns = if self.accepted.load(Ordering::Relaxed) { 1 } else { AT_A_TIME };
        // Never closed, so this only waits.
        let _turn = self.turns.acquire_many(turns).await;
        if !self.may_pay() {
            return Ok(None);
        }
        let token = ask(account).await;
        match &token {
            Ok(Some(_)) => self.accepted.store(true, Ordering::Relaxed),
            Ok(None) => self.rest(&NoToken::Refused),
            // A service that is in trouble is no verdict; but who waits for the first one goes on without.
            Err(why) if !self.accepted.load(Ordering::Relaxed) => self.rest(why),
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

    /// Sixty who need it at once; how often it was shown, and how many were granted a token.
    async fn sixty(account: &OperatorAccount, granted: bool) -> (usize, usize) {
        let shown = AtomicUsize::new(0);
        let ask = |_: &Account| async {
            shown.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Ok(granted.then(token))
        };
        let all = futures_util::future::join_all((0..60).map(|_| account.ask(ask))).await;
        (shown.into_inner(), all.into_iter().filter(|token| matches!(token, Ok(Some(_)))).count())
    }

    #[tokio::test]
    async fn a_wrong_password_is_tried_once_and_then_left_alone() {
        let account = account();
        assert_eq!(sixty(&account, false).await, (1, 0));
        assert!(!account.may_pay());
        assert_eq!(sixty(&account, true).await, (0, 0));
    }

    #[tokio::test]
    async fn a_right_one_is_for_all_and_one_that_was_changed_is_tried_by_few() {
        let account = account();
        assert_eq!(sixty(&account, true).await, (60, 60));
        let (shown, granted) = sixty(&account, false).await;
        assert!(shown <= AT_A_TIME as usize && granted == 0, "{shown}");
        assert_eq!(sixty(&OperatorAccount::new(None), true).await, (0, 0));
    }
}
