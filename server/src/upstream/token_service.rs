//! A registry's token service: where it is, as the registry says, and how to ask it.

use super::body::{self, collect};
use super::follow::Followed;
use super::origin::Origin;
use super::small_answer::SmallAnswer;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use docxy_protocol::challenge::Challenge;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::limits::{AUTH_PROBE_TIMEOUT, TOKEN_RESPONSE_MAX};
use docxy_protocol::secret::Secret;
use docxy_protocol::token::TokenRequest;
use docxy_protocol::token_response::TokenResponse;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::Full;
use std::time::Duration;
use url::Url;

/// A token service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TokenService {
    realm: Url,
    service: Option<String>,
}

/// A token and how long it lasts.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) secret: Secret,
    pub(super) lifetime: Duration,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoToken {
    /// The service grants none, or the registry wants none.
    Refused,
    /// The service's limit is reached, and this is what it says. An engine has to hear exactly
    /// that: told to log in instead, it would ask again at once.
    Limited(Box<SmallAnswer>),
    /// The service cannot be asked.
    Fault(Fault),
}

impl NoToken {
    /// What whoever needed the token is answered.
    pub(super) fn into_answer(self) -> Result<Followed, Fault> {
        match self {
            Self::Limited(answer) => Ok(answer.into_followed(Hop::Auth)),
            Self::Refused | Self::Fault(_) => Err(self.into_fault(Hop::Auth)),
        }
    }

    /// What an operator is told of it.
    pub(super) fn into_fault(self, hop: Hop) -> Fault {
        match self {
            Self::Refused => Fault::new(hop, FaultKind::MalformedResponse, "grants no token"),
            Self::Limited(_) => Fault::new(hop, FaultKind::Overloaded, "answers 429, its limit is reached"),
            Self::Fault(fault) => fault,
        }
    }
}

impl From<Fault> for NoToken {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl TokenService {
    /// The service that a registry's 401 points to; `None` where it wants no tokens.
    pub(super) fn of_challenge(headers: &HeaderMap) -> Option<Self> {
        let lines = headers.get_all(header::WWW_AUTHENTICATE);
        let bearer = lines
            .iter()
            .filter_map(|line| Challenge::parse_all(line.to_str().ok()?).ok())
            .flatten()
            .find(Challenge::is_bearer)?;
        let realm = Url::parse(bearer.parameter("realm")?).ok()?;
        Some(Self { realm, service: bearer.parameter("service").map(str::to_owned) })
    }

    /// A challenge that points to this service.
    pub(super) fn challenge(&self) -> Challenge {
        let challenge = Challenge::bearer(self.realm.as_str(), self.service.as_deref().unwrap_or_default());
        if self.service.is_some() { challenge } else { challenge.without("service") }
    }

    /// The root of the host that it is on.
    pub(super) fn root(&self) -> Option<Url> {
        self.realm.join("/").ok()
    }

    /// The host that it is on.
    pub(super) fn host(&self) -> String {
        self.realm.host_str().unwrap_or_default().to_owned()
    }

    /// Passes a request on as it is: what the service says. A token has been read whole.
    ///
    /// # Errors
    /// Where the service cannot be reached, or the token breaks off.
    pub(super) async fn ask(
        &self,
        origin: &Origin,
        request: &TokenRequest,
        authorization: Option<Secret>,
        user_agent: Option<&HeaderValue>,
    ) -> Result<Followed, Fault> {
        let mut url = self.realm.clone();
        let mut http = match request.form(self.service.as_deref()) {
            Some(form) => {
                let mut http = http::Request::new(Full::new(Bytes::from(form.expose().to_owned())));
                *http.method_mut() = Method::POST;
                let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
                http.headers_mut().insert(header::CONTENT_TYPE, form_type);
                http
            }
            None => {
                // The realm may have a query of its own.
                let query = request.query(self.service.as_deref());
                let joined = [url.query().unwrap_or_default(), &query].join("&");
                url.set_query(Some(joined.trim_matches('&')));
                http::Request::new(Full::default())
            }
        };
        if let Some(value) = authorization {
            http.headers_mut().insert(header::AUTHORIZATION, sensitive(&value)?);
        }
        if let Some(value) = user_agent {
            http.headers_mut().insert(header::USER_AGENT, value.clone());
        }
        let response = origin.send(Hop::Auth, &url, http, AUTH_PROBE_TIMEOUT).await?;
        let answer = Followed { hop: Hop::Auth, response: response.map(body::on_its_way) };
        answer.whole(TOKEN_RESPONSE_MAX).await
    }

    /// Asks for a token for the server's own use: see [`Token::of`].
    ///
    /// # Errors
    /// Where the service cannot be reached.
    pub(super) async fn ask_for_ourselves(
        &self,
        origin: &Origin,
        request: &TokenRequest,
        account: Option<(&str, &Secret)>,
    ) -> Result<Followed, Fault> {
        let authorization = account.map(|(user, password)| {
            Secret::new(format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{}", password.expose()))))
        });
        self.ask(origin, request, authorization, None).await
    }
}

impl Token {
    /// Reads a token service's answer; `None` where it refuses.
    ///
    /// # Errors
    /// Where the service's limit is reached, or the answer makes no sense.
    pub(super) async fn of(answer: Followed) -> Result<Option<Self>, NoToken> {
        let response = answer.response;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(NoToken::Limited(Box::new(SmallAnswer::read(Hop::Auth, response).await)));
        }
        if status.is_client_error() {
            return Ok(None);
        }
        if !status.is_success() {
            return Err(
                Fault::new(Hop::Auth, FaultKind::MalformedResponse, format!("answers {status}")).into()
            );
        }
        let body = collect(Hop::Auth, response.into_body()).await?;
        let answer = TokenResponse::parse(&body)
            .map_err(|error| Fault::new(Hop::Auth, FaultKind::MalformedResponse, error))?;
        let (secret, lifetime) = answer.into_token();
        Ok(Some(Self { secret, lifetime }))
    }
}

/// A header's value that `Debug` doesn't show.
pub(super) fn sensitive(value: &Secret) -> Result<HeaderValue, Fault> {
    let mut header = HeaderValue::from_str(value.expose()).map_err(|_| {
        Fault::new(Hop::Engine, FaultKind::RequestInvalid, "a credential that fits into no header")
    })?;
    header.set_sensitive(true);
    Ok(header)
}
