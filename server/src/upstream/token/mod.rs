//! The tokens for requests without a credential, and the account whose quota each counts against.
//!
//! The registry's challenge names the token service, and is cached for a while. Must never send the
//! operator's account to another host than the registry's own token service.

mod cache;
mod operator_account;
pub(super) mod origins;
mod refreshing_cell;
mod service;

use super::http::body::collect;
use super::http::redirect::{UpstreamResponse, follow_redirects};
use super::http::retry::RetryDeadline;
use super::http::small_response::SmallResponse;
use super::registry_client::RegistryClient;
use crate::settings::Account;
use cache::TokenCache;
use docxy_protocol::authorization::Authorization;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::name::{Registry, Repository};
use docxy_protocol::scope::Scope;
use docxy_protocol::secret::Secret;
use docxy_protocol::token::{Grant, TokenRequest};
use http::{HeaderMap, HeaderValue, StatusCode};
use operator_account::OperatorAccount;
use refreshing_cell::{Fresh, RefreshingCell};
use service::{NoToken, Token, TokenService};
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
    client: Arc<RegistryClient>,
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
    pub(super) fn new(registry: &Registry, client: Arc<RegistryClient>, account: Option<Account>) -> Self {
        Self {
            registry: registry.clone(),
            client,
            operator_account: OperatorAccount::new(account),
            service: RefreshingCell::default(),
            cache: TokenCache::new(),
        }
    }

    /// The token for this key; `None` if the registry needs none, or none is granted.
    ///
    /// # Errors
    /// If the token service doesn't respond, or its rate limit is reached.
    pub(super) async fn get(
        &self,
        key: &TokenKey,
        deadline: RetryDeadline,
    ) -> Result<Option<Secret>, NoToken> {
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

    /// Whether there is an operator's account that was not refused recently.
    pub(super) fn is_operator_account_usable(&self) -> bool {
        self.operator_account.is_usable()
    }

    /// Whether there is a token for the operator's account. If the token service refuses the account or
    /// fails, requests must continue without it.
    pub(super) async fn has_operator_token(
        &self,
        repository: Option<Repository>,
        deadline: RetryDeadline,
    ) -> bool {
        let key = (QuotaAccount::Operator, repository);
        match self.get(&key, deadline).await {
            Ok(Some(_)) => return true,
            Ok(None) => self.operator_account.pause(&NoToken::Refused),
            Err(no_token) => self.operator_account.pause(&no_token),
        }
        false
    }

    /// Forwards an engine's token request with its own credential to the token service.
    ///
    /// # Errors
    /// If the service doesn't respond. What it refuses is a response.
    pub(super) async fn forward(
        &self,
        token: &TokenRequest,
        authorization: &Authorization,
        user_agent: Option<&HeaderValue>,
        deadline: RetryDeadline,
    ) -> Result<UpstreamResponse, Fault> {
        let service = match self.service(deadline).await {
            Ok(Some(service)) => service,
            Ok(None) => {
                let detail = "has no token service, because it needs no tokens";
                return Err(Fault::new(Hop::Registry, FaultKind::MalformedResponse, detail));
            }
            Err(no_token) => return no_token.into_response(),
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
    /// If the registry doesn't respond, or its rate limit is reached.
    pub(super) async fn service(&self, deadline: RetryDeadline) -> Result<Option<TokenService>, NoToken> {
        let fetch = || async {
            let url = self.client.url("/v2/")?;
            let ping =
                || follow_redirects(self.client.http(), &http::Method::GET, url.clone(), HeaderMap::new());
            let UpstreamResponse { hop, response } = self.client.with_retry(deadline, false, ping).await?;
            let status = response.status();
            if status == StatusCode::TOO_MANY_REQUESTS {
                return Err(NoToken::Limited(Box::new(SmallResponse::read(hop, response).await)));
            }
            let value = TokenService::from_challenge(response.headers());
            let value = value.filter(|service| self.may_use(service));
            // The body is read to its end, so that the connection can carry the next request.
            collect(hop, response.into_body()).await?;
            if !(status.is_success() || status == StatusCode::UNAUTHORIZED) {
                return Err(Fault::new(
                    hop,
                    FaultKind::MalformedResponse,
                    format!("answers {status} on /v2/"),
                )
                .into());
            }
            Ok(Fresh { value, lifetime: CHALLENGE_LIFETIME })
        };
        self.service.get(fetch).await
    }

    /// Whether tokens of this service may be sent to the registry. A registry can name any service in its
    /// challenge, and Docker Hub's tokens, anonymous ones included, are for Docker Hub only.
    fn may_use(&self, service: &TokenService) -> bool {
        let host = service.host();
        let is_docker_hubs = host.trim_end_matches('.').ends_with(DOCKER_HUB_HOSTS);
        let may = self.registry.is_docker_hub() || !is_docker_hubs;
        if !may {
            tracing::warn!(registry = %self.registry, "the registry names Docker Hub's token service, which is not used for it");
        }
        may
    }

    /// To whom tokens are granted, in words, for `docxy-server check`.
    ///
    /// # Errors
    /// If the token service doesn't respond, or refuses.
    pub(super) async fn check(&self, repository: Option<Repository>) -> Result<String, Fault> {
        let deadline = RetryDeadline::no_retry(tokio::time::Instant::now());
        let refused =
            |who: &str| Fault::new(Hop::Auth, FaultKind::MalformedResponse, format!("refuses {who}"));
        let check = async |account, who: &str| {
            let token = self.get(&(account, repository.clone()), deadline).await;
            token.map_err(|no_token| no_token.into_fault(Hop::Auth))?.ok_or_else(|| refused(who))
        };
        check(QuotaAccount::Anonymous, "anonymous users").await?;
        let Some(account) = self.operator_account.configured() else { return Ok("everybody".to_owned()) };
        check(QuotaAccount::Operator, &format!("the account {}: check user and password", account.user))
            .await?;
        Ok(format!("everybody and to the account {}", account.user))
    }

    async fn fetch(&self, key: &TokenKey, deadline: RetryDeadline) -> Result<Option<Token>, NoToken> {
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
        if matches!(token, Err(NoToken::Fault(_))) {
            self.forget_service(&service).await;
        }
        token
    }

    /// Removes a failed token service from the cache, because it may have moved.
    async fn forget_service(&self, failed: &TokenService) {
        self.service.remove_if(|service| service.as_ref() == Some(failed)).await;
    }
}
