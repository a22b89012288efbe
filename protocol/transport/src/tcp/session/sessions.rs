//! The sessions of a server, which other connections join by token.
//!
//! Must never tell an unknown session from a wrong secret.

use super::super::signal::Token;
use super::shared::Shared;
use docxy_protocol::secret::constant_time_eq;
use parking_lot::Mutex;
use ring::rand::{SecureRandom as _, SystemRandom};
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// All sessions of a listener. Clones share them.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Sessions(Arc<Mutex<HashMap<u64, Weak<Shared>>>>);

/// A session's place among the others, until it is dropped.
#[derive(Debug)]
pub(in super::super) struct Membership {
    sessions: Sessions,
    token: Token,
}

impl Sessions {
    /// A place for a session, with a new token. `None` if the system has no random numbers.
    pub(in super::super) fn membership(&self) -> Option<Membership> {
        let (mut number, mut secret) = ([0; 8], [0; 32]);
        let random = SystemRandom::new();
        random.fill(&mut number).and_then(|()| random.fill(&mut secret)).ok()?;
        let token = Token { number: u64::from_be_bytes(number), secret };
        Some(Membership { sessions: self.clone(), token })
    }

    /// Lets connections join the session.
    pub(in super::super) fn add(&self, session: &Arc<Shared>) {
        if let Some(token) = session.token() {
            self.0.lock().insert(token.number, Arc::downgrade(session));
        }
    }

    /// The session with this token, if the server has accepted its client.
    pub(in super::super) fn find(&self, token: &Token) -> Option<Arc<Shared>> {
        let session = self.0.lock().get(&token.number)?.upgrade()?;
        let is_open = session.is_authenticated() && session.close_reason().is_none();
        let is_right = session.token().is_some_and(|known| constant_time_eq(&known.secret, &token.secret));
        (is_open && is_right).then_some(session)
    }
}

impl Membership {
    pub(super) const fn token(&self) -> &Token {
        &self.token
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.sessions.0.lock().remove(&self.token.number);
    }
}
