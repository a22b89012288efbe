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

/// The most logins: a user has few accounts, and requests a token for each repository.
const LOGINS_MAX: usize = 256;

/// The most bytes of a stored token request. One for a hundred repositories has a third of this.
const LOGIN_BYTES_MAX: usize = 16 * 1024;

/// How long a login is stored. No transfer takes longer.
const LOGIN_LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// How a token was obtained.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) registry: Registry,
    pub(crate) token: TokenRequest,
    pub(crate) authorization: Authorization,
}

impl Login {
    /// The token request, to be sent again.
    pub(crate) fn request(&self) -> Request {
        Request::new(self.registry.clone(), Operation::Token(self.token.clone()))
            .with_authorization(self.authorization.clone())
    }

    /// Its size in bytes, roughly.
    fn size(&self) -> usize {
        let credential = self.authorization.header().map_or(0, |value| value.expose().len());
        let form = self.token.form(None).map_or(0, |form| form.expose().len());
        credential + form.max(self.token.query(None).len())
    }
}

/// The logins and the origins of tokens. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Credentials(Arc<Mutex<TokenRecords>>);

#[derive(Default)]
struct TokenRecords {
    origins: TokenOrigins,
    logins: HashMap<[u8; 32], LoginRecord>,
}

struct LoginRecord {
    login: Login,
    /// The token that replaced that of the engine.
    newest: Option<Secret>,
    since: Instant,
}

impl Credentials {
    /// Stores how these tokens were obtained. Must be called before the engine receives the response.
    pub(crate) fn remember(&self, response: &TokenResponse, login: &Login, now: Instant) {
        let mut records = self.records();
        records.origins.remember(&login.registry, response);
        if login.size() > LOGIN_BYTES_MAX {
            return;
        }
        for token in response.access_tokens() {
            let logins = &mut records.logins;
            logins.retain(|_, record| now.saturating_duration_since(record.since) < LOGIN_LIFETIME);
            let oldest = logins.iter().min_by_key(|(_, record)| record.since).map(|(hash, _)| *hash);
            if let Some(oldest) = oldest.filter(|_| logins.len() >= LOGINS_MAX) {
                logins.remove(&oldest);
            }
            logins.insert(hash(token), LoginRecord { login: login.clone(), newest: None, since: now });
        }
    }

    /// Whether the request may be sent with the token that it carries; `true` if it carries none.
    pub(crate) fn admit(&self, request: &Request) -> bool {
        self.records().origins.admit(request)
    }

    /// The login that obtained the engine's token for this registry, if it happened here and not too
    /// long ago.
    pub(crate) fn login(&self, registry: &Registry, token: &Secret, now: Instant) -> Option<Login> {
        let records = self.records();
        let record = records.logins.get(&hash(token)).filter(|record| record.login.registry == *registry)?;
        (now.saturating_duration_since(record.since) < LOGIN_LIFETIME).then(|| record.login.clone())
    }

    /// Replaces the engine's token by the one in `response`, which the same token service gave.
    pub(crate) fn renew(&self, token: &Secret, response: TokenResponse) {
        let mut records = self.records();
        let TokenRecords { origins, logins } = &mut *records;
        if let Some(record) = logins.get_mut(&hash(token)) {
            origins.remember(&record.login.registry, &response);
            record.newest = Some(response.into_token().0);
        }
    }

    /// The authorization to send to this registry: the engine's own, or the token that replaced it.
    pub(crate) fn newest(&self, registry: &Registry, authorization: &Authorization) -> Authorization {
        let Authorization::Bearer(token) = authorization else {
            return authorization.clone();
        };
        let records = self.records();
        let record = records.logins.get(&hash(token)).filter(|record| record.login.registry == *registry);
        let newest = record.and_then(|record| record.newest.clone());
        newest.map_or_else(|| authorization.clone(), Authorization::Bearer)
    }

    fn records(&self) -> MutexGuard<'_, TokenRecords> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(token: &Secret) -> [u8; 32] {
    Sha256::digest(token.expose()).into()
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Credentials").field(&self.records().logins.len()).finish()
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

    fn response(text: &str) -> TokenResponse {
        TokenResponse::parse(text.as_bytes()).unwrap()
    }

    fn bearer(token: &str) -> Authorization {
        Authorization::Bearer(Secret::new(token))
    }

    fn request(registry: Registry, token: &str) -> Request {
        Request::new(registry, Operation::Ping).with_authorization(bearer(token))
    }

    #[test]
    fn a_token_leads_to_its_login_and_its_replacement() {
        let credentials = Credentials::default();
        let now = Instant::now();
        credentials.remember(&response(r#"{"token":"t1","expires_in":300}"#), &login("me"), now);
        credentials.remember(&response(r#"{"access_token":"t2"}"#), &login("you"), now);
        let user =
            |token| credentials.login(&hub(), &Secret::new(token), now).map(|login| login.authorization);
        assert_eq!(user("t1"), Some(basic("me", "hunter2")));
        assert_eq!(user("t2"), Some(basic("you", "hunter2")));
        assert_eq!(user("t3"), None);
        let newest = |token| credentials.newest(&hub(), &bearer(token));
        assert_eq!(newest("t1"), bearer("t1"));
        credentials.renew(&Secret::new("t1"), response(r#"{"token":"t4"}"#));
        assert_eq!((newest("t1"), newest("t2")), (bearer("t4"), bearer("t2")));
        assert_eq!(credentials.newest(&hub(), &Authorization::Public), Authorization::Public);
    }

    #[test]
    fn another_registry_gets_neither_the_token_nor_its_replacement_nor_its_login() {
        let credentials = Credentials::default();
        let now = Instant::now();
        credentials.remember(&response(r#"{"token":"t1","refresh_token":"r1"}"#), &login("me"), now);
        credentials.renew(&Secret::new("t1"), response(r#"{"access_token":"t2"}"#));
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
    fn logins_are_limited_and_expire() {
        let credentials = Credentials::default();
        let now = Instant::now();
        for n in 0..=LOGINS_MAX {
            let response = response(&format!(r#"{{"token":"t{n}"}}"#));
            credentials.remember(&response, &login("me"), now + Duration::from_millis(n as u64));
        }
        let records = |token, now| credentials.login(&hub(), &Secret::new(token), now).is_some();
        assert!(!records("t0", now) && records("t1", now) && records("t256", now));
        assert!(!records("t256", now + LOGIN_LIFETIME * 2));
        // The origin of a token is remembered separately.
        assert!(!credentials.admit(&request(ghcr(), "t0")));
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let credentials = Credentials::default();
        credentials.remember(&response(r#"{"token":"hunter1"}"#), &login("me"), Instant::now());
        assert_eq!(format!("{credentials:?}"), "Credentials(1)");
    }
}
