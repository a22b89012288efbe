//! A request to a registry's token service (distribution's "Token Authentication" and "OAuth2").
//!
//! The engine's request holds the wanted scopes and the credential. The server takes the address of the
//! token service and its `service` name from the registry's challenge, never from the engine.

use crate::authorization::Authorization;
use crate::name::Registry;
use crate::scope::Scope;
use crate::secret::Secret;
use serde::{Deserialize, Serialize};

/// Why a token request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The `grant_type` is not supported.
    #[error("grant_type must be password or refresh_token")]
    Grant,
    /// A required field is missing.
    #[error("the form has no {0}")]
    Missing(&'static str),
}

/// An engine's token request, checked against the registry in its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// A request for a token of this registry.
    Request(TokenRequest),
    /// At least one scope names another registry. Engines that pull from `127.0.0.1:5080/ghcr.io/…` do
    /// this: they send all token requests, with one credential, to the realm of `/v2/`, which is Docker
    /// Hub's. The credential must not be used, and no token service may receive any part of the request.
    NamesOtherRegistry,
}

/// A request to a token service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRequest {
    /// The requested scopes, in the order of the request.
    pub scopes: Vec<Scope>,
    /// The `client_id` that the engine sent.
    pub client_id: Option<String>,
    /// Whether the engine also requests a refresh token.
    pub offline: bool,
    /// The method of the request, and the credential in it.
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
    /// `POST`, `grant_type=refresh_token`. Docker calls it an identity token.
    RefreshToken(Secret),
}

impl TokenRequest {
    /// Parses the query of a `GET` to this registry's token service.
    #[must_use]
    pub fn from_query(query: &str, registry: &Registry) -> Parsed {
        let fields = FormFields::parse(query);
        let grant = Grant::Get { account: fields.last("account") };
        let offline = fields.last("offline_token").is_some_and(|v| v == "true" || v == "1");
        fields.request(registry, grant, offline)
    }

    /// Parses the form of a `POST` (RFC 6749, sections 4.3.2 and 6) to this registry's token service.
    ///
    /// # Errors
    /// If the grant is missing, unknown or incomplete.
    pub fn from_form(form: &str, registry: &Registry) -> Result<Parsed, TokenError> {
        let fields = FormFields::parse(form);
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
        Ok(fields.request(registry, grant, offline))
    }

    /// Removes the credentials that this registry must not receive (see [`Authorization::for_registry`])
    /// and every right except pulling (see [`Scope::cut_to_pull`]).
    #[must_use]
    pub fn for_registry(mut self, registry: &Registry) -> Self {
        if !registry.is_docker_hub() {
            self.grant = Grant::Get { account: None };
            // An anonymous refresh token has no use.
            self.offline = false;
        }
        let scopes = self.scopes.into_iter().filter_map(Scope::cut_to_pull);
        self.scopes = scopes.map(|scope| scope.in_registry(registry)).collect();
        self
    }

    /// Whether the request has no credential.
    #[must_use]
    pub fn is_anonymous(&self, authorization: &Authorization) -> bool {
        matches!(self.grant, Grant::Get { .. }) && !matches!(authorization, Authorization::Basic(_))
    }

    /// The query of a `GET` request to the token service.
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

    /// The form of a `POST` request to the token service; `None` if the method is `GET`.
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
struct FormFields(Vec<(String, String)>);

impl FormFields {
    fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    fn last(&self, name: &str) -> Option<String> {
        self.0.iter().rev().find(|(n, value)| n == name && !value.is_empty()).map(|(_, value)| value.clone())
    }

    fn request(&self, registry: &Registry, grant: Grant, offline: bool) -> Parsed {
        let mut scopes = Vec::new();
        // Several scopes are sent in one field (RFC 6749, section 3.3) or in repeated fields.
        let texts = self.0.iter().filter(|(name, _)| name == "scope");
        for text in texts.flat_map(|(_, value)| value.split(' ')).filter(|text| !text.is_empty()) {
            match Scope::parse(text) {
                Ok((Some(named), _)) if named != *registry => return Parsed::NamesOtherRegistry,
                Ok((_, scope)) => scopes.push(scope),
                // It grants nothing, so the token is for the other scopes.
                Err(_) => {}
            }
        }
        Parsed::Request(TokenRequest { scopes, client_id: self.last("client_id"), offline, grant })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorization::basic;

    /// Parses a query for Docker Hub.
    fn query(text: &str) -> TokenRequest {
        match TokenRequest::from_query(text, &Registry::docker_hub()) {
            Parsed::Request(request) => request,
            Parsed::NamesOtherRegistry => panic!("{text} names another registry"),
        }
    }

    fn form(text: &str, registry: &Registry) -> TokenRequest {
        match TokenRequest::from_form(text, registry).unwrap() {
            Parsed::Request(request) => request,
            Parsed::NamesOtherRegistry => panic!("{text} names another registry"),
        }
    }

    #[test]
    fn a_get_request_of_docker_is_forwarded_completely() {
        let request = query(
            "account=me&scope=repository%3Alibrary%2Falpine%3Apull&scope=repository%3Aa%2Fb%3Apull&service=registry.docker.io&offline_token=true&client_id=docker",
        );
        assert_eq!(
            request.query(Some("registry.docker.io")),
            "service=registry.docker.io&client_id=docker&scope=repository%3Alibrary%2Falpine%3Apull&scope=repository%3Aa%2Fb%3Apull&offline_token=true&account=me"
        );
        assert_eq!(request.form(None), None);
        assert!(request.is_anonymous(&Authorization::None));
        assert!(!request.is_anonymous(&basic("me", "pw")));
    }

    #[test]
    fn an_identity_token_is_forwarded_unchanged() {
        let text = "grant_type=refresh_token&service=registry.docker.io&client_id=docker&refresh_token=r%2B1&scope=repository%3Aa%2Fb%3Apull+repository%3Ac%2Fd%3Apull&access_type=offline";
        let request = form(text, &Registry::docker_hub());
        assert!(!request.is_anonymous(&Authorization::None));
        assert_eq!(
            request.form(Some("registry.docker.io")).unwrap().expose(),
            "grant_type=refresh_token&refresh_token=r%2B1&service=registry.docker.io&client_id=docker&scope=repository%3Aa%2Fb%3Apull+repository%3Ac%2Fd%3Apull&access_type=offline"
        );
    }

    #[test]
    fn a_scope_of_another_registry_is_detected() {
        let (hub, ghcr): (_, Registry) = (Registry::docker_hub(), "ghcr.io".parse().unwrap());
        for (scopes, registry, names_other) in [
            ("repository:ghcr.io/a/b:pull", &hub, true),
            ("repository:a/b:pull repository:ghcr.io/a/b:pull", &hub, true),
            ("repository:ghcr.io/a/b:pull repository:a/b:pull", &hub, true),
            ("nonsense repository:ghcr.io/a/b:pull", &hub, true),
            ("repository(plugin):ghcr.io/a/b:pull", &hub, true),
            ("repository:ghcr.io:444/a/b:pull", &ghcr, true),
            ("repository:ghcr.io:443/a/b:pull", &ghcr, false),
            ("repository:docker.io/a/b:pull", &ghcr, true),
            ("repository:docker.io/a/b:pull repository:index.docker.io/c/d:pull", &hub, false),
            ("repository:GHCR.io/a/b:pull repository:c/d:pull", &ghcr, false),
            ("registry:catalog:*", &hub, false),
        ] {
            let password = format!("grant_type=password&username=u&password=p&scope={scopes}");
            for parsed in [
                TokenRequest::from_query(&format!("account=u&scope={scopes}"), registry),
                TokenRequest::from_query(&format!("scope={}", scopes.replace(' ', "&scope=")), registry),
                TokenRequest::from_form(&password, registry).unwrap(),
            ] {
                assert_eq!(parsed == Parsed::NamesOtherRegistry, names_other, "{scopes} of {registry}");
            }
        }
    }

    #[test]
    fn a_request_to_another_registry_loses_its_credentials() {
        let ghcr: Registry = "ghcr.io".parse().unwrap();
        for text in [
            "grant_type=password&username=u&password=p&access_type=offline&scope=repository:a/b:pull,push+aws",
            "grant_type=refresh_token&refresh_token=r&access_type=offline&scope=repository:a/b:pull",
        ] {
            let request = form(text, &ghcr).for_registry(&ghcr);
            assert!(request.is_anonymous(&Authorization::None));
            let aws = if text.ends_with("aws") { "&scope=aws" } else { "" };
            assert_eq!(request.query(None), format!("scope=repository%3Aa%2Fb%3Apull{aws}"));
        }
    }

    #[test]
    fn a_scope_is_passed_on_or_dropped_and_never_an_error() {
        for registry in [Registry::docker_hub(), "public.ecr.aws".parse().unwrap()] {
            for (scopes, sent) in [
                ("aws", "scope=aws"),
                ("*", "scope=*"),
                ("aws+repository:a/b:pull", "scope=aws&scope=repository%3Aa%2Fb%3Apull"),
                ("nonsense+Repository:a/b:pull", "scope=nonsense"),
                ("repository:A/B:pull", ""),
                ("repository", ""),
                ("%00", ""),
                ("", ""),
            ] {
                let password = format!("grant_type=password&username=u&password=p&scope={scopes}");
                let queried = TokenRequest::from_query(&format!("scope={scopes}"), &registry);
                for parsed in [queried, TokenRequest::from_form(&password, &registry).unwrap()] {
                    let Parsed::Request(request) = parsed else { panic!("{scopes} of {registry}") };
                    assert_eq!(request.for_registry(&registry).query(None), sent, "{scopes} of {registry}");
                }
            }
        }
    }

    #[test]
    fn scopes_are_cut_to_pull() {
        let hub = Registry::docker_hub();
        for (scopes, cut) in [
            ("repository:a/b:pull,push", "scope=repository%3Aa%2Fb%3Apull"),
            ("repository:alpine:*", "scope=repository%3Alibrary%2Falpine%3Apull"),
            ("repository:a/b:push repository:c/d:delete,pull", "scope=repository%3Ac%2Fd%3Apull"),
            ("repository(plugin):a/b:pull,push", "scope=repository%28plugin%29%3Aa%2Fb%3Apull"),
            ("registry:catalog:*", ""),
            ("repository:a/b:push", ""),
        ] {
            assert_eq!(query(&format!("scope={scopes}")).for_registry(&hub).query(None), cut, "{scopes}");
        }
    }

    #[test]
    fn a_refused_form_gives_the_reason() {
        for (form, reason) in [
            ("", "the form has no grant_type"),
            ("grant_type=magic", "grant_type must be"),
            ("grant_type=password&username=u", "the form has no password"),
        ] {
            let error = TokenRequest::from_form(form, &Registry::docker_hub()).unwrap_err().to_string();
            assert!(error.contains(reason), "{form}: {error}");
        }
    }
}
