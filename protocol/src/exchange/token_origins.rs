//! Records which registry's token service issued a token, because the token may be sent to that registry
//! only.
//!
//! Client and server each have their own record, in RAM only, and neither relies on the other's. A token
//! without an entry may be sent to Docker Hub only, because engines can obtain tokens with a credential for
//! that registry only. So pulls from Docker Hub continue after a restart, and a request to another registry
//! is refused in a form that makes the engine fetch a new token.
//!
//! The record contains the SHA-256 of each token, never the token. Tokens of one registry must never evict
//! those of another, even if one registry issues very many.

use crate::authorization::Authorization;
use crate::name::Registry;
use crate::request::{Operation, Request};
use crate::secret::Secret;
use crate::token::{Grant, TokenRequest};
use crate::token_response::TokenResponse;
use hashlink::{LinkedHashMap, LinkedHashSet};
use std::fmt;

/// Limit for the tokens of one registry: 128 KiB at about 64 bytes each. The least recently used token is
/// evicted first.
pub const TOKENS_PER_REGISTRY_MAX: usize = 2048;

/// Limit for the registries: 8 MiB in all. A server lists a few.
pub const REGISTRIES_MAX: usize = 64;

/// The issuing registry of each known token. Its `Debug` output contains only numbers of tokens.
#[derive(Default)]
pub struct TokenOrigins {
    /// The SHA-256 of each registry's tokens, the least recently used first. The registry that issued a token last is
    /// the last.
    registries: LinkedHashMap<Registry, LinkedHashSet<[u8; 32]>>,
}

impl TokenOrigins {
    /// Records that this registry's token service issued the tokens in this response.
    pub fn remember(&mut self, registry: &Registry, response: &TokenResponse) {
        for secret in response.secrets() {
            self.record(registry, secret.sha256());
        }
    }

    /// Whether the request may be sent with the token that it contains; `true` if it contains none. The
    /// refresh token of a token request is checked too.
    #[must_use]
    pub fn may_send(&mut self, request: &Request) -> bool {
        let token = match (&request.operation, &request.authorization) {
            (Operation::Token(TokenRequest { grant: Grant::RefreshToken(token), .. }), _) => token,
            (Operation::Token(_), _) => return true,
            (_, Authorization::Bearer(token)) => token,
            (_, _) => return true,
        };
        self.may_send_token(&request.registry, token)
    }

    fn may_send_token(&mut self, registry: &Registry, token: &Secret) -> bool {
        let token = token.sha256();
        // If two registries issued the same token, both may receive it, because both know it already.
        if self.registries.get_mut(registry).is_some_and(|own| own.to_back(&token)) {
            return true;
        }
        registry.is_docker_hub() && !self.registries.values().any(|other| other.contains(&token))
    }

    fn record(&mut self, registry: &Registry, token: [u8; 32]) {
        let mut tokens = self.registries.remove(registry).unwrap_or_default();
        tokens.insert(token);
        if tokens.len() > TOKENS_PER_REGISTRY_MAX {
            tokens.pop_front();
        }
        self.registries.insert(registry.clone(), tokens);
        if self.registries.len() > REGISTRIES_MAX {
            let oldest = self.registries.keys().find(|registry| !registry.is_docker_hub()).cloned();
            oldest.map(|oldest| self.registries.remove(&oldest));
        }
    }
}

impl fmt::Debug for TokenOrigins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = self.registries.iter().map(|(registry, tokens)| (registry, tokens.len()));
        f.debug_map().entries(numbers).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorization::basic;
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
        Request::new(registry.clone(), operation).with_authorization(authorization)
    }

    fn may_send(origins: &mut TokenOrigins, registry: &Registry, token: &str) -> bool {
        let bearer = Authorization::Bearer(Secret::new(token));
        origins.may_send(&request(registry, Operation::Ping, bearer))
    }

    #[test]
    fn a_token_is_sent_only_to_the_registry_that_issued_it() {
        let (mut origins, ghcr, evil) =
            (TokenOrigins::default(), registry("ghcr.io"), registry("evil.example"));
        origins.remember(&hub(), &response(r#"{"token":"h1","access_token":"h2","refresh_token":"h3"}"#));
        origins.remember(&ghcr, &response(r#"{"access_token":"g1"}"#));
        for (token, issuer) in [("h1", hub()), ("h2", hub()), ("h3", hub()), ("g1", ghcr.clone())] {
            for target in [hub(), ghcr.clone(), evil.clone(), registry("ghcr.io:8443")] {
                assert_eq!(may_send(&mut origins, &target, token), target == issuer, "{token} to {target}");
            }
        }
    }

    #[test]
    fn a_token_of_unknown_origin_is_sent_to_docker_hub_only() {
        let mut origins = TokenOrigins::default();
        assert!(may_send(&mut origins, &hub(), "unknown"));
        assert!(!may_send(&mut origins, &registry("ghcr.io"), "unknown"));
    }

    #[test]
    fn a_second_issuer_does_not_replace_the_first() {
        let (mut origins, evil) = (TokenOrigins::default(), registry("evil.example"));
        origins.remember(&hub(), &response(r#"{"token":"h"}"#));
        origins.remember(&evil, &response(r#"{"token":"h"}"#));
        assert!(may_send(&mut origins, &hub(), "h"));
        assert!(may_send(&mut origins, &evil, "h"), "evil.example knows the token already");
        assert!(!may_send(&mut origins, &registry("ghcr.io"), "h"));
    }

    #[test]
    fn a_request_without_a_token_is_always_admitted() {
        let (mut origins, evil) = (TokenOrigins::default(), registry("evil.example"));
        for authorization in [Authorization::None, Authorization::Public, basic("u", "p")] {
            assert!(origins.may_send(&request(&evil, Operation::Ping, authorization)));
        }
    }

    #[test]
    fn a_refresh_token_is_sent_only_to_the_registry_that_issued_it() {
        let (mut origins, ghcr) = (TokenOrigins::default(), registry("ghcr.io"));
        origins.remember(&ghcr, &response(r#"{"token":"g","refresh_token":"r"}"#));
        origins.remember(&hub(), &response(r#"{"token":"h","refresh_token":"s"}"#));
        let mut admit = |registry: &Registry, token: &str| {
            let form = format!("grant_type=refresh_token&refresh_token={token}");
            let Parsed::Request(token) = TokenRequest::from_form(&form, registry).unwrap() else { panic!() };
            origins.may_send(&request(registry, Operation::Token(token), Authorization::None))
        };
        assert_eq!((admit(&hub(), "s"), admit(&ghcr, "s")), (true, false));
        assert_eq!((admit(&hub(), "r"), admit(&ghcr, "r")), (false, true));
        assert_eq!((admit(&hub(), "unknown"), admit(&ghcr, "unknown")), (true, false));
    }

    #[test]
    fn many_tokens_evict_tokens_of_their_own_registry_only() {
        let (mut origins, ghcr, evil) =
            (TokenOrigins::default(), registry("ghcr.io"), registry("evil.example"));
        origins.remember(&ghcr, &response(r#"{"token":"g"}"#));
        origins.remember(&evil, &response(r#"{"token":"used"}"#));
        for n in 0..2 * TOKENS_PER_REGISTRY_MAX {
            origins.remember(&evil, &response(&format!(r#"{{"token":"e{n}"}}"#)));
            assert!(may_send(&mut origins, &evil, "used"), "a token in use is not evicted");
        }
        assert!(may_send(&mut origins, &ghcr, "g"));
        assert!(!may_send(&mut origins, &evil, "e0"));
        assert_eq!(origins.registries[&evil].len(), TOKENS_PER_REGISTRY_MAX);
        origins.remember(&hub(), &response(r#"{"token":"h"}"#));
        for n in 0..2 * REGISTRIES_MAX {
            origins.remember(&registry(&format!("r{n}.example")), &response(r#"{"token":"r"}"#));
        }
        assert_eq!(origins.registries.len(), REGISTRIES_MAX);
        assert!(!may_send(&mut origins, &registry("ghcr.io"), "h"));
        assert!(origins.registries.contains_key(&hub()));
    }

    #[test]
    fn debug_output_contains_no_token() {
        let mut origins = TokenOrigins::default();
        origins.remember(&hub(), &response(r#"{"token":"open-sesame"}"#));
        assert_eq!(format!("{origins:?}"), "{docker.io: 1}");
    }
}
