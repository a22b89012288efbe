//! One registry on the operator's list: sends requests to it, with the credential that each may use.

use super::http::address_guard::AddressGuard;
use super::http::body;
use super::http::redirect::UpstreamResponse;
use super::http::retry::RetryDeadline;
use super::registry_client::RegistryClient;
use super::shared_request;
use super::token::origins::SharedTokenOrigins;
use super::token::{QuotaAccount, RegistryTokens};
use crate::settings::{RegistrySettings, Settings};
use bytes::Bytes;
use docxy_protocol::authorization::Authorization;
use docxy_protocol::challenge::Challenge;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::limits::AUTH_PROBE_TIMEOUT;
use docxy_protocol::name::{Registry as RegistryName, Repository};
use docxy_protocol::request::{Method, Operation, Request};
use docxy_protocol::scope::Scope;
use docxy_protocol::secret::Secret;
use docxy_protocol::token_response::TokenResponse;
use http::{HeaderValue, StatusCode, header};
use rustls::RootCertStore;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long after its last request a registry counts as in use. After a pull, the next one follows
/// soon, or not for hours.
const IN_USE_AFTER_REQUEST: Duration = Duration::from_secs(600);

/// A registry, with its tokens and connections.
#[derive(Debug)]
pub(super) struct UpstreamRegistry {
    name: RegistryName,
    client: Arc<RegistryClient>,
    tokens: RegistryTokens,
    origins: SharedTokenOrigins,
    last_request: Mutex<Option<Instant>>,
}

impl UpstreamRegistry {
    /// # Errors
    /// If a CA certificate of the settings cannot be used.
    pub(super) fn new(
        entry: &RegistrySettings,
        settings: &Settings,
        roots: &RootCertStore,
        origins: SharedTokenOrigins,
    ) -> Result<Self, rustls::Error> {
        let client = Arc::new(RegistryClient::new(entry, settings, roots)?);
        let tokens = RegistryTokens::new(&entry.name, Arc::clone(&client), entry.account.clone());
        Ok(Self { name: entry.name.clone(), client, tokens, origins, last_request: Mutex::new(None) })
    }

    /// Uses the address guard of these settings for new connections. `entry` must be the one that this
    /// registry was made with.
    pub(super) fn set_address_guard(&self, entry: &RegistrySettings, settings: &Settings) {
        self.client.http().set_guard(AddressGuard::new(entry, settings));
    }

    /// Does one operation without retries, for a caller that retries itself.
    ///
    /// # Errors
    /// If a hop fails. What the registry refuses is a response.
    pub(super) async fn send_once(&self, request: &Request) -> Result<UpstreamResponse, Fault> {
        self.send(request, RetryDeadline::no_retry(tokio::time::Instant::now())).await
    }

    /// The API's URL and the host of its token service, for `docxy-server check`.
    ///
    /// # Errors
    /// If the registry doesn't respond, or its rate limit is reached.
    pub(super) async fn check_challenge(&self) -> Result<(String, Option<String>), Fault> {
        let deadline = RetryDeadline::no_retry(tokio::time::Instant::now());
        let service = self.tokens.service(deadline).await.map_err(|why| why.into_fault(Hop::Registry))?;
        Ok((self.client.display_url().to_owned(), service.map(|service| service.host())))
    }

    /// To whom the token service grants tokens, in words, for `docxy-server check`.
    ///
    /// # Errors
    /// If the token service doesn't respond, or refuses.
    pub(super) async fn check_tokens(&self, repository: Option<Repository>) -> Result<String, Fault> {
        self.tokens.check(repository).await
    }

    /// Sends a `HEAD` to each host, so that a pooled connection to it stays open, and renews the tokens in
    /// use that expire soon. Does nothing if the registry is not in use.
    pub(super) async fn keep_alive(&self) {
        let last_request = *self.last_request.lock().unwrap_or_else(PoisonError::into_inner);
        if last_request.is_none_or(|since| since.elapsed() > IN_USE_AFTER_REQUEST) {
            return;
        }
        let deadline = RetryDeadline::no_retry(tokio::time::Instant::now());
        self.tokens.renew(deadline).await;
        let auth = self.tokens.service(deadline).await.ok().flatten().and_then(|service| service.root());
        let registry = self.client.url("/v2/").ok();
        for (hop, url) in
            [(Hop::Registry, registry), (Hop::Auth, auth), (Hop::Cdn, self.client.http().last_cdn())]
        {
            let Some(url) = url else { continue };
            let mut request = http::Request::new(http_body_util::Full::default());
            *request.method_mut() = http::Method::HEAD;
            // The status doesn't matter: the request keeps the connection open.
            if let Err(fault) = self.client.http().send(hop, &url, request, AUTH_PROBE_TIMEOUT).await {
                tracing::debug!(%fault, "keep-alive request failed");
            }
        }
    }

    /// Does one operation, and retries until `deadline`.
    ///
    /// # Errors
    /// If a hop fails. What the registry refuses is a response.
    pub(super) async fn send(
        &self,
        request: &Request,
        deadline: RetryDeadline,
    ) -> Result<UpstreamResponse, Fault> {
        *self.last_request.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        if !self.origins.may_send(request) {
            return self.refuse_token(request, deadline).await;
        }
        match (&request.operation, &request.authorization) {
            (Operation::Token(token), authorization) => {
                let user_agent = request.headers.map().get(header::USER_AGENT);
                let response = self.tokens.forward(token, authorization, user_agent, deadline).await?;
                self.record_tokens(response).await
            }
            (_, Authorization::Public) => self.send_anonymous(request, deadline).await,
            (_, authorization) => self.client.send(request, authorization.header(), deadline).await,
        }
    }

    /// The 401 for a request whose token this registry did not issue, without sending the token to the
    /// registry. It says `error="invalid_token"`, so that engines fetch a new token.
    async fn refuse_token(
        &self,
        request: &Request,
        deadline: RetryDeadline,
    ) -> Result<UpstreamResponse, Fault> {
        tracing::info!("token withheld: not issued by this registry");
        let service = self.tokens.service(deadline).await.ok().flatten();
        let mut challenge = match service {
            Some(service) => service.challenge(),
            None => Challenge::bearer(&format!("https://{}/token", self.name), self.name.as_str()),
        };
        if let Some(repository) = request.operation.repository() {
            challenge = challenge.with("scope", &Scope::pull(repository.clone()).to_string());
        }
        let challenge = challenge.with("error", "invalid_token").to_string();
        let mut response =
            http::Response::new(body::from_bytes(Bytes::from_static(b"authentication required")));
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        let value = HeaderValue::try_from(challenge).map_err(|_| {
            Fault::new(Hop::Server, FaultKind::Internal, "cannot write the challenge that refuses a token")
        })?;
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
        let api_version = HeaderValue::from_static("registry/2.0");
        response.headers_mut().insert("docker-distribution-api-version", api_version);
        Ok(UpstreamResponse { hop: Hop::Registry, response })
    }

    /// Records that this registry issued the tokens in this response of its token service, and returns the
    /// response.
    ///
    /// # Errors
    /// If the response cannot be parsed. It is not forwarded then: an engine could find a token in it whose
    /// origin would be unknown.
    async fn record_tokens(&self, token_response: UpstreamResponse) -> Result<UpstreamResponse, Fault> {
        if !token_response.response.status().is_success() {
            return Ok(token_response);
        }
        let UpstreamResponse { hop, response } = token_response;
        let (head, body) = response.into_parts();
        let bytes = body::collect(hop, body).await?;
        let tokens = TokenResponse::parse(&bytes)
            .map_err(|error| Fault::new(hop, FaultKind::MalformedResponse, error))?;
        self.origins.record(&self.name, &tokens);
        Ok(UpstreamResponse { hop, response: http::Response::from_parts(head, body::from_bytes(bytes)) })
    }

    /// Sends a request that carries no credential, with a token of the server's own.
    async fn send_anonymous(
        &self,
        request: &Request,
        deadline: RetryDeadline,
    ) -> Result<UpstreamResponse, Fault> {
        if matches!(request.operation, Operation::Manifest { method: Method::Get, .. }) {
            self.manifest(request, false, deadline).await
        } else {
            self.send_with_token(request, QuotaAccount::Anonymous, deadline).await
        }
    }

    /// Sends an anonymous `HEAD` for the manifest that this request is about, without the request's
    /// conditions. A success proves that the manifest is public.
    ///
    /// # Errors
    /// If a hop fails. What the registry refuses is a response.
    pub(super) async fn head(
        &self,
        request: &Request,
        deadline: RetryDeadline,
    ) -> Result<UpstreamResponse, Fault> {
        self.send_with_token(&head_request(request), QuotaAccount::Anonymous, deadline).await
    }

    /// Fetches a public manifest. `is_public` says that an anonymous `HEAD` has just succeeded.
    ///
    /// If there is an operator's account, the pull counts against it. The account must never authorise:
    /// it is used only for a manifest that an anonymous `HEAD` has just shown to be public.
    ///
    /// # Errors
    /// If a hop fails. What the registry refuses is a response.
    pub(super) async fn manifest(
        &self,
        request: &Request,
        is_public: bool,
        deadline: RetryDeadline,
    ) -> Result<UpstreamResponse, Fault> {
        if self.tokens.is_operator_account_usable() {
            let mut is_public = is_public;
            if !is_public {
                let head = self.head(request, deadline).await?;
                if head.hop == Hop::Auth {
                    // Without an anonymous token, the manifest cannot be fetched either.
                    return Ok(head);
                }
                is_public = head.response.status().is_success();
            }
            if is_public
                && self.tokens.has_operator_token(request.operation.repository().cloned(), deadline).await
            {
                return self.send_with_token(request, QuotaAccount::Operator, deadline).await;
            }
        }
        self.send_with_token(request, QuotaAccount::Anonymous, deadline).await
    }

    /// Whether there is an operator's account that was not refused recently.
    pub(super) fn is_operator_account_usable(&self) -> bool {
        self.tokens.is_operator_account_usable()
    }

    /// Sends with the cached token for this repository. If the registry refuses that token, which may
    /// have expired early, sends once more with a new one.
    async fn send_with_token(
        &self,
        request: &Request,
        account: QuotaAccount,
        deadline: RetryDeadline,
    ) -> Result<UpstreamResponse, Fault> {
        let key = (account, request.operation.repository().cloned());
        let token = match self.tokens.get(&key, deadline).await {
            Ok(Some(token)) => token,
            Ok(None) => return self.client.send(request, None, deadline).await,
            Err(no_token) => return no_token.into_response(),
        };
        let response = self.client.send(request, Some(bearer(&token)), deadline).await?;
        if response.response.status() != StatusCode::UNAUTHORIZED || response.hop != Hop::Registry {
            return Ok(response);
        }
        self.tokens.remove(&key, &token).await;
        match self.tokens.get(&key, deadline).await {
            Ok(Some(fresh)) if fresh != token => {
                self.client.send(request, Some(bearer(&fresh)), deadline).await
            }
            Ok(_) => Ok(response),
            Err(no_token) => no_token.into_response(),
        }
    }
}

fn bearer(token: &Secret) -> Secret {
    Secret::new(format!("Bearer {}", token.expose()))
}

/// The anonymous `HEAD` for a manifest.
fn head_request(request: &Request) -> Request {
    match &request.operation {
        Operation::Manifest { repository, reference, .. } => {
            shared_request::for_manifest(request, repository, reference, Method::Head)
        }
        _ => request.clone(),
    }
}
