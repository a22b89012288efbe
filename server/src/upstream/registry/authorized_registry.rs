//! One registry on the operator's list: sends requests to it, with the credential that each may use.

use super::anonymous_request;
use super::cacheable_request;
use super::public_proof::PublicProof;
use crate::settings::{RegistrySettings, Settings};
use crate::upstream::api_client::ApiClient;
use crate::upstream::error::UpstreamError;
use crate::upstream::http::address_guard::AddressGuard;
use crate::upstream::http::body::{Body, collect};
use crate::upstream::http::credentials::Credentials;
use crate::upstream::http::redirect::UpstreamResponse;
use crate::upstream::http::retry::RetryDeadline;
use crate::upstream::http::small_response::SmallResponse;
use crate::upstream::http::target::Target;
use crate::upstream::request_counts::RequestCounts;
use crate::upstream::token::{QuotaAccount, RegistryTokens, TokenUnavailable};
use bytes::Bytes;
use docxy_protocol::authorization::{Authorization, Login};
use docxy_protocol::challenge::Challenge;
use docxy_protocol::error_body;
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_protocol::headers::Headers;
use docxy_protocol::limits::PING_AND_TOKEN_TIMEOUT;
use docxy_protocol::name::{Reference, Registry as RegistryName};
use docxy_protocol::request::{Method, Operation, Request};
use docxy_protocol::scope::Scope;
use docxy_protocol::text::clean;
use docxy_protocol::token_origins::TokenOrigins;
use docxy_protocol::token_response::TokenResponse;
use http::{HeaderName, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use rustls::RootCertStore;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long after its last request a registry counts as in use. After a pull, the next one follows
/// soon, or not for hours.
const IN_USE_AFTER_REQUEST: Duration = Duration::from_secs(600);

/// Maximum number of refusals of one request with a login that are answered with another token: one that has expired,
/// and one that was for other scopes than the registry asks for.
const LOGIN_REFUSALS_MAX: usize = 2;

/// A registry, with its tokens and connections.
#[derive(Debug)]
pub(crate) struct AuthorizedRegistry {
    pub(crate) name: RegistryName,
    client: Arc<ApiClient>,
    pub(crate) tokens: Arc<RegistryTokens>,
    origins: Arc<Mutex<TokenOrigins>>,
    last_request: Mutex<Option<Instant>>,
}

impl AuthorizedRegistry {
    /// # Errors
    /// If a CA certificate of the settings cannot be used.
    pub(crate) fn new(
        entry: &RegistrySettings,
        settings: &Settings,
        roots: &RootCertStore,
        origins: Arc<Mutex<TokenOrigins>>,
    ) -> Result<Self, rustls::Error> {
        let client = Arc::new(ApiClient::new(entry, settings, roots)?);
        let tokens = Arc::new(RegistryTokens::new(entry, Arc::clone(&client)));
        Ok(Self { name: entry.name.clone(), client, tokens, origins, last_request: Mutex::new(None) })
    }

    /// The requests to its hosts.
    pub(crate) fn counts(&self) -> &RequestCounts {
        self.client.counts()
    }

    /// Applies what these settings say about other registries. `entry` must be the one that this registry was
    /// made with.
    pub(crate) fn apply_settings(&self, entry: &RegistrySettings, settings: &Settings) {
        self.client.set_guard(AddressGuard::new(entry, settings));
    }

    /// Does one operation without retries, for a caller that retries itself.
    ///
    /// # Errors
    /// If a hop fails or does not respond within `timeout`. An error status of the registry is a response, not an
    /// error.
    pub(crate) async fn send_once(
        &self,
        request: &Request,
        timeout: Duration,
    ) -> Result<UpstreamResponse, UpstreamError> {
        self.send(request, RetryDeadline::no_retry_within(tokio::time::Instant::now(), timeout)).await
    }

    /// The API's URL and the host of its token service, for `docxy-server check`.
    ///
    /// # Errors
    /// If the registry does not respond, or its rate limit is reached.
    pub(crate) async fn check_challenge(&self) -> Result<(String, Option<String>), UpstreamError> {
        let deadline = RetryDeadline::no_retry(tokio::time::Instant::now());
        let service = self.tokens.service(deadline).await.map_err(|why| why.into_error(Hop::Registry))?;
        Ok((self.client.display_url().to_owned(), service.map(|service| service.host())))
    }

    /// Sends a `HEAD` to each host, so that a pooled connection to it stays open, and renews the tokens in
    /// use that expire soon. Sends nothing that counts against the rate limit, and nothing at all if the registry is
    /// not in use.
    pub(crate) async fn keep_alive(&self) {
        let last_request = *self.last_request.lock();
        if last_request.is_none_or(|since| since.elapsed() > IN_USE_AFTER_REQUEST) {
            return;
        }
        let deadline = RetryDeadline::no_retry(tokio::time::Instant::now());
        self.tokens.renew(deadline).await;
        let service = self.tokens.service(deadline).await.ok().flatten();
        let urls = [service.and_then(|service| service.root()), self.client.http().last_cdn()];
        let [token_service, cdn] = urls.map(|url| Target::of(&url?).ok());
        let registry = self.client.request("/v2/").map(|request| request.target).ok();
        for (hop, target) in [(Hop::Registry, registry), (Hop::TokenService, token_service), (Hop::Cdn, cdn)]
        {
            let Some(target) = target else { continue };
            let mut request = http::Request::new(http_body_util::Full::default());
            *request.method_mut() = http::Method::HEAD;
            let until = tokio::time::Instant::now() + PING_AND_TOKEN_TIMEOUT;
            // The status does not matter: the request keeps the connection open.
            if let Err(error) = self.client.http().send(hop, &target, request, until).await {
                tracing::debug!(%error, causes = error.causes().map(tracing::field::display), "keep-alive request failed");
            }
        }
    }

    /// Does one operation, and retries until `deadline`.
    ///
    /// # Errors
    /// If a hop fails. An error status of the registry is a response, not an error.
    pub(crate) async fn send(
        &self,
        request: &Request,
        deadline: RetryDeadline,
    ) -> Result<UpstreamResponse, UpstreamError> {
        *self.last_request.lock() = Some(Instant::now());
        if !self.origins.lock().may_send(request) {
            return self.refuse_token(request, deadline).await;
        }
        match (&request.operation, &request.authorization) {
            (Operation::Token(token), authorization) => {
                let user_agent = request.headers.get(header::USER_AGENT);
                let response = self.tokens.forward(token, authorization, user_agent, deadline).await?;
                self.record_tokens(response).await
            }
            (Operation::Manifest { method: Method::Get, .. }, Authorization::Public) => {
                self.manifest(request, None, deadline).await.map(|(response, _)| response)
            }
            (_, Authorization::Public) => {
                self.send_anonymous(request, deadline).await.map(|(response, _)| response)
            }
            (_, Authorization::Login(login)) => self.send_with_login(request, login, deadline).await,
            (operation, authorization) => {
                let credentials = Credentials::of_account(authorization.header());
                let response = self.client.send(request, &credentials, deadline).await?;
                self.tokens.observe(&response, operation.repository());
                Ok(response)
            }
        }
    }

    /// Sends with a user's account: with the token that the registry's token service grants it, or, if the registry
    /// names none, with the password. Must never prove that anything is public.
    async fn send_with_login(
        &self,
        request: &Request,
        login: &Login,
        deadline: RetryDeadline,
    ) -> Result<UpstreamResponse, UpstreamError> {
        let (repository, started) = (request.operation.repository(), Instant::now());
        let mut token = match self.tokens.of_login(login, repository, deadline).await {
            Ok(token) => token,
            Err(unavailable) => return login_unavailable(unavailable, login),
        };
        let mut refusals = 0;
        loop {
            let value = token.as_ref().map(|token| token.authorization());
            let value = value.or_else(|| request.authorization.header());
            let response = self.client.send(request, &Credentials::of_account(value), deadline).await?;
            if !is_refusal(response.response.status()) || refusals == LOGIN_REFUSALS_MAX {
                return Ok(response);
            }
            refusals += 1;
            self.tokens.observe(&response, repository);
            // So that its connection can carry the next request.
            let response = response.read_error().await;
            let refused = token.as_ref();
            match self.tokens.of_login_after_refusal(login, repository, refused, started, deadline).await {
                Ok(Some(other)) => token = Some(other),
                Ok(None) => return Ok(response),
                Err(unavailable) => return login_unavailable(unavailable, login),
            }
        }
    }

    /// The 401 for a request whose token this registry did not issue, without sending the token to the
    /// registry. It says `error="invalid_token"`, so that engines fetch a new token.
    async fn refuse_token(
        &self,
        request: &Request,
        deadline: RetryDeadline,
    ) -> Result<UpstreamResponse, UpstreamError> {
        tracing::debug!("token withheld: not issued by this registry");
        let service = self.tokens.service(deadline).await.ok().flatten();
        let mut challenge = match service {
            Some(service) => service.challenge(),
            None => Challenge::bearer(&format!("https://{}/token", self.name), self.name.as_str()),
        };
        if let Some(repository) = request.operation.repository() {
            challenge = challenge.with("scope", &Scope::pull(repository.clone()).to_string());
        }
        let challenge = challenge.with("error", "invalid_token");
        let challenge = challenge
            .to_header()
            .ok_or_else(|| UpstreamError::internal("cannot write the challenge that refuses a token"))?;
        let mut headers = Headers::default();
        headers.insert(header::WWW_AUTHENTICATE, challenge);
        let api_version = HeaderName::from_static("docker-distribution-api-version");
        headers.insert(api_version, HeaderValue::from_static("registry/2.0"));
        let body = Bytes::from_static(b"authentication required");
        let response = SmallResponse { status: StatusCode::UNAUTHORIZED, headers, body };
        Ok(response.into_upstream_response(Hop::Registry))
    }

    /// Records that this registry issued the tokens in this response of its token service, and returns the
    /// response.
    ///
    /// # Errors
    /// If the response cannot be parsed. It is not forwarded then: an engine could find a token in it whose
    /// origin would be unknown.
    async fn record_tokens(
        &self,
        token_response: UpstreamResponse,
    ) -> Result<UpstreamResponse, UpstreamError> {
        if !token_response.response.status().is_success() {
            return Ok(token_response);
        }
        let UpstreamResponse { hop, origin, response } = token_response;
        let (head, body) = response.into_parts();
        let bytes = collect(hop, body).await?;
        let tokens = TokenResponse::parse(&bytes).map_err(|error| {
            UpstreamError::new(hop, FaultKind::MalformedResponse, &error).caused_by(error)
        })?;
        self.origins.lock().remember(&self.name, &tokens);
        Ok(UpstreamResponse { hop, origin, response: http::Response::from_parts(head, Body::Whole(bytes)) })
    }

    /// Sends an anonymous `HEAD` for the manifest that this request is about, without the request's
    /// conditions. A success proves that the manifest is public.
    ///
    /// # Errors
    /// If a hop fails. An error status of the registry is a response, not an error.
    pub(crate) async fn head(
        &self,
        request: &Request,
        deadline: RetryDeadline,
    ) -> Result<(UpstreamResponse, Option<PublicProof>), UpstreamError> {
        self.send_anonymous(&head_request(request), deadline).await
    }

    /// Fetches a public manifest. `proof` is that of an anonymous `HEAD` that has just succeeded.
    ///
    /// If there is an operator's account, the pull counts against it. The account must never authorise:
    /// it is used only for a manifest that an anonymous `HEAD` of the registry itself has just shown to be public.
    ///
    /// # Errors
    /// If a hop fails. An error status of the registry is a response, not an error.
    pub(crate) async fn manifest(
        &self,
        request: &Request,
        proof: Option<PublicProof>,
        deadline: RetryDeadline,
    ) -> Result<(UpstreamResponse, Option<PublicProof>), UpstreamError> {
        if self.tokens.quota_account() == QuotaAccount::Operator {
            let (head, proof) = match proof {
                Some(proof) => (None, Some(proof)),
                None => self.head(request, deadline).await.map(|(head, proof)| (Some(head), proof))?,
            };
            if let Some(head) = head.filter(|head| head.hop == Hop::TokenService) {
                // Without an anonymous token, the manifest cannot be fetched either.
                return Ok((head, None));
            }
            if let Some(proof) = proof.filter(PublicProof::allows_account)
                && let Some(response) = self.send_as_operator(request, &proof, deadline).await?
            {
                return Ok((response, Some(proof)));
            }
        }
        self.send_anonymous(request, deadline).await
    }

    /// Fetches the manifest that `proof` is about with the operator's account. `None` if there is no token for it, or
    /// the registry refuses the token: it may ask for one of another service, which must not see the account.
    async fn send_as_operator(
        &self,
        request: &Request,
        proof: &PublicProof,
        deadline: RetryDeadline,
    ) -> Result<Option<UpstreamResponse>, UpstreamError> {
        let started = Instant::now();
        let (repository, reference) = (proof.repository().clone(), Reference::Digest(proof.digest().clone()));
        let mut request = request.clone();
        request.operation =
            Operation::Manifest { repository: repository.clone(), reference, method: Method::Get };
        let repository = Some(repository);
        let mut token = self.tokens.operators(&repository, deadline).await;
        while let Some(sent) = token {
            let credentials = Credentials::of_account(Some(sent.authorization()));
            let response = self.client.send(&request, &credentials, deadline).await?;
            if !is_refusal(response.response.status()) {
                return Ok(Some(response));
            }
            token = self.tokens.operators_after_refusal(&repository, &sent, started, deadline).await;
        }
        Ok(None)
    }

    /// Sends without an account, with the anonymous tokens that are asked for. Success proves that a manifest is public.
    async fn send_anonymous(
        &self,
        request: &Request,
        deadline: RetryDeadline,
    ) -> Result<(UpstreamResponse, Option<PublicProof>), UpstreamError> {
        let response = anonymous_request::send(&self.client, &self.tokens, request, deadline).await?;
        let proof = PublicProof::of_anonymous(&self.name, &self.client.origin(), request, &response);
        Ok((response, proof))
    }
}

/// Whether a response may be about the token and not about the content. To a token that has expired, some registries
/// answer 400 or 403.
pub(crate) const fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// The response to a request whose account gets no token. A 401 is about its password. A token service that answers
/// another status, as ghcr.io's does, may mean the scope.
fn login_unavailable(
    unavailable: TokenUnavailable,
    login: &Login,
) -> Result<UpstreamResponse, UpstreamError> {
    let TokenUnavailable::Refused(status, reason) = unavailable else { return unavailable.into_response() };
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let words = format!("the token service of {} refuses the account {}{reason}", login.registry, login.user);
    let body = error_body::denied(clean(words)).into();
    let headers = Headers::default();
    let status = if status == StatusCode::UNAUTHORIZED { status } else { StatusCode::FORBIDDEN };
    Ok(SmallResponse { status, headers, body }.into_upstream_response(Hop::TokenService))
}

/// The anonymous `HEAD` for a manifest.
fn head_request(request: &Request) -> Request {
    match &request.operation {
        Operation::Manifest { repository, reference, .. } => {
            cacheable_request::for_manifest(request, repository, reference, Method::Head)
        }
        _ => request.clone(),
    }
}
