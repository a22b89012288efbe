//! The tokens for requests without a credential, and the account whose quota each counts against.
//!
//! The registry's challenge names the token service, and is cached for a while. Must never send the
//! operator's account to another host than the registry's own token service.

mod cache;
mod operator_account;
pub(super) mod origins;
mod refreshing_cell;
mod service;

use super::api_client::ApiClient;
use super::error::UpstreamError;
use super::http::body::collect;
use super::http::redirect::{UpstreamResponse, follow_redirects};
use super::http::retry::RetryDeadline;
use super::http::small_response::SmallResponse;
use super::http::target::Target;
use crate::settings::{Account, RegistrySettings};
use cache::TokenCache;
use docxy_protocol::authorization::Authorization;
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_protocol::name::{Registry, Repository};
use docxy_protocol::scope::Scope;
use docxy_protocol::secret::Secret;
use docxy_protocol::token::{Grant, TokenRequest};
use http::{HeaderMap, HeaderValue, StatusCode};
use operator_account::OperatorAccount;
use refreshing_cell::{Expiring, RefreshingCell};
pub(super) use service::TokenUnavailable;
use service::{Token, TokenService};
use std::sync::Arc;
use std::time::Duration;

/// How long a registry's challenge is cached. It hardly ever changes, and after a failure of the token
/// service the server fetches it again at once.
const CHALLENGE_LIFETIME: Duration = Duration::from_secs(3600);

/// The domain of Docker Hub's token service, which is `auth.docker.io`.
const DOCKER_HUB_HOSTS: &str = ".docker.io";

/// The tokens of one registry.
#[derive(Debug)]
pub(super) struct RegistryTokens {
    registry: Registry,
    client: Arc<ApiClient>,
    operator_account: OperatorAccount,
    service: RefreshingCell<Option<TokenService>>,
    cache: TokenCache<TokenKey>,
}

/// Identifies a token: the account whose quota it counts against, and its scope.
pub(super) type TokenKey = (QuotaAccount, Option<Repository>);

/// The account whose quota a token's requests count against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum QuotaAccount {
    Anonymous,
    Operator,
}

impl RegistryTokens {
    pub(super) fn new(entry: &RegistrySettings, client: Arc<ApiClient>) -> Self {
        Self {
            registry: entry.name.clone(),
            client,
            operator_account: OperatorAccount::new(entry.account.clone()),
            service: RefreshingCell::default(),
            cache: TokenCache::new(),
        }
    }

    /// The token for this key.
    ///
    /// # Errors
    /// If the registry needs none, or the token service grants none, fails, or has reached its rate limit.
    pub(super) async fn get(
        &self,
        key: &TokenKey,
        deadline: RetryDeadline,
    ) -> Result<Secret, TokenUnavailable> {
        self.cache.get(key, || self.fetch(key, deadline)).await
    }

    /// Removes a token that the registry refused.
    pub(super) async fn remove(&self, key: &TokenKey, refused: &Secret) {
        self.cache.remove(key, refused).await;
    }

    /// Renews the tokens in use that expire soon.
    pub(super) async fn renew(&self, deadline: RetryDeadline) {
        for key in self.cache.take_used_near_expiry() {
            self.cache.renew(&key, || self.fetch(&key, deadline)).await;
        }
    }

    /// The account against whose quota a pull counts now: the operator's, if there is one that was not refused
    /// recently.
    pub(super) fn quota_account(&self) -> QuotaAccount {
        if self.operator_account.is_usable() { QuotaAccount::Operator } else { QuotaAccount::Anonymous }
    }

    /// The operator's token for this key. `None` if the token service refuses the account or fails: requests must
    /// continue without it.
    pub(super) async fn operator_token(&self, key: &TokenKey, deadline: RetryDeadline) -> Option<Secret> {
        let token = self.get(key, deadline).await;
        token.inspect_err(|unavailable| self.operator_account.pause(unavailable)).ok()
    }

    /// Forwards an engine's token request with its own credential to the token service.
    ///
    /// # Errors
    /// If the service does not respond. An error status of it is a response, not an error.
    pub(super) async fn forward(
        &self,
        token: &TokenRequest,
        authorization: &Authorization,
        user_agent: Option<&HeaderValue>,
        deadline: RetryDeadline,
    ) -> Result<UpstreamResponse, UpstreamError> {
        let service = match self.service(deadline).await {
            Ok(Some(service)) => service,
            Ok(None) => {
                let detail = "has no token service, because it needs no tokens";
                return Err(UpstreamError::new(Hop::Registry, FaultKind::MalformedResponse, detail));
            }
            Err(unavailable) => return unavailable.into_response(),
        };
        let attempt = || service.send(self.client.http(), token, authorization.header(), user_agent);
        let response = self.client.with_retry(deadline, false, attempt).await;
        if response.is_err() {
            self.forget_service(&service).await;
        }
        response
    }

    /// The token service that the registry's challenge names, cached.
    ///
    /// # Errors
    /// If the registry does not respond, or its rate limit is reached.
    pub(super) async fn service(
        &self,
        deadline: RetryDeadline,
    ) -> Result<Option<TokenService>, TokenUnavailable> {
        let fetch = || async {
            let target = Target::of(&self.client.url("/v2/")?)?;
            let ping =
                || follow_redirects(self.client.http(), &http::Method::GET, target.clone(), HeaderMap::new());
            let UpstreamResponse { hop, response } = self.client.with_retry(deadline, false, ping).await?;
            let status = response.status();
            if status == StatusCode::TOO_MANY_REQUESTS {
                return Err(TokenUnavailable::Limited(Box::new(SmallResponse::read(hop, response).await)));
            }
            let service = TokenService::from_challenge(response.headers());
            let value = service.filter(|service| self.may_use(service));
            // The body is read to its end, so that the connection can carry the next request.
            collect(hop, response.into_body()).await?;
            if !(status.is_success() || status == StatusCode::UNAUTHORIZED) {
                let detail = format!("answers {status} on /v2/");
                return Err(UpstreamError::new(hop, FaultKind::MalformedResponse, detail).into());
            }
            Ok(Expiring { value, lifetime: CHALLENGE_LIFETIME })
        };
        self.service.get(fetch).await
    }

    /// Whether tokens of this service may be sent to the registry. A registry can name any service in its
    /// challenge, and Docker Hub's tokens, anonymous ones included, are for Docker Hub only. Other services may
    /// serve several registries: lscr.io names the one of ghcr.io.
    fn may_use(&self, service: &TokenService) -> bool {
        let host = service.host();
        let is_docker_hubs = host.trim_end_matches('.').ends_with(DOCKER_HUB_HOSTS);
        let may = self.registry.is_docker_hub() || !is_docker_hubs;
        if !may {
            tracing::warn!(registry = %self.registry, "token service not used: it is Docker Hub's");
        }
        may
    }

    /// To whom tokens are granted, in words, for `docxy-server check`.
    ///
    /// # Errors
    /// If the token service does not respond, or refuses.
    pub(super) async fn check(&self, repository: Option<Repository>) -> Result<String, UpstreamError> {
        let deadline = RetryDeadline::no_retry(tokio::time::Instant::now());
        let refused = |who: &str| {
            UpstreamError::new(Hop::TokenService, FaultKind::MalformedResponse, format!("refuses {who}"))
        };
        let check = async |account, who: &str| {
            let token = self.get(&(account, repository.clone()), deadline).await;
            token.map_err(|unavailable| match unavailable {
                TokenUnavailable::Refused => refused(who),
                other => other.into_error(Hop::TokenService),
            })
        };
        check(QuotaAccount::Anonymous, "anonymous users").await?;
        let Some(account) = self.operator_account.configured() else { return Ok("everybody".to_owned()) };
        check(QuotaAccount::Operator, &format!("the account {}: check user and password", account.user))
            .await?;
        Ok(format!("everybody and to the account {}", account.user))
    }

    async fn fetch(
        &self,
        key: &TokenKey,
        deadline: RetryDeadline,
    ) -> Result<Option<Token>, TokenUnavailable> {
        let Some(service) = self.service(deadline).await? else {
            return Ok(None);
        };
        let (quota_account, repository) = key;
        let request = TokenRequest {
            scopes: repository.iter().cloned().map(Scope::pull).collect(),
            client_id: None,
            offline: false,
            grant: Grant::Get { account: None },
        };
        let request_token = async |account: Option<&Account>| {
            let account = account.map(|account| (account.user.as_str(), &account.password));
            let attempt = || service.request_own_token(self.client.http(), &request, account);
            Token::from_response(self.client.with_retry(deadline, false, attempt).await?).await
        };
        let token = match quota_account {
            QuotaAccount::Anonymous => request_token(None).await,
            QuotaAccount::Operator => {
                self.operator_account.request_token(|account| request_token(Some(account))).await
            }
        };
        if matches!(token, Err(TokenUnavailable::Failed(_))) {
            self.forget_service(&service).await;
        }
        token
    }

    /// Removes a failed token service from the cache, because it may have moved.
    async fn forget_service(&self, failed: &TokenService) {
        self.service.remove_if(|service| service.as_ref() == Some(failed)).await;
    }
}
