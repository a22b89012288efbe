//! Which credential obtained a token, so that a token that expires in mid-pull can be renewed.
//!
//! In memory only, few and not for long, and found by a token's hash: the tokens that engines hold
//! are not kept. Nothing here may be printed.

use docxy_protocol::authorization::Authorization;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::limits::TOKEN_MAX;
use docxy_protocol::name::Registry;
use docxy_protocol::request::{Operation, Request};
use docxy_protocol::secret::Secret;
use docxy_protocol::token::TokenRequest;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Credentials kept at most: a user has few accounts, and asks for a token for each repository.
const MOST: usize = 256;

/// Most bytes of a request for a token that is remembered. One for a hundred repositories has a third of it.
const MAX_LOGIN: usize = 16 * 1024;

/// How long one is kept. No transfer takes longer.
const LONGEST: Duration = Duration::from_secs(12 * 3600);

/// How somebody got a token.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) registry: Registry,
    pub(crate) token: TokenRequest,
    pub(crate) authorization: Authorization,
}

impl Login {
    /// The request for a token, as it was and will be.
    pub(crate) fn request(&self) -> Request {
        Request {
            registry: self.registry.clone(),
            operation: Operation::Token(self.token.clone()),
            authorization: self.authorization.clone(),
            headers: docxy_protocol::headers::Headers::default(),
            prefetch: None,
        }
    }

    /// Bytes that it takes, roughly.
    fn size(&self) -> usize {
        let credential = self.authorization.header().map_or(0, |value| value.expose().len());
        let form = self.token.form(None).map_or(0, |form| form.expose().len());
        credential + form.max(self.token.query(None).len())
    }
}

/// What is remembered. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Credentials(Arc<Mutex<HashMap<[u8; 32], Entry>>>);

struct Entry {
    login: Login,
    /// The token that took the place of the engine's.
    newest: Option<Secret>,
    since: Instant,
}

/// What a token service says (distribution's "Token Authentication"), as far as it matters here.
#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<Secret>,
    access_token: Option<Secret>,
}

impl TokenAnswer {
    fn tokens(answer: &[u8]) -> impl Iterator<Item = Secret> {
        let answer = serde_json::from_slice::<Self>(answer).ok();
        answer.into_iter().flat_map(|answer| [answer.token, answer.access_token]).flatten()
    }
}

impl Credentials {
    /// Remembers how the token in a token service's answer was got.
    ///
    /// # Errors
    /// Where that is too long to be used.
    pub(crate) fn learn(&self, answer: &[u8], login: &Login, now: Instant) -> Result<(), Fault> {
        for token in TokenAnswer::tokens(answer) {
            let length = token.expose().len();
            if length > TOKEN_MAX {
                let detail = format!("sends a token of {length} bytes, and {TOKEN_MAX} are the most");
                return Err(Fault::new(Hop::Auth, FaultKind::MalformedResponse, detail));
            }
            if login.size() > MAX_LOGIN {
                continue;
            }
            let mut known = self.known();
            known.retain(|_, entry| now.saturating_duration_since(entry.since) < LONGEST);
            let oldest = known.iter().min_by_key(|(_, entry)| entry.since).map(|(hash, _)| *hash);
            if let Some(oldest) = oldest.filter(|_| known.len() >= MOST) {
                known.remove(&oldest);
            }
            known.insert(hash(&token), Entry { login: login.clone(), newest: None, since: now });
        }
        Ok(())
    }

    /// How the engine's token was got, if it was got here and not too long ago.
    pub(crate) fn login(&self, token: &Secret, now: Instant) -> Option<Login> {
        let known = self.known();
        let entry = known.get(&hash(token))?;
        (now.saturating_duration_since(entry.since) < LONGEST).then(|| entry.login.clone())
    }

    /// Puts a new token, from a token service's answer, in the place of the engine's. False where
    /// there is none in it.
    pub(crate) fn renew(&self, token: &Secret, answer: &[u8]) -> bool {
        let newest = TokenAnswer::tokens(answer).next().filter(|token| token.expose().len() <= TOKEN_MAX);
        let renewed = newest.is_some();
        if let Some(entry) = self.known().get_mut(&hash(token)) {
            entry.newest = newest;
        }
        renewed
    }

    /// What to show instead of the engine's authorization: the same, unless it was renewed.
    pub(crate) fn newest(&self, authorization: &Authorization) -> Authorization {
        let Authorization::Bearer(token) = authorization else {
            return authorization.clone();
        };
        let newest = self.known().get(&hash(token)).and_then(|entry| entry.newest.clone());
        newest.map_or_else(|| authorization.clone(), Authorization::Bearer)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<[u8; 32], Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(token: &Secret) -> [u8; 32] {
    Sha256::digest(token.expose()).into()
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Credentials").field(&self.known().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_protocol::authorization::basic;

    fn login(user: &str) -> Login {
        let (_, token) = TokenRequest::from_query("scope=repository:a/b:pull").unwrap();
        Login { registry: Registry::docker_hub(), token, authorization: basic(user, "hunter2") }
    }

    fn bearer(token: &str) -> Authorization {
        Authorization::Bearer(Secret::new(token))
    }

    #[test]
    fn a_token_leads_to_the_credential_that_got_it_and_to_its_successor() {
        let credentials = Credentials::default();
        let now = Instant::now();
        credentials.learn(br#"{"token":"t1","expires_in":300}"#, &login("me"), now).unwrap();
        credentials.learn(br#"{"access_token":"t2"}"#, &login("you"), now).unwrap();
        credentials.learn(b"no JSON", &login("nobody"), now).unwrap();
        let user = |token| credentials.login(&Secret::new(token), now).map(|login| login.authorization);
        assert_eq!(user("t1"), Some(basic("me", "hunter2")));
        assert_eq!(user("t2"), Some(basic("you", "hunter2")));
        assert_eq!(user("t3"), None);
        assert_eq!(credentials.newest(&bearer("t1")), bearer("t1"));
        assert!(credentials.renew(&Secret::new("t1"), br#"{"token":"t4"}"#));
        assert!(!credentials.renew(&Secret::new("t2"), b"{}"));
        assert_eq!(credentials.newest(&bearer("t1")), bearer("t4"));
        assert_eq!(credentials.newest(&bearer("t2")), bearer("t2"));
        assert_eq!(credentials.newest(&Authorization::Public), Authorization::Public);
    }

    #[test]
    fn they_are_few_and_not_kept_for_long() {
        let credentials = Credentials::default();
        let now = Instant::now();
        for n in 0..=MOST {
            let answer = format!(r#"{{"token":"t{n}"}}"#);
            let at = now + Duration::from_millis(n as u64);
            credentials.learn(answer.as_bytes(), &login("me"), at).unwrap();
        }
        let known = |token, now| credentials.login(&Secret::new(token), now).is_some();
        assert!(!known("t0", now) && known("t1", now) && known("t256", now));
        assert!(!known("t256", now + LONGEST * 2));
    }

    #[test]
    fn a_token_that_is_too_long_is_refused_and_takes_no_others_place() {
        let credentials = Credentials::default();
        let now = Instant::now();
        credentials.learn(br#"{"token":"t1"}"#, &login("me"), now).unwrap();
        for (length, good) in [(TOKEN_MAX, true), (TOKEN_MAX + 1, false)] {
            for name in ["token", "access_token"] {
                let answer = format!(r#"{{"{name}":"{}"}}"#, "t".repeat(length));
                assert_eq!(credentials.learn(answer.as_bytes(), &login("me"), now).is_ok(), good);
                assert_eq!(credentials.renew(&Secret::new("t1"), answer.as_bytes()), good);
            }
        }
    }

    #[test]
    fn nothing_of_it_is_printed() {
        let credentials = Credentials::default();
        credentials.learn(br#"{"token":"hunter1"}"#, &login("me"), Instant::now()).unwrap();
        assert_eq!(format!("{credentials:?}"), "Credentials(1)");
    }
}
