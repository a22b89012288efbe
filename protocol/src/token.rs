//! A request to a registry's token service (distribution's "Token Authentication" and "OAuth2").
//!
//! The service's address and its `service` name are the server's to know, from the registry's
//! own challenge; an engine says what it wants and who it is.

use crate::authorization::Authorization;
use crate::name::Registry;
use crate::scope::{Scope, ScopeError};
use crate::secret::Secret;
use serde::{Deserialize, Serialize};

/// Why a token request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// A scope that is none.
    #[error(transparent)]
    Scope(#[from] ScopeError),
    /// One token for two registries.
    #[error("scopes of two registries ({0} and {1}) in one token request")]
    TwoRegistries(Registry, Registry),
    /// A `grant_type` that nobody uses here.
    #[error("grant_type must be password or refresh_token")]
    Grant,
    /// A required field is missing.
    #[error("the form has no {0}")]
    Missing(&'static str),
}

/// What an engine asks of a token service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRequest {
    /// What the token is to allow, in the order given.
    pub scopes: Vec<Scope>,
    /// The kind of client, as it names itself.
    pub client_id: Option<String>,
    /// Whether a refresh token is wanted too.
    pub offline: bool,
    /// How the engine proves who it is.
    pub grant: Grant,
}

/// The two forms of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grant {
    /// `GET`, with or without a Basic credential.
    Get {
        /// The account that the credential is for.
        account: Option<String>,
    },
    /// `POST`, `grant_type=password`.
    Password {
        /// The account.
        username: String,
        /// Its password.
        password: Secret,
    },
    /// `POST`, `grant_type=refresh_token`: what docker calls an identity token.
    RefreshToken(Secret),
}

impl TokenRequest {
    /// Reads the query of a `GET`, and the registry that its scopes name, if they do.
    ///
    /// # Errors
    /// Where a scope is malformed or the scopes name two registries.
    pub fn from_query(query: &str) -> Result<(Option<Registry>, Self), TokenError> {
        let fields = Fields::parse(query);
        let grant = Grant::Get { account: fields.last("account") };
        let offline = fields.last("offline_token").is_some_and(|v| v == "true" || v == "1");
        fields.request(grant, offline)
    }

    /// Reads the form of a `POST` (RFC 6749, section 4.3.2 and 6).
    ///
    /// # Errors
    /// As above, and where the grant is missing, unknown or incomplete.
    pub fn from_form(form: &str) -> Result<(Option<Registry>, Self), TokenError> {
        let fields = Fields::parse(form);
        let required = |name: &'static str| fields.last(name).ok_or(TokenError::Missing(name));
        let grant = match required("grant_type")?.as_str() {
            "password" => Grant::Password {
                username: required("username")?,
                password: Secret::new(required("password")?),
            },
            "refresh_token" => Grant::RefreshToken(Secret::new(required("refresh_token")?)),
            _ => return Err(TokenError::Grant),
        };
        let offline = fields.last("access_type").is_some_and(|v| v == "offline");
        fields.request(grant, offline)
    }

    /// The same request without what must not reach this registry; see
    /// [`Authorization::for_registry`].
    #[must_use]
    pub fn for_registry(mut self, registry: &Registry) -> Self {
        if !registry.is_docker_hub() {
            self.grant = Grant::Get { account: None };
        }
        self.scopes = self.scopes.into_iter().map(|scope| scope.in_registry(registry)).collect();
        self
    }

    /// Whether nobody in particular asks.
    #[must_use]
    pub fn is_anonymous(&self, authorization: &Authorization) -> bool {
        matches!(self.grant, Grant::Get { .. }) && !matches!(authorization, Authorization::Basic(_))
    }

    /// The query that asks a token service for this by `GET`.
    #[must_use]
    pub fn query(&self, service: Option<&str>) -> String {
        let mut out = form_urlencoded::Serializer::new(String::new());
        self.append_common(&mut out, service);
        for scope in &self.scopes {
            out.append_pair("scope", &scope.to_string());
        }
        if self.offline {
            out.append_pair("offline_token", "true");
        }
        if let Grant::Get { account: Some(account) } = &self.grant {
            out.append_pair("account", account);
        }
        out.finish()
    }

    /// The form that asks a token service for this by `POST`; `None` where it goes by `GET`.
    #[must_use]
    pub fn form(&self, service: Option<&str>) -> Option<Secret> {
        let mut out = form_urlencoded::Serializer::new(String::new());
        match &self.grant {
            Grant::Get { .. } => return None,
            Grant::Password { username, password } => {
                out.append_pair("grant_type", "password");
                out.append_pair("username", username).append_pair("password", password.expose());
            }
            Grant::RefreshToken(token) => {
                out.append_pair("grant_type", "refresh_token").append_pair("refresh_token", token.expose());
            }
        }
        self.append_common(&mut out, service);
        let scopes: Vec<String> = self.scopes.iter().map(Scope::to_string).collect();
        if !scopes.is_empty() {
            out.append_pair("scope", &scopes.join(" "));
        }
        if self.offline {
            out.append_pair("access_type", "offline");
        }
        Some(Secret::new(out.finish()))
    }

    fn append_common(&self, out: &mut form_urlencoded::Serializer<'_, String>, service: Option<&str>) {
        if let Some(service) = service {
            out.append_pair("service", service);
        }
        if let Some(client_id) = &self.client_id {
            out.append_pair("client_id", client_id);
        }
    }
}

/// Decoded `application/x-www-form-urlencoded` pairs.
struct Fields(Vec<(String, String)>);

impl Fields {
    fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    fn last(&self, name: &str) -> Option<String> {
        self.0.iter().rev().find(|(n, value)| n == name && !value.is_empty()).map(|(_, value)| value.clone())
    }

    fn request(&self, grant: Grant, offline: bool) -> Result<(Option<Registry>, TokenRequest), TokenError> {
        let mut registry: Option<Registry> = None;
        let mut scopes = Vec::new();
        // Repeated fields, and several scopes in one field, mean the same (RFC 6749, section 3.3).
        let texts = self.0.iter().filter(|(name, _)| name == "scope");
        for text in texts.flat_map(|(_, value)| value.split(' ')).filter(|text| !text.is_empty()) {
            let (named, scope) = Scope::parse(text)?;
            match (&registry, named) {
                (Some(one), Some(two)) if *one != two => {
                    return Err(TokenError::TwoRegistries(one.clone(), two));
                }
                (None, Some(named)) => registry = Some(named),
                _ => {}
            }
            scopes.push(scope);
        }
        Ok((registry, TokenRequest { scopes, client_id: self.last("client_id"), offline, grant }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorization::basic;

    #[test]
    fn what_docker_asks_by_get_is_asked_again_in_full() {
        let query = "account=me&scope=repository%3Alibrary%2Falpine%3Apull&scope=repository%3Aa%2Fb%3Apull&service=registry.docker.io&offline_token=true&client_id=docker";
        let (registry, request) = TokenRequest::from_query(query).unwrap();
        assert_eq!(registry, None);
        assert_eq!(
            request.query(Some("registry.docker.io")),
            "service=registry.docker.io&client_id=docker&scope=repository%3Alibrary%2Falpine%3Apull&scope=repository%3Aa%2Fb%3Apull&offline_token=true&account=me"
        );
        assert_eq!(request.form(None), None);
        assert!(request.is_anonymous(&Authorization::None));
        assert!(!request.is_anonymous(&basic("me", "pw")));
    }

    #[test]
    fn an_identity_token_is_passed_on_faithfully() {
        let form = "grant_type=refresh_token&service=registry.docker.io&client_id=docker&refresh_token=r%2B1&scope=repository%3Aa%2Fb%3Apull+repository%3Ac%2Fd%3Apull&access_type=offline";
        let (_, request) = TokenRequest::from_form(form).unwrap();
        assert!(!request.is_anonymous(&Authorization::None));
        assert_eq!(
            request.form(Some("registry.docker.io")).unwrap().expose(),
            "grant_type=refresh_token&refresh_token=r%2B1&service=registry.docker.io&client_id=docker&scope=repository%3Aa%2Fb%3Apull+repository%3Ac%2Fd%3Apull&access_type=offline"
        );
    }

    #[test]
    fn a_password_for_docker_hub_is_not_shown_to_another_registry() {
        let (registry, request) = TokenRequest::from_form(
            "grant_type=password&username=u&password=p&scope=repository:ghcr.io/a/b:pull",
        )
        .unwrap();
        let registry = registry.unwrap();
        assert_eq!(registry.as_str(), "ghcr.io");
        let request = request.for_registry(&registry);
        assert!(request.is_anonymous(&Authorization::None));
        assert_eq!(request.query(None), "scope=repository%3Aa%2Fb%3Apull");
    }

    #[test]
    fn a_form_that_makes_no_sense_is_refused_with_the_reason() {
        for (form, reason) in [
            ("", "the form has no grant_type"),
            ("grant_type=magic", "grant_type must be"),
            ("grant_type=password&username=u", "the form has no password"),
            ("grant_type=refresh_token&refresh_token=x&scope=nonsense", "not a token scope"),
            (
                "grant_type=refresh_token&refresh_token=x&scope=repository:a.io/x:pull+repository:b.io/x:pull",
                "two registries",
            ),
        ] {
            let error = TokenRequest::from_form(form).unwrap_err().to_string();
            assert!(error.contains(reason), "{form}: {error}");
        }
    }
}
