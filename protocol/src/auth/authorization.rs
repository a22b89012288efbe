//! Whom a request speaks for.
//!
//! Parsed once at the edge. A credential never leaves this type except towards the registry that
//! it was made for.

use crate::name::Registry;
use crate::secret::Secret;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

/// The token that the client hands to engines which ask for one without a credential.
///
/// It is fixed and public: it opens nothing that no token doesn't open, so there is no state
/// behind it that a restart could lose and nothing that could expire. The server answers for it
/// with the registry's real anonymous tokens.
pub const PUBLIC_TOKEN: &str = "docxy-public";

/// The `Authorization` of a request (RFC 9110, section 11.6.2), as far as registries use it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Authorization {
    /// The engine sent none: the registry is to answer with its challenge.
    None,
    /// The engine went through the token dance without a credential ([`PUBLIC_TOKEN`]).
    Public,
    /// A token that the registry's own token service issued.
    Bearer(Secret),
    /// User name and password, base64-encoded as they came.
    Basic(Secret),
}

impl Authorization {
    /// Reads a header's value. What registries don't use counts as none: the registry then says
    /// by its challenge what it wants.
    #[must_use]
    pub fn parse(value: &str) -> Self {
        let Some((scheme, credentials)) = value.trim().split_once(' ') else {
            return Self::None;
        };
        let credentials = credentials.trim();
        // Go's clients may send "Bearer " with nothing behind it.
        if credentials.is_empty() || !credentials.bytes().all(|b| b.is_ascii_graphic()) {
            return Self::None;
        }
        if scheme.eq_ignore_ascii_case("bearer") {
            if credentials == PUBLIC_TOKEN { Self::Public } else { Self::Bearer(Secret::new(credentials)) }
        } else if scheme.eq_ignore_ascii_case("basic") && !is_blank_basic(credentials) {
            Self::Basic(Secret::new(credentials))
        } else {
            Self::None
        }
    }

    /// The same, less what must not reach this registry: engines keep one password per host that
    /// they dial, and ours was accepted by Docker Hub (`docker login` asks `/v2/` without a
    /// name), so it goes to Docker Hub only, whatever else is pulled through the same host.
    #[must_use]
    pub fn for_registry(self, registry: &Registry) -> Self {
        match self {
            Self::Basic(_) if !registry.is_docker_hub() => Self::None,
            other => other,
        }
    }

    /// The same without what this registry's token service must not see. A token is for the registry's
    /// API and never for a token service.
    #[must_use]
    pub fn for_token_service(self, registry: &Registry) -> Self {
        match self.for_registry(registry) {
            Self::Bearer(_) | Self::Public => Self::None,
            other => other,
        }
    }

    /// The header's value for the registry; `None` where none is sent as it stands.
    #[must_use]
    pub fn header(&self) -> Option<Secret> {
        match self {
            Self::None | Self::Public => None,
            Self::Bearer(token) => Some(Secret::new(format!("Bearer {}", token.expose()))),
            Self::Basic(pair) => Some(Secret::new(format!("Basic {}", pair.expose()))),
        }
    }
}

/// `user:password` as RFC 7617 has it.
#[must_use]
pub fn basic(user: &str, password: &str) -> Authorization {
    Authorization::Basic(Secret::new(BASE64_STANDARD.encode(format!("{user}:{password}"))))
}

/// An empty user with an empty password, which some engines send when they have no credential.
fn is_blank_basic(credentials: &str) -> bool {
    BASE64_STANDARD.decode(credentials).is_ok_and(|pair| pair == b":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_become_values_and_headers_again() {
        for text in ["Bearer abc.def", "Basic dTpw"] {
            assert_eq!(Authorization::parse(text).header().unwrap().expose(), text);
        }
        assert_eq!(Authorization::parse("bearer  docxy-public"), Authorization::Public);
        for text in ["", "Bearer", "Bearer ", "Digest x", "Basic Og==", "Bearer a\u{7f}b"] {
            assert_eq!(Authorization::parse(text), Authorization::None, "{text:?}");
        }
        assert_eq!(Authorization::Public.header(), None);
    }

    #[test]
    fn a_password_goes_to_docker_hub_only() {
        let ghcr: Registry = "ghcr.io".parse().unwrap();
        assert_eq!(basic("u", "p").for_registry(&ghcr), Authorization::None);
        assert_eq!(basic("u", "p").for_registry(&Registry::docker_hub()), basic("u", "p"));
        let token = Authorization::Bearer(Secret::new("t"));
        assert_eq!(token.clone().for_registry(&ghcr), token);
        assert_eq!(basic("u", "p").for_token_service(&ghcr), Authorization::None);
        assert_eq!(basic("u", "p").for_token_service(&Registry::docker_hub()), basic("u", "p"));
        assert_eq!(token.for_token_service(&Registry::docker_hub()), Authorization::None);
    }
}
