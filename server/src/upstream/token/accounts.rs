//! The tokens that accounts are granted: the operator's, and those of users' logins.
//!
//! Must never send the credential of an account to another token service than one that the registry itself has named.

use super::bearer_challenge::BearerChallenge;
use super::service::{Token, TokenUnavailable};
use super::{CachedToken, QuotaAccount, RegistryTokens, wait};
use crate::settings::Account;
use crate::upstream::error::UpstreamError;
use crate::upstream::http::redirect::UpstreamResponse;
use crate::upstream::http::retry::RetryDeadline;
use docxy_protocol::authorization::{Authorization, Login};
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_protocol::name::Repository;
use docxy_protocol::scope::Scope;
use docxy_protocol::token::TokenRequest;
use http::HeaderValue;
use std::sync::Arc;
use std::time::Instant;

impl RegistryTokens {
    /// The account against whose quota a pull counts now: the operator's, if there is one that was not refused
    /// recently.
    pub(in crate::upstream) fn quota_account(&self) -> QuotaAccount {
        if self.operator_account.is_usable() { QuotaAccount::Operator } else { QuotaAccount::Anonymous }
    }

    /// The operator's token for this repository. `None` if the token service refuses the account or fails: requests
    /// must continue without it.
    pub(in crate::upstream) async fn operators(
        self: &Arc<Self>,
        repository: &Option<Repository>,
        deadline: RetryDeadline,
    ) -> Option<CachedToken> {
        let (tokens, repository) = (Arc::clone(self), repository.clone());
        let token = async move {
            let fetch = || async {
                let token = tokens.fetch_operators(&repository, deadline).await;
                token.inspect_err(|unavailable| tokens.operator_account.pause(unavailable))
            };
            tokens.operators.get(&repository, fetch).await
        };
        wait(Hop::TokenService, deadline, token).await.ok()
    }

    /// Another token of the operator's than this one, which the registry refused to a request that started then.
    /// `None` if it was fetched for that request, or there is no other.
    pub(in crate::upstream) async fn operators_after_refusal(
        self: &Arc<Self>,
        repository: &Option<Repository>,
        refused: &CachedToken,
        started: Instant,
        deadline: RetryDeadline,
    ) -> Option<CachedToken> {
        if refused.is_for_request_since(started) {
            return None;
        }
        self.operators.remove(repository, &refused.secret).await;
        self.operators(repository, deadline).await.filter(|token| token.secret != refused.secret)
    }

    /// Forwards an engine's token request with its own credential to the token service that the registry itself names:
    /// in the challenge of `/v2/`, or, if that names none, in the one of the content.
    ///
    /// # Errors
    /// If the service does not respond. An error status of it is a response, not an error.
    pub(in crate::upstream) async fn forward(
        self: &Arc<Self>,
        token: &TokenRequest,
        authorization: &Authorization,
        user_agent: Option<&HeaderValue>,
        deadline: RetryDeadline,
    ) -> Result<UpstreamResponse, UpstreamError> {
        let repository = token.scopes.iter().find_map(Scope::repository);
        let service = match self.account_challenge(repository, deadline).await {
            Ok(Some(challenge)) => challenge.service,
            Ok(None) => {
                let detail = "names no token service on /v2/";
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

    /// The token that a user's account is granted for this repository. `None` if the registry names no token service:
    /// then it may take the password itself.
    ///
    /// # Errors
    /// If the token service refuses the account, or does not respond.
    pub(in crate::upstream) async fn of_login(
        self: &Arc<Self>,
        login: &Login,
        repository: Option<&Repository>,
        deadline: RetryDeadline,
    ) -> Result<Option<CachedToken>, TokenUnavailable> {
        let Some(challenge) = self.account_challenge(repository, deadline).await? else { return Ok(None) };
        let (tokens, login, key) = (Arc::clone(self), login.clone(), (login.owner().sha256(), challenge));
        let token = async move {
            let deadline = deadline.of_shared_fetch(tokio::time::Instant::now());
            let (account, origin) = ((login.user.as_str(), &login.password), tokens.client.origin());
            let fetch = || tokens.fetch(&key.1, &origin, Some(account), deadline);
            tokens.logins.get(&key, fetch).await
        };
        wait(Hop::TokenService, deadline, token).await.map(Some)
    }

    /// Another token than this one, which the registry refused to a request that started then: the token has expired,
    /// or the registry has now said what it asks for. `None` if there is no other.
    ///
    /// # Errors
    /// As [`Self::of_login`].
    pub(in crate::upstream) async fn of_login_after_refusal(
        self: &Arc<Self>,
        login: &Login,
        repository: Option<&Repository>,
        refused: Option<&CachedToken>,
        started: Instant,
        deadline: RetryDeadline,
    ) -> Result<Option<CachedToken>, TokenUnavailable> {
        if let Some(refused) = refused.filter(|refused| !refused.is_for_request_since(started))
            && let Some(challenge) = self.account_challenge(repository, deadline).await?
        {
            self.logins.remove(&(login.owner().sha256(), challenge), &refused.secret).await;
        }
        let token = self.of_login(login, repository, deadline).await?;
        Ok(token.filter(|token| refused.is_none_or(|refused| token.secret != refused.secret)))
    }

    /// The token that the registry itself asks accounts for: in the challenge of `/v2/`, or, if that names none, in the
    /// one of the content. `None` if neither does.
    async fn account_challenge(
        self: &Arc<Self>,
        repository: Option<&Repository>,
        deadline: RetryDeadline,
    ) -> Result<Option<BearerChallenge>, TokenUnavailable> {
        let of_content = self.challenges.of(&self.client.origin(), repository);
        match (self.service(deadline).await, of_content) {
            // It is the same service, which may go by another name for this content.
            (Ok(Some(service)), Some(of_content)) if of_content.service.has_realm_of(&service) => {
                Ok(Some(of_content))
            }
            (Ok(Some(service)), _) => Ok(Some(BearerChallenge::for_pull(service, repository))),
            (_, Some(of_content)) => Ok(Some(of_content)),
            (Ok(None), None) => Ok(None),
            (Err(unavailable), None) => Err(unavailable),
        }
    }

    pub(super) async fn fetch_operators(
        self: &Arc<Self>,
        repository: &Option<Repository>,
        deadline: RetryDeadline,
    ) -> Result<Token, TokenUnavailable> {
        // This fetch is shared too.
        let deadline = deadline.of_shared_fetch(tokio::time::Instant::now());
        let Some(service) = self.service(deadline).await? else {
            return Err(TokenUnavailable::NONE);
        };
        let challenge = BearerChallenge::for_pull(service, repository.as_ref());
        let origin = self.client.origin();
        let request = |account: &Account| {
            let account = (account.user.clone(), account.password.clone());
            let (challenge, origin) = (&challenge, &origin);
            async move { self.fetch(challenge, origin, Some((&account.0, &account.1)), deadline).await }
        };
        self.operator_account.request_token(request).await
    }
}
