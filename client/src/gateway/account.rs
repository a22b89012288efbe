//! A request of an engine that shows no credential, with the login of its user.
//!
//! The login is part of the request before anything is looked up or stored, so what it opens is the account's. Must
//! never be used for an engine on another machine, or in place of a credential that an engine shows.

use super::{Engine, Gateway, ResponseDeadline};
use crate::transfer::Transfer;
use docxy_protocol::authorization::{Authorization, Login};
use docxy_protocol::fault::Fault;
use docxy_protocol::request::{Operation, Request};
use http::{Response, StatusCode};

/// The user's name of the login that a response was requested with.
#[derive(Debug, Clone)]
pub(crate) struct UsedAccount(pub(crate) String);

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

    /// Sends a request with a login, and once more if that is refused and there is a newer password. If none is accepted,
    /// the request is answered as without a login: the content may be public, or the engine have a credential of its own.
    pub(super) async fn send_with_login(
        &self,
        request: Request,
        login: Login,
        engine: &Engine,
        deadline: ResponseDeadline,
    ) -> Result<Response<Transfer>, Fault> {
        let mut response = self.send_as(&request, &login, engine, deadline).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(newer) = self.logins.in_place_of(&login).await
        {
            response = self.send_as(&request, &newer, engine, deadline).await?;
        }
        if response.status() == StatusCode::UNAUTHORIZED {
            drop(response);
            let registry = request.registry.clone();
            response = self.send_without_login(request, engine, false, deadline).await?;
            if response.status().is_success() {
                self.logins.warn(Some(&registry), &"it is refused what everybody may read; log in again");
            }
        }
        response.extensions_mut().insert(UsedAccount(login.user));
        Ok(response)
    }

    async fn send_as(
        &self,
        request: &Request,
        login: &Login,
        engine: &Engine,
        deadline: ResponseDeadline,
    ) -> Result<Response<Transfer>, Fault> {
        let request = request.clone().with_authorization(Authorization::Login(login.clone()));
        let guard = self.context.registry.begin(&request, engine.name());
        self.send_permitted(request, deadline, guard).await
    }
}
