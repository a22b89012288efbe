//! A registry's token service: its URL, from the registry's challenge, and requests to it.
//!
//! Its redirects are followed. Must never send a credential to another origin than that of its realm.

use crate::upstream::error::UpstreamError;
use crate::upstream::http::body::collect;
use crate::upstream::http::client::HttpClient;
use crate::upstream::http::credentials::Credentials;
use crate::upstream::http::redirect::{ChainRequest, UpstreamResponse, follow_redirects};
use crate::upstream::http::small_response::SmallResponse;
use crate::upstream::http::target::Target;
use bytes::Bytes;
use docxy_protocol::authorization::basic;
use docxy_protocol::challenge::Challenge;
use docxy_protocol::error_body;
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_protocol::limits::{PING_AND_TOKEN_TIMEOUT, TOKEN_RESPONSE_BYTES_MAX};
use docxy_protocol::secret::Secret;
use docxy_protocol::text::CleanText;
use docxy_protocol::token::TokenRequest;
use docxy_protocol::token_response::TokenResponse;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

/// The user whose password is an identity token, as engines and credential helpers write it.
const IDENTITY_TOKEN_USER: &str = "<token>";

/// A token service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct TokenService {
    realm: Url,
    service: Option<String>,
}

/// A token and how long it lasts.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) secret: Secret,
    pub(crate) lifetime: Duration,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TokenUnavailable {
    /// The service grants none, with its status and its reason, if it gives one, or the registry needs none.
    Refused(StatusCode, Option<CleanText<500>>),
    /// The service's rate limit is reached, with its response. An engine must receive exactly that: after
    /// a 401 it would send the request again at once.
    Limited(Box<SmallResponse>),
    /// The service must not be dialed, or grants a token that no request can carry.
    Unusable(UpstreamError),
    /// The service does not respond, or responds with an error of its own.
    Failed(UpstreamError),
}

impl TokenUnavailable {
    /// There is nothing that could grant one.
    pub(crate) const NONE: Self = Self::Refused(StatusCode::UNAUTHORIZED, None);

    /// The response to the request that needed the token.
    pub(crate) fn into_response(self) -> Result<UpstreamResponse, UpstreamError> {
        match self {
            Self::Limited(response) => Ok(response.into_upstream_response(Hop::TokenService)),
            Self::Refused(..) | Self::Unusable(_) | Self::Failed(_) => {
                Err(self.into_error(Hop::TokenService))
            }
        }
    }

    /// The error for `docxy-server check`.
    pub(crate) fn into_error(self, hop: Hop) -> UpstreamError {
        match self {
            Self::Refused(_, reason) => {
                let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                UpstreamError::new(hop, FaultKind::MalformedResponse, format!("grants no token{reason}"))
            }
            Self::Limited(_) => {
                UpstreamError::new(hop, FaultKind::Overloaded, "answers 429, its limit is reached")
            }
            Self::Unusable(error) | Self::Failed(error) => error,
        }
    }
}

impl From<UpstreamError> for TokenUnavailable {
    fn from(error: UpstreamError) -> Self {
        match error.fault.kind {
            // The response is too large.
            FaultKind::Mismatch | FaultKind::RedirectRefused => Self::Unusable(error),
            _ => Self::Failed(error),
        }
    }
}

impl TokenService {
    /// The service that a Bearer challenge names; `None` if it names none that may be dialed.
    pub(crate) fn of_challenge(bearer: &Challenge) -> Option<Self> {
        let realm = Url::parse(bearer.parameter("realm")?).ok().filter(|realm| realm.scheme() == "https")?;
        Some(Self { realm, service: bearer.parameter("service").map(str::to_owned) })
    }

    /// Whether both are at the same URL.
    pub(crate) fn has_realm_of(&self, other: &Self) -> bool {
        self.realm == other.realm
    }

    /// A challenge that names this service.
    pub(crate) fn challenge(&self) -> Challenge {
        let challenge = Challenge::bearer(self.realm.as_str(), self.service.as_deref().unwrap_or_default());
        if self.service.is_some() { challenge } else { challenge.without("service") }
    }

    /// The root URL of its host.
    pub(crate) fn root(&self) -> Option<Url> {
        self.realm.join("/").ok()
    }

    /// Its host.
    pub(crate) fn host(&self) -> String {
        self.realm.host_str().unwrap_or_default().to_owned()
    }

    /// Sends an engine's token request. A successful response has been read whole.
    ///
    /// # Errors
    /// If the service cannot be reached, or the response is interrupted.
    pub(crate) async fn send(
        &self,
        client: &HttpClient,
        request: &TokenRequest,
        authorization: Option<Secret>,
        user_agent: Option<&HeaderValue>,
    ) -> Result<UpstreamResponse, UpstreamError> {
        let service = self.service.as_deref();
        let mut chain = match request.form(service) {
            Some(form) => self.post(&form)?,
            None => self.get(&request.query(service))?,
        };
        chain.headers.extend(user_agent.map(|agent| (header::USER_AGENT, agent.clone())));
        send(client, chain, authorization).await
    }

    /// Requests a token for the server's own use: see [`Token::from_response`].
    ///
    /// # Errors
    /// If the service cannot be reached.
    pub(crate) async fn request_own_token(
        &self,
        client: &HttpClient,
        scopes: &[String],
        account: Option<(&str, &Secret)>,
    ) -> Result<UpstreamResponse, UpstreamError> {
        if let Some((IDENTITY_TOKEN_USER, token)) = account {
            return send(client, self.post(&self.identity_form(scopes, token))?, None).await;
        }
        let authorization = account.and_then(|(user, password)| basic(user, password.expose()).header());
        send(client, self.get(&self.query(scopes))?, authorization).await
    }

    /// The form for a token in exchange for an identity token (RFC 6749, section 6).
    fn identity_form(&self, scopes: &[String], token: &Secret) -> Secret {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", token.expose());
        form.append_pair("client_id", "docxy").append_pair("scope", &scopes.join(" "));
        form.extend_pairs(self.service.iter().map(|service| ("service", service)));
        Secret::new(form.finish())
    }

    fn query(&self, scopes: &[String]) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.service.iter().map(|service| ("service", service)));
        query.extend_pairs(scopes.iter().map(|scope| ("scope", scope)));
        query.finish()
    }

    fn get(&self, query: &str) -> Result<ChainRequest, UpstreamError> {
        let mut url = self.realm.clone();
        // The realm may have a query of its own.
        let joined = [url.query().unwrap_or_default(), query].join("&");
        url.set_query(Some(joined.trim_matches('&')).filter(|query| !query.is_empty()));
        Ok(ChainRequest::get(Hop::TokenService, Target::of(&url)?))
    }

    fn post(&self, form: &Secret) -> Result<ChainRequest, UpstreamError> {
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        Ok(ChainRequest {
            method: Method::POST,
            headers: HeaderMap::from_iter([(header::CONTENT_TYPE, form_type)]),
            body: Bytes::from(form.expose().to_owned()),
            ..ChainRequest::get(Hop::TokenService, Target::of(&self.realm)?)
        })
    }
}

/// Sends a token request with this credential, if there is one.
async fn send(
    client: &HttpClient,
    chain: ChainRequest,
    authorization: Option<Secret>,
) -> Result<UpstreamResponse, UpstreamError> {
    let until = Instant::now() + PING_AND_TOKEN_TIMEOUT;
    let response = follow_redirects(client, chain, &Credentials::of_account(authorization), until).await?;
    response.read_body(TOKEN_RESPONSE_BYTES_MAX, until).await.map_err(|mut error| {
        if error.fault.kind == FaultKind::TooLarge {
            // A 413 would be about the content, and no content is too large.
            error.fault.kind = FaultKind::Mismatch;
        }
        error
    })
}

impl Token {
    /// The token in a token service's response.
    ///
    /// # Errors
    /// If the service refuses, its rate limit is reached, or the response cannot be parsed.
    pub(crate) async fn from_response(token_response: UpstreamResponse) -> Result<Self, TokenUnavailable> {
        let response = token_response.response;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(TokenUnavailable::Limited(Box::new(
                SmallResponse::read(Hop::TokenService, response).await,
            )));
        }
        if status.is_client_error() {
            // An unreadable body has no reason.
            let body = collect(Hop::TokenService, response.into_body()).await.unwrap_or_default();
            return Err(TokenUnavailable::Refused(status, error_body::message(&body)));
        }
        if !status.is_success() {
            return Err(UpstreamError::new(
                Hop::TokenService,
                FaultKind::MalformedResponse,
                format!("answers {status}"),
            )
            .into());
        }
        let body = collect(Hop::TokenService, response.into_body()).await?;
        let parsed = TokenResponse::parse(&body).map_err(|error| {
            let error = UpstreamError::new(Hop::TokenService, FaultKind::MalformedResponse, error);
            TokenUnavailable::Unusable(error)
        })?;
        let (secret, lifetime) = parsed.into_token();
        Ok(Self { secret, lifetime })
    }
}
