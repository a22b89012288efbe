//! The tokens by which a registry is asked for those who show no credential, and who pays.
//!
//! Where they come from is the registry's word, which is believed for a while. The operator's account
//! is shown to the registry's own token service, and to nobody else.

use super::api::Api;
use super::body::collect;
use super::follow::{Followed, follow};
use super::one_flight::{Fetched, OneFlight};
use super::operator_account::OperatorAccount;
use super::retry::Patience;
use super::small_answer::SmallAnswer;
use super::token_cache::TokenCache;
use super::token_service::{NoToken, Token, TokenService};
use crate::settings::Account;
use docxy_protocol::authorization::Authorization;
use docxy_protocol::fault::{Fault, FaultKind, Hop};
use docxy_protocol::name::{Registry, Repository};
use docxy_protocol::scope::Scope;
use docxy_protocol::secret::Secret;
use docxy_protocol::token::{Grant, TokenRequest};
use http::{HeaderMap, HeaderValue, StatusCode};
use std::sync::Arc;
use std::time::Duration;

/// How long a registry's word on its token service is believed. It hardly ever changes, and a
/// failure there makes the server ask again at once.
const CHALLENGE_LIFETIME: Duration = Duration::from_secs(3600);

/// The domain of Docker Hub's token service, which is `auth.docker.io`.
const DOCKER_HUB_HOSTS: &str = ".docker.io";

/// The tokens of one registry.
#[derive(Debug)]
pub(super) struct Tokens {
    registry: Registry,
    api: Arc<Api>,
    account: OperatorAccount,
    service: OneFlight<Option<TokenService>>,
    held: TokenCache<Use>,
}

/// Who pays, and for what.
pub(super) type Use = (Payer, Option<Repository>);

/// On whose quota a token's requests go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Payer {
    Anonymous,
    Operator,
}

impl Tokens {
    pub(super) fn new(registry: &Registry, api: Arc<Api>, account: Option<Account>) -> Self {
        Self {
            registry: registry.clone(),
            api,
            account: OperatorAccount::new(account),
            service: OneFlight::default(),
            held: TokenCache::new(),
        }
    }

    /// The token for this use; `None` where none is wanted, or granted.
    ///
    /// # Errors
    /// Where none can be asked for, or the service's limit is reached.
    pub(super) async fn get(&self, key: &Use, patience: Patience) -> Result<Option<Secret>, NoToken> {
        self.held.get(key, || self.fetch(key, patience)).await
    }

    /// Forgets a token that the registry refused.
    pub(super) async fn forget(&self, key: &Use, refused: &Secret) {
        self.held.forget(key, refused).await;
    }

    /// Renews the tokens in use that will soon end.
    pub(super) async fn renew(&self, patience: Patience) {
        for key in self.held.used_late() {
            self.held.renew(&key, || self.fetch(&key, patience)).await;
        }
    }

    /// Whether there is an account, and none that was refused a moment ago.
    pub(super) fn operator_may_pay(&self) -> bool {
        self.account.may_pay()
    }

    /// A token service that doesn't know the operator, or not now, must not stop those who can do
    /// without.
    pub(super) async fn operator_can_pay(&self, repository: Option<Repository>, patience: Patience) -> bool {
        let key = (Payer::Operator, repository);
        match self.get(&key, patience).await {
            Ok(Some(_)) => return true,
            Ok(None) => self.account.rest(&NoToken::Refused),
            Err(why) => self.account.rest(&why),
        }
        false
    }

    /// An engine's own credential, passed on to the token service for its own verdict.
    ///
    /// # Errors
    /// Where the service cannot be asked; what it refuses is an answer.
    pub(super) async fn pass_on(
        &self,
        token: &TokenRequest,
        authorization: &Authorization,
        user_agent: Option<&HeaderValue>,
        patience: Patience,
    ) -> Result<Followed, Fault> {
        let service = match self.service(patience).await {
            Ok(Some(service)) => service,
            Ok(None) => {
                let detail = "has no token service: it wants no token";
                return Err(Fault::new(Hop::Registry, FaultKind::MalformedResponse, detail));
            }
            Err(no_token) => return no_token.into_answer(),
        };
        let ask = || service.ask(self.api.origin(), token, authorization.header(), user_agent);
        let answer = self.api.patiently(patience, false, ask).await;
        if answer.is_err() {
            self.service_failed(&service).await;
        }
        answer
    }

    /// Where the registry says that tokens come from; asked for once, by whoever comes first.
    ///
    /// # Errors
    /// Where the registry cannot be asked, or its limit is reached.
    pub(super) async fn service(&self, patience: Patience) -> Result<Option<TokenService>, NoToken> {
        let fetch = || async {
            let url = self.api.url("/v2/")?;
            let ping = || follow(self.api.origin(), &http::Method::GET, url.clone(), HeaderMap::new());
            let Followed { hop, response } = self.api.patiently(patience, false, ping).await?;
            let status = response.status();
            if status == StatusCode::TOO_MANY_REQUESTS {
                return Err(NoToken::Limited(Box::new(SmallAnswer::read(hop, response).await)));
            }
            let value = TokenService::of_challenge(response.headers());
            let value = value.filter(|service| self.may_use(service));
            // Read to the end, so that the connection can serve the next request.
            collect(hop, response.into_body()).await?;
            if !(status.is_success() || status == StatusCode::UNAUTHORIZED) {
                return Err(Fault::new(
                    hop,
                    FaultKind::MalformedResponse,
                    format!("answers {status} on /v2/"),
                )
                .into());
            }
            Ok(Fetched { value, lifetime: CHALLENGE_LIFETIME })
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

    /// For an operator who wants to know: to whom tokens are granted, in words.
    ///
    /// # Errors
    /// Where it cannot be asked, or refuses.
    pub(super) async fn check(&self, repository: Option<Repository>) -> Result<String, Fault> {
        let patience = Patience::none(tokio::time::Instant::now());
        let refused =
            |who: &str| Fault::new(Hop::Auth, FaultKind::MalformedResponse, format!("refuses {who}"));
        let ask = async |payer, who: &str| {
            let token = self.get(&(payer, repository.clone()), patience).await;
            token.map_err(|why| why.into_fault(Hop::Auth))?.ok_or_else(|| refused(who))
        };
        ask(Payer::Anonymous, "anonymous users").await?;
        let Some(account) = self.account.known() else { return Ok("everybody".to_owned()) };
        ask(Payer::Operator, &format!("the account {}: check user and password", account.user)).await?;
        Ok(format!("everybody and to the account {}", account.user))
    }

    async fn fetch(&self, key: &Use, patience: Patience) -> Result<Option<Token>, NoToken> {
        let Some(service) = self.service(patience).await? else {
            return Ok(None);
        };
        let (payer, repository) = key;
        let request = TokenRequest {
            scopes: repository.iter().cloned().map(Scope::pull).collect(),
            client_id: None,
            offline: false,
            grant: Grant::Get { account: None },
        };
        let ask = async |account: Option<&Account>| {
            let account = account.map(|account| (account.user.as_str(), &account.password));
            let ask = || service.ask_for_ourselves(self.api.origin(), &request, account);
            Token::of(self.api.patiently(patience, false, ask).await?).await
        };
        let token = match payer {
            Payer::Anonymous => ask(None).await,
            Payer::Operator => self.account.ask(|account| ask(Some(account))).await,
        };
        if matches!(token, Err(NoToken::Fault(_))) {
            self.service_failed(&service).await;
        }
        token
    }

    /// Perhaps it has moved: whoever comes next asks the registry where it is.
    async fn service_failed(&self, failed: &TokenService) {
        self.service.forget(|known| known.as_ref() == Some(failed)).await;
    }
}
