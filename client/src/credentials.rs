//! Remembers the tokens that engines obtained through this client: which registry issued each one, and
//! which credential obtained it, so that a token that expires during a pull can be renewed.
//!
//! The memory is bounded, is never written to disk, and finds a token by its hash. It must never return a
//! token or a credential for another registry than the one that issued it, and nothing in it may be
//! printed.

use docxy_protocol::authorization::Authorization;
use docxy_protocol::name::Registry;
use docxy_protocol::request::{Operation, Request};
use docxy_protocol::secret::Secret;
use docxy_protocol::token::TokenRequest;
use docxy_protocol::token_origins::TokenOrigins;
use docxy_protocol::token_response::TokenResponse;
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
pub(crate) struct Credentials(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    origins: TokenOrigins,
    logins: HashMap<[u8; 32], Entry>,
}

struct Entry {
    login: Login,
    /// The token that took the place of the engine's.
    newest: Option<Secret>,
    since: Instant,
}

impl Credentials {
    /// Remembers how the tokens in a token service's answer were obtained. Must be called before the
    /// engine receives the answer.
    pub(crate) fn learn(&self, answer: &TokenResponse, login: &Login, now: Instant) {
        let mut known = self.known();
        known.origins.remember(&login.registry, answer);
        if login.size() > MAX_LOGIN {
            return;
        }
        for token in answer.access_tokens() {
            let logins = &mut known.logins;
            logins.retain(|_, entry| now.saturating_duration_since(entry.since) < LONGEST);
            let oldest = logins.iter().min_by_key(|(_, entry)| entry.since).map(|(hash, _)| *hash);
            if let Some(oldest) = oldest.filter(|_| logins.len() >= MOST) {
                logins.remove(&oldest);
            }
            logins.insert(hash(token), Entry { login: login.clone(), newest: None, since: now });
        }
    }

    /// Whether the request may be sent with the token that it carries; `true` if it carries none.
    pub(crate) fn admit(&self, request: &Request) -> bool {
        self.known().origins.admit(request)
    }

    /// The login that obtained the engine's token for this registry, if it happened here and not too
    /// long ago.
    pub(crate) fn login(&self, registry: &Registry, token: &Secret, now: Instant) -> Option<Login> {
        let known = self.known();
        let entry = known.logins.get(&hash(token)).filter(|entry| entry.login.registry == *registry)?;
        (now.saturating_duration_since(entry.since) < LONGEST).then(|| entry.login.clone())
    }

    /// Replaces the engine's token by the one in `answer`, which the same token service gave.
    pub(crate) fn renew(&self, token: &Secret, answer: TokenResponse) {
        let mut known = self.known();
        let Known { origins, logins } = &mut *known;
        if let Some(entry) = logins.get_mut(&hash(token)) {
            origins.remember(&entry.login.registry, &answer);
            entry.newest = Some(answer.into_token().0);
        }
    }

    /// The authorization to send to this registry: the engine's own, or the token that replaced it.
    pub(crate) fn newest(&self, registry: &Registry, authorization: &Authorization) -> Authorization {
        let Authorization::Bearer(token) = authorization else {
            return authorization.clone();
        };
        let known = self.known();
        let entry = known.logins.get(&hash(token)).filter(|entry| entry.login.registry == *registry);
        let newest = entry.and_then(|entry| entry.newest.clone());
        newest.map_or_else(|| authorization.clone(), Authorization::Bearer)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(token: &Secret) -> [u8; 32] {
    Sha256::digest(token.expose()).into()
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Credentials").field(&self.known().logins.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use docxy_protocol::authorization::basic;
    use docxy_protocol::token::Parsed;

    fn hub() -> Registry {
        Registry::docker_hub()
    }

    fn ghcr() -> Registry {
        "ghcr.io".parse().unwrap()
    }

    fn login(user: &str) -> Login {
        let parsed = TokenRequest::from_query("scope=repository:a/b:pull", &hub()).unwrap();
        let Parsed::Request(token) = parsed else { panic!("{parsed:?}") };
        Login { registry: hub(), token, authorization: basic(user, "hunter2") }
    }

    fn answer(text: &str) -> TokenResponse {
        TokenResponse::parse(text.as_bytes()).unwrap()
    }

    fn bearer(token: &str) -> Authorization {
        Authorization::Bearer(Secret::new(token))
    }

    fn request(registry: Registry, token: &str) -> Request {
        let authorization = bearer(token);
        let headers = docxy_protocol::headers::Headers::default();
        Request { registry, operation: Operation::Ping, authorization, headers, prefetch: None }
    }

    #[test]
    fn a_token_leads_to_the_credential_that_got_it_and_to_its_successor() {
        let credentials = Credentials::default();
        let now = Instant::now();
        credentials.learn(&answer(r#"{"token":"t1","expires_in":300}"#), &login("me"), now);
        credentials.learn(&answer(r#"{"access_token":"t2"}"#), &login("you"), now);
        let user =
            |token| credentials.login(&hub(), &Secret::new(token), now).map(|login| login.authorization);
        assert_eq!(user("t1"), Some(basic("me", "hunter2")));
        assert_eq!(user("t2"), Some(basic("you", "hunter2")));
        assert_eq!(user("t3"), None);
        let newest = |token| credentials.newest(&hub(), &bearer(token));
        assert_eq!(newest("t1"), bearer("t1"));
        credentials.renew(&Secret::new("t1"), answer(r#"{"token":"t4"}"#));
        assert_eq!((newest("t1"), newest("t2")), (bearer("t4"), bearer("t2")));
        assert_eq!(credentials.newest(&hub(), &Authorization::Public), Authorization::Public);
    }

    #[test]
    fn another_registry_gets_neither_the_token_nor_its_replacement_nor_its_login() {
        let credentials = Credentials::default();
        let now = Instant::now();
        credentials.learn(&answer(r#"{"token":"t1","refresh_token":"r1"}"#), &login("me"), now);
        credentials.renew(&Secret::new("t1"), answer(r#"{"access_token":"t2"}"#));
        for token in ["t1", "t2", "r1"] {
            assert!(credentials.admit(&request(hub(), token)), "{token}");
            assert!(!credentials.admit(&request(ghcr(), token)), "{token}");
            assert!(credentials.login(&ghcr(), &Secret::new(token), now).is_none(), "{token}");
            assert_eq!(credentials.newest(&ghcr(), &bearer(token)), bearer(token));
        }
        assert!(
            credentials.login(&hub(), &Secret::new("r1"), now).is_none(),
            "a refresh token is not used for pulls"
        );
    }

    #[test]
    fn they_are_few_and_not_kept_for_long() {
        let credentials = Credentials::default();
        let now = Instant::now();
        for n in 0..=MOST {
            let answer = answer(&format!(r#"{{"token":"t{n}"}}"#));
            credentials.learn(&answer, &login("me"), now + Duration::from_millis(n as u64));
        }
        let known = |token, now| credentials.login(&hub(), &Secret::new(token), now).is_some();
        assert!(!known("t0", now) && known("t1", now) && known("t256", now));
        assert!(!known("t256", now + LONGEST * 2));
        // The origin of a token is remembered separately.
        assert!(!credentials.admit(&request(ghcr(), "t0")));
    }

    #[test]
    fn nothing_of_it_is_printed() {
        let credentials = Credentials::default();
        credentials.learn(&answer(r#"{"token":"hunter1"}"#), &login("me"), Instant::now());
        assert_eq!(format!("{credentials:?}"), "Credentials(1)");
    }
}
