//! Remembers which registry's token service issued a token, because the token may be sent to that
//! registry only.
//!
//! Client and server each keep such a memory, in RAM alone, and neither relies on the other's. A token
//! that is not in it may be sent to Docker Hub only, which is the only registry whose tokens engines can
//! obtain with a credential: pulls from Docker Hub go on after a restart, and a request to another
//! registry is refused in a way that makes the engine fetch a new token.
//!
//! The memory holds the SHA-256 of tokens, never the tokens. It must never let the tokens of one registry
//! evict those of another, however many that registry issues.

use crate::authorization::Authorization;
use crate::name::Registry;
use crate::request::{Operation, Request};
use crate::secret::Secret;
use crate::token::{Grant, TokenRequest};
use crate::token_response::TokenResponse;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fmt;

/// Most tokens of one registry that are remembered, at about 64 bytes each 128 KiB. The least recently
/// used one is forgotten first.
pub const MAX_TOKENS_PER_REGISTRY: usize = 2048;

/// Most registries whose tokens are remembered, 8 MiB in all. A server lists a few.
pub const MAX_REGISTRIES: usize = 64;

/// The memory. Its `Debug` output holds the number of tokens only.
#[derive(Default)]
pub struct TokenOrigins {
    registries: HashMap<Registry, Issued>,
    /// A logical clock, which orders the entries by their last use.
    now: u64,
}

/// The tokens of one registry.
#[derive(Default)]
struct Issued {
    /// SHA-256 of each token, and when it was issued or used last.
    tokens: HashMap<[u8; 32], u64>,
    last_issued: u64,
}

impl TokenOrigins {
    /// Remembers that this registry's token service issued the tokens in this answer.
    pub fn remember(&mut self, registry: &Registry, response: &TokenResponse) {
        for secret in response.secrets() {
            self.remember_one(registry, hash(secret));
        }
    }

    /// Whether the request may be sent with the token that it carries; `true` if it carries none. A
    /// refresh token in a token request counts as well.
    #[must_use]
    pub fn admit(&mut self, request: &Request) -> bool {
        let token = match (&request.operation, &request.authorization) {
            (Operation::Token(TokenRequest { grant: Grant::RefreshToken(token), .. }), _) => token,
            (Operation::Token(_), _) => return true,
            (_, Authorization::Bearer(token)) => token,
            (_, Authorization::None | Authorization::Public | Authorization::Basic(_)) => return true,
        };
        self.may_see(&request.registry, token)
    }

    fn may_see(&mut self, registry: &Registry, token: &Secret) -> bool {
        let token = hash(token);
        self.now += 1;
        // If two registries issued the same token, either may have it: both know it already.
        if let Some(last_used) = self.registries.get_mut(registry).and_then(|own| own.tokens.get_mut(&token))
        {
            *last_used = self.now;
            return true;
        }
        registry.is_docker_hub() && !self.registries.values().any(|other| other.tokens.contains_key(&token))
    }

    fn remember_one(&mut self, registry: &Registry, token: [u8; 32]) {
        self.now += 1;
        if !self.registries.contains_key(registry) && self.registries.len() >= MAX_REGISTRIES {
            let others = self.registries.iter().filter(|(registry, _)| !registry.is_docker_hub());
            let oldest =
                others.min_by_key(|(_, issued)| issued.last_issued).map(|(registry, _)| registry.clone());
            oldest.map(|oldest| self.registries.remove(&oldest));
        }
        let issued = self.registries.entry(registry.clone()).or_default();
        issued.last_issued = self.now;
        if issued.tokens.len() >= MAX_TOKENS_PER_REGISTRY && !issued.tokens.contains_key(&token) {
            let oldest = issued.tokens.iter().min_by_key(|(_, last)| **last).map(|(token, _)| *token);
            oldest.map(|oldest| issued.tokens.remove(&oldest));
        }
        issued.tokens.insert(token, self.now);
    }
}

impl fmt::Debug for TokenOrigins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = self.registries.iter().map(|(registry, issued)| (registry, issued.tokens.len()));
        f.debug_map().entries(numbers).finish()
    }
}

fn hash(token: &Secret) -> [u8; 32] {
    Sha256::digest(token.expose()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorization::basic;
    use crate::headers::Headers;
    use crate::token::Parsed;

    fn hub() -> Registry {
        Registry::docker_hub()
    }

    fn registry(name: &str) -> Registry {
        name.parse().unwrap()
    }

    fn response(text: &str) -> TokenResponse {
        TokenResponse::parse(text.as_bytes()).unwrap()
    }

    fn request(registry: &Registry, operation: Operation, authorization: Authorization) -> Request {
        let registry = registry.clone();
        Request { registry, operation, authorization, headers: Headers::default(), prefetch: None }
    }

    fn admit(origins: &mut TokenOrigins, registry: &Registry, token: &str) -> bool {
        let bearer = Authorization::Bearer(Secret::new(token));
        origins.admit(&request(registry, Operation::Ping, bearer))
    }

    #[test]
    fn a_token_goes_to_the_registry_that_issued_it_and_nowhere_else() {
        let (mut origins, ghcr, evil) =
            (TokenOrigins::default(), registry("ghcr.io"), registry("evil.example"));
        origins.remember(&hub(), &response(r#"{"token":"h1","access_token":"h2","refresh_token":"h3"}"#));
        origins.remember(&ghcr, &response(r#"{"access_token":"g1"}"#));
        for (token, owner) in [("h1", hub()), ("h2", hub()), ("h3", hub()), ("g1", ghcr.clone())] {
            for place in [hub(), ghcr.clone(), evil.clone(), registry("ghcr.io:8443")] {
                assert_eq!(admit(&mut origins, &place, token), place == owner, "{token} to {place}");
            }
        }
    }

    #[test]
    fn a_token_of_unknown_origin_goes_to_docker_hub_alone() {
        let mut origins = TokenOrigins::default();
        assert!(admit(&mut origins, &hub(), "unknown"));
        assert!(!admit(&mut origins, &registry("ghcr.io"), "unknown"));
    }

    #[test]
    fn a_registry_cannot_take_a_token_from_the_one_that_issued_it() {
        let (mut origins, evil) = (TokenOrigins::default(), registry("evil.example"));
        origins.remember(&hub(), &response(r#"{"token":"h"}"#));
        origins.remember(&evil, &response(r#"{"token":"h"}"#));
        assert!(admit(&mut origins, &hub(), "h"));
        assert!(admit(&mut origins, &evil, "h"), "evil.example knows the token already");
        assert!(!admit(&mut origins, &registry("ghcr.io"), "h"));
    }

    #[test]
    fn only_tokens_are_checked() {
        let (mut origins, evil) = (TokenOrigins::default(), registry("evil.example"));
        for authorization in [Authorization::None, Authorization::Public, basic("u", "p")] {
            assert!(origins.admit(&request(&evil, Operation::Ping, authorization)));
        }
    }

    #[test]
    fn a_refresh_token_is_a_credential_of_the_registry_that_issued_it() {
        let (mut origins, ghcr) = (TokenOrigins::default(), registry("ghcr.io"));
        origins.remember(&ghcr, &response(r#"{"token":"g","refresh_token":"r"}"#));
        origins.remember(&hub(), &response(r#"{"token":"h","refresh_token":"s"}"#));
        let mut admit = |registry: &Registry, token: &str| {
            let form = format!("grant_type=refresh_token&refresh_token={token}");
            let Parsed::Request(token) = TokenRequest::from_form(&form, registry).unwrap() else { panic!() };
            origins.admit(&request(registry, Operation::Token(token), Authorization::None))
        };
        assert_eq!((admit(&hub(), "s"), admit(&ghcr, "s")), (true, false));
        assert_eq!((admit(&hub(), "r"), admit(&ghcr, "r")), (false, true));
        assert_eq!((admit(&hub(), "unknown"), admit(&ghcr, "unknown")), (true, false));
    }

    #[test]
    fn a_flood_of_tokens_evicts_tokens_of_its_own_registry_only() {
        let (mut origins, ghcr, evil) =
            (TokenOrigins::default(), registry("ghcr.io"), registry("evil.example"));
        origins.remember(&ghcr, &response(r#"{"token":"g"}"#));
        origins.remember(&evil, &response(r#"{"token":"used"}"#));
        for n in 0..2 * MAX_TOKENS_PER_REGISTRY {
            origins.remember(&evil, &response(&format!(r#"{{"token":"e{n}"}}"#)));
            assert!(admit(&mut origins, &evil, "used"), "a token in use is kept");
        }
        assert!(admit(&mut origins, &ghcr, "g"));
        assert!(!admit(&mut origins, &evil, "e0"));
        assert_eq!(origins.registries[&evil].tokens.len(), MAX_TOKENS_PER_REGISTRY);
        origins.remember(&hub(), &response(r#"{"token":"h"}"#));
        for n in 0..2 * MAX_REGISTRIES {
            origins.remember(&registry(&format!("r{n}.example")), &response(r#"{"token":"r"}"#));
        }
        assert_eq!(origins.registries.len(), MAX_REGISTRIES);
        assert!(!admit(&mut origins, &registry("ghcr.io"), "h"));
        assert!(origins.registries.contains_key(&hub()));
    }

    #[test]
    fn nothing_of_it_is_printed() {
        let mut origins = TokenOrigins::default();
        origins.remember(&hub(), &response(r#"{"token":"open-sesame"}"#));
        assert_eq!(format!("{origins:?}"), "{docker.io: 1}");
    }
}
