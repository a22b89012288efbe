//! Who is logged in on the admin page, and how often a password may be tried.
//!
//! Time is an argument. Must never let more than five wrong passwords through in a minute, from all addresses together.

use super::password::PasswordHash;
use crate::state::{StateError, random};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use docxy_protocol::secret::Secret;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::sync::MutexGuard;

/// Tries within [`TRIES_WINDOW`].
const TRIES_MAX: usize = 5;

const TRIES_WINDOW: Duration = Duration::from_secs(60);

/// Sessions at a time. A new one ends the oldest.
const SESSIONS_MAX: usize = 16;

/// The token of a session, 32 random bytes in base64.
#[derive(Debug, Clone)]
pub(super) struct SessionToken(Secret);

/// All sessions.
#[derive(Debug, Default)]
pub(super) struct Logins {
    sessions: Mutex<VecDeque<Session>>,
    tries: Mutex<VecDeque<Instant>>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Session {
    token: Secret,
    /// The password's hash at the login. Another password ends the session.
    hash: PasswordHash,
    until: Instant,
}

impl SessionToken {
    pub(super) fn of(text: &str) -> Self {
        Self(Secret::new(text))
    }

    /// The token, for the cookie.
    pub(super) fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl Logins {
    /// How long a session lasts.
    pub(super) const LIFETIME: Duration = Duration::from_secs(12 * 3600);

    /// Waits until no other password is checked.
    pub(super) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Whether a password may be tried now. That counts as a try.
    pub(super) fn may_try(&self, now: Instant) -> bool {
        let mut tries = self.tries.lock();
        tries.retain(|tried| now.saturating_duration_since(*tried) < TRIES_WINDOW);
        let may = tries.len() < TRIES_MAX;
        if may {
            tries.push_back(now);
        }
        may
    }

    /// A new session, after the right password.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub(super) fn open(&self, hash: &PasswordHash, now: Instant) -> Result<SessionToken, StateError> {
        self.tries.lock().clear();
        let token = Secret::new(URL_SAFE_NO_PAD.encode(random::<32>()?));
        let mut sessions = self.sessions.lock();
        if sessions.len() == SESSIONS_MAX {
            sessions.pop_front();
        }
        sessions.push_back(Session { token: token.clone(), hash: hash.clone(), until: now + Self::LIFETIME });
        Ok(SessionToken(token))
    }

    /// Whether this token is of a session that lasts, for the password with this hash.
    pub(super) fn is_open(&self, token: Option<&SessionToken>, hash: &PasswordHash, now: Instant) -> bool {
        let mut sessions = self.sessions.lock();
        sessions.retain(|session| session.until > now && session.hash == *hash);
        // Secrets are compared in constant time.
        token.is_some_and(|token| sessions.iter().any(|session| session.token == token.0))
    }

    pub(super) fn close(&self, token: Option<&SessionToken>) {
        if let Some(token) = token {
            self.sessions.lock().retain(|session| session.token != token.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(text: &str) -> PasswordHash {
        PasswordHash::new(&Secret::new(text)).unwrap()
    }

    #[test]
    fn five_tries_in_a_minute() {
        let (logins, start) = (Logins::default(), Instant::now());
        let tries = |seconds| logins.may_try(start + Duration::from_secs(seconds));
        assert_eq!([0, 1, 2, 3, 4, 5, 59].map(tries), [true, true, true, true, true, false, false]);
        assert_eq!([60, 60, 61].map(tries), [true, false, true]);
    }

    #[test]
    fn a_session_ends_with_its_time_a_logout_or_another_password() {
        let (logins, now) = (Logins::default(), Instant::now());
        let (old, new) = (hash("correct horse"), hash("battery staple"));
        assert!(!logins.is_open(None, &old, now));
        let token = logins.open(&old, now).unwrap();
        assert!(logins.is_open(Some(&token), &old, now));
        assert!(!logins.is_open(Some(&SessionToken::of("x")), &old, now));
        assert!(!logins.is_open(Some(&token), &old, now + Logins::LIFETIME));
        let token = logins.open(&old, now).unwrap();
        assert!(!logins.is_open(Some(&token), &new, now));
        let token = logins.open(&new, now).unwrap();
        logins.close(Some(&token));
        assert!(!logins.is_open(Some(&token), &new, now));
    }
}
