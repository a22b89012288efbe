//! A registry's token service: its URL, from the registry's challenge, and requests to it.

use crate::upstream::error::UpstreamError;
use crate::upstream::http::body::{Body, collect};
use crate::upstream::http::client::{HttpClient, sensitive_header};
use crate::upstream::http::redirect::UpstreamResponse;
use crate::upstream::http::small_response::SmallResponse;
use crate::upstream::http::target::Target;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use docxy_protocol::challenge::Challenge;
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_protocol::limits::{PING_AND_TOKEN_TIMEOUT, TOKEN_RESPONSE_BYTES_MAX};
use docxy_protocol::secret::Secret;
use docxy_protocol::token::TokenRequest;
use docxy_protocol::token_response::TokenResponse;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::Full;
use std::time::Duration;
use url::Url;

/// A token service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::upstream) struct TokenService {
    realm: Url,
    service: Option<String>,
}

/// A token and how long it lasts.
#[derive(Debug, Clone)]
pub(in crate::upstream) struct Token {
    pub(in crate::upstream) secret: Secret,
    pub(in crate::upstream) lifetime: Duration,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::upstream) enum TokenUnavailable {
    /// The service grants none, or the registry needs none.
    Refused,
    /// The service's rate limit is reached, with its response. An engine must receive exactly that: after
    /// a 401 it would send the request again at once.
    Limited(Box<SmallResponse>),
    /// The service does not respond.
    Failed(UpstreamError),
}

impl TokenUnavailable {
    /// The response to the request that needed the token.
    pub(in crate::upstream) fn into_response(self) -> Result<UpstreamResponse, UpstreamError> {
        match self {
            Self::Limited(response) => Ok(response.into_upstream_response(Hop::TokenService)),
            Self::Refused | Self::Failed(_) => Err(self.into_error(Hop::TokenService)),
        }
    }

    /// The error for `docxy-server check`.
    pub(in crate::upstream) fn into_error(self, hop: Hop) -> UpstreamError {
        match self {
            Self::Refused => UpstreamError::new(hop, FaultKind::MalformedResponse, "grants no token"),
            Self::Limited(_) => {
                UpstreamError::new(hop, FaultKind::Overloaded, "answers 429, its limit is reached")
            }
            Self::Failed(error) => error,
        }
    }
}

impl From<UpstreamError> for TokenUnavailable {
    fn from(error: UpstreamError) -> Self {
        Self::Failed(error)
    }
}

impl TokenService {
    /// The service in a registry's 401; `None` if the registry needs no tokens.
    pub(in crate::upstream) fn from_challenge(headers: &HeaderMap) -> Option<Self> {
        let bearer = Challenge::of_response(headers).find(Challenge::is_bearer)?;
        let realm = Url::parse(bearer.parameter("realm")?).ok()?;
        Some(Self { realm, service: bearer.parameter("service").map(str::to_owned) })
    }

    /// A challenge that names this service.
    pub(in crate::upstream) fn challenge(&self) -> Challenge {
        let challenge = Challenge::bearer(self.realm.as_str(), self.service.as_deref().unwrap_or_default());
        if self.service.is_some() { challenge } else { challenge.without("service") }
    }

    /// The root URL of its host.
    pub(in crate::upstream) fn root(&self) -> Option<Url> {
        self.realm.join("/").ok()
    }

    /// Its host.
    pub(in crate::upstream) fn host(&self) -> String {
        self.realm.host_str().unwrap_or_default().to_owned()
    }

    /// Sends a token request. A successful response has been read whole.
    ///
    /// # Errors
    /// If the service cannot be reached, or the response is interrupted.
    pub(in crate::upstream) async fn send(
        &self,
        client: &HttpClient,
        request: &TokenRequest,
        authorization: Option<Secret>,
        user_agent: Option<&HeaderValue>,
    ) -> Result<UpstreamResponse, UpstreamError> {
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
            http.headers_mut().insert(header::AUTHORIZATION, sensitive_header(&value)?);
        }
        if let Some(value) = user_agent {
            http.headers_mut().insert(header::USER_AGENT, value.clone());
        }
        let response =
            client.send(Hop::TokenService, &Target::of(&url)?, http, PING_AND_TOKEN_TIMEOUT).await?;
        let response = UpstreamResponse { hop: Hop::TokenService, response: response.map(Body::Streaming) };
        response.read_body(TOKEN_RESPONSE_BYTES_MAX).await
    }

    /// Requests a token for the server's own use: see [`Token::from_response`].
    ///
    /// # Errors
    /// If the service cannot be reached.
    pub(in crate::upstream) async fn request_own_token(
        &self,
        client: &HttpClient,
        request: &TokenRequest,
        account: Option<(&str, &Secret)>,
    ) -> Result<UpstreamResponse, UpstreamError> {
        let authorization = account.map(|(user, password)| {
            Secret::new(format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{}", password.expose()))))
        });
        self.send(client, request, authorization, None).await
    }
}

impl Token {
    /// The token in a token service's response; `None` if the service refuses.
    ///
    /// # Errors
    /// If the service's rate limit is reached, or the response cannot be parsed.
    pub(in crate::upstream) async fn from_response(
        token_response: UpstreamResponse,
    ) -> Result<Option<Self>, TokenUnavailable> {
        let response = token_response.response;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(TokenUnavailable::Limited(Box::new(
                SmallResponse::read(Hop::TokenService, response).await,
            )));
        }
        if status.is_client_error() {
            return Ok(None);
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
        let parsed = TokenResponse::parse(&body)
            .map_err(|error| UpstreamError::new(Hop::TokenService, FaultKind::MalformedResponse, error))?;
        let (secret, lifetime) = parsed.into_token();
        Ok(Some(Self { secret, lifetime }))
    }
}
