//! A request of an engine that shows no credential, with the login of its user.
//!
//! The login is part of the request before anything is looked up or stored, so what it opens is the account's. Must
//! never be used for an engine on another machine, or in place of a credential that an engine shows.

mod anonymous;
mod credential_use;
mod private_repositories;
mod used_up_limits;

pub(super) use anonymous::is_for_content;
pub(super) use credential_use::CredentialUse;
pub use credential_use::TokenKind;
pub(super) use private_repositories::PrivateRepositories;
pub(super) use used_up_limits::UsedUpLimits;

use super::{Engine, Gateway, ResponseDeadline};
use crate::accounts::logins::LoginOutcome;
use crate::transfer::Transfer;
use docxy_protocol::authorization::{Authorization, Login};
use docxy_protocol::challenge::Challenge;
use docxy_protocol::fault::Fault;
use docxy_protocol::name::Registry;
use docxy_protocol::request::{Operation, Request};
use http::{Response, StatusCode};
use std::time::Duration;

/// The login that a response was requested with.
#[derive(Debug, Clone)]
pub(crate) struct UsedAccount {
    pub(crate) user: String,
    /// When it is tried again, if its password was refused.
    pub(crate) retry_after: Option<Duration>,
}

impl Gateway {
    /// The login to use for a request of this engine.
    pub(super) async fn login_for(
        &self,
        request: &Request,
        engine: &Engine,
        deadline: ResponseDeadline,
    ) -> Option<Login> {
        if request.has_credential() || !engine.may_use_logins() {
            return None;
        }
        match request.operation {
            Operation::Token(_) => None,
            // An engine that has a credential shows it after a challenge.
            Operation::Ping if self.context.metadata.challenge_response(request).is_some() => None,
            Operation::Ping => {
                let login = self.logins.get(&request.registry).await?;
                self.challenge(request, deadline).await.is_none().then_some(login)
            }
            _ => self.logins.get(&request.registry).await,
        }
    }

    /// Sends a request with a login, and once more if its password is refused and there is a newer one. If the account is
    /// refused, the request is answered as without a login: the content may be public, or the engine have a credential of
    /// its own.
    pub(super) async fn send_with_login(
        &self,
        request: Request,
        mut login: Login,
        engine: &Engine,
        deadline: ResponseDeadline,
    ) -> Result<Response<Transfer>, Fault> {
        let mut response = self.send_as(&request, &login, engine, deadline).await?;
        if response.is_none()
            && let Some(newer) = self.logins.in_place_of(&login).await
        {
            login = newer;
            response = self.send_as(&request, &login, engine, deadline).await?;
        }
        let mut response = match response {
            Some(response) => response,
            None => self.send_without_login(request, engine, false, deadline).await?,
        };
        let retry_after = self.logins.pause(&login);
        response.extensions_mut().insert(UsedAccount { user: login.user, retry_after });
        Ok(response)
    }

    /// The login of this user for a registry, unless that has refused it lately.
    pub(crate) async fn login(&self, registry: &Registry) -> Option<Login> {
        self.logins.get(registry).await.filter(|login| self.logins.pause(login).is_none())
    }

    /// The response to a request with this login. `None` if it is refused, or was a while ago.
    async fn send_as(
        &self,
        request: &Request,
        login: &Login,
        engine: &Engine,
        deadline: ResponseDeadline,
    ) -> Result<Option<Response<Transfer>>, Fault> {
        let repository = request.operation.repository();
        let Some(_trial) = self.logins.admit(login, repository).await else { return Ok(None) };
        let request = request.clone().with_authorization(Authorization::Login(login.clone()));
        let guard = self.context.registry.begin(&request, engine.name());
        let repository = request.operation.repository().cloned();
        let response = self.send_permitted(request, deadline, guard).await?;
        let outcome = outcome(&response);
        if let Some(outcome) = outcome {
            self.logins.record(login, repository.as_ref(), outcome);
        }
        let is_refused = matches!(outcome, Some(LoginOutcome::PasswordRefused | LoginOutcome::Denied));
        Ok((!is_refused).then_some(response))
    }
}

/// What a response says about the login that its request was sent with. A 401 to a password names no other scheme than
/// Basic (RFC 7617), one to a token of its account asks for another token (RFC 6750).
fn outcome<B>(response: &Response<B>) -> Option<LoginOutcome> {
    match response.status() {
        StatusCode::UNAUTHORIZED if !Challenge::of_response(response.headers()).any(|c| c.is_bearer()) => {
            Some(LoginOutcome::PasswordRefused)
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Some(LoginOutcome::Denied),
        status if status.is_success() || status == StatusCode::NOT_MODIFIED => Some(LoginOutcome::Accepted),
        _ => None,
    }
}
