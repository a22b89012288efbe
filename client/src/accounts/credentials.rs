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
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum number of tokens whose source is stored: a user has few accounts, and requests a token for each
/// repository.
const SOURCES_MAX: usize = 256;

/// Maximum number of bytes of a stored token request. One for a hundred repositories has a third of this.
const SOURCE_BYTES_MAX: usize = 16 * 1024;

/// How long the source of a token is stored. No transfer takes longer.
const SOURCE_LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// How a token was obtained.
#[derive(Clone)]
pub(crate) struct TokenSource {
    pub(crate) registry: Registry,
    pub(crate) token: TokenRequest,
    pub(crate) authorization: Authorization,
}

impl TokenSource {
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

/// The sources and the origins of tokens. Clones share them.
#[derive(Clone, Default, derive_more::Debug)]
#[debug("Credentials({})", _0.lock().sources.len())]
pub(crate) struct Credentials(Arc<Mutex<TokenRecords>>);

#[derive(Default)]
struct TokenRecords {
    origins: TokenOrigins,
    sources: HashMap<[u8; 32], TokenSourceRecord>,
}

struct TokenSourceRecord {
    source: TokenSource,
    /// The token that replaced that of the engine.
    newest: Option<Secret>,
    since: Instant,
}

impl Credentials {
    /// Stores how these tokens were obtained. Must be called before the engine receives the response.
    pub(crate) fn remember(&self, response: &TokenResponse, source: &TokenSource, now: Instant) {
        let mut records = self.0.lock();
        records.origins.remember(&source.registry, response);
        if source.size() > SOURCE_BYTES_MAX {
            return;
        }
        for token in response.access_tokens() {
            let sources = &mut records.sources;
            sources.retain(|_, record| now.saturating_duration_since(record.since) < SOURCE_LIFETIME);
            let oldest = sources.iter().min_by_key(|(_, record)| record.since).map(|(hash, _)| *hash);
            if let Some(oldest) = oldest.filter(|_| sources.len() >= SOURCES_MAX) {
                sources.remove(&oldest);
            }
            sources.insert(
                token.sha256(),
                TokenSourceRecord { source: source.clone(), newest: None, since: now },
            );
        }
    }

    /// Whether the request may be sent with the token that it carries; `true` if it carries none.
    pub(crate) fn may_send(&self, request: &Request) -> bool {
        self.0.lock().origins.may_send(request)
    }

    /// How the engine's token was obtained for this registry, if it happened here and not too
    /// long ago.
    pub(crate) fn source(&self, registry: &Registry, token: &Secret, now: Instant) -> Option<TokenSource> {
        let records = self.0.lock();
        let record =
            records.sources.get(&token.sha256()).filter(|record| record.source.registry == *registry)?;
        (now.saturating_duration_since(record.since) < SOURCE_LIFETIME).then(|| record.source.clone())
    }

    /// Replaces the engine's token by the one in `response`, which the same token service gave.
    pub(crate) fn renew(&self, token: &Secret, response: TokenResponse) {
        let mut records = self.0.lock();
        let TokenRecords { origins, sources } = &mut *records;
        if let Some(record) = sources.get_mut(&token.sha256()) {
            origins.remember(&record.source.registry, &response);
            record.newest = Some(response.into_token().0);
        }
    }

    /// The authorization to send to this registry: the engine's own, or the token that replaced it.
    pub(crate) fn newest(&self, registry: &Registry, authorization: &Authorization) -> Authorization {
        let Authorization::Bearer(token) = authorization else {
            return authorization.clone();
        };
        let records = self.0.lock();
        let record =
            records.sources.get(&token.sha256()).filter(|record| record.source.registry == *registry);
        let newest = record.and_then(|record| record.newest.clone());
        newest.map_or_else(|| authorization.clone(), Authorization::Bearer)
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

    fn source(user: &str) -> TokenSource {
        let parsed = TokenRequest::from_query("scope=repository:a/b:pull", &hub());
        let Parsed::Request(token) = parsed else { panic!("{parsed:?}") };
        TokenSource { registry: hub(), token, authorization: basic(user, "hunter2") }
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
        credentials.remember(&response(r#"{"token":"t1","expires_in":300}"#), &source("me"), now);
        credentials.remember(&response(r#"{"access_token":"t2"}"#), &source("you"), now);
        let user =
            |token| credentials.source(&hub(), &Secret::new(token), now).map(|source| source.authorization);
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
        credentials.remember(&response(r#"{"token":"t1","refresh_token":"r1"}"#), &source("me"), now);
        credentials.renew(&Secret::new("t1"), response(r#"{"access_token":"t2"}"#));
        for token in ["t1", "t2", "r1"] {
            assert!(credentials.may_send(&request(hub(), token)), "{token}");
            assert!(!credentials.may_send(&request(ghcr(), token)), "{token}");
            assert!(credentials.source(&ghcr(), &Secret::new(token), now).is_none(), "{token}");
            assert_eq!(credentials.newest(&ghcr(), &bearer(token)), bearer(token));
        }
        assert!(
            credentials.source(&hub(), &Secret::new("r1"), now).is_none(),
            "a refresh token is not used for pulls"
        );
    }

    #[test]
    fn logins_are_limited_and_expire() {
        let credentials = Credentials::default();
        let now = Instant::now();
        for n in 0..=SOURCES_MAX {
            let response = response(&format!(r#"{{"token":"t{n}"}}"#));
            credentials.remember(&response, &source("me"), now + Duration::from_millis(n as u64));
        }
        let records = |token, now| credentials.source(&hub(), &Secret::new(token), now).is_some();
        assert!(!records("t0", now) && records("t1", now) && records("t256", now));
        assert!(!records("t256", now + SOURCE_LIFETIME * 2));
        // The origin of a token is remembered separately.
        assert!(!credentials.may_send(&request(ghcr(), "t0")));
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let credentials = Credentials::default();
        credentials.remember(&response(r#"{"token":"hunter1"}"#), &source("me"), Instant::now());
        assert_eq!(format!("{credentials:?}"), "Credentials(1)");
    }
}
