//! What registries have made of the logins. A refused password is not tried with each request, since registries lock
//! accounts for that, and what an account may not read is not asked for twice with each request.
//!
//! Pure: takes the time as an argument. Must never keep a password.

use docxy_host::lru::Lru;
use docxy_protocol::authorization::Login;
use docxy_protocol::name::{Registry, Repository};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a login is not used after the first refusal of its password, and for a repository that it may not read.
const PAUSE_MIN: Duration = Duration::from_secs(60);

/// Each further refusal of the same password lengthens its pause by this. Of common servers, those that lock accounts at
/// all do so after three to ten refusals within half an hour: this leaves three tries.
const PAUSE_FACTOR: u32 = 5;

/// How long it is not used at most.
const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// For how long an acceptance tells that a password is valid.
const ACCEPTANCE_LIFETIME: Duration = Duration::from_secs(60);

/// Maximum number of remembered repositories that a login may not read.
const REPOSITORIES_MAX: usize = 1024;

/// What a registry has made of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoginOutcome {
    /// It accepts the password.
    Accepted,
    /// It, or its token service, does not accept the password.
    PasswordRefused,
    /// The account may not read this repository.
    Denied,
}

/// Whether a login may be used now.
#[derive(Debug)]
pub(super) enum Admission {
    /// It may.
    Free,
    /// It may by one request at a time: the one that holds this lock.
    OneByOne(Arc<tokio::sync::Mutex<()>>),
    /// It may not.
    Paused,
}

/// The outcomes of all logins.
#[derive(Debug)]
pub(super) struct Outcomes {
    accounts: HashMap<Registry, AccountOutcome>,
    /// The ends of the pauses of repositories that a login may not read.
    denied: Lru<([u8; 32], Repository), Instant>,
}

#[derive(Debug, Default)]
struct AccountOutcome {
    /// The hash of the account with its password.
    owner: [u8; 32],
    accepted_at: Option<Instant>,
    /// The last pause and its end.
    pause: Option<(Duration, Instant)>,
    trial: Arc<tokio::sync::Mutex<()>>,
}

impl Default for Outcomes {
    fn default() -> Self {
        Self { accounts: HashMap::new(), denied: Lru::new(REPOSITORIES_MAX) }
    }
}

impl Outcomes {
    pub(super) fn admission(
        &mut self,
        login: &Login,
        repository: Option<&Repository>,
        now: Instant,
    ) -> Admission {
        let owner = login.owner().sha256();
        let mut until = |repository: &Repository| self.denied.get(&(owner, repository.clone())).copied();
        let denied_until = repository.and_then(&mut until);
        let account = self.account(login);
        let is_paused = account.pause.is_some_and(|(_, until)| now < until);
        if is_paused || denied_until.is_some_and(|until| now < until) {
            return Admission::Paused;
        }
        match account.accepted_at {
            Some(at) if now.saturating_duration_since(at) < ACCEPTANCE_LIFETIME => Admission::Free,
            _ => Admission::OneByOne(Arc::clone(&account.trial)),
        }
    }

    /// Records an outcome. Returns the pause that it begins, if it is the first refusal of several at once.
    pub(super) fn record(
        &mut self,
        login: &Login,
        repository: Option<&Repository>,
        outcome: LoginOutcome,
        now: Instant,
    ) -> Option<Duration> {
        let account = self.account(login);
        match outcome {
            LoginOutcome::Accepted => (account.accepted_at, account.pause) = (Some(now), None),
            LoginOutcome::Denied => {
                let key = (login.owner().sha256(), repository?.clone());
                self.denied.insert(key, now + PAUSE_MIN, 1);
            }
            LoginOutcome::PasswordRefused => {
                let pause = match account.pause {
                    Some((_, until)) if now < until => return None,
                    Some((last, _)) => (last * PAUSE_FACTOR).min(PAUSE_MAX),
                    None => PAUSE_MIN,
                };
                (account.accepted_at, account.pause) = (None, Some((pause, now + pause)));
                return Some(pause);
            }
        }
        None
    }

    /// How long the password is not tried, if it was refused.
    pub(super) fn pause(&self, login: &Login, now: Instant) -> Option<Duration> {
        let account = self.accounts.get(&login.registry)?;
        let (_, until) = account.pause.filter(|_| account.owner == login.owner().sha256())?;
        until.checked_duration_since(now)
    }

    /// What is known about this account with this password. Of another one, nothing counts.
    fn account(&mut self, login: &Login) -> &mut AccountOutcome {
        let owner = login.owner().sha256();
        let account = self.accounts.entry(login.registry.clone()).or_default();
        if account.owner != owner {
            *account = AccountOutcome { owner, ..AccountOutcome::default() };
        }
        account
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use LoginOutcome::{Accepted, Denied, PasswordRefused};
    use docxy_protocol::secret::Secret;

    fn login(password: &str) -> Login {
        let registry = "ghcr.io".parse().unwrap();
        Login { registry, user: "me".into(), password: Secret::new(password) }
    }

    #[test]
    fn a_refused_password_is_tried_ever_less_often_and_another_at_once() {
        let (mut outcomes, mut now) = (Outcomes::default(), Instant::now());
        let (old, new) = (login("old"), login("new"));
        for seconds in [60, 300, 1500, 3600, 3600] {
            assert!(matches!(outcomes.admission(&old, None, now), Admission::OneByOne(_)));
            let pause = Duration::from_secs(seconds);
            assert_eq!(outcomes.record(&old, None, PasswordRefused, now), Some(pause));
            assert_eq!(outcomes.record(&old, None, PasswordRefused, now), None, "it was under way");
            assert_eq!(outcomes.pause(&old, now), Some(pause));
            assert!(matches!(outcomes.admission(&old, None, now + pause / 2), Admission::Paused));
            now += pause;
        }
        outcomes.record(&old, None, Accepted, now);
        assert!(matches!(outcomes.admission(&old, None, now), Admission::Free));
        assert!(matches!(outcomes.admission(&old, None, now + ACCEPTANCE_LIFETIME), Admission::OneByOne(_)));
        assert_eq!(outcomes.record(&old, None, PasswordRefused, now), Some(PAUSE_MIN));
        assert!(matches!(outcomes.admission(&new, None, now), Admission::OneByOne(_)));
    }

    #[test]
    fn a_repository_that_the_account_may_not_read_is_asked_for_again_after_a_minute() {
        let (mut outcomes, now) = (Outcomes::default(), Instant::now());
        let (login, repository) = (login("right"), "a/b".parse().unwrap());
        outcomes.record(&login, None, Accepted, now);
        assert_eq!(outcomes.record(&login, Some(&repository), Denied, now), None);
        assert!(matches!(outcomes.admission(&login, Some(&repository), now), Admission::Paused));
        assert!(matches!(outcomes.admission(&login, Some(&"a/c".parse().unwrap()), now), Admission::Free));
        let later = now + PAUSE_MIN;
        assert!(!matches!(outcomes.admission(&login, Some(&repository), later), Admission::Paused));
        assert_eq!(outcomes.pause(&login, now), None);
    }
}
