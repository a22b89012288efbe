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
    pub(super) async fn login_for(&self, request: &Request, engine: &Engine) -> Option<Login> {
        if request.has_credential() || !engine.may_use_logins() {
            return None;
        }
        match request.operation {
            Operation::Token(_) => None,
            // A known challenge is repeated: an engine that has a credential shows it then.
            Operation::Ping if self.context.metadata.challenge_response(request).is_some() => None,
            _ => self.logins.get(&request.registry).await,
        }
    }

    /// Sends a request with a login, and once more if that is refused and there is a newer password.
    pub(super) async fn send_with_login(
        &self,
        request: Request,
        login: Login,
        deadline: ResponseDeadline,
    ) -> Result<Response<Transfer>, Fault> {
        let mut response = self.send_as(&request, &login, deadline).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(newer) = self.logins.in_place_of(&login).await
        {
            response = self.send_as(&request, &newer, deadline).await?;
        }
        response.extensions_mut().insert(UsedAccount(login.user));
        Ok(response)
    }

    async fn send_as(
        &self,
        request: &Request,
        login: &Login,
        deadline: ResponseDeadline,
    ) -> Result<Response<Transfer>, Fault> {
        let request = request.clone().with_authorization(Authorization::Login(login.clone()));
        let guard = self.context.registry.begin(&request);
        self.send_permitted(request, deadline, guard).await
    }
}
