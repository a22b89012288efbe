//! What a registry asks for in a Bearer challenge: a token of one service, with some scopes.

use super::service::TokenService;
use docxy_protocol::challenge::Challenge;
use docxy_protocol::name::Repository;
use docxy_protocol::scope::Scope;
use http::HeaderMap;

/// Maximum number of bytes of a challenge that the server acts on. Real ones have about two hundred, and the server
/// keeps many.
const CHALLENGE_BYTES_MAX: usize = 2048;

/// The token that a registry asks for. It never expires, but a registry may ask for another one at any time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct BearerChallenge {
    pub(super) service: TokenService,
    /// As the registry spells them: RFC 6749, section 3.3, allows any words.
    pub(super) scopes: Vec<String>,
}

impl BearerChallenge {
    /// The first Bearer challenge of a response that names a URL.
    pub(crate) fn of_response(headers: &HeaderMap) -> Option<Self> {
        let bearer = Challenge::of_response(headers).filter(Challenge::is_bearer);
        bearer.filter(|bearer| bearer.to_string().len() <= CHALLENGE_BYTES_MAX).find_map(|bearer| {
            let scopes = bearer.parameter("scope").unwrap_or_default().split_ascii_whitespace();
            Some(Self {
                service: TokenService::of_challenge(&bearer)?,
                scopes: scopes.map(str::to_owned).collect(),
            })
        })
    }

    /// What a registry with this token service will probably ask for.
    pub(super) fn for_pull(service: TokenService, repository: Option<&Repository>) -> Self {
        let scopes = repository.map(|repository| Scope::pull(repository.clone()).to_string());
        Self { service, scopes: scopes.into_iter().collect() }
    }
}
