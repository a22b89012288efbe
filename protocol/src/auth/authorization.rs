//! The credential of a request.
//!
//! It is parsed once, when the request arrives. A credential must never leave this type except in a
//! request to the registry that it was issued for.

use crate::name::Registry;
use crate::secret::Secret;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

/// The token that the client issues to engines that request one without a credential.
///
/// It is constant and public, and grants only anonymous access. It therefore needs no state that a
/// restart could lose, and it does not expire. The server replaces it by an anonymous token of the
/// registry.
pub const PUBLIC_TOKEN: &str = "docxy-public";

/// The same for engines whose credential the registry must not receive. It grants the same, and says that the engine
/// has shown one.
pub const WITHHELD_TOKEN: &str = "docxy-public-credential-withheld";

/// The `Authorization` header of a request (RFC 9110, section 11.6.2), in the forms that registries use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Authorization {
    /// The engine sent no credential, so the registry should respond with its challenge.
    None,
    /// The engine requested a token without a credential that the registry may receive, and received
    /// [`PUBLIC_TOKEN`] or [`WITHHELD_TOKEN`].
    Public,
    /// A token that the registry's token service issued.
    Bearer(Secret),
    /// User name and password, still base64-encoded.
    Basic(Secret),
    /// An account that the user has logged in with at the client. The server sends it to the registry, or obtains the
    /// registry's tokens with it.
    Login(Login),
}

/// An account at one registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The registry, and no other, that may receive the password, with the token service that it names.
    pub registry: Registry,
    /// The user's name.
    pub user: String,
    /// The password, or an access token that is used as one.
    pub password: Secret,
}

impl Authorization {
    /// Parses the header's value. A form that registries do not use counts as [`Self::None`]: the
    /// registry then responds with its challenge.
    #[must_use]
    pub fn parse(value: &str) -> Self {
        let Some((scheme, credentials)) = value.trim().split_once(' ') else {
            return Self::None;
        };
        let credentials = credentials.trim();
        // Clients written in Go may send "Bearer " without a token.
        if credentials.is_empty() || !credentials.bytes().all(|b| b.is_ascii_graphic()) {
            return Self::None;
        }
        if scheme.eq_ignore_ascii_case("bearer") {
            match credentials {
                PUBLIC_TOKEN | WITHHELD_TOKEN => Self::Public,
                token => Self::Bearer(Secret::new(token)),
            }
        } else if scheme.eq_ignore_ascii_case("basic") && !is_empty_basic(credentials) {
            Self::Basic(Secret::new(credentials))
        } else {
            Self::None
        }
    }

    /// The credential, without a password that this registry must not receive. Engines store one
    /// password per host that they connect to. For Docxy's host, Docker Hub has verified it (`docker
    /// login` requests `/v2/`, which names no registry), so it may be sent to Docker Hub only.
    #[must_use]
    pub fn for_registry(self, registry: &Registry) -> Self {
        match self {
            Self::Basic(_) if !registry.is_docker_hub() => Self::None,
            Self::Login(login) if login.registry != *registry => Self::None,
            other => other,
        }
    }

    /// The credential, without anything that this registry's token service must not receive. A token is
    /// for the registry's API and never for a token service.
    #[must_use]
    pub fn for_token_service(self, registry: &Registry) -> Self {
        match self.for_registry(registry) {
            Self::Bearer(_) | Self::Public => Self::None,
            other => other,
        }
    }

    /// The header's value for the registry. `None` if the request is sent without the header.
    #[must_use]
    pub fn header(&self) -> Option<Secret> {
        match self {
            Self::None | Self::Public => None,
            Self::Bearer(token) => Some(Secret::new(format!("Bearer {}", token.expose()))),
            Self::Basic(pair) => Some(Secret::new(format!("Basic {}", pair.expose()))),
            Self::Login(Login { user, password, .. }) => basic(user, password.expose()).header(),
        }
    }
}

impl Login {
    /// What stands for the account, with this password, where its content is kept.
    #[must_use]
    pub fn owner(&self) -> Secret {
        Secret::new(format!("login {}:{}", self.user, self.password.expose()))
    }
}

/// Encodes `user:password` (RFC 7617).
#[must_use]
pub fn basic(user: &str, password: &str) -> Authorization {
    Authorization::Basic(Secret::new(BASE64_STANDARD.encode(format!("{user}:{password}"))))
}

/// Whether user and password are empty. Some engines send this if they have no credential.
fn is_empty_basic(credentials: &str) -> bool {
    BASE64_STANDARD.decode(credentials).is_ok_and(|pair| pair == b":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parsed_header_is_written_unchanged() {
        for text in ["Bearer abc.def", "Basic dTpw"] {
            assert_eq!(Authorization::parse(text).header().unwrap().expose(), text);
        }
        for token in [PUBLIC_TOKEN, WITHHELD_TOKEN] {
            assert_eq!(Authorization::parse(&format!("bearer  {token}")), Authorization::Public);
        }
        for text in ["", "Bearer", "Bearer ", "Digest x", "Basic Og==", "Bearer a\u{7f}b"] {
            assert_eq!(Authorization::parse(text), Authorization::None, "{text:?}");
        }
        assert_eq!(Authorization::Public.header(), None);
    }

    #[test]
    fn a_password_is_sent_to_docker_hub_only() {
        let ghcr: Registry = "ghcr.io".parse().unwrap();
        assert_eq!(basic("u", "p").for_registry(&ghcr), Authorization::None);
        assert_eq!(basic("u", "p").for_registry(&Registry::docker_hub()), basic("u", "p"));
        let token = Authorization::Bearer(Secret::new("t"));
        assert_eq!(token.clone().for_registry(&ghcr), token);
        let login =
            |registry| Authorization::Login(Login { registry, user: "u".into(), password: Secret::new("p") });
        assert_eq!(login(ghcr.clone()).for_registry(&ghcr), login(ghcr.clone()));
        assert_eq!(login(ghcr.clone()).for_registry(&Registry::docker_hub()), Authorization::None);
        assert_eq!(login(Registry::docker_hub()).for_registry(&ghcr), Authorization::None);
        assert_eq!(basic("u", "p").for_token_service(&ghcr), Authorization::None);
        assert_eq!(basic("u", "p").for_token_service(&Registry::docker_hub()), basic("u", "p"));
        assert_eq!(token.for_token_service(&Registry::docker_hub()), Authorization::None);
    }
}
