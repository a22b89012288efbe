//! Tries the tokens of a registry, for `docxy-server check`.
//!
//! Must never print a token.

use super::{RegistryTokens, TokenUnavailable};
use crate::upstream::error::UpstreamError;
use crate::upstream::http::retry::RetryDeadline;
use docxy_protocol::fault::{FaultKind, Hop};
use docxy_protocol::name::Repository;
use std::sync::Arc;

impl RegistryTokens {
    /// To whom tokens are granted, in words, for `docxy-server check`.
    ///
    /// # Errors
    /// If the token service does not respond, or refuses.
    pub(crate) async fn check(
        self: &Arc<Self>,
        repository: Option<Repository>,
    ) -> Result<String, UpstreamError> {
        let deadline = RetryDeadline::no_retry(tokio::time::Instant::now());
        let refused = |who: &str| {
            UpstreamError::new(Hop::TokenService, FaultKind::MalformedResponse, format!("refuses {who}"))
        };
        let failure = |unavailable, who: &str| match unavailable {
            TokenUnavailable::Refused(..) => refused(who),
            other => other.into_error(Hop::TokenService),
        };
        if let Some(asked) = self.expected_challenge(repository.as_ref(), deadline).await {
            let token = self.anonymous_token(&asked, deadline).await;
            token.map_err(|unavailable| failure(unavailable, "anonymous users"))?;
        }
        let Some(account) = self.operator_account.configured() else { return Ok("everybody".to_owned()) };
        let token = self.operators.get(&repository, || self.fetch_operators(&repository, deadline)).await;
        let who = format!("the account {}", account.user);
        token.map_err(|unavailable| failure(unavailable, &format!("{who}: check user and password")))?;
        Ok(format!("everybody and to {who}"))
    }
}
