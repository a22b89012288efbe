//! The tokens for requests without a credential, and the account whose quota each counts against.
//!
//! Anonymous tokens are those that the refusing host's own challenge asks for, whichever host that is. Until one has
//! refused, the registry's `/v2/` says which token it will probably ask for. Must never send the credential of an
//! account, the operator's or a user's, to another token service than one that the registry itself has named, nor an
//! anonymous token to another origin than the one that asked for it.

mod accounts;
mod anonymous;
mod bearer_challenge;
mod cache;
mod check;
mod operator_account;
mod refreshing_cell;
mod service;

use super::api_client::ApiClient;
use super::error::UpstreamError;
use super::http::body::collect;
use super::http::credentials::Credentials;
use super::http::redirect::{UpstreamResponse, follow_redirects};
use super::http::retry::RetryDeadline;
use super::http::small_response::SmallResponse;
use crate::settings::RegistrySettings;
pub(super) use anonymous::OriginTokens;
use anonymous::{KnownChallenges, OriginChallenge};
use bearer_challenge::BearerChallenge;
pub(super) use cache::CachedToken;
use cache::TokenCache;
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_protocol::name::{Registry, Repository};
use docxy_protocol::secret::Secret;
use http::StatusCode;
use operator_account::OperatorAccount;
use parking_lot::Mutex;
use refreshing_cell::{Expiring, RefreshingCell};
pub(super) use service::TokenUnavailable;
use service::{Token, TokenService};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::Instrument as _;
use url::Origin;

/// How long a registry's challenge is cached. It hardly ever changes, and after a failure of the token
/// service the server fetches it again at once.
const CHALLENGE_LIFETIME: Duration = Duration::from_secs(3600);

/// How long requests do without the challenge of `/v2/` after it has failed. The refusal of their content names the
/// token service as well, one request later.
const PAUSE_AFTER_FAILED_PING: Duration = Duration::from_secs(30);

/// How long content waits for the challenge of `/v2/`. Most content needs a token, and `/v2/` answers within a second
/// or two also from afar; after that, content that needs none is not to pay for it.
const CHALLENGE_WAIT: Duration = Duration::from_secs(2);

/// The domain of Docker Hub's hosts. Its token service is `auth.docker.io`.
const DOCKER_HUB_HOSTS: &str = ".docker.io";

/// The tokens of one registry.
#[derive(Debug)]
pub(crate) struct RegistryTokens {
    registry: Registry,
    client: Arc<ApiClient>,
    operator_account: OperatorAccount,
    service: RefreshingCell<Option<TokenService>>,
    ping_failed_at: Mutex<Option<Instant>>,
    challenges: KnownChallenges,
    anonymous: TokenCache<OriginChallenge>,
    operators: TokenCache<Option<Repository>>,
    /// Those of users' logins, by the hash of the account with its password, and what it is for.
    logins: TokenCache<([u8; 32], BearerChallenge)>,
}

/// The account whose quota a token's requests count against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum QuotaAccount {
    Anonymous,
    Operator,
}

/// A host's refusal of an anonymous request.
#[derive(Debug)]
pub(super) struct Refusal {
    origin: Origin,
    challenge: Option<BearerChallenge>,
}

impl Refusal {
    /// The refusal in a response to a request that carried these tokens; `None` if it is none. To a token that has
    /// expired, some registries answer 400 or 403.
    pub(super) fn of(response: &UpstreamResponse, sent: &OriginTokens) -> Option<Self> {
        let origin = response.origin.clone()?;
        let is_refusal = match response.response.status() {
            StatusCode::UNAUTHORIZED => true,
            StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN => sent.has(&origin),
            _ => false,
        };
        let challenge = BearerChallenge::of_response(response.response.headers());
        is_refusal.then_some(Self { origin, challenge })
    }
}

impl RegistryTokens {
    pub(super) fn new(entry: &RegistrySettings, client: Arc<ApiClient>) -> Self {
        Self {
            registry: entry.name.clone(),
            client,
            operator_account: OperatorAccount::new(entry.account.clone()),
            service: RefreshingCell::default(),
            ping_failed_at: Mutex::new(None),
            challenges: KnownChallenges::new(),
            anonymous: TokenCache::new(),
            operators: TokenCache::new(),
            logins: TokenCache::new(),
        }
    }

    /// The tokens with which an anonymous request for this repository starts. If one could not be fetched, the request
    /// is sent without: the content may need none, or another one.
    ///
    /// # Errors
    /// If the token service's rate limit is reached, or it cannot be used: see [`TokenUnavailable::Unusable`].
    pub(super) async fn for_anonymous(
        self: &Arc<Self>,
        repository: Option<&Repository>,
        deadline: RetryDeadline,
    ) -> Result<OriginTokens, TokenUnavailable> {
        let mut tokens = OriginTokens::default();
        for asked in self.challenges.elsewhere(&self.client.origin(), repository) {
            if let Some(token) = self.anonymous.peek(&asked).await {
                tokens.hold(asked, token);
            }
        }
        let Some(asked) = self.expected_challenge(repository, deadline).await else { return Ok(tokens) };
        match self.anonymous_token(&asked, deadline).await {
            Ok(token) => tokens.hold(asked, token),
            Err(why @ (TokenUnavailable::Refused(..) | TokenUnavailable::Failed(_))) => {
                tokens.missing = Some((asked, why));
            }
            Err(why) => return Err(why),
        }
        Ok(tokens)
    }

    /// Replaces the token that an anonymous request, which started then, carried to the refusing host. Returns whether
    /// it should be sent again: not if the token had just been fetched for it.
    ///
    /// # Errors
    /// If there is no such token.
    pub(super) async fn replace_refused(
        self: &Arc<Self>,
        refusal: Refusal,
        sent: &mut OriginTokens,
        repository: Option<&Repository>,
        started: Instant,
        deadline: RetryDeadline,
    ) -> Result<bool, TokenUnavailable> {
        let Refusal { origin, challenge } = refusal;
        let used = sent.take(&origin);
        let challenge = challenge.filter(|challenge| self.may_use(&challenge.service, &origin));
        let Some(challenge) = challenge.or_else(|| used.as_ref().map(|(asked, _)| asked.challenge.clone()))
        else {
            return Ok(false);
        };
        let asked = OriginChallenge { origin, challenge };
        if let Some((_, token)) = used.as_ref().filter(|(used_for, _)| *used_for == asked) {
            if token.is_for_request_since(started) {
                return Ok(false);
            }
            self.anonymous.remove(&asked, &token.secret).await;
        }
        if let Some((_, why)) = sent.missing.take_if(|(missing, _)| *missing == asked) {
            return Err(why);
        }
        self.challenges.remember(asked.clone(), repository);
        let token = self.anonymous_token(&asked, deadline).await?;
        let is_new = used.is_none_or(|(_, used)| used.secret != token.secret);
        sent.hold(asked, token);
        Ok(is_new)
    }

    /// Remembers what the registry itself asks for in its response to a request with a user's credential, or with
    /// none: see [`Self::forward`].
    pub(super) fn observe(&self, response: &UpstreamResponse, repository: Option<&Repository>) {
        let origin = self.client.origin();
        if response.response.status() == StatusCode::UNAUTHORIZED
            && response.origin.as_ref() == Some(&origin)
            && let Some(challenge) = BearerChallenge::of_response(response.response.headers())
            && self.may_use(&challenge.service, &origin)
        {
            self.challenges.remember(OriginChallenge { origin, challenge }, repository);
        }
    }

    /// Renews the tokens in use that expire soon.
    pub(super) async fn renew(self: &Arc<Self>, deadline: RetryDeadline) {
        for asked in self.anonymous.take_used_near_expiry() {
            self.anonymous.renew(&asked, || self.fetch_anonymous(&asked, deadline)).await;
        }
        for repository in self.operators.take_used_near_expiry() {
            self.operators.renew(&repository, || self.fetch_operators(&repository, deadline)).await;
        }
    }

    /// The token service that the registry's challenge on `/v2/` names, cached.
    ///
    /// # Errors
    /// If the registry does not respond, or its rate limit is reached.
    pub(super) async fn service(
        self: &Arc<Self>,
        deadline: RetryDeadline,
    ) -> Result<Option<TokenService>, TokenUnavailable> {
        let tokens = Arc::clone(self);
        let service = async move { tokens.service.get(|| tokens.fetch_service(deadline)).await };
        wait(Hop::Registry, deadline, service).await
    }

    /// Fetches the challenge of `/v2/`. All that wait for it share this fetch, so a failure of it counts for all.
    async fn fetch_service(
        &self,
        deadline: RetryDeadline,
    ) -> Result<Expiring<Option<TokenService>>, TokenUnavailable> {
        let fetched = self.ping(deadline.of_shared_fetch(tokio::time::Instant::now())).await;
        *self.ping_failed_at.lock() = fetched.is_err().then(Instant::now);
        fetched
    }

    async fn ping(
        &self,
        deadline: RetryDeadline,
    ) -> Result<Expiring<Option<TokenService>>, TokenUnavailable> {
        let request = self.client.request("/v2/")?;
        let until = deadline.response_until();
        let ping = || follow_redirects(self.client.http(), request.clone(), Credentials::NONE, until);
        let ping = self.client.with_retry(deadline, false, ping).await?;
        let UpstreamResponse { hop, origin, response } = ping;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(TokenUnavailable::Limited(Box::new(SmallResponse::read(hop, response).await)));
        }
        let challenge = BearerChallenge::of_response(response.headers());
        let own = self.client.origin();
        // Another host must not say where the registry's accounts are sent to.
        let challenge = challenge.filter(|_| origin.as_ref() == Some(&own));
        let value =
            challenge.map(|challenge| challenge.service).filter(|service| self.may_use(service, &own));
        // The body is read to its end, so that the connection can carry the next request.
        collect(hop, response.into_body()).await?;
        if !(status.is_success() || status == StatusCode::UNAUTHORIZED) {
            let detail = format!("answers {status} on /v2/");
            return Err(UpstreamError::new(hop, FaultKind::MalformedResponse, detail).into());
        }
        Ok(Expiring { value, lifetime: CHALLENGE_LIFETIME })
    }

    /// What the registry will probably ask for: what it asked for last, or else what its `/v2/` names. A `/v2/` that
    /// fails says nothing about the content.
    async fn expected_challenge(
        self: &Arc<Self>,
        repository: Option<&Repository>,
        deadline: RetryDeadline,
    ) -> Option<OriginChallenge> {
        let origin = self.client.origin();
        if let Some(challenge) = self.challenges.of(&origin, repository) {
            return Some(OriginChallenge { origin, challenge });
        }
        let failed_at = *self.ping_failed_at.lock();
        if failed_at.is_some_and(|at| at.elapsed() < PAUSE_AFTER_FAILED_PING) {
            return None;
        }
        let now = tokio::time::Instant::now();
        let service = self.service(deadline.without_retries(now).within(now, CHALLENGE_WAIT)).await;
        Some(OriginChallenge { origin, challenge: BearerChallenge::for_pull(service.ok()??, repository) })
    }

    /// Whether the tokens of this service may be sent to this origin. A registry can name any service in its
    /// challenge, and Docker Hub's tokens, anonymous ones included, are for Docker Hub's hosts only. Other services
    /// may serve several registries: lscr.io names the one of ghcr.io.
    fn may_use(&self, service: &TokenService, origin: &Origin) -> bool {
        let is_docker_hubs = |host: &str| host.trim_end_matches('.').ends_with(DOCKER_HUB_HOSTS);
        let is_for_docker_hub = match origin {
            _ if self.registry.is_docker_hub() && *origin == self.client.origin() => true,
            Origin::Tuple(_, host, _) => is_docker_hubs(&host.to_string()),
            Origin::Opaque(_) => false,
        };
        let may = is_for_docker_hub || !is_docker_hubs(&service.host());
        if !may {
            tracing::warn!(registry = %self.registry, "token service not used: it is Docker Hub's");
        }
        may
    }

    async fn anonymous_token(
        self: &Arc<Self>,
        asked: &OriginChallenge,
        deadline: RetryDeadline,
    ) -> Result<CachedToken, TokenUnavailable> {
        let (tokens, asked) = (Arc::clone(self), asked.clone());
        let token =
            async move { tokens.anonymous.get(&asked, || tokens.fetch_anonymous(&asked, deadline)).await };
        wait(Hop::TokenService, deadline, token).await
    }

    async fn fetch_anonymous(
        &self,
        asked: &OriginChallenge,
        deadline: RetryDeadline,
    ) -> Result<Token, TokenUnavailable> {
        self.fetch(&asked.challenge, &asked.origin, None, deadline).await
    }

    async fn fetch(
        &self,
        challenge: &BearerChallenge,
        named_by: &Origin,
        account: Option<(&str, &Secret)>,
        deadline: RetryDeadline,
    ) -> Result<Token, TokenUnavailable> {
        let BearerChallenge { service, scopes } = challenge;
        let http = self.client.http_for_host_named_by(named_by);
        let attempt = || service.request_own_token(http, scopes, account);
        let token = match self.client.with_retry(deadline, false, attempt).await {
            Ok(response) => Token::from_response(response).await,
            Err(error) => Err(error.into()),
        };
        if matches!(token, Err(TokenUnavailable::Unusable(_) | TokenUnavailable::Failed(_))) {
            self.forget_service(service).await;
        }
        token
    }

    /// Removes a failed token service from the cache, because it may have moved.
    async fn forget_service(&self, failed: &TokenService) {
        self.service.remove_if(|service| service.as_ref() == Some(failed)).await;
    }
}

/// Waits for a fetch as long as this caller may. The fetch goes on without it, since others may wait for it, and ends
/// by itself.
async fn wait<T: Send + 'static>(
    hop: Hop,
    deadline: RetryDeadline,
    fetch: impl Future<Output = Result<T, TokenUnavailable>> + Send + 'static,
) -> Result<T, TokenUnavailable> {
    let fetch = tokio::spawn(fetch.in_current_span());
    // A fetch that panics has no answer either.
    let in_time = tokio::time::timeout_at(deadline.response_until(), fetch).await.ok().and_then(Result::ok);
    in_time.unwrap_or_else(|| {
        let detail = "did not answer as fast as the client needs it";
        Err(UpstreamError::new(hop, FaultKind::TimedOut, detail).into())
    })
}

#[cfg(test)]
mod tests;
